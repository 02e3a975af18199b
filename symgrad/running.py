"""Running a PyTorch script unchanged: ``import torch`` finds this library.

A finder in front of all others answers for ``torch`` and its modules with mirrors of ours.  What is
not there raises where the script imports or names it, with the nearest name that is.
"""

from __future__ import annotations

import dis
import importlib
import importlib.abc
import importlib.machinery
import io
import os
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from types import ModuleType, TracebackType
from typing import Any

MODULES = {
    "torch": "symgrad",
    "torch.accelerator": "symgrad.accelerator",
    "torch.amp": "symgrad.amp",
    "torch.amp.autocast_mode": "symgrad.amp.autocast_mode",
    "torch.amp.grad_scaler": "symgrad.amp.grad_scaler",
    "torch.autograd": "symgrad.autograd",
    "torch.autograd.function": "symgrad.autograd",
    "torch.autograd.functional": "symgrad.autograd.functional",
    "torch.backends": "symgrad.backends",
    "torch.backends.cuda": "symgrad.backends.cuda",
    "torch.backends.cudnn": "symgrad.backends.cudnn",
    "torch.backends.mps": "symgrad.backends.mps",
    "torch.cpu": "symgrad.cpu",
    "torch.cpu.amp": "symgrad.cpu.amp",
    "torch.cuda": "symgrad.cuda",
    "torch.cuda.amp": "symgrad.cuda.amp",
    "torch.func": "symgrad.func",
    "torch.linalg": "symgrad.linalg",
    "torch.nn": "symgrad.nn",
    "torch.nn.functional": "symgrad.nn.functional",
    "torch.nn.init": "symgrad.nn.init",
    "torch.nn.modules": "symgrad.nn",
    "torch.nn.parameter": "symgrad.nn.parameter",
    "torch.nn.utils": "symgrad.nn.utils",
    "torch.nn.utils.rnn": "symgrad.nn.utils.rnn",
    "torch.optim": "symgrad.optim",
    "torch.optim.lbfgs": "symgrad.optim.lbfgs",
    "torch.optim.lr_scheduler": "symgrad.optim.lr_scheduler",
    "torch.optim.optimizer": "symgrad.optim.optimizer",
    "torch.random": "symgrad.random",
    "torch.serialization": "symgrad.serialization",
    "torch.fft": "symgrad.fft",
    "torch.signal": "symgrad.signal",
    "torch.signal.windows": "symgrad.signal.windows",
    "torch.special": "symgrad.special",
    "torch.utils": "symgrad.utils",
    "torch.utils.data": "symgrad.utils.data",
    "torch.utils.data.dataloader": "symgrad.utils.data.loader",
    "torch.utils.checkpoint": "symgrad.utils.checkpoint",
    "torch.utils.dlpack": "symgrad.utils.dlpack",
    "torch.version": "symgrad.version",
    "torch.utils.data.dataset": "symgrad.utils.data.dataset",
    "torch.utils.data.sampler": "symgrad.utils.data.sampler",
}
"""PyTorch's module → ours."""

_IMPORT_FROM = dis.opmap["IMPORT_FROM"]


def _nearest(word: str, words: Iterable[str], cutoff: float = 0.6) -> str:
    """What to add to a message: the nearest of some words, or nothing where none is near."""
    listed = list(words)
    folded = {w.lower(): w for w in listed}
    found = get_close_matches(word, listed, 1, cutoff) or [
        folded[w] for w in get_close_matches(word.lower(), folded, 1, cutoff)
    ]
    return f"; the nearest is {found[0]}" if found else ""


class Mirror(ModuleType):
    """One of our modules under PyTorch's name."""

    def __init__(self, name: str, target: ModuleType) -> None:
        super().__init__(name, target.__doc__)
        self.__dict__["_target"] = target
        self.__dict__["__version__"] = getattr(target, "__version__", "")

    def __getattr__(self, word: str) -> Any:
        found = f"{self.__name__}.{word}"
        if found in MODULES:
            return importlib.import_module(found)
        target = self.__dict__["_target"]
        try:
            return getattr(target, word)
        except AttributeError:
            pass
        if word.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {word!r}")
        told = f"symgrad has no {found}{_nearest(word, names_of(target))}"
        frame = sys._getframe(1)
        if frame.f_code.co_code[frame.f_lasti] == _IMPORT_FROM:
            raise ImportError(told, name=self.__name__)
        raise AttributeError(told)

    def __setattr__(self, word: str, value: Any) -> None:
        if isinstance(value, Mirror) or word.startswith("__"):
            super().__setattr__(word, value)
        else:
            setattr(self.__dict__["_target"], word, value)

    def __dir__(self) -> list[str]:
        return sorted(names_of(self.__dict__["_target"]))


def names_of(target: ModuleType) -> list[str]:
    """The public names of a module; those of the package itself include the functions of tensors."""
    listed = getattr(target, "__all__", None)
    names = list(listed) if listed is not None else [w for w in dir(target) if w[0] != "_"]
    if target.__name__ == MODULES["torch"]:
        names += target.creation.FUNCTIONS
    return [w for w in names if not isinstance(getattr(target, w, None), ModuleType)]


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers for ``torch`` and everything below it, and for nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A mirror's spec; ModuleNotFoundError for a module of PyTorch that we lack."""
        del path, target
        if fullname.partition(".")[0] != "torch":
            return None
        if fullname not in MODULES:
            told = f"symgrad has no {fullname}{_nearest(fullname, MODULES, 0.85)}"
            raise ModuleNotFoundError(told, name=fullname)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The mirror."""
        return Mirror(spec.name, importlib.import_module(MODULES[spec.name]))

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


def install() -> None:
    """From now on ``import torch`` finds this library; RuntimeError if PyTorch is there already."""
    if "torch" in sys.modules and not isinstance(sys.modules["torch"], Mirror):
        raise RuntimeError(
            "PyTorch is imported already, so its name cannot stand for symgrad. Start the script "
            "with 'python -m symgrad run script.py'."
        )
    if not any(isinstance(f, Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, Finder())


def run(script: str, arguments: Sequence[str]) -> int:
    """Run a script as ``python script arguments`` would, with our modules under PyTorch's names.

    Returns the exit status: 1 after an exception, whose traceback begins at the script's own line;
    2 where there is no such file.
    """
    install()
    try:
        with io.open_code(os.path.abspath(script)) as file:
            text = file.read()
    except OSError as error:
        sys.stderr.write(f"symgrad run: can't open {script!r}: {error.strerror}\n")
        return 2
    main = ModuleType("__main__")
    main.__dict__.update(__file__=script, __builtins__=__builtins__, __cached__=None)
    sys.modules["__main__"] = main
    sys.argv = [script, *arguments]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    try:
        exec(compile(text, script, "exec"), main.__dict__)  # noqa: S102 - it is the user's script
    except Exception as error:  # noqa: BLE001 - as the interpreter
        error.__traceback__ = _of_the_script(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _of_the_script(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames before the script's first, and without those of imports."""
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    last = trace
    while last is not None:
        following = last.tb_next
        while following is not None and _machinery(following):
            following = following.tb_next
        last.tb_next = following
        last = following
    return trace


def _machinery(trace: TracebackType) -> bool:
    name = trace.tb_frame.f_code.co_filename
    return name == __file__ or name.startswith("<frozen importlib")


__all__ = ["MODULES", "Finder", "Mirror", "install", "names_of", "run"]
