"""What is imported when first used: it costs much to import and is not always needed.

The one mechanism for it: foreign modules by :func:`lazy`, names of a package by :func:`resolve`.
"""

import importlib
from types import ModuleType
from typing import Any


class LazyModule(ModuleType):
    """A module by its name; the first attribute that is asked for imports it.

    Safe between threads: importing is, under Python's own lock, and what was found is kept.
    """

    def __getattr__(self, word: str) -> Any:
        if word.startswith("__") and word != "__version__":
            # Tools that look around (inspect, doctest, pickle) import nothing.
            raise AttributeError(f"{self.__name__} is imported when first used; no {word!r} yet")
        try:
            module = importlib.import_module(self.__name__)
        except ImportError as problem:
            package = self.__name__.partition(".")[0]
            raise ImportError(
                f"{self.__name__}.{word} is needed here, but {self.__name__} cannot be imported "
                f"({problem}). Install {package!r}.",
                name=self.__name__,
            ) from problem
        found = getattr(module, word)
        setattr(self, word, found)
        return found


def lazy(name: str) -> Any:
    """The module of this name, imported at the first use of what is in it.

    >>> special = lazy("scipy.special")
    >>> float(special.expit(0.0))
    0.5
    """
    return LazyModule(name)


def resolve(place: str) -> Any:
    """What `"module"` or `"module:name"` stands for, imported now; for a package's `__getattr__`.

    >>> resolve("math:pi") == resolve("math").pi
    True
    """
    module, _, word = place.partition(":")
    found = importlib.import_module(module)
    return getattr(found, word) if word else found
