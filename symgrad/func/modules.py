"""A module as a function of its parameters and buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symgrad.nn import Module
from symgrad.tensors.creation import FUNCTIONS
from symgrad.tensors.tensor import Tensor

State = Mapping[str, Tensor]


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: State | Sequence[State],
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call ``module`` with these tensors in place of its parameters and buffers, by path.

    What is not given stays; the module is as before afterwards, also after an error.

    **Arguments:** ``args``: a tuple, or the one argument; ``tie_weights``: a tensor under two paths
    is replaced under both; ``strict``: RuntimeError unless exactly all paths are given.

    >>> import symgrad as sg
    >>> net = sg.nn.Linear(2, 1)
    >>> new = {"weight": sg.ones(1, 2), "bias": sg.zeros(1)}
    >>> functional_call(net, new, sg.tensor([[2.0, 3.0]]))
    tensor([[5.]])
    """
    given = _joined(parameter_and_buffer_dicts)
    slots = _slots(module)
    unknown = [path for path in given if path not in slots]
    missing = [path for path in slots if path not in given] if strict else []
    if unknown or missing:
        told = [f"Unexpected key(s): {', '.join(unknown)}."] if unknown else []
        told += [f"Missing key(s): {', '.join(missing)}."] if missing else []
        raise RuntimeError(
            f"functional_call: {type(module).__name__} and the names given differ. "
            + " ".join(told)
        )
    if tie_weights:
        given = _tied(given, slots)
    before = [(table, key, table[key]) for table, key in (slots[path] for path in given)]
    try:
        for path, value in given.items():
            table, key = slots[path]
            table[key] = value
        listed = () if args is None else args if isinstance(args, tuple) else (args,)
        return module(*listed, **(kwargs or {}))
    finally:
        for table, key, value in before:
            table[key] = value


def _joined(dicts: State | Sequence[State]) -> dict[str, Tensor]:
    if isinstance(dicts, Mapping):
        return dict(dicts)
    joined: dict[str, Tensor] = {}
    for one in dicts:
        repeated = sorted(joined.keys() & one.keys())
        if repeated:
            raise ValueError(f"{repeated[0]} appears in multiple dictionaries; one must hold it")
        joined.update(one)
    return joined


def _slots(module: Module) -> dict[str, tuple[dict[str, Any], str]]:
    """Path → the table that holds the tensor, and its key there."""
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for prefix, inner in module.named_modules(remove_duplicate=False):
        for table in (inner._parameters, inner._buffers):
            for key, value in table.items():
                if value is not None:
                    found[f"{prefix}.{key}" if prefix else key] = (table, key)
    return found


def _tied(
    given: dict[str, Tensor], slots: Mapping[str, tuple[dict[str, Any], str]]
) -> dict[str, Tensor]:
    """Other paths of the tensors that are replaced get the same replacement."""
    owners: dict[int, str] = {}
    for path, value in given.items():
        table, key = slots[path]
        other = owners.setdefault(id(table[key]), path)
        if given[other] is not value:
            raise ValueError(
                f"functional_call got multiple values for keys {[other, path]}, which are tied. "
                "Consider using tie_weights=False"
            )
    tied = dict(given)
    for path, (table, key) in slots.items():
        if path not in given and id(table[key]) in owners:
            tied[path] = given[owners[id(table[key])]]
    return tied


def stack_module_state(
    models: Sequence[Module],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(parameters, buffers) of equal modules, stacked along a new first axis, by path.

    With :func:`functional_call` under ``vmap`` they are an ensemble that runs at once.
    """
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({type(m) for m in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    if len({m.training for m in models}) > 1:
        raise RuntimeError(
            "stack_module_state: Expected all models to have the same training/eval mode."
        )
    parameters = [dict(m.named_parameters()) for m in models]
    buffers = [dict(m.named_buffers()) for m in models]

    def stacked(states: Sequence[Mapping[str, Tensor]], path: str) -> Tensor:
        values = [s[path] for s in states]
        made = FUNCTIONS["stack"]([v.detach() for v in values]).clone()
        return made.requires_grad_(values[0].requires_grad)

    return (
        {path: stacked(parameters, path) for path in parameters[0]},
        {path: stacked(buffers, path) for path in buffers[0]},
    )


__all__ = ["functional_call", "stack_module_state"]
