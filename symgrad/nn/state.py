"""state_dict and load_state_dict: a module's tensors by path, in PyTorch's names and layouts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from symgrad.autograd import no_grad
from symgrad.nn.hooks import Hook, RemovableHandle, register
from symgrad.tensors.tensor import Parameter, Tensor


class _Keys(NamedTuple):
    missing_keys: list[str]
    unexpected_keys: list[str]


class IncompatibleKeys(_Keys):
    """What ``load_state_dict`` returns: the names that did not meet.

    >>> IncompatibleKeys([], [])
    <All keys matched successfully>
    """

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"_IncompatibleKeys(missing_keys={self.missing_keys}, "
            f"unexpected_keys={self.unexpected_keys})"
        )

    __str__ = __repr__


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


class StateDict:
    """The part of Module that gives and takes its tensors by path."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _state_dict_hooks: OrderedDict[int, Hook]
    _state_dict_pre_hooks: OrderedDict[int, Hook]
    _load_state_dict_pre_hooks: OrderedDict[int, Hook]
    _load_state_dict_post_hooks: OrderedDict[int, Hook]
    _version: int
    named_modules: Callable[..., Iterator[tuple[str, Any]]]

    def _saved(self) -> Iterator[tuple[str, Tensor | None]]:
        """Own parameters and persistent buffers, in the order of the state dict."""
        yield from self._parameters.items()
        for name, buffer in self._buffers.items():
            if name not in self._non_persistent_buffers_set:
                yield name, buffer

    def get_extra_state(self) -> Any:
        """Extra state of a subclass that defines this and :meth:`set_extra_state`."""
        raise NotImplementedError("this module has no extra state")

    def set_extra_state(self, state: Any) -> None:
        """Take back what :meth:`get_extra_state` gave."""
        raise NotImplementedError("this module has no extra state")

    def state_dict(
        self, *, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> OrderedDict[str, Any]:
        """Parameters and persistent buffers by path; detached views unless ``keep_vars``.

        >>> from symgrad import nn
        >>> {k: tuple(v.shape) for k, v in nn.Linear(2, 3).state_dict().items()}
        {'weight': (3, 2), 'bias': (3,)}
        """
        out: Any = OrderedDict() if destination is None else destination
        if not hasattr(out, "_metadata"):
            out._metadata = OrderedDict()
        out._metadata[prefix[:-1]] = {"version": self._version}
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        for name, value in self._saved():
            if value is not None:
                out[prefix + name] = value if keep_vars else value.detach()
        if type(self).get_extra_state is not StateDict.get_extra_state:
            out[f"{prefix}_extra_state"] = self.get_extra_state()
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=out, prefix=f"{prefix}{name}.", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():
            replaced = hook(self, out, prefix, {"version": self._version})
            out = out if replaced is None else replaced
        return out

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy tensors in by path; nothing is changed unless everything fits.

        **Arguments:** ``strict``: missing and unexpected names are errors; ``assign``: take the
        tensors themselves instead of copying their values.

        **Raises:** RuntimeError with every name that is missing, unexpected or of another shape.
        PyTorch has by then copied what fitted; here the module is as it was.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        given: Any = OrderedDict(state_dict)
        versioned = hasattr(state_dict, "_metadata")  # before version 2 it was not saved
        missing: list[str] = []
        unexpected: list[str] = []
        problems: list[str] = []
        plan: list[tuple[Any, str, Any]] = []
        known: set[str] = set()
        modules = list(self.named_modules(remove_duplicate=False))
        for path, module in modules:
            prefix = f"{path}." if path else ""
            for hook in module._load_state_dict_pre_hooks.values():
                hook(module, given, prefix, {}, strict, missing, unexpected, problems)
            for name, value in module._saved():
                key = prefix + name
                if value is None:
                    continue
                known.add(key)
                if key not in given:
                    if name != "num_batches_tracked" or versioned:
                        missing.append(key)
                    continue
                problem = _problem(key, value, given[key])
                if problem:
                    problems.append(problem)
                else:
                    plan.append((module, name, given[key]))
            extra = f"{prefix}_extra_state"
            if type(module).set_extra_state is not StateDict.set_extra_state:
                known.add(extra)
                if extra in given:
                    plan.append((module, "", given[extra]))
                else:
                    missing.append(extra)
        unexpected += [key for key in given if key not in known]
        if strict and unexpected:
            problems.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
        if strict and missing:
            problems.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
        if problems:
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t"
                + "\n\t".join(problems)
            )
        with no_grad():
            for module, name, value in plan:
                module._take(name, value, assign)
        keys = IncompatibleKeys(missing, unexpected)
        for _, module in modules:
            for hook in module._load_state_dict_post_hooks.values():
                hook(module, keys)
        return keys

    def _take(self, name: str, value: Any, assign: bool) -> None:
        """Put one loaded tensor in its place."""
        if not name:
            self.set_extra_state(value)
            return
        table = self._parameters if name in self._parameters else self._buffers
        if not assign:
            table[name].copy_(value)
        elif table is self._parameters and not isinstance(value, Parameter):
            table[name] = Parameter(value, requires_grad=table[name].requires_grad)
        else:
            table[name] = value

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """``hook(module, state_dict, prefix, metadata)`` after the dict is filled."""
        return register(self._state_dict_hooks, hook)

    _register_state_dict_hook = register_state_dict_post_hook

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """``hook(module, prefix, keep_vars)`` before the dict is filled."""
        return register(self._state_dict_pre_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """``hook(module, state_dict, prefix, …)`` before names are compared; may rename keys."""
        return register(self._load_state_dict_pre_hooks, hook)

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """``hook(module, incompatible_keys)`` after loading."""
        return register(self._load_state_dict_post_hooks, hook)


def _problem(key: str, own: Tensor, given: Any) -> str:
    """Why ``given`` cannot be copied into ``own``, or nothing."""
    if not isinstance(given, Tensor):
        return (
            f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like '
            f"object from checkpoint but received {type(given)}"
        )
    if tuple(given.shape) == tuple(own.shape) or (tuple(given.shape) == (1,) and own.ndim == 0):
        return ""
    return (
        f"size mismatch for {key}: copying a param with shape {_shape(given)} from checkpoint, "
        f"the shape in current model is {_shape(own)}."
    )


def _shape(tensor: Tensor) -> str:
    return f"torch.Size({[int(s) for s in tensor.shape]})"
