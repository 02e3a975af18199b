"""Tensor, the one public class: it records operations and computes a value when it is needed."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from symgrad_codegen import arrays
from symgrad_codegen.lazy import lazy

from symgrad.core import dtypes
from symgrad.core.build import listening
from symgrad.core.dtypes import DType
from symgrad.core.expr import SYMBOL, Expr, name_of
from symgrad.core.sizes import shape_text, whole_number
from symgrad.derivation.order import Written
from symgrad.errors import DTypeError, ShapeError
from symgrad.functional.promotion import default_dtype
from symgrad.functional.table import FUNCTIONS
from symgrad.recording.carried import CARRIED
from symgrad.recording.effects import note_effect
from symgrad.recording.execute import value
from symgrad.recording.grad_fn import grad_fn_of
from symgrad.recording.gradients import Afterwards, HookHandle, backward
from symgrad.recording.record import PLAIN, Leaf, Record, leaf_like, modes, note, tracked_leaf
from symgrad.recording.settle import settle_source
from symgrad.tensors import wording
from symgrad.tensors.calls import as_operand, call
from symgrad.tensors.given import fitting
from symgrad.tensors.inside import Inside
from symgrad.tensors.leaf_symbols import expanded
from symgrad.tensors.reading import Reading
from symgrad.tensors.storage import Size, Storage, device, device_name, jax_device
from symgrad.tensors.views import Viewing, view_of

if TYPE_CHECKING:
    from symgrad.derivation.formula import Formula

formulas = lazy("symgrad.derivation.formula")
rules = lazy("symgrad.simplify")


class Tensor(Viewing):
    """A multi-dimensional array in PyTorch's names; operations on it are recorded.

    Reading it (``print``, ``.item()``, ``.numpy()``, ``if``) computes; ``formula()`` shows the
    expression.  A tensor made by ``symbols`` has no value and raises UnboundError when read.
    """

    __slots__ = ("__dict__", "__weakref__", "_grad", "_hooks", "_leaf", "_name", "_origin", "_retains", "_storage",
                 "_tracked", "_view")  # fmt: skip

    def __init__(
        self, storage: Any = (), tracked: Any = False, view: Any = None, *more: Any
    ) -> None:
        if type(storage) is not Storage:  # numbers or sizes of the user's
            storage = _first_storage((storage, tracked or None, view, *more))
            tracked = view = None
        self._storage = storage
        self._tracked = tracked
        self._view = view
        self._grad: Any = None  # a tensor, or a Gradient and the number of this one in it
        self._leaf: Any = None
        self._hooks: Any = None
        self._name = ""
        self._retains = False

    # -------------------------------------------------------------- making

    @staticmethod
    def of(e: Expr) -> Tensor:
        """The tensor of a symbol: no value, named in formulas; differentiable if floating."""
        if e.op is not SYMBOL:
            raise TypeError("Tensor.of takes a symbol")
        leaf = Leaf(None, e.shape, e.dtype, symbol=e)
        leaf.name = name_of(e)
        leaf.tracked = e.dtype.differentiable
        return Tensor(Storage(leaf), tracked=leaf.tracked)

    @staticmethod
    def from_value(array: Any, dtype: DType, where: str = "cpu") -> Tensor:
        """A tensor holding an array."""
        return Tensor(Storage(Leaf(array, tuple(array.shape), dtype, where)))

    @staticmethod
    def from_node(node: Any) -> Tensor:
        """The tensor that shows a record."""
        return Tensor(Storage(node))

    # -------------------------------------------------------------- the node behind it

    def node(self) -> Any:
        """What a record of an operation on this tensor refers to."""
        storage = self._storage
        if self._view is not None:
            node = self._view_node()
        elif modes.capture is not None:
            node = modes.capture.reads(self)
        elif storage.shared is not None:
            node = storage.now()
        else:
            node = storage.node
        if not self._tracked:
            return node
        known = self._leaf
        if known is not None and known.source is node:
            return known
        if node.tracked:  # an operation, or a symbol
            return node
        if node.value is None and type(node) is Record:
            settle_source(node)
        self._leaf = known = tracked_leaf(node, weakref.ref(self), self._name)
        return known

    def _now(self) -> Any:
        return self._view_node() if self._view is not None else self._storage.node

    @property
    def requires_grad(self) -> bool:
        """Is it part of what derivatives are taken of?"""
        return self._tracked if self.is_leaf else bool(self._now().tracked)

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        self.requires_grad_(on)

    def requires_grad_(self, on: bool = True) -> Tensor:
        """Start or stop tracking of a leaf."""
        if not self.is_leaf:
            if on:
                return self
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a "
                "computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."
            )
        if on and not self.dtype.differentiable:
            raise DTypeError(
                "only Tensors of floating point and complex dtype can require gradients, not "
                f"{self.dtype}; cast first, for example with .float()"
            )
        self._tracked = on
        self._leaf = None
        return self

    @property
    def is_leaf(self) -> bool:
        """Made by the user rather than by a tracked operation."""
        return not getattr(self._now(), "tracked", False) or type(self._now()) is Leaf

    @property
    def grad_fn(self) -> Any:
        """PyTorch's name for the operation that made it; None for leaves."""
        node = self._now()
        return None if self.is_leaf else grad_fn_of(node)

    @property
    def grad(self) -> Tensor | None:
        """The gradient that ``backward()`` left here.

        Raises TraceError where a compiled step made it and kept it inside.
        """
        if modes.capture is not None:
            modes.capture.reads_gradient(self)
        held = self._grad
        if type(held) is Inside:
            raise held.error(self)
        if type(held) is tuple:
            whole, index = held
            held = self._grad = Tensor.from_node(whole.part(index))
        return held

    @grad.setter
    def grad(self, new: Tensor | None) -> None:
        if new is not None and not isinstance(new, Tensor):
            raise TypeError(
                f"assigned grad expected to be a Tensor or None but got {type(new).__name__}"
            )
        if new is not None and new.dtype is not self.dtype:
            raise DTypeError(f"assigned grad has dtype {new.dtype}, but the tensor {self.dtype}")
        if new is not None and tuple(new.shape) != tuple(self.shape):
            raise ShapeError(
                f"assigned grad has data of a different size: {shape_text(tuple(new.shape))} for "
                f"a tensor of {shape_text(tuple(self.shape))}"
            )
        if modes.capture is not None:
            modes.capture.clears_gradient(self)
        self._grad = new

    def clear_gradient(self, to_none: bool = True) -> None:
        """Forget the gradient, or fill it with zeros in place where there is one."""
        if modes.capture is not None:
            modes.capture.clears_gradient(self)
        held = self._grad
        if to_none or held is None:
            self._grad = None
        elif type(held) is Inside:
            self._grad = self.detach() * 0
        else:
            self._grad = self.grad.detach()  # type: ignore[union-attr]
            self._grad.zero_()

    @property
    def data(self) -> Tensor:
        """The same memory without tracking."""
        return self.detach()

    @data.setter
    def data(self, new: Tensor) -> None:
        node, self._leaf = _plain(new.node()), None
        if new.dtype is not self.dtype:  # what shares the memory keeps it
            self._storage = Storage(node)
        self._storage.rebind(node)

    @property
    def _version(self) -> int:
        return self._storage.version

    # -------------------------------------------------------------- formulas

    def expr(self, letters: Mapping[str, int] | None = None) -> Expr:
        """The expression of this tensor over the symbols it was made of.

        ``letters`` gives names to whole-number sizes: ``{"n": 64}`` writes n for every 64.
        """
        return expanded(self.node(), letters)[0]

    def formula(self) -> Formula:
        """The formula of this tensor: text, LaTeX and a Python expression."""
        written = Written()
        with listening(written.note):
            e = self.expr()
        (e,), _ = rules.rewrite([e], rules.GROUPS, written.carry)
        return formulas.formula(e, written)

    def latex(self) -> str:
        """The formula in LaTeX."""
        return self.formula().latex()

    def _repr_latex_(self) -> str:
        return self.formula()._repr_latex_()

    # -------------------------------------------------------------- derivatives

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Sequence[Tensor] | None = None,
    ) -> None:
        """Record the gradients of this scalar for every tracked leaf; they add to ``.grad``."""
        backward(self, gradient, bool(retain_graph or create_graph), create_graph, inputs)

    def detach(self) -> Tensor:
        """The same storage, without tracking."""
        if self._view is None and type(self._storage.node) is Leaf:
            return Tensor(self._storage)
        return view_of(FUNCTIONS["detach"], self, (), {})

    @property
    def retains_grad(self) -> bool:
        """Was ``retain_grad()`` called on this intermediate tensor?"""
        return self._retains

    def retain_grad(self) -> None:
        """Keep the gradient of this intermediate tensor, too."""
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self.is_leaf:
            return
        self._retains = True
        self._now().handle = weakref.ref(self)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Any:
        """Call ``hook(grad)`` when the gradient of this tensor is known; it may return another."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._hooks is None:
            self._hooks = {}
        handle = HookHandle(self._hooks)
        self._hooks[handle] = hook
        if not self.is_leaf:  # the graph keeps what it has to call, as PyTorch's does
            self._now().handle = lambda: self
        return handle

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> Any:
        """Call ``hook(self)`` when backward has put the gradient of this leaf into ``.grad``."""
        if not self.is_leaf:
            raise RuntimeError(
                "post accumulate grad hooks cannot be registered on non-leaf tensors"
            )
        return self.register_hook(Afterwards(hook))  # type: ignore[arg-type]

    # -------------------------------------------------------------- conversion

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """In another dtype and on another device."""
        dtype = kwargs.get("dtype")
        where = kwargs.get("device")
        for a in args:
            if isinstance(a, DType):
                dtype = a
            elif isinstance(a, Tensor):
                dtype, where = a.dtype, a.device
            elif isinstance(a, (str, device, int)) and not isinstance(a, bool):
                where = a
        result = self
        if dtype is not None and dtype is not self.dtype:
            result = call(FUNCTIONS["to_dtype"], (result, dtype), {})
        if where is not None:
            name = device_name(where)
            if name != result._now().device:
                array = arrays.to_device(result.array(), jax_device(name))
                result = Tensor.from_value(array, result.dtype, name)
                result._tracked = self.requires_grad
        return result.clone() if kwargs.get("copy") and result is self else result

    def cpu(self) -> Tensor:
        """On the CPU."""
        return self.to("cpu")

    def cuda(self, index: int | None = None) -> Tensor:
        """On a GPU."""
        return self.to(f"cuda:{index or 0}")

    # -------------------------------------------------------------- in place

    def _set(self, new: Tensor) -> Tensor:
        """Rebind the storage to a new value."""
        if modes.grad and self._tracked and self.is_leaf:
            raise RuntimeError(
                "a leaf Variable that requires grad is being used in an in-place operation. Do it "
                "under no_grad(), or make a new tensor."
            )
        if tuple(new.shape) != tuple(self.shape):
            raise ShapeError(
                f"output with shape {list(self.shape)} doesn't match the broadcast shape "
                f"{list(new.shape)}"
            )
        if new.dtype is not self.dtype:
            narrower = new.dtype.is_complex and not self.dtype.is_complex
            if narrower or (new.dtype.differentiable and not self.dtype.differentiable):
                raise DTypeError(
                    f"result type {new.dtype.name} can't be cast to the desired output type "
                    f"{self.dtype.name}"
                )
            new = new.to(self.dtype)
        if self._view is not None:
            self._write_through(new)
            return self
        if modes.grad and self.requires_grad and not new.requires_grad:
            new = call(FUNCTIONS["overwritten"], (self, new), {})
        storage = self._storage
        if modes.capture is not None:
            modes.capture.rebinds(storage)
            storage.node = new.node()
            storage.version += 1
            return self
        if storage.shared is not None:
            np.copyto(storage.shared, arrays.to_numpy(new.array()))
            storage.version += 1
        else:
            node = new.node()
            if not modes.grad:
                node = _plain(node)
                if storage.node.tracked and type(storage.node) is not Leaf:
                    node = note(CARRIED, PLAIN[2], (storage.node, node), True)
                    node.tracked = True
            storage.rebind(node)
            note_effect(storage.node)
            if type(storage.node) is Record:
                storage.node.handle = weakref.ref(self)
        return self

    def copy_(self, other: Any, non_blocking: bool = False) -> Tensor:
        """Take over the values of another tensor."""
        taken = other.to(self.dtype)
        if modes.grad and self.requires_grad:
            return self._set(call(FUNCTIONS["overwritten"], (self, taken), {}))
        shape = tuple(self.shape)  # a view would see changes of other
        return self._set(call(FUNCTIONS["copied"], (taken, shape), {}))

    def fill_(self, value: Any) -> Tensor:
        """The same number everywhere, or that of a tensor without axes."""
        if isinstance(value, Tensor):
            return self._set(call(FUNCTIONS["filled_with"], (self, value), {}))
        return self._filled(value, "filled")

    def zero_(self) -> Tensor:
        """Zero everywhere."""
        return self._filled(0, "zeroed")

    def _filled(self, number: Any, name: str) -> Tensor:
        number = fitting(number, self.dtype)
        if modes.grad and self.requires_grad:
            return self._set(call(FUNCTIONS[name], (self, number), {}))
        array = np.full(tuple(self.shape), number, self.dtype.numpy)
        return self._set(Tensor.from_value(array, self.dtype))

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                "protocol at the moment. Use .detach().clone()."
            )
        twin = type(self).__new__(type(self))
        Tensor.__init__(twin, Storage(Leaf(_copied(self.array()), tuple(self.shape), self.dtype,
                                           self._now().device)), self._tracked)  # fmt: skip
        twin._name = self._name
        memo[id(self)] = twin
        if self._grad is not None:
            twin._grad = copy.deepcopy(self.grad, memo)
        if type(self) is Tensor:
            twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def __copy__(self) -> Tensor:
        twin = type(self).__new__(type(self))
        Tensor.__init__(twin, self._storage, self._tracked, self._view)
        twin._grad = self._grad
        return twin

    def __reduce__(self) -> Any:
        raise TypeError("tensors are not pickled; save them with symgrad.save or safetensors")

    def __iter__(self) -> Any:
        if not self.shape:
            raise TypeError("iteration over a 0-d tensor")
        return (self[k] for k in range(whole_number(self.shape[0], "iteration")))

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise wording.foreign_call(func, args, kwargs or {}, Tensor)


Reading.base = Tensor


class Parameter(Tensor):
    """A tensor that a module registers; tracked from the start."""

    __slots__ = ()

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        if data is None:
            data = Tensor.from_value(np.zeros((0,), np.float32), dtypes.float32)
        if requires_grad and not data.dtype.differentiable:
            raise DTypeError(
                "only Tensors of floating point and complex dtype can require gradients, not "
                f"{data.dtype}"
            )
        now = data._now()
        node = now if type(now) is Leaf else leaf_like(now, value(now))
        Tensor.__init__(self, Storage(node, data._storage.shared), requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + Tensor.__repr__(self)


def typename(value: object) -> str:
    """PyTorch's name of a value's type in messages."""
    kind = type(value)
    inside = kind.__module__ == "builtins"
    return kind.__qualname__ if inside else f"{kind.__module__}.{kind.__qualname__}"


def _plain(node: Any) -> Any:
    """A node as an untracked value."""
    return node.source if type(node) is Leaf and node.source is not None else node


def _first_storage(given: Any) -> Storage:
    """The memory of ``Tensor(data)`` and ``Tensor(*sizes)``, of the default dtype."""
    data, *more = [v for v in given if v is not None]
    sizes = (data, *more) if type(data) is int else data
    kind = default_dtype()
    if more or type(data) is int or type(data) is Size:
        array = np.zeros(sizes, kind.numpy)
    else:
        array = np.array(data.tolist() if isinstance(data, Tensor) else data).astype(kind.numpy)
    return Storage(Leaf(array, array.shape, kind))


def _copied(array: Any) -> Any:
    return array.copy() if isinstance(array, np.ndarray) else arrays.to_device(array)


__all__ = [
    "Parameter",
    "Size",
    "Storage",
    "Tensor",
    "as_operand",
    "call",
    "device",
]
