"""The rooms of the house, enforced: who imports whom, what is dangerous, what has grown too long.

Every check is a function from a `Project` (parsed files) and `Rules` (the tables) to complaints with
file and line. The second half plants one bad module per check, so that each is known to fail.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# ------------------------------------------------------------------------------------ the tables

FLOORS: dict[str, float] = {
    "symgrad": 9,  # the package itself, not what is in it
    "symgrad.__main__": 9,
    "symgrad.running": 8.9,
    "symgrad.tracing.step": 8.4,
    "symgrad.sympy_bridge": 8.35,
    "symgrad.tracing.symbolic": 8.3,
    "symgrad.tracing.trace": 8.2,
    "symgrad.tracing.module_trace": 8.25,
    "symgrad.tracing.training": 8.1,
    "symgrad.tracing.left": 7.9,
    "symgrad.tracing.signature": 7.9,
    "symgrad.tracing": 7.9,
    "symgrad.transforms": 4,
    "symgrad.tensors": 1,
    "symgrad.recording": 5,
    "symgrad.nn": 8,
    "symgrad.optim": 8,
    "symgrad.utils": 8,
    "symgrad.func": 8.05,
    "symgrad.fft": 8,
    "symgrad.linalg": 8,
    "symgrad.special": 8,
    "symgrad.signal": 8,
    "symgrad.cuda": 8,
    "symgrad.cpu": 8,
    "symgrad.backends": 8.05,
    "symgrad.accelerator": 8.05,
    "symgrad.amp": 7.6,
    "symgrad.serialization": 7.4,
    "symgrad.tensors.creation": 7.3,
    "symgrad.tensors.exchange": 7.35,
    "symgrad.tensors.inside": 6.2,
    "symgrad.tensors.keywords": 7.05,
    "symgrad.version": 8,
    "symgrad.tensors.filling": 7.35,
    "symgrad.tensors.surface": 7.2,
    "symgrad.tracing.branch": 7.3,
    "symgrad.foreign": 7.2,
    "symgrad.autograd": 7.1,
    "symgrad.transforms.checks": 7.05,
    "symgrad.transforms.derivatives": 7.05,
    "symgrad.transforms.vmap": 7.06,
    "symgrad.transforms.operators": 7.35,
    "symgrad.transforms.stationary": 7.36,
    "symgrad.transforms.orders": 7.36,
    "symgrad.transforms.cost": 7.37,
    "symgrad.transforms.handed_out": 7.3,
    "symgrad.tensors.tensor": 7,
    "symgrad.tensors.several": 7.1,
    "symgrad.tensors.factors": 7.15,
    "symgrad.tensors.pieces": 7.15,
    "symgrad.tensors.calls": 6.5,
    "symgrad.tensors.reading": 6.4,
    "symgrad.random": 6.3,
    "symgrad.tensors.attributes": 6.3,
    "symgrad.recording.gradients": 6.3,
    "symgrad.recording.carried": 6.1,
    "symgrad.recording.closed": 6.2,
    "symgrad.recording.sweeps": 6.1,
    "symgrad.recording.anomaly": 6.25,
    "symgrad.recording.phases": 6.25,
    "symgrad.recording.grad_fn": 6.2,
    "symgrad.recording.pattern": 6.1,
    "symgrad.recording.tracked": 6.1,
    "symgrad.recording.walk": 5.1,
    "symgrad.recording.recall": 5.3,
    "symgrad.recording.replay": 6.15,
    "symgrad.recording.execute": 6.2,
    "symgrad.recording.settle": 6.25,
    "symgrad.recording.expand": 6.1,
    "symgrad.tensors.leaf_symbols": 6.45,
    "symgrad.tensors.views": 6.7,
    "symgrad.tensors.indexing": 6.6,
    "symgrad.tensors.storage": 6,
    "symgrad.recording.record": 5,
    "symgrad.recording.pieces": 5,
    "symgrad.recording.effects": 5.25,
    "symgrad.tensors.ranges": 6.5,
    "symgrad.tensors.given": 4.5,
    "symgrad.tensors.wording": 4.5,
    "symgrad.tensors.conditions": 1,
    "symgrad.derivation": 5,
    "symgrad.structured": 5.05,
    "symgrad.functional": 4,
    "symgrad.simplify": 4,
    "symgrad.autodiff": 4,
    "symgrad.scanning": 3.7,
    "symgrad.transforms.batching": 3.5,
    "symgrad.ops": 3,
    "symgrad.evaluate": 3.5,
    "symgrad.lower": 3.5,
    "symgrad.core": 2,
    "symgrad.tensors.limits": 3,
    "symgrad.tensors.printing": 1,
    "symgrad.errors": 1,
    "symgrad_codegen": 1,
}
"""Room → floor. An import goes to the same room or to a lower floor."""

SAME_FLOOR: dict[tuple[str, str], str] = {}
"""(room, room) of one floor → why the first may import the second."""

ONLY = {
    "symgrad.core": {"symgrad.errors"},
    "symgrad.errors": set(),
    "symgrad_codegen": set(),
}
"""Rooms that may import only these others, whatever the floor."""

JAX_PLACES: dict[str, str] = {
    "symgrad_codegen": "the neighbour that knows JAX",
}
"""Where jax may be imported: symgrad_codegen, and one place of symgrad that hands arrays and optax
transformations through."""

DANGEROUS: dict[tuple[str, str], str] = {
    ("symgrad.running", "exec"): "runs the user's script, as python does",
    ("symgrad.running", "import_module"): "finds our modules by the table of PyTorch's names",
    ("symgrad_codegen.compile", "exec"): "running the generated text is its purpose",
    ("symgrad.recording.pattern", "exec"): "compares graphs by a function of places and constants",
    ("symgrad.recording.tracked", "exec"): "compares graphs by a function of places and constants",
    ("symgrad_codegen.lazy", "import_module"): "the one mechanism for imports at first use",
    ("symgrad_codegen.eager", "eval"): "turns templates, rows of our own tables, into functions",
    ("symgrad_codegen.eager", "exec"): "states the functions that such templates call",
}
"""(module, word) → why that module may use exec, eval, pickle, sympify and their kind."""

LONG: dict[str, str] = {}
"""Module of more than 500 lines → why it is one idea."""

NOT_IMPORTED = ["sympy", "optax", "matplotlib", "rich", "sklearn", "torch", "IPython", "pandas",
                "scipy", "safetensors", "symgrad.simplify", "symgrad.structured", "symgrad.lower",
                "symgrad.derivation.derive", "symgrad.tracing", "symgrad_codegen.source"]  # fmt: skip
"""What `import symgrad` must not import: `symgrad_codegen.lazy` imports it at its first use."""


@dataclass(frozen=True)
class Rules:
    """The tables of one project."""

    floors: dict[str, int] = field(default_factory=lambda: FLOORS)
    same_floor: dict[tuple[str, str], str] = field(default_factory=lambda: SAME_FLOOR)
    only: dict[str, set[str]] = field(default_factory=lambda: ONLY)
    jax_places: dict[str, str] = field(default_factory=lambda: JAX_PLACES)
    dangerous: dict[tuple[str, str], str] = field(default_factory=lambda: DANGEROUS)
    long: dict[str, str] = field(default_factory=lambda: LONG)
    longest: int = 500

    def room(self, module: str) -> str | None:
        """The room a module stands in: its longest prefix in the table."""
        parts = module.split(".")
        for end in range(len(parts), 0, -1):
            prefix = ".".join(parts[:end])
            # The row of a top package with rooms inside is about its __init__ alone.
            inner = any(room.startswith(prefix + ".") for room in self.floors)
            if prefix in self.floors and (prefix == module or not inner):
                return prefix
        return None


# ----------------------------------------------------------------------------------- the project


@dataclass(frozen=True)
class Import:
    """One import statement's target: a module of the project, or the name of a foreign one."""

    user: str
    target: str
    line: int
    ours: bool
    local: bool
    typing_only: bool


@dataclass(frozen=True)
class Project:
    """Python packages by their import name."""

    packages: dict[str, Path]

    @cached_property
    def files(self) -> dict[str, Path]:
        """Module name → file."""
        found = {}
        for package, folder in self.packages.items():
            for path in sorted(folder.rglob("*.py")):
                parts = [package, *path.relative_to(folder).with_suffix("").parts]
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return found

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Module name → its syntax tree."""
        return {m: ast.parse(p.read_text(encoding="utf-8"), str(p)) for m, p in self.files.items()}

    @cached_property
    def imports(self) -> list[Import]:
        """Every import of every module."""
        return [one for module in self.files for one in self._imports_of(module)]

    def _imports_of(self, module: str) -> Iterator[Import]:
        is_package = self.files[module].name == "__init__.py"
        stack: list[tuple[ast.AST, bool, bool]] = [(self.trees[module], False, False)]
        while stack:
            node, local, typing_only = stack.pop()
            targets: list[str] = []
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    up = module.split(".")[: len(module.split(".")) - node.level + is_package]
                    base = ".".join([*up, base] if base else up)
                inner = [f"{base}.{alias.name}" for alias in node.names]
                # `from package import module` needs that module; any other name, the package.
                targets = list(dict.fromkeys(t if t in self.files else base for t in inner))
            for target in targets:
                ours = target.split(".")[0] in self.packages
                yield Import(module, target, node.lineno, ours, local, typing_only)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                local = True
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
                stack += [(child, local, True) for child in node.body]
                stack += [(child, local, typing_only) for child in node.orelse]
            else:
                stack += [(child, local, typing_only) for child in ast.iter_child_nodes(node)]

    def at(self, module: str, line: int) -> str:
        """A place as editors understand it."""
        path = self.files[module]
        return f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name}:{line}"


# ------------------------------------------------------------------------------------ the checks


def without_a_room(project: Project, rules: Rules) -> list[str]:
    """Modules that the table of floors does not know."""
    return [f"{project.at(m, 1)}: {m} has no floor" for m in project.files if rules.room(m) is None]


def upward(project: Project, rules: Rules) -> list[str]:
    """Imports of a higher floor, of another room of the same floor, or past an ONLY."""
    found, used = [], set()
    for one in project.imports:
        here, there = rules.room(one.user), rules.room(one.target)
        if not one.ours or here is None or there is None or here == there:
            continue
        if here in rules.only and there not in rules.only[here]:
            found.append(f"{project.at(one.user, one.line)}: {here} may not import {one.target}")
        elif rules.floors[there] > rules.floors[here]:
            found.append(
                f"{project.at(one.user, one.line)}: {here} (floor {rules.floors[here]}) imports "
                f"{one.target} (floor {rules.floors[there]})"
            )
        elif rules.floors[there] == rules.floors[here]:
            used.add((here, there))
            if (here, there) not in rules.same_floor:
                found.append(
                    f"{project.at(one.user, one.line)}: {here} imports {one.target}, another room "
                    f"of floor {rules.floors[here]}"
                )
    return found + [f"SAME_FLOOR: {pair} is not needed" for pair in rules.same_floor.keys() - used]


def cycles(project: Project, _: Rules) -> list[str]:
    """Groups of modules that import each other at run time."""
    after = {m: set() for m in project.files}
    for one in project.imports:
        if one.ours and not one.typing_only and one.target in after and one.target != one.user:
            after[one.user].add(one.target)
    left = dict(after)
    while free := [m for m, targets in left.items() if not targets & left.keys()]:
        for m in free:
            del left[m]
    # What is left imports, directly or not, a cycle; walking on from anywhere closes one.
    if not left:
        return []
    walk = [min(left)]
    while (following := min(left[walk[-1]] & left.keys())) not in walk:
        walk.append(following)
    return [" → ".join([*walk[walk.index(following) :], following])]


def local_imports(project: Project, _: Rules) -> list[str]:
    """Imports of our own modules inside functions."""
    return [
        f"{project.at(one.user, one.line)}: imports {one.target} inside a function"
        for one in project.imports
        if one.ours and one.local
    ]


def jax_imports(project: Project, rules: Rules) -> list[str]:
    """Imports of jax outside the declared places."""
    found, used = [], set()
    for one in project.imports:
        if one.target.split(".")[0] not in {"jax", "jaxlib"}:
            continue
        places = [p for p in rules.jax_places if one.user == p or one.user.startswith(p + ".")]
        used.update(places)
        if not places:
            found.append(f"{project.at(one.user, one.line)}: imports {one.target}")
    return found + [f"JAX_PLACES: {p} does not import it" for p in rules.jax_places.keys() - used]


WORDS = {"exec", "eval", "__import__", "import_module", "pickle", "cPickle", "dill", "cloudpickle",
         "marshal", "shelve", "joblib", "sympify", "lambdify", "parse_expr", "allow_pickle"}  # fmt: skip
ONLY_BARE = {"exec", "eval"}
"""Words that are also ordinary method names: `model.eval()`."""


def dangerous_words(project: Project, rules: Rules) -> list[str]:
    """What runs text or unpickles, outside the declared places."""
    found, used = [], set()
    for module, tree in project.trees.items():
        for node in ast.walk(tree):
            words: list[str] = []
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                words = [node.id]
            elif isinstance(node, ast.Attribute):
                owner = node.value.id if isinstance(node.value, ast.Name) else ""
                if node.attr not in ONLY_BARE or owner in {"builtins", "__builtins__"}:
                    words = [node.attr]
            elif isinstance(node, ast.Import):
                words = [part for alias in node.names for part in alias.name.split(".")]
            elif isinstance(node, ast.ImportFrom):
                words = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                refused = isinstance(node.value, ast.Constant) and node.value.value is False
                words = [] if refused else [node.arg]
            for word in WORDS.intersection(words):
                used.add((module, word))
                if (module, word) not in rules.dangerous:
                    found.append(f"{project.at(module, node.lineno)}: uses {word}")
    return found + [f"DANGEROUS: {pair} is not needed" for pair in rules.dangerous.keys() - used]


def too_long(project: Project, rules: Rules) -> list[str]:
    """Files past the length at which they are almost always two ideas."""
    lines = {m: len(p.read_text(encoding="utf-8").splitlines()) for m, p in project.files.items()}
    long = {m for m, count in lines.items() if count > rules.longest}
    found = [
        f"{project.at(m, lines[m])}: {lines[m]} lines" for m in sorted(long - rules.long.keys())
    ]
    return found + [f"LONG: {m} is not needed" for m in rules.long.keys() - long]


CHECKS = [
    without_a_room,
    upward,
    cycles,
    local_imports,
    jax_imports,
    dangerous_words,
    too_long,
]

# -------------------------------------------------------------------------------------- the tests


@pytest.fixture(scope="module")
def project():
    return Project(
        {"symgrad": ROOT / "symgrad", "symgrad_codegen": ROOT / "codegen" / "symgrad_codegen"}
    )


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_the_house_stands(check, project):
    complaints = check(project, Rules())
    assert not complaints, "\n" + "\n".join(complaints)


def test_the_checker_reads_every_file(project):
    assert len(project.files) > 40
    assert {"symgrad", "symgrad.core.expr", "symgrad_codegen.source"} <= project.files.keys()
    edges = {(one.user, one.target) for one in project.imports}
    assert ("symgrad.autodiff", "symgrad.core.expr") in edges


def test_symgrad_declares_one_place_for_jax():
    assert len([place for place in JAX_PLACES if place.startswith("symgrad.")]) <= 1


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "codegen")])},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_symgrad_is_light():
    heavy = python(f"import sys, symgrad; print([m for m in {NOT_IMPORTED} if m in sys.modules])")
    assert heavy.strip() == "[]"


def test_what_is_imported_later_is_there():
    code = """
import symgrad as sg, sys
print([w for w in sg._LATER if w not in dir(sg) or w not in sg.__all__ or w in vars(sg)])
print([w for w, place in sg._LATER.items() if place.split(":")[0] in sys.modules])
print([w for w in sg._LATER if getattr(sg, w) is not vars(sg)[w]])
from symgrad import *
print(nn is sg.nn, save is sg.save, hasattr(sg, "no_such_name"))
"""
    assert python(code).splitlines() == ["[]", "[]", "[]", "True True False"]


def test_a_lazy_module_that_is_missing_says_what_to_install():
    code = """
from symgrad_codegen.lazy import lazy
missing = lazy("no_such_package.inner")
try:
    missing.word
except ImportError as problem:
    print(problem)
"""
    assert "no_such_package.inner.word is needed here" in python(code)
    assert "Install 'no_such_package'" in python(code)


def test_importing_codegen_needs_no_symgrad():
    assert python("import sys, symgrad_codegen; print('symgrad' in sys.modules)").strip() == "False"


# ------------------------------------------------------------------- the checks are known to fail

SMALL = Rules(
    floors={"house": 3, "house.roof": 2, "house.attic": 2, "house.ground": 1, "house.cellar": 0},
    same_floor={},
    only={"house.ground": set()},
    jax_places={},
    dangerous={},
    long={},
    longest=10,
)
SOUND = {
    "__init__": "from house import roof\nfrom house.ground import stone as stone\n",
    "roof": "import numpy\nfrom .ground.stone import brick\nfrom house.ground import stone\n",
    "attic": "def eval(model):\n    import sympy\n    return model.eval(), 'exec', sympy\n",
    "ground.__init__": "",
    "ground.stone": "from typing import TYPE_CHECKING\n"
    "if TYPE_CHECKING:\n    from house.ground.sand import grain\nbrick = 1\n",
    "ground.sand": "from house.ground.stone import brick\nimport numpy as np\ngrain = brick\n"
    "np.load('f', allow_pickle=False)\n",
    "cellar": "",
}


def planted(folder: Path, **modules: str) -> Project:
    for name, text in {**SOUND, **modules}.items():
        path = folder / "house" / (name.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Project({"house": folder / "house"})


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_a_sound_house_has_no_complaints(check, tmp_path):
    assert check(planted(tmp_path), SMALL) == []


@pytest.mark.parametrize(
    ("check", "module", "text", "says"),
    [
        (without_a_room, "shed", "", "house.shed has no floor"),
        (upward, "cellar", "import house.roof", "house.cellar (floor 0) imports house.roof"),
        (upward, "cellar", "from house import roof", "house.cellar (floor 0) imports house.roof"),
        (upward, "cellar", "from . import roof", "house.cellar (floor 0) imports house.roof"),
        (upward, "cellar", "import house", "imports house (floor 3)"),
        (upward, "cellar", "from house import version", "imports house (floor 3)"),
        (upward, "ground.sand", "from ..roof import tile", "house.ground may not import house.roof"),
        (upward, "ground.sand", "from house import cellar", "house.ground may not import"),
        (upward, "roof", "import house.attic", "another room of floor 2"),
        (upward, "cellar", "def f():\n    import house.roof", "cellar.py:2"),
        (cycles, "ground.stone", "from house.ground import sand", "stone → house.ground.sand"),
        (cycles, "ground.stone", "import house", "house → "),
        (local_imports, "roof", "def f():\n    from house.ground import stone", "roof.py:2"),
        (local_imports, "roof", "class A:\n    def f(self):\n        import house.cellar", "roof.py:3"),
        (jax_imports, "roof", "import jax", "roof.py:1: imports jax"),
        (jax_imports, "roof", "def f():\n    from jax import numpy", "roof.py:2: imports jax"),
        (jax_imports, "ground.sand", "import jaxlib.xla", "imports jaxlib"),
        (dangerous_words, "roof", "eval('1')", "uses eval"),
        (dangerous_words, "roof", "run = exec", "uses exec"),
        (dangerous_words, "roof", "import builtins\nbuiltins.exec('1')", "roof.py:2: uses exec"),
        (dangerous_words, "roof", "import pickle", "uses pickle"),
        (dangerous_words, "roof", "from pickle import loads", "uses pickle"),
        (dangerous_words, "roof", "import sympy\nsympy.sympify('x')", "uses sympify"),
        (dangerous_words, "roof", "from sympy import lambdify as l", "uses lambdify"),
        (dangerous_words, "roof", "import importlib\nimportlib.import_module('x')", "import_module"),
        (dangerous_words, "roof", "import numpy\nnumpy.load('f', allow_pickle=True)", "allow_pickle"),
        (too_long, "roof", "x = 1\n" * 11, "roof.py:11: 11 lines"),
    ],
)  # fmt: skip
def test_planted_faults_are_seen(check, module, text, says, tmp_path):
    complaints = check(planted(tmp_path, **{module: text}), SMALL)
    assert any(says in one for one in complaints), complaints


@pytest.mark.parametrize(
    ("check", "table", "says"),
    [
        (upward, {"same_floor": {("house.roof", "house.attic"): ""}}, "SAME_FLOOR"),
        (jax_imports, {"jax_places": {"house.roof": ""}}, "JAX_PLACES"),
        (dangerous_words, {"dangerous": {("house.roof", "exec"): ""}}, "DANGEROUS"),
        (too_long, {"long": {"house.roof": ""}}, "LONG"),
    ],
    ids=["same_floor", "jax_places", "dangerous", "long"],
)
def test_exceptions_that_are_not_needed_are_complained_of(check, table, says, tmp_path):
    from dataclasses import replace

    complaints = check(planted(tmp_path), replace(SMALL, **table))
    assert any(one.startswith(says) for one in complaints), complaints


def test_declared_exceptions_hold(tmp_path):
    from dataclasses import replace

    house = planted(tmp_path, roof="import jax\nimport house.attic\neval('1')\n" + "x = 1\n" * 11)
    rules = replace(
        SMALL,
        same_floor={("house.roof", "house.attic"): "a test"},
        jax_places={"house.roof": "a test"},
        dangerous={("house.roof", "eval"): "a test"},
        long={"house.roof": "a test"},
    )
    assert [complaint for check in CHECKS for complaint in check(house, rules)] == []
