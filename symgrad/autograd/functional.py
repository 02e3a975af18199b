"""Derivatives of functions in the names of ``torch.autograd.functional``.

Arguments are a tensor or a tuple of tensors; results are constants unless ``create_graph``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from symgrad.tensors.tensor import Tensor, typename
from symgrad.transforms import derivatives as transforms

Function = Callable[..., Any]


def _listed(value: Any, what: str) -> tuple[bool, list[Tensor]]:
    several = isinstance(value, (tuple, list))
    listed = list(value) if several else [value]
    for t in listed:
        if not isinstance(t, Tensor):
            raise TypeError(
                f"The {what} given to the function must be either a Tensor or a tuple of Tensors "
                f"but the value has type {typename(t)}."
            )
    return several, listed


class _Call:
    """One call of the user's function on copies of its inputs."""

    def __init__(self, func: Function, inputs: Any, create_graph: bool) -> None:
        self.create_graph = create_graph
        self.several, listed = _listed(inputs, "inputs")
        self.inputs = listed if create_graph else [t.detach() for t in listed]
        self.level = transforms.Level(self.inputs)
        value = transforms.run(self.level, func, self.level.tensors, {})
        self.several_out, self.outputs = _listed(value, "outputs of the user-provided function")

    def shown(self, t: Tensor) -> Tensor:
        """A result from outside: a constant unless the graph was asked for."""
        return self.level.left(t) if self.create_graph else t.detach()

    def as_inputs(self, found: Sequence[Any]) -> Any:
        """One value per input, a tuple if the inputs were one."""
        return tuple(found) if self.several else found[0]

    def as_outputs(self, found: Sequence[Any]) -> Any:
        """One value per output, a tuple if the outputs were one."""
        return tuple(found) if self.several_out else found[0]

    def value(self) -> Any:
        """What the function returned."""
        return self.as_outputs([self.shown(t) for t in self.outputs])


def _directions(v: Any, like: Sequence[Tensor], what: str) -> list[Any]:
    """The vector of a product, checked; for one scalar it may be left out."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            whose = {
                "output": "user-provided function returns",
                "input": "input to the user-provided function is",
            }
            raise RuntimeError(
                f"The vector v can only be None if the {whose[what]} a single Tensor with a single "
                "element."
            )
        return [like[0].detach() * 0 + 1]
    _, found = _listed(v, "v")
    if len(found) != len(like):
        raise RuntimeError(
            f"v is a tuple of invalid length: should be {len(like)} but got {len(found)}."
        )
    for a, b in zip(found, like, strict=True):
        if tuple(a.shape) != tuple(b.shape):
            raise RuntimeError(f"v has invalid size: should be {b.shape} but got {a.shape}.")
    return found


def vjp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    """(value, vᵀ J)."""
    del strict
    made = _Call(func, inputs, create_graph)
    seeds = _directions(v, made.outputs, "output")
    found = made.level.gradients(made.outputs, seeds)
    return made.value(), made.as_inputs([made.shown(g) for g in found])


def jvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    """(value, J v)."""
    del strict
    made = _Call(func, inputs, create_graph)
    along = _directions(v, made.inputs, "input")
    found = [transforms.pushed(made.level, out, along) for out in made.outputs]
    return made.value(), made.as_outputs([made.shown(t) for t in found])


def jacobian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """∂output/∂input, with the output's axes in front; all rows are one expression.

    A tuple of outputs gives a tuple in front of the tuple of the inputs.

    >>> import symgrad as sg
    >>> jacobian(lambda x: x**2, sg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    del strict, vectorize, strategy
    made = _Call(func, inputs, create_graph)
    rows = transforms.jacobians(made.level, made.outputs)
    return made.as_outputs([made.as_inputs([made.shown(g) for g in row]) for row in rows])


def _scalar(func: Function) -> Function:
    def checked(*args: Any) -> Any:
        value = func(*args)
        if not isinstance(value, Tensor):
            raise RuntimeError("The output of the user-provided function should be a single Tensor")
        if value.numel() != 1:
            raise RuntimeError(
                "The Tensor returned by the function provided to hessian should contain a single "
                "element"
            )
        return value.reshape(())

    return checked


def _slopes(func: Function) -> Function:
    """All first derivatives of a scalar function, as a tuple."""

    def slopes(*args: Any) -> Any:
        return transforms.grad(_scalar(func), tuple(range(len(args))))(*args)

    return slopes


def hessian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The second derivatives of a scalar function: a tensor, or a tuple of tuples."""
    del strict, vectorize, outer_jacobian_strategy
    several = isinstance(inputs, (tuple, list))
    listed = tuple(inputs) if several else (inputs,)
    found = jacobian(_slopes(func), listed, create_graph)
    return found if several else found[0][0]


def hvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> Any:
    """(value, Hessian times v)."""
    del strict
    several = isinstance(inputs, (tuple, list))
    listed = tuple(inputs) if several else (inputs,)
    value = _Call(_scalar(func), inputs, create_graph).value()
    along = tuple(_directions(v, listed, "input"))
    _, found = vjp(_slopes(func), listed, along, create_graph)
    return value, found if several else found[0]


vhp = hvp

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]
