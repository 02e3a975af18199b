"""Module: a model as an object whose attributes are its parameters, buffers and sub-modules.

Assigning a :class:`Parameter` or a :class:`Module` to an attribute registers it; everything else
(``parameters()``, ``state_dict()``, ``to()``, printing) is a walk over what is registered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

from symgrad.nn.conversion import Conversion
from symgrad.nn.hooks import BackwardHooks, Hook, RemovableHandle, changes, register
from symgrad.nn.parameter import Buffer, name_tensor
from symgrad.nn.state import StateDict
from symgrad.recording.record import modes
from symgrad.tensors.tensor import Parameter, Tensor

_TABLES = ("_parameters", "_buffers", "_modules")
_HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


class Module(Conversion, StateDict):
    """The base of every layer and model; mirrors ``torch.nn.Module``.

    A subclass calls ``super().__init__()``, assigns parameters and sub-modules to attributes and
    defines ``forward``; calling the module runs ``forward`` between the hooks.

    >>> from symgrad import nn
    >>> class Line(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layer = nn.Linear(2, 1)
    ...
    ...     def forward(self, x):
    ...         return self.layer(x)
    >>> Line()
    Line(
      (layer): Linear(in_features=2, out_features=1, bias=True)
    )
    >>> [name for name, _ in Line().named_parameters()]
    ['layer.weight', 'layer.bias']
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]
    _version: int = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args or kwargs:
            given = list(args) + list(kwargs)
            raise TypeError(f"{type(self).__name__}.__init__() takes no argument here: got {given}")
        own = self.__dict__
        own["training"] = True
        for table in _TABLES:
            own[table] = {}
        own["_non_persistent_buffers_set"] = set()
        for table in _HOOKS:
            own[table] = OrderedDict()
        own["_named"] = False
        own["_hooks_with_kwargs"] = set()
        own["_hooks_always"] = set()

    # -------------------------------------------------------------- calling

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; every subclass defines its own."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` between the hooks."""
        own = self.__dict__
        if not own["_named"]:
            self._name_tensors()
        if modes.capture is not None:
            modes.capture.modules.append((self, own["training"]))
        if not (
            own["_forward_hooks"]
            or own["_forward_pre_hooks"]
            or own["_backward_hooks"]
            or own["_backward_pre_hooks"]
        ):
            return self.forward(*args, **kwargs)
        return self._call_with_hooks(args, kwargs)

    def _name_tensors(self) -> None:
        """Call every parameter and buffer by its path, as formulas and sources will show it."""
        for path, tensor in (*self.named_buffers(), *self.named_parameters()):
            name_tensor(tensor, path)
        for module in self.modules():
            module.__dict__["_named"] = True

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with_kwargs = self.__dict__["_hooks_with_kwargs"]
        for key, hook in list(self.__dict__["_forward_pre_hooks"].items()):
            if key in with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is not None:
                    if not (isinstance(changed, tuple) and len(changed) == 2):
                        raise RuntimeError(
                            "forward pre-hook must return None or a tuple of (new_args, "
                            f"new_kwargs), but got {changed}."
                        )
                    args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        watch = None
        after, before = self.__dict__["_backward_hooks"], self.__dict__["_backward_pre_hooks"]
        if after or before:
            watch = BackwardHooks(self, list(after.values()), list(before.values()))
            args = watch.watch_inputs(args)
        ran: set[int] = set()
        try:
            result = self.forward(*args, **kwargs)
            for key, hook in list(self.__dict__["_forward_hooks"].items()):
                ran.add(key)
                result = self._forward_hook(key, hook, args, kwargs, result)
        except Exception:
            for key, hook in list(self.__dict__["_forward_hooks"].items()):
                if key in self.__dict__["_hooks_always"] and key not in ran:
                    self._forward_hook(key, hook, args, kwargs, None)
            raise
        return watch.watch_output(result) if watch else result

    def _forward_hook(
        self, key: int, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> Any:
        if key in self.__dict__["_hooks_with_kwargs"]:
            changed = hook(self, args, kwargs, result)
        else:
            changed = hook(self, args, result)
        return result if changed is None else changed

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """``hook(module, args)`` before ``forward``; what it returns replaces the arguments."""
        handle = register(self.__dict__["_forward_pre_hooks"], hook, prepend)
        if with_kwargs:
            self.__dict__["_hooks_with_kwargs"].add(handle.id)
        return handle

    def register_forward_hook(
        self,
        hook: Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """``hook(module, args, output)`` after ``forward``; a result replaces the output."""
        handle = register(self.__dict__["_forward_hooks"], hook, prepend)
        if with_kwargs:
            self.__dict__["_hooks_with_kwargs"].add(handle.id)
        if always_call:
            self.__dict__["_hooks_always"].add(handle.id)
        return handle

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """``hook(module, grad_input, grad_output)`` when both are known; may replace the first."""
        return register(self.__dict__["_backward_hooks"], hook, prepend)

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """The older name of :meth:`register_full_backward_hook`, with its meaning."""
        return register(self.__dict__["_backward_hooks"], hook)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """``hook(module, grad_output)`` before the gradient passes; may replace it."""
        return register(self.__dict__["_backward_pre_hooks"], hook, prepend)

    # -------------------------------------------------------------- registration

    def _table(self, name: str, what: str) -> dict[str, Any]:
        changes.count += 1
        found = self.__dict__.get(name)
        if found is None:
            raise AttributeError(f"cannot assign {what} before Module.__init__() call")
        return found

    def _free_name(self, name: str, table: Mapping[str, Any], what: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {type(name).__name__}")
        if not name:
            raise KeyError(f'{what} name can\'t be empty string ""')
        if "." in name:
            raise KeyError(f'{what} name can\'t contain ".", got: {name!r}')
        if hasattr(self, name) and name not in table:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under ``name``; None stands for an absent one (``bias=False``)."""
        table = self._table("_parameters", "parameter")
        self._free_name(name, table, "parameter")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type(param).__name__}' object to parameter '{name}' "
                "(nn.Parameter or None required)"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be "
                f"created explicitly. To express '{name}' as a function of another Tensor, compute "
                "the value in the forward() method."
            )
        table[name] = param
        self.__dict__["_named"] = False

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state but not trained; ``persistent`` ones are in the state dict."""
        table = self._table("_buffers", "buffer")
        self._free_name(name, table, "buffer")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' "
                "(Tensor or None required)"
            )
        table[name] = tensor
        absent = self.__dict__["_non_persistent_buffers_set"]
        (absent.discard if persistent else absent.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a sub-module under ``name``."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        table = self._table("_modules", "module")
        self._free_name(name, table, "module")
        table[name] = module

    register_module = add_module

    def __setattr__(self, name: str, value: Any) -> None:
        changes.count += 1
        own = self.__dict__
        if isinstance(value, Parameter):
            table = self._table("_parameters", "parameters")
            self._forget(name)
            if name in table:
                table[name] = value
            else:
                self.register_parameter(name, value)
            return
        parameters = own.get("_parameters")
        if parameters is not None and name in parameters:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as parameter '{name}' "
                    "(nn.Parameter or None expected)"
                )
            parameters[name] = None
            return
        if isinstance(value, Module):
            table = self._table("_modules", "module")
            self._forget(name, keep="_modules")
            table[name] = value
            return
        if isinstance(value, Buffer):
            self._table("_buffers", "buffers")
            own.pop(name, None)
            self.register_buffer(name, value.data, value.persistent)
            return
        modules = own.get("_modules")
        if modules is not None and name in modules:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as child module '{name}' "
                    "(nn.Module or None expected)"
                )
            modules[name] = None
            return
        buffers = own.get("_buffers")
        if buffers is not None and name in buffers:
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as buffer '{name}' "
                    "(Tensor or None expected)"
                )
            buffers[name] = value
            return
        object.__setattr__(self, name, value)

    def _forget(self, name: str, keep: str = "_parameters") -> None:
        """Remove ``name`` from everywhere but the table ``keep``."""
        own = self.__dict__
        own.pop(name, None)
        for table in _TABLES:
            if table != keep:
                own[table].pop(name, None)
        own["_non_persistent_buffers_set"].discard(name)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for table in _TABLES:
            found = own.get(table)
            if found is not None and name in found:
                return found[name]
        raise AttributeError(
            f"'{type(self).__name__}' object has no attribute '{name}'", name=name, obj=self
        )

    def __delattr__(self, name: str) -> None:
        changes.count += 1
        own = self.__dict__
        for table in _TABLES:
            if name in own.get(table, ()):
                del own[table][name]
                own["_non_persistent_buffers_set"].discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        registered = [key for table in _TABLES for key in self.__dict__.get(table, ())]
        return sorted({*object.__dir__(self), *(k for k in registered if not k[0].isdigit())})

    # -------------------------------------------------------------- walks

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, with their paths, each once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct sub-modules with their names, each once."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct sub-modules."""
        return (module for _, module in self.named_children())

    def _named_members(
        self,
        table: Callable[[Module], Mapping[str, Any]],
        prefix: str = "",
        recurse: bool = True,
        remove_duplicate: bool = True,
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        walk = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in walk:
            for name, value in table(module).items():
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters with their paths; a shared one is listed once, under its first path."""
        return self._named_members(lambda m: m._parameters, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, in the order of registration."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Buffers with their paths."""
        return self._named_members(lambda m: m._buffers, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, in the order of registration."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The sub-module at a dotted path; AttributeError where there is none."""
        module: Any = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def _member(self, target: str, kind: type, what: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        if not hasattr(module, name):
            raise AttributeError(f"{type(module).__name__} has no attribute `{name}`")
        found = getattr(module, name)
        if not isinstance(found, kind):
            raise AttributeError(f"`{name}` is not {what}")
        return found

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a dotted path."""
        return self._member(target, Parameter, "an nn.Parameter")

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a dotted path."""
        path, _, name = target.rpartition(".")
        found = self._member(target, Tensor, "a buffer")
        if name not in self.get_submodule(path)._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return found

    # -------------------------------------------------------------- modes

    def train(self, mode: bool = True) -> Self:
        """Training mode for this module and all below it."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Evaluation mode: dropout off, batch norm on its running statistics."""
        return self.train(mode=False)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """``fn(module)`` for everything below, then for this module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # -------------------------------------------------------------- printing

    def extra_repr(self) -> str:
        """What stands between the parentheses of this module's own line."""
        return ""

    def _get_name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        below = []
        for name, module in self._modules.items():
            text = repr(module).replace("\n", "\n  ")
            below.append(f"({name}): {text}")
        if not below and len(lines) <= 1:
            return f"{self._get_name()}({extra})"
        return f"{self._get_name()}(\n  " + "\n  ".join([*lines, *below]) + "\n)"
