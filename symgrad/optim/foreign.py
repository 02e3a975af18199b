"""Any optax transformation behind PyTorch's optimizer interface.

The transformation is called as it is, as one compiled program after the gradients are known; its
formula is optax's own affair.
"""

from __future__ import annotations

from typing import Any

from symgrad_codegen import arrays
from symgrad_codegen.compile import Executable, compiled
from symgrad_codegen.program import Apply, Foreign, Instruction, Program, Variable, text

from symgrad.core.dtypes import dtype_of_numpy
from symgrad.optim.optimizer import Group, Optimizer
from symgrad.optim.update import Cohort
from symgrad.tensors.tensor import Tensor


class Optax(Optimizer):
    """``p ← p + u`` with ``u, s ← tx.update(g, s, p)`` for an optax transformation ``tx``.

    **Arguments:** ``params``: parameters or groups of them, each group with a state of its own;
    ``tx``: anything with optax's ``init`` and ``update``.  Its hyper-parameters are its own:
    schedules are optax's, not those of ``lr_scheduler``.  A parameter without a gradient counts as
    having gradient 0.

    >>> import optax, symgrad as sg
    >>> p = sg.nn.Parameter(sg.ones(2))
    >>> optimizer = Optax([p], optax.sgd(0.1))
    >>> (3 * p).sum().backward()
    >>> optimizer.step()
    >>> p.detach()
    tensor([0.7000, 0.7000])
    """

    def __init__(self, params: Any, tx: Any) -> None:
        if not (hasattr(tx, "init") and hasattr(tx, "update")):
            raise TypeError(
                f"Optax(params, tx): tx is a {type(tx).__name__}; expected an optax transformation, "
                "such as optax.adam(1e-3)"
            )
        self.tx = tx
        self._foreign: list[_Foreign | None] = []
        super().__init__(params, {})

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters; their state begins at their first step."""
        super().add_param_group(param_group)
        self._foreign.append(None)

    def _step_group(self, group: Group) -> list[Cohort]:
        params = group["params"]
        if all(p.grad is None for p in params):
            return []
        place = next(k for k, g in enumerate(self.param_groups) if g is group)
        foreign = self._foreign[place]
        if foreign is None:
            foreign = self._foreign[place] = _Foreign(self.tx, params)
        foreign.step(params)
        return []

    def state_dict(self) -> dict[str, Any]:
        """The leaves of optax's state by group, as tensors."""
        state = {k: f.tensors() for k, f in enumerate(self._foreign) if f is not None}
        return {"state": state, "param_groups": super().state_dict()["param_groups"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave, for the same transformation."""
        super().load_state_dict({"state": {}, "param_groups": state_dict["param_groups"]})
        for place, tensors in state_dict["state"].items():
            foreign = _Foreign(self.tx, self.param_groups[place]["params"])
            foreign.take(tensors)
            self._foreign[place] = foreign


class _Foreign:
    """One group: optax's state, and the program that calls its update."""

    def __init__(self, tx: Any, params: list[Tensor]) -> None:
        self.tx = tx
        values = [arrays.to_device(p.array()) for p in params]
        with arrays.x64():
            leaves, self.structure = arrays.tree_flatten(tx.init(values))
        self.leaves = [arrays.to_device(leaf) for leaf in leaves]
        self.count = len(params)
        self.executable = self._compiled([*values, *values, *self.leaves])

    def _compiled(self, values: list[Any]) -> Executable:
        inputs = [
            Variable(k, hint, tuple(v.shape), str(v.dtype))
            for k, (v, hint) in enumerate(zip(values, self._hints(), strict=True))
        ]
        made = [*inputs[: self.count], *inputs[2 * self.count :]]
        outputs = [
            Variable(len(inputs) + k, f"new_{v.hint}", v.shape, v.dtype) for k, v in enumerate(made)
        ]
        update = Foreign("optimizer_update", self._update)
        call = Apply(text("{0}({*})"), (update, *inputs))
        program = Program(
            "optax_update",
            tuple(inputs),
            (Instruction(tuple(outputs), call, "optax's update, applied"),),
            tuple(outputs),
            summary="One step of an optax transformation, called as it is.",
        )
        return compiled(program)

    def _hints(self) -> list[str]:
        return ["p"] * self.count + ["g"] * self.count + ["s"] * len(self.leaves)

    def _update(self, *flat: Any) -> tuple[Any, ...]:
        params, gradients = list(flat[: self.count]), list(flat[self.count : 2 * self.count])
        state = arrays.tree_unflatten(self.structure, flat[2 * self.count :])
        updates, state = self.tx.update(gradients, state, params)
        new = [(p + u).astype(p.dtype) for p, u in zip(params, updates, strict=True)]
        leaves = [
            leaf.astype(old.dtype)
            for leaf, old in zip(arrays.tree_flatten(state)[0], flat[2 * self.count :], strict=True)
        ]
        return (*new, *leaves)

    def step(self, params: list[Tensor]) -> None:
        """New parameters and a new state."""
        gradients = [p.detach() * 0 if p.grad is None else p.grad.detach() for p in params]
        found = self.executable(
            *(p.array() for p in params), *(g.array() for g in gradients), *self.leaves
        )
        new = found if isinstance(found, tuple) else (found,)
        for p, value in zip(params, new[: self.count], strict=True):
            p.copy_(Tensor.from_value(value, p.dtype, str(p.device)))
        self.leaves = list(new[self.count :])

    def tensors(self) -> list[Tensor]:
        """The leaves of the state as tensors."""
        made = []
        for leaf in self.leaves:
            dtype = dtype_of_numpy(leaf.dtype)
            if dtype is None:
                raise TypeError(f"optax's state holds an array of {leaf.dtype}: it has no tensor")
            made.append(Tensor.from_value(arrays.to_device(leaf), dtype))
        return made

    def take(self, tensors: list[Tensor]) -> None:
        """Begin from saved leaves."""
        if [tuple(t.shape) for t in tensors] != [tuple(leaf.shape) for leaf in self.leaves]:
            raise ValueError(
                "loaded state does not fit this optax transformation: shapes "
                f"{[tuple(t.shape) for t in tensors]} for "
                f"{[tuple(leaf.shape) for leaf in self.leaves]}"
            )
        self.leaves = [
            arrays.to_device(t.array(), dtype=leaf.dtype)
            for t, leaf in zip(tensors, self.leaves, strict=True)
        ]
