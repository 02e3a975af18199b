"""The base of all optimizers: parameter groups, state by parameter, and ``step``.

A subclass names its row (``row``) and, in ``__init__``, PyTorch's arguments; everything else is
here.  ``step`` computes the scalars of the rule on the host in double precision and hands all
parameters of a group to :mod:`symgrad.optim.update` at once.
"""

from __future__ import annotations

import inspect
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from itertools import chain
from operator import is_
from typing import Any, ClassVar

import numpy as np

from symgrad.autograd import enable_grad
from symgrad.errors import ComplexError
from symgrad.optim.row import Row
from symgrad.optim.update import Cohort, apply_updates, captured_update
from symgrad.recording.record import Leaf, leaf_like, modes
from symgrad.tensors.creation import full, tensor
from symgrad.tensors.tensor import Tensor

Group = dict[str, Any]
_SEVERAL = {
    "betas": ("beta1", "beta2"),
    "etas": ("etaminus", "etaplus"),
    "step_sizes": ("smallest", "largest"),
    "eps": ("eps1", "eps2"),
    "ns_coefficients": ("a", "b", "c"),
}
"""Options that are several numbers; ``eps`` only in rows that have two."""


class _Options:
    """The options of one group as the row reads them."""

    def __init__(self, optimizer: Optimizer, group: Group) -> None:
        self.row = optimizer.row
        self.names = list(group)
        self.values = list(group.values())
        self.fixed = not any(isinstance(v, Tensor) for v in self.values)
        self.hyper = optimizer.hyper(group)
        self.switches = self.row.switches_of(self.hyper)
        self._last: tuple[Any, ...] = (-1, None, (), None)

    def are(self, group: Group) -> bool:
        """Has nothing changed?  An option that is a tensor may change in place."""
        return (
            self.fixed
            and all(map(is_, self.values, group.values()))
            and len(group) == len(self.values)
            and list(group) == self.names
        )

    def slots(self, p: Tensor) -> tuple[str, ...]:
        """Names of the states of a parameter."""
        return self.row.names(p.shape, self.hyper)

    def scalars(self, step: int, like: Any) -> tuple[tuple[str, ...], Leaf]:
        """Names and values of the numbers of a step, for parameters like this node."""
        if self._last[:2] != (step, like.kind):
            found = self.row.scalars(self.hyper, step)
            dtype = self.row.number_dtype(like.dtype)
            values = np.array([float(v) for v in found.values()], dtype.numpy)
            if self._last[1] is like.kind:
                leaf = leaf_like(self._last[3], values)
            else:
                leaf = Leaf(values, values.shape, dtype, like.device)
            self._last = step, like.kind, tuple(found), leaf
        return self._last[2:]


class Optimizer:
    """Mirrors ``torch.optim.Optimizer``; ``row`` is the update rule.

    **Arguments:** ``params``: parameters, (name, parameter) pairs, or dicts with ``params`` and
    options of their own; ``defaults``: the options of groups that do not say otherwise.
    """

    row: ClassVar[Row]

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, "
                f"but got {typename(params)}"
            )
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[Group] = []
        self.stepped = False
        self._pre_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
        self._post_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
        self._cohorts: dict[Tensor, Cohort] = {}
        self._known: dict[int, _Options] = {}
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(dict(group))

    # -------------------------------------------------------------- options

    @classmethod
    def options(cls, **given: Any) -> dict[str, Any]:
        """PyTorch's options with their defaults, checked."""
        signature = inspect.signature(cls.__init__)
        unknown = set(given) - set(signature.parameters) | ({"params"} & set(given))
        if unknown:
            raise TypeError(f"{cls.__name__} has no option {', '.join(sorted(unknown))}")
        options = {
            name: p.default
            for name, p in signature.parameters.items()
            if name not in {"self", "params"}
        }
        options.update(given)
        cls.check(options)
        return options

    @classmethod
    def check(cls, options: dict[str, Any]) -> None:
        """ValueError where an option is out of its range, with PyTorch's words."""
        for name, words in (
            ("lr", "learning rate"),
            ("eps", "epsilon value"),
            ("weight_decay", "weight_decay value"),
            ("momentum", "momentum value"),
            ("momentum_decay", "momentum_decay value"),
            ("alpha", "alpha value"),
            ("lr_decay", "lr_decay value"),
            ("initial_accumulator_value", "initial_accumulator_value value"),
        ):
            value = options.get(name)
            if value is not None and not value >= 0:
                raise ValueError(f"Invalid {words}: {value}")
        for place, beta in enumerate(options.get("betas", ())):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {place}: {beta}")

    @classmethod
    def hyper_of(cls, **options: Any) -> dict[str, Any]:
        """The flat hyper-parameters of the row for PyTorch's options.

        >>> from symgrad.optim import Adam
        >>> hyper = Adam.hyper_of(lr=0.1, betas=(0.8, 0.9))
        >>> hyper["lr"], hyper["beta1"], hyper["beta2"]
        (0.1, 0.8, 0.9)
        """
        return cls.flat(cls.options(**options))

    @classmethod
    def flat(cls, group: Group) -> dict[str, Any]:
        """The hyper-parameters of the row out of a parameter group; tensors become numbers."""
        flat: dict[str, Any] = {}
        for name, value in group.items():
            if name in cls.row.defaults:
                flat[name] = value
            elif name in _SEVERAL:
                flat.update(zip(_SEVERAL[name], value, strict=True))
        known = {**cls.row.defaults, **flat}
        return {k: v.item() if isinstance(v, Tensor) else v for k, v in known.items()}

    def hyper(self, group: Group) -> dict[str, Any]:
        """The hyper-parameters of the row for one of the parameter groups."""
        return self.flat(group)

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with options of their own.

        **Raises:** TypeError for what is no tensor, ValueError for a tensor that is computed, an
        option that is missing, or a parameter that is in another group.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering "
                "of tensors in sets will change between runs. Please use a list instead."
            )
        params = [params] if isinstance(params, Tensor) else list(params)
        names = [p[0] for p in params if isinstance(p, tuple)]
        params = [p[1] if isinstance(p, tuple) else p for p in params]
        group: Group = {**param_group, "params": params}
        if names:
            group["param_names"] = names
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is {typename(p)}"
                )
            if not p.is_leaf:
                raise ValueError("can't optimize a non-leaf Tensor")
            if (
                p.dtype.is_complex
                and getattr(getattr(self, "row", None), "of_complex", "") == "not"
            ):
                raise ComplexError(f"{type(self).__name__} does not support complex parameters",
                                   "Optimize its parts, view_as_real(p).")  # fmt: skip
        for name, default in self.defaults.items():
            group.setdefault(name, default)
        if len(params) != len({id(p) for p in params}):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this "
                "will cause an error",
                stacklevel=3,
            )
        taken = {id(p) for other in self.param_groups for p in other["params"]}
        if any(id(p) in taken for p in params):
            raise ValueError("some parameters appear in more than one parameter group")
        self.check(group)
        self.param_groups.append(group)

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for place, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {place}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])

    # -------------------------------------------------------------- steps

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        quick = set_to_none and modes.capture is None
        for group in self.param_groups:
            for p in group["params"]:
                if quick:
                    p._grad = None
                else:
                    p.clear_gradient(set_to_none)

    def _parameters(self) -> Iterator[Tensor]:
        return chain.from_iterable(group["params"] for group in self.param_groups)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns what ``closure`` returns."""
        if self._pre_hooks:
            for hook in list(self._pre_hooks.values()):
                hook(self, (closure,), {})
        self.stepped = True
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        before, modes.grad = modes.grad, False
        try:
            cohorts = [c for group in self.param_groups for c in self._step_group(group)]
            if cohorts:
                apply_updates(cohorts)
        finally:
            modes.grad = before
        if self._post_hooks:
            for hook in list(self._post_hooks.values()):
                hook(self, (closure,), {})
        return loss

    def _options(self, group: Group) -> _Options:
        """What the options of a group amount to, worked out again only when one has changed."""
        known = self._known.get(id(group))
        if known is None or not known.are(group):
            known = self._known[id(group)] = _Options(self, group)
        return known

    def _step_group(self, group: Group) -> list[Cohort]:
        """The parameters of one group that have gradients, those of equal age in one."""
        options = self._options(group)
        if modes.capture is not None:
            self._capture_group(group, options.hyper)
            return []
        params = group["params"]
        known = self._cohorts.get(params[0]) if params else None
        if known is not None and known.current(options, params, self.state):
            known.options = options
            return [known]
        by_step: dict[int, list[Tensor]] = {}
        for p in params:
            if p._grad is not None:
                by_step.setdefault(self._coming_step(p, options), []).append(p)
        return [self._cohort(options, alike, step) for step, alike in by_step.items()]

    def _coming_step(self, p: Tensor, options: _Options) -> int:
        """The number of the next step of a parameter; 2 for every later one where none counts."""
        counts, known = self.row.counts, self._cohorts.get(p)
        if not (counts or options.slots(p)):
            return 2
        own = self.state[p]
        if not counts:
            return 2 if own else 1
        if known is not None and known.counts(own):
            return known.step
        return 1 if (held := own.get("step")) is None else int(held) + 1

    def _cohort(self, options: _Options, params: Sequence[Tensor], step: int) -> Cohort:
        """Parameters that go together from now on, each with an entry in the state."""
        owns: list[dict[str, Any]] = []
        if self.row.counts or options.slots(params[0]):
            owns = [self.state[p] for p in params]
            for p, own in zip(params, owns, strict=True):
                self._begin(p, own, options.hyper)
        made = Cohort(options, params, owns, step)
        self._cohorts.update(dict.fromkeys(params, made))
        return made

    def _capture_group(self, group: Group, hyper: dict[str, Any]) -> None:
        """The same under ``compile``: the count of steps is state of the program."""
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        step: Tensor | None = None
        for p in params:
            state = self.state[p]
            self._begin(p, state, hyper)
            if self.row.counts:
                held = state.get("step")
                if held is None:
                    held = tensor(0.0)
                step = step if step is not None else held
                state["step"] = step
        states = [self.state[p][name] for p in params for name in self.row.names(p.shape, hyper)]
        captured_update(self.row, self, group, hyper, params, states, step)

    def _begin(self, p: Tensor, state: dict[str, Any], hyper: dict[str, Any]) -> None:
        """Make the slots that do not exist yet."""
        for name, (shape, first) in self.row.init(tuple(p.shape), hyper).items():
            if name in state:
                continue
            value, dtype = self.row.first(name, first, p)
            made = full(shape, value, dtype=dtype, device=p.device)
            made._name = made._storage.node.name = f"{name}.{p._name}".rstrip(".")
            state[name] = made

    # -------------------------------------------------------------- hooks and state

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> Any:
        """``hook(optimizer, args, kwargs)`` before every step; returns a function to undo it."""
        return _Handle(self._pre_hooks, hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> Any:
        """``hook(optimizer, args, kwargs)`` after every step."""
        return _Handle(self._post_hooks, hook)

    def state_dict(self) -> dict[str, Any]:
        """State by the number of the parameter, and the groups with numbers for parameters."""
        numbers = {id(p): k for k, p in enumerate(self._parameters())}
        groups = [
            {**group, "params": [numbers[id(p)] for p in group["params"]]}
            for group in self.param_groups
        ]
        state = {numbers[id(p)]: dict(s) for p, s in self.state.items() if id(p) in numbers}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave; tensors are copied, in the parameters' dtypes.

        **Raises:** ValueError where the groups do not have the same sizes.
        """
        saved = deepcopy(state_dict["param_groups"])
        own = self.param_groups
        if len(saved) != len(own):
            raise ValueError(
                "loaded state dict has a different number of parameter groups: "
                f"{len(saved)}, not {len(own)}"
            )
        if any(len(a["params"]) != len(b["params"]) for a, b in zip(own, saved, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of "
                "optimizer's group"
            )
        numbers = chain.from_iterable(group["params"] for group in saved)
        by_number = dict(zip(numbers, self._parameters(), strict=True))
        state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        for number, values in state_dict["state"].items():
            p = by_number[number]
            state[p] = {key: _copied(key, value, p) for key, value in values.items()}
        self.state = state
        self._cohorts, self._known = {}, {}
        self.param_groups = [
            {**new, "params": old["params"]} for old, new in zip(own, saved, strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_cohorts", "_known")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._cohorts, self._known = {}, {}


class _Handle:
    """Undoes the registration of a hook by ``remove()``."""

    _next = 0

    def __init__(self, hooks: OrderedDict[int, Callable[..., Any]], hook: Any) -> None:
        self._hooks = hooks
        self._key = _Handle._next
        _Handle._next += 1
        hooks[self._key] = hook

    def remove(self) -> None:
        """Take the hook off."""
        self._hooks.pop(self._key, None)


def _copied(key: str, value: Any, p: Tensor) -> Any:
    """A copy of one piece of state, in the dtype and on the device of its parameter."""
    if not isinstance(value, Tensor):
        return deepcopy(value)
    if key == "step":
        return value.detach().clone()
    if p.dtype.is_floating_point:
        return value.detach().clone().to(dtype=p.dtype, device=p.device)
    return value.detach().clone().to(device=p.device)


def typename(value: Any) -> str:
    """How PyTorch's messages name the type of a value."""
    return str(value.type()) if isinstance(value, Tensor) else type(value).__name__
