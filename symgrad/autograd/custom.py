"""``autograd.Function``: a forward and a backward by the user, as one operation.

``backward`` is run on symbols where a derivative is wanted, so it becomes part of the expression:
it can be compiled, printed and differentiated again.  One that reads values (``if``, ``item``,
NumPy) or tensors of its own is run on numbers, in backward passes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from symgrad_codegen.template import POSTFIX, Template

from symgrad.core.build import cast, zeros
from symgrad.core.dtypes import DType
from symgrad.core.expr import Expr, apply, symbol
from symgrad.core.op import OPS, Op
from symgrad.core.sizes import Size, shape_text
from symgrad.core.traverse import leaves, substitute
from symgrad.errors import DerivativeError
from symgrad.functional.table import Function as Row
from symgrad.recording.record import SLOT, modes, note
from symgrad.recording.sweeps import applied
from symgrad.tensors.tensor import Tensor
from symgrad.transforms.batching import batched, repeated


class Context:
    """What ``forward`` leaves for ``backward``: saved tensors, and any attribute, tensors too."""

    def __init__(self, needs: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs
        self.saved_tensors: tuple[Any, ...] = ()
        self.materialize = True
        self._plain: tuple[Any, ...] = ()
        self._dirty: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep these tensors."""
        self.saved_tensors = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Outputs without a derivative; integers have none anyway."""
        self._plain = tensors

    def mark_dirty(self, *tensors: Any) -> None:
        """Inputs that were changed in place, and are outputs."""
        self._dirty = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Is a gradient that is absent zeros for ``backward``, or None?"""
        self.materialize = value

    def marks(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The outputs without a derivative, and the inputs that were changed; asked once."""
        found = self._plain, self._dirty
        self._plain = self._dirty = ()
        return found


class Application:
    """One call of a Function, for a ``backward`` that is run on numbers."""

    def __init__(self, owner: Any, context: Context, inputs: Sequence[Any]) -> None:
        self.owner, self.context, self.inputs = owner, context, inputs
        self.outputs: list[Any] = []

    def tracked(self) -> list[Any]:
        """The nodes that gradients go on to."""
        return [n for n in self.inputs if n is not None and n.tracked]

    def pull(self, arrived: dict[int, Any], create: bool) -> list[tuple[Any, Any]]:
        """(node, gradient) for every tracked input, from the gradients of the outputs by number."""
        materialize = self.context.materialize
        seeds = [
            Tensor.from_node(arrived[k])
            if k in arrived
            else _zeros_like(o)
            if materialize
            else None
            for k, o in enumerate(self.outputs)
        ]
        saved = self.context.saved_tensors
        before, modes.grad = modes.grad, create
        try:
            found = self.owner.backward(self.context, *seeds)
        finally:
            modes.grad = before
            self.context.saved_tensors = saved
        listed = list(found) if isinstance(found, tuple) else [found]
        check_count(self.owner, listed, len(self.inputs))
        parts: list[tuple[Any, Any]] = []
        for k, (node, g) in enumerate(zip(self.inputs, listed, strict=False)):
            if node is not None and node.tracked and g is not None:
                check_gradient(self.owner, k, g, node.shape)
                parts.append((node, g.to(node.dtype).node()))
        return parts


def _zeros_like(t: Tensor) -> Tensor:
    return Tensor.from_value(np.zeros(tuple(t.shape), t.dtype.numpy), t.dtype)


class Call:
    """One way of calling a Function: its class, its context without tensors, which output.

    ``saved``: for each tensor that was saved whether there is one, then the names of attributes
    that are tensors.
    """

    def __init__(self, owner: Any, facts: dict[str, Any], inputs: int, tensors: tuple[int, ...],
                 outputs: tuple[Any, ...], index: int, own: tuple[int, ...],
                 saved: tuple[tuple[bool, ...], tuple[str, ...]]) -> None:  # fmt: skip
        self.owner, self.facts = owner, facts
        self.inputs, self.tensors = inputs, tensors
        self.saved = saved
        self.outputs, self.index = outputs, index
        self.own = own
        self.kinds: tuple[Any, ...] = ()
        self._reads: bool | None = None
        # It frees its graph even where it saves no tensor.
        first = 1 + len(tensors)
        count = sum(saved[0]) + len(saved[1])
        saves = (*range(first, first + count), "result" if own else "freed")
        self.row = Row(owner.__name__, self.build, f"{owner.__name__}Backward", saves)

    def __repr__(self) -> str:
        return f"{self.owner.__qualname__}.{self.index}"

    def build(self, *args: Expr) -> Expr:
        """The result, with the user's derivative."""
        return apply(CUSTOM, args, (self,))

    def pull_back(self, node: Expr, adjoint: Expr) -> tuple[Expr | None, ...]:
        """The user's backward on symbols, with the arguments of the node in their places."""
        if adjoint.ndim != node.ndim:
            raise DerivativeError(
                f"{self.owner.__name__}.backward takes one gradient at a time; this derivative "
                "asks for several at once"
            )
        width = len(self.tensors)
        saved = node.args[1 + width :]
        stand_ins = [symbol(f"saved{k}", e.shape, e.dtype, number=-4) for k, e in enumerate(saved)]
        incoming = symbol("g", adjoint.shape, adjoint.dtype, number=-4)
        context = Context(())
        context.__dict__.update(self.facts)
        supply = map(Tensor.of, stand_ins)
        there, names = self.saved
        context.saved_tensors = tuple(next(supply) if given else None for given in there)
        context.__dict__.update(zip(names, supply, strict=True))
        others = {
            k: symbol(f"g{k}", shape, dtype, number=-4)
            for k, (shape, dtype) in enumerate(self.outputs)
            if k != self.index
        }
        seeds = [
            Tensor.of(others.get(k, incoming)) if k == self.index or context.materialize else None
            for k in range(len(self.outputs))
        ]
        found = self.owner.backward(context, *seeds)
        listed = list(found) if isinstance(found, tuple) else [found]
        check_count(self.owner, listed, self.inputs)
        table = {incoming: adjoint, **dict(zip(stand_ins, saved, strict=True))}
        # A saved result is this operation's result: its derivative is the user's, again.
        table.update({stand_ins[k]: node for k in self.own})
        table.update({g: zeros(g.shape, g.dtype) for g in others.values()})
        parts: list[Expr | None] = [None]
        for place, arg in zip(self.tensors, node.args[1 : 1 + width], strict=True):
            part = listed[place]
            parts.append(None if part is None else self._placed(part.expr(), table, arg.dtype))
            check_gradient(self.owner, place, part, arg.shape)
        return (*parts, *[None] * len(saved))

    def reads_values(self) -> bool:
        """Does ``backward`` need numbers?  It is tried on symbols once."""
        if self._reads is None:
            self._reads = False
            stand_ins = [symbol(f"x{k}", e.shape, e.dtype, number=-4)
                         for k, e in enumerate(self.kinds)]  # fmt: skip
            one = self.build(*stand_ins)
            try:
                self.pull_back(one, symbol("g", one.shape, one.dtype, number=-5))
            except Exception:  # noqa: BLE001 - whatever it is, numbers may do, or raise it again
                self._reads = True
        return self._reads

    def over_batch(self, node: Expr, whole: tuple[Expr, ...], size: Size) -> Expr:
        """This call for a batch of examples, of which ``node`` is one."""
        return apply(CUSTOM, whole, (BatchCall(self, node, size),))

    def _placed(self, part: Expr, table: dict[Expr, Expr], dtype: DType) -> Expr:
        unknown = [e for e in leaves([part]) if e not in table]
        if unknown:
            raise DerivativeError(
                f"{self.owner.__name__}.backward uses a tensor of shape "
                f"{shape_text(unknown[0].shape)} that was not saved; give it to "
                "ctx.save_for_backward in forward, or use Python numbers"
            )
        return cast(substitute([part], table)[0], dtype)


def check_count(owner: Any, found: Sequence[Any], inputs: int) -> None:
    """DerivativeError where ``backward`` gives fewer gradients than inputs, or more."""
    if len(found) < inputs or any(g is not None for g in found[inputs:]):
        raise DerivativeError(
            f"function {owner.__name__}Backward returned an incorrect number of gradients "
            f"(expected {inputs}, got {len(found)})",
            "Return None where an input has none.",
        )


def check_gradient(owner: Any, place: int, found: Any, shape: Any) -> None:
    """DerivativeError where a gradient has not the shape of its input."""
    if found is not None and tuple(found.shape) != tuple(shape):
        raise DerivativeError(
            f"Function {owner.__name__}Backward returned an invalid gradient at index {place} - got "
            f"{list(found.shape)} but expected shape compatible with {list(shape)}"
        )


class BatchCall:
    """A call for a batch: the user's backward is written for one example, and given one axis more.

    ``inner`` is the call of one example, ``example`` its node.
    """

    def __init__(self, inner: Any, example: Expr, size: Size) -> None:
        self.inner, self.size = inner, size
        self.row = inner.row
        self.kinds = tuple((a.shape, a.dtype) for a in example.args)

    def __repr__(self) -> str:
        return f"{self.inner!r}[{self.size}; {self.kinds!r}]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BatchCall) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[Any, ...]:
        return self.inner, self.size, self.kinds

    def over_batch(self, node: Expr, whole: tuple[Expr, ...], size: Size) -> Expr:
        """This call for a batch of batches."""
        return apply(CUSTOM, whole, (BatchCall(self, node, size),))

    def pull_back(self, node: Expr, adjoint: Expr) -> tuple[Expr | None, ...]:
        """One adjoint per argument, over the batch."""
        if adjoint.ndim != node.ndim:
            raise DerivativeError(
                f"{self.inner!r}: its backward takes one gradient at a time; this derivative asks "
                "for several at once"
            )
        stand_ins = [
            symbol(f"example{k}", shape, dtype, number=-4)
            for k, (shape, dtype) in enumerate(self.kinds)
        ]
        one = apply(CUSTOM, tuple(stand_ins), (self.inner,))
        incoming = symbol("gradient", one.shape, one.dtype, number=-4)
        parts = self.inner.pull_back(one, incoming)
        fronts = {**dict(zip(stand_ins, node.args, strict=True)), incoming: adjoint}
        found = iter(batched([p for p in parts if p is not None], fronts, {}, self.size))
        return tuple(None if p is None else repeated(next(found), self.size) for p in parts)


CUSTOM = Op(
    "custom", "call", infer=lambda args, params: (args[0].shape, args[0].dtype),
    vjp=lambda node, g: node.params[0].pull_back(node, g),
    template=Template((("jax", "[{*}][0]"), ("numpy", "[{*}][0]")), POSTFIX), text="custom",
)  # fmt: skip
# It belongs to the user's function, not to the table of operations that tests walk through.
del OPS["custom"]

_CALLS: dict[Any, Call] = {}
CALLS = 1024
"""How many ways of calling are remembered."""


class Function:
    """A differentiable operation by the user: static methods ``forward`` and ``backward``.

    >>> class Double(Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         return x * 2
    ...
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         return g * 2
    """

    @staticmethod
    def forward(*args: Any) -> Any:
        """The value: ``forward(ctx, *inputs)``, or of the inputs alone beside ``setup_context``."""
        raise NotImplementedError("write forward(ctx, *inputs)")

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Any) -> Any:
        """Keep what ``backward`` needs; where it is written, ``forward`` is not given ``ctx``."""
        raise NotImplementedError("write setup_context(ctx, inputs, output)")

    @staticmethod
    def backward(ctx: Context, *gradients: Any) -> Any:
        """One gradient per input, from one per output."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run ``forward``; its derivative is ``backward``."""
        needs = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        context = Context(needs)
        nodes = [a.node() if isinstance(a, Tensor) else None for a in args]
        before, modes.grad = modes.grad, False
        try:
            if cls.setup_context is Function.setup_context:
                found = cls.forward(context, *args)
            else:
                found = cls.forward(*args)
                cls.setup_context(context, args, found)
        finally:
            modes.grad = before
        plain, dirty = context.marks()
        if not (modes.grad and any(needs)):
            return found
        for t in dirty:
            if t.is_leaf and t._tracked:
                raise RuntimeError(
                    "a leaf Variable that requires grad has been used in an in-place operation."
                )
        outputs = found if isinstance(found, tuple) else (found,)
        application = Application(cls, context, nodes)
        application.outputs = [o.detach() if isinstance(o, Tensor) else o for o in outputs]
        made = [
            o if any(o is t for t in plain) else cls._recorded(context, nodes, outputs, k)
            for k, o in enumerate(outputs)
        ]
        for k, o in enumerate(made):
            if o is not outputs[k]:
                applied[o._storage.node] = application, k
        for k, o in enumerate(outputs):
            if any(o is t for t in dirty):
                made[k] = o._set(made[k])
        return tuple(made) if isinstance(found, tuple) else made[0]

    @classmethod
    def _recorded(cls, context: Context, inputs: Any, outputs: Any, index: int) -> Any:
        places = tuple(k for k, a in enumerate(inputs) if a is not None)
        kinds = tuple((tuple(o.shape), o.dtype) for o in outputs)
        facts = dict(context.__dict__)
        kept = facts.pop("saved_tensors")
        named = {k: facts.pop(k) for k, v in context.__dict__.items() if isinstance(v, Tensor)}
        saved = [t for t in (*kept, *named.values()) if t is not None]
        own = tuple(k for k, t in enumerate(saved) if t is outputs[index])
        layout = tuple(t is not None for t in kept), tuple(named)
        key: Any = (cls, tuple(facts.items()), places, kinds, index, layout, own)
        try:
            known = _CALLS.get(key)
        except TypeError:  # an attribute that cannot be compared
            key, known = None, None
        if known is None:
            known = Call(cls, facts, len(inputs), places, kinds, index, own, layout)
            if key is not None:
                if len(_CALLS) >= CALLS:
                    _CALLS.clear()
                _CALLS[key] = known
        first, *kept = (t.node() for t in (outputs[index], *saved))
        nodes = (first, *(inputs[k] for k in places), *kept)
        known.kinds = tuple(n.kind for n in nodes)
        record = note(known.row, (*[SLOT] * len(nodes), ()), nodes)
        return Tensor.from_node(record)


__all__ = ["Context", "Function"]
