"""From program to executable: the source is loaded as a real module and handed to `jax.jit`.

What runs is exactly the text that `source` shows. It is registered so that tracebacks, `pdb` and
`inspect.getsource` show its lines, and executables are kept in a bounded cache.
"""

import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import linecache
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import nullcontext
from types import ModuleType
from typing import Any, cast

import jax
import jax.numpy as jnp
from symgrad_codegen.program import Program
from symgrad_codegen.source import foreign_functions, function_name, is_wide, source

CACHE_SIZE = 256
"""How many executables (and NumPy functions) are kept."""

Function = Callable[..., Any]
"""A Python function of arrays."""

Place = tuple[int, int, tuple[Any, ...]]
"""Where a value lies in a flat array: from, to, and in which shape."""

# JAX annotates `jit` with classes that no type checker can see.
_jax: Any = jax


class _TextLoader(importlib.abc.InspectLoader):
    """The loader of a module that exists only as text; `linecache` and `inspect` ask it."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_source(self, fullname: str) -> str:
        """The text of the module."""
        return self._text


_lock = threading.RLock()
_users: dict[str, int] = {}
_unique = 0


def load(text: str, name: str, namespace: Mapping[str, object] | None = None) -> ModuleType:
    """Execute source text as a module whose lines tracebacks and debuggers can show.

    **Arguments:**

    - `text`: the source, such as `source` returns it.
    - `name`: an identifier that becomes part of the file name `symgrad-generated/NAME_SHA.py`.
    - `namespace`: values the text may use by name without importing them.

    **Returns:** the module. The same text gives the same module while it is loaded (never with
    a namespace); `unload` takes it out of `sys.modules` after as many calls.
    """
    global _unique
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    with _lock:
        if namespace:
            _unique += 1
            digest = f"{digest}_{_unique}"
        full = f"symgrad_generated.{name}_{digest}"
        known = sys.modules.get(full)
        _users[full] = _users.get(full, 0) + 1
        if known is not None:
            return known
        filename = f"symgrad-generated/{name}_{digest}.py"
        loader = _TextLoader(text)
        spec = importlib.machinery.ModuleSpec(full, loader, origin=filename)
        module = importlib.util.module_from_spec(spec)
        module.__file__ = filename
        if namespace:
            module.__dict__.update(namespace)
        try:
            code = compile(text, filename, "exec", dont_inherit=True)
            exec(code, module.__dict__)  # noqa: S102 - running this text is the purpose
        except BaseException:
            del _users[full]
            raise
        sys.modules[full] = module
        linecache.lazycache(filename, module.__dict__)
        return module


def unload(module: ModuleType) -> None:
    """Give a loaded module back; after the last user's call it leaves `sys.modules`.

    Functions of it that are still held go on working and still show their source lines in
    tracebacks.
    """
    name = module.__name__
    with _lock:
        left = _users.get(name, 0) - 1
        if left > 0:
            _users[name] = left
        elif _users.pop(name, None) is not None:
            sys.modules.pop(name, None)
            linecache.cache.pop(cast(str, module.__file__), None)


class PytreeFunction:
    """A function of pytrees under `jax.jit`: called, lowered and donated as `jax.jit` does.

    A `wide` one runs inside the context that 64-bit dtypes need.
    """

    __slots__ = ("_wide", "jitted")

    def __init__(self, function: Function, wide: bool, donate: tuple[int, ...] = ()) -> None:
        self.jitted: Any = _jax.jit(function, donate_argnums=donate)
        self._wide = wide

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        if self._wide:
            with jax.enable_x64(True):
                return self.jitted(*args, **kwargs)
        return self.jitted(*args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """JAX's lowered form for arrays or `jax.ShapeDtypeStruct`s like these arguments."""
        with jax.enable_x64(True) if self._wide else nullcontext():
            return self.jitted.lower(*args, **kwargs)


class Executable:
    """A program that runs: call it with one array per input, get its outputs.

    **Attributes:**

    - `program`: the program.
    - `source`: the JAX source that runs.
    - `function`: the function in that source, as plain Python, not jitted.
    - `jitted`: the `jax.jit` object of it.

    Arguments of 64-bit dtypes are kept as they are: such a program runs inside
    `jax.enable_x64(True)`, and nothing outside of the call sees it.
    """

    __slots__ = (
        "__weakref__", "_functions", "_module", "_options", "function", "jitted", "program",
        "source",
    )  # fmt: skip

    wide = False
    """Whether the program has 64-bit dtypes."""
    jitted: Any

    def __init__(
        self,
        program: Program,
        text: str,
        namespace: Mapping[str, object] | None,
        options: Mapping[str, object],
    ) -> None:
        name = function_name(program)
        self.program = program
        self.source = text
        self._module = load(text, name, namespace)
        self.function = cast(Function, getattr(self._module, name))
        self._options = options
        self._functions: dict[Hashable, PytreeFunction] = {}

    def __getattr__(self, name: str) -> Any:
        """`jitted` on its first use: a program that only runs inside another never has it."""
        if name != "jitted":
            raise AttributeError(name)
        self.jitted = _jax.jit(self.function, **self._options)
        return self.jitted

    def __call__(self, *arrays: Any) -> Any:
        """Run the program: one array for one output, otherwise a tuple."""
        return self.jitted(*arrays)

    def over(
        self,
        function: Function,
        key: Hashable | None = None,
        donate: tuple[int, ...] = (),
    ) -> "PytreeFunction":
        """A function of pytrees that calls `self.function`, under a `jax.jit` of its own.

        **Arguments:**

        - `key`: functions of equal keys do the same: the first of them is kept and used for all.
        - `donate`: positions of arguments whose buffers the results may take over.
        """
        made = PytreeFunction(function, self.wide, donate)
        return made if key is None else self._functions.setdefault((key, donate), made)

    def packed(
        self,
        taken: Sequence[tuple[int, Place]],
        together: Sequence[int],
        donate: tuple[int, ...] = (),
    ) -> "PytreeFunction":
        """The program with some arguments in one array, and some results in another.

        **Arguments:**

        - `taken`: number and place (from, to, shape) of the arguments in the last array; the other
          arguments come before it, in their order.
        - `together`: numbers of the outputs that are one flat array, the last result. The other
          outputs come before it, in their order; one result alone is no tuple.
        - `donate`: positions of arguments whose buffers the results may take over.
        """
        function, count = self.function, len(self.program.inputs)
        places = dict(taken)

        def packed(*arrays: Any) -> Any:
            rest = iter(arrays)
            whole = arrays[-1]
            found = function(
                *(
                    whole[slice(*places[n][:2])].reshape(places[n][2])
                    if n in places
                    else next(rest)
                    for n in range(count)
                )
            )
            results = cast(tuple[Any, ...], found) if isinstance(found, tuple) else (found,)
            made = [result for k, result in enumerate(results) if k not in together]
            made.append(jnp.concatenate([results[k].ravel() for k in together]))
            return tuple(made) if len(made) > 1 else made[0]

        return self.over(packed, ("packed", tuple(taken), tuple(together)), donate)

    def source_for(self, target: str) -> str:
        """The same program written for another target, such as `"numpy"`."""
        return source(self.program, target)

    def lower(self, *arguments: Any) -> Any:
        """JAX's lowered form for arrays or `jax.ShapeDtypeStruct`s like `arguments`."""
        return self.jitted.lower(*arguments)

    def hlo(self, *arguments: Any) -> str:
        """The text of the machine program after XLA has optimised it."""
        return str(self.lower(*arguments).compile().as_text())

    def close(self) -> None:
        """Take the module out of `sys.modules`; the executable goes on working."""
        unload(self._module)


class _WideExecutable(Executable):
    """An executable with 64-bit dtypes, which enters the context they need around each call."""

    __slots__ = ()
    wide = True

    def __call__(self, *arrays: Any) -> Any:
        with jax.enable_x64(True):
            return self.jitted(*arrays)

    def lower(self, *arguments: Any) -> Any:
        """The same as for every executable, inside the context."""
        with jax.enable_x64(True):
            return self.jitted.lower(*arguments)

    def hlo(self, *arguments: Any) -> str:
        """The same as for every executable, inside the context."""
        with jax.enable_x64(True):
            return super().hlo(*arguments)


LONG = 200
"""Programs of this many instructions are announced: XLA takes seconds for them."""


def announce(program: Program, title: str = "") -> None:
    """One line on a terminal before a long compilation; nothing where stderr is no terminal."""
    count = len(program.instructions)
    if count >= LONG and sys.stderr is not None and sys.stderr.isatty():
        dots = "…" if "utf" in (sys.stderr.encoding or "").lower() else "..."
        sys.stderr.write(f"compiling {title or program.name} ({count} instructions){dots}\n")
        sys.stderr.flush()


class _Cache:
    """The least recently used entries are dropped; dropping one runs its `close`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.entries: OrderedDict[tuple[object, ...], tuple[Any, Callable[[], None]]] = (
            OrderedDict()
        )

    def get(self, key: tuple[object, ...]) -> Any:
        entry = self.entries.get(key)
        if entry is None:
            return None
        self.entries.move_to_end(key)
        return entry[0]

    def put(self, key: tuple[object, ...], value: Any, close: Callable[[], None]) -> None:
        self.entries[key] = value, close
        while len(self.entries) > self.size:
            self.entries.popitem(last=False)[1][1]()

    def clear(self) -> None:
        while self.entries:
            self.entries.popitem(last=False)[1][1]()


_cache = _Cache(CACHE_SIZE)


def compiled(
    program: Program,
    donate: tuple[int, ...] = (),
    *,
    static: tuple[int, ...] = (),
    in_shardings: object = None,
    out_shardings: object = None,
    title: str = "",
) -> Executable:
    """The executable of a program, from the cache where an equal one was asked for before.

    **Arguments:**

    - `donate`: positions of inputs whose buffers the outputs may take over; they are unusable
      after the call.
    - `static`: positions of inputs that are Python values compiled in, not arrays.
    - `in_shardings`, `out_shardings`: as for `jax.jit`; they must be hashable (tuples).
    - `title`: what is compiled, in the words of `announce`.

    Nothing is compiled by XLA before the first call.
    """
    # The cached executable keeps its foreign functions alive, so their ids stay theirs.
    identities = tuple(id(f.function) for f in program.foreign)
    key = (program.key, donate, static, in_shardings, out_shardings, identities)
    with _lock:
        found = _cache.get(key)
        if found is None:
            asked = {
                "donate_argnums": donate or None,
                "static_argnums": static or None,
                "in_shardings": in_shardings,
                "out_shardings": out_shardings,
            }
            options = {name: value for name, value in asked.items() if value is not None}
            kind = _WideExecutable if is_wide(program) else Executable
            found = kind(program, source(program), foreign_functions(program), options)
            _cache.put(key, found, found.close)
            announce(program, title)
        return cast(Executable, found)


def numpy_function(program: Program) -> Function:
    """The program as a NumPy function, from the same cache.

    **Raises:** `ProgramError` where an operation has no NumPy form.
    """
    key = (program.key, "numpy")
    with _lock:
        found = _cache.get(key)
        if found is None:
            name = function_name(program)
            module = load(source(program, "numpy"), name)
            found = getattr(module, name)
            _cache.put(key, found, lambda: unload(module))
        return cast(Function, found)


def cache_info() -> tuple[int, int]:
    """How many entries the cache holds, and how many it may hold."""
    return len(_cache.entries), _cache.size


def clear_cache() -> None:
    """Drop every cached executable and its module."""
    with _lock:
        _cache.clear()
