"""PyTorch scripts, unchanged, in a process of their own: what they print, and what they are told."""

import importlib
import os
import pkgutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import symgrad
from symgrad.running import MODULES, names_of

ROOT = Path(__file__).parent.parent


def run(folder, text, *arguments, name="script.py"):
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "symgrad", "run", str(path), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "codegen")])},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


TRAINING = """
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
    from torch import Tensor, optim
    from torch.amp import GradScaler, autocast
    from torch.autograd.functional import jacobian
    from torch.nn.utils import clip_grad_norm_
    from torch.optim.lr_scheduler import StepLR
    from torch.utils.data import DataLoader, TensorDataset, random_split

    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 64).unsqueeze(1)
    data = TensorDataset(x, 3 * x - 1)

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, v: Tensor) -> Tensor:
            return self.layer(v)

    model = Line()
    opt = optim.SGD(model.parameters(), lr=0.3)
    schedule = StepLR(opt, 10, 0.9)
    for epoch in range(15):
        for a, b in DataLoader(data, batch_size=16, shuffle=True):
            opt.zero_grad()
            with autocast("cpu", enabled=False):
                loss = F.mse_loss(model(a), b)
            loss.backward()
            clip_grad_norm_(model.parameters(), 5.0)
            opt.step()
        schedule.step()
    print(f"{model.layer.weight.item():.2f} {model.layer.bias.item():.2f}")
    print(jacobian(lambda v: v ** 2, torch.tensor([1.0, 2.0])).tolist())
    if __name__ == "__main__":
        import sys
        print(sys.argv[1:], torch.nn is nn, torch.__name__)
        print("real" if "torch._C" in sys.modules else "ours")
"""


def test_a_training_script_runs_unchanged(tmp_path):
    done = run(tmp_path, TRAINING, "--epochs", "3")
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "3.00 -1.00",
        "[[2.0, 0.0], [0.0, 4.0]]",
        "['--epochs', '3'] True torch",
        "ours",
    ]


def test_the_same_script_runs_on_pytorch(tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(TRAINING), encoding="utf-8")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[:2] == ["3.00 -1.00", "[[2.0, 0.0], [0.0, 4.0]]"]


MISSING = {
    "from torch.nn import Linaer": "ImportError: symgrad has no torch.nn.Linaer; the nearest is Linear",
    "from torch import relux": "ImportError: symgrad has no torch.relux; the nearest is relu",
    "import torch\ntorch.nn.functional.soft_max":
        "AttributeError: symgrad has no torch.nn.functional.soft_max; the nearest is softmax",
    "import torch.distributed": "ModuleNotFoundError: symgrad has no torch.distributed",
    "import torch.nn.functionals":
        "ModuleNotFoundError: symgrad has no torch.nn.functionals; the nearest is "
        "torch.nn.functional",
    "from torch.optim import Adm": "ImportError: symgrad has no torch.optim.Adm; the nearest is Adam",
}  # fmt: skip


def test_what_is_not_there_is_told(tmp_path):
    text = "".join(
        f"try:\n{textwrap.indent(line, '    ')}\nexcept Exception as e:\n"
        "    print(f'{type(e).__name__}: {e}')\n"
        for line in MISSING
    )
    assert run(tmp_path, text).stdout.splitlines() == list(MISSING.values())


def test_what_is_not_there_is_told_at_its_line(tmp_path):
    done = run(tmp_path, "x = 1\nfrom torch.nn import Linaer\n", name="lacking.py")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith('lacking.py", line 2, in <module>')
    assert lines[-1] == "ImportError: symgrad has no torch.nn.Linaer; the nearest is Linear"
    assert "running.py" not in done.stderr
    assert "importlib" not in done.stderr


def test_tracebacks_show_the_lines_of_the_script(tmp_path):
    done = run(
        tmp_path,
        """
        import torch

        def product(a):
            return a @ torch.ones(5)

        product(torch.ones(3, 2))
        """,
    )
    assert done.returncode == 1
    assert 'script.py", line 7, in <module>\n    product(torch.ones(3, 2))' in done.stderr
    assert 'script.py", line 5, in product\n    return a @ torch.ones(5)' in done.stderr
    assert "running.py" not in done.stderr


def test_exit_status_and_usage(tmp_path):
    assert run(tmp_path, "import sys; sys.exit(7)").returncode == 7
    done = subprocess.run(
        [sys.executable, "-m", "symgrad", "run", str(tmp_path / "nothing.py")],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": "codegen"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "can't open" in done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "symgrad", "walk"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": "codegen"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m symgrad run")


def test_optional_features_can_be_asked_for(tmp_path):
    done = run(
        tmp_path,
        """
        import torch
        print(hasattr(torch, "zeros"), hasattr(torch, "zeross"), hasattr(torch.nn, "Linear"))
        try:
            import torch.distributed
        except ImportError:
            print("no distributed")
        print("zeros" in dir(torch), callable(torch.optim.Adam))
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        torch.set_num_threads(2)
        assert (torch.pi, torch.inf, torch.newaxis) == (__import__("math").pi, float("inf"), None)
        if torch.accelerator.is_available():
            assert torch.accelerator.current_accelerator().type == "cuda"
        assert torch.promote_types(torch.int64, torch.float16) is torch.float16
        print(torch.backends.mps.is_available(), torch.get_num_threads())
        import helper
        """,
    )
    assert done.stdout.splitlines() == ["True False True", "no distributed", "True True", "False 2"]
    assert "No module named 'helper'" in done.stderr


def test_modules_beside_the_script_see_the_same_torch(tmp_path):
    (tmp_path / "helper.py").write_text("import torch\none = torch.ones(2)\n", encoding="utf-8")
    done = run(tmp_path, "import torch, helper\nprint(isinstance(helper.one, torch.Tensor))")
    assert done.stdout == "True\n"


OURS_ALONE = {
    "torch.nn.attention",
    "torch.ops",
    "torch.functional",
    "torch.storage",
    "torch.limits",
}
"""Modules of PyTorch whose namesake of ours is another thing."""


def test_the_table_names_what_is_there_under_the_same_path():
    torch = pytest.importorskip("torch")
    for theirs, ours in MODULES.items():
        importlib.import_module(theirs)
        module = importlib.import_module(ours)
        assert names_of(module) or theirs in {"torch.utils", "torch.signal"}, ours
    same = set()
    for found in pkgutil.walk_packages(symgrad.__path__, "symgrad."):
        theirs = f"torch{found.name.removeprefix('symgrad')}"
        if "__main__" in theirs:
            continue
        try:
            importlib.import_module(theirs)
        except ImportError:
            continue
        same.add(theirs)
    left = {m for m in same - MODULES.keys() if not any(m.startswith(o) for o in OURS_ALONE)}
    assert not left
    assert torch.nn.Linear is not symgrad.nn.Linear
