"""What this build is made for, under the names of ``torch.version``."""

from importlib import metadata

from symgrad_codegen import arrays


def _cuda() -> str | None:
    if not arrays.has_gpu():
        return None
    found = [d.version for d in metadata.distributions(name="nvidia-cuda-runtime-cu12")]
    return ".".join(found[0].split(".")[:2]) if found else "12"


cuda = _cuda()
"""The version of CUDA that JAX was installed with; None without a GPU."""
hip = None
git_version = ""

__all__ = ["cuda", "git_version", "hip"]
