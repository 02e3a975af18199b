"""Moving a module between dtypes and devices, and its gradients as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from symgrad.core import dtypes
from symgrad.core.dtypes import DType
from symgrad.tensors.inside import Inside
from symgrad.tensors.tensor import Tensor

Convert = Callable[[Tensor], Tensor]


def _to_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, DType | None, bool]:
    """Device, dtype and copy out of the forms that ``to`` takes."""
    device, dtype = kwargs.get("device"), kwargs.get("dtype")
    for value in args:
        if isinstance(value, DType):
            dtype = value
        elif isinstance(value, Tensor):
            device, dtype = value.device, value.dtype
        elif value is not None and not isinstance(value, bool):
            device = value
    if dtype is not None and not dtype.differentiable:
        raise TypeError(
            "nn.Module.to only accepts floating point or complex dtypes, but got desired "
            f"dtype={dtype}"
        )
    return device, dtype, bool(kwargs.get("copy", False))


class Conversion:
    """``to``, ``double``, ``cuda``, …: the part of Module that replaces its tensors' data."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    children: Callable[[], Any]
    parameters: Callable[..., Any]

    def _apply(self, fn: Convert, recurse: bool = True) -> Self:
        """Replace the data of every parameter, gradient and buffer by ``fn`` of it."""
        if recurse:
            for module in self.children():
                module._apply(fn)
        for param in self._parameters.values():
            if param is not None:
                grad = param._grad if type(param._grad) is Inside else param.grad
                replaced = fn(param.data)
                if replaced is not param.data:
                    param.grad = None
                    param.data = replaced
                    param._grad = fn(grad.detach()) if isinstance(grad, Tensor) else grad
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def _floating(self, dtype: DType) -> Self:
        return self._apply(lambda t: t.to(dtype) if t.dtype.is_floating_point else t)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move to a device, a floating-point dtype, or both; integer tensors keep their dtype.

        >>> from symgrad import nn
        >>> nn.Linear(2, 1).to("cpu").weight.device
        device(type='cpu')
        """
        device, dtype, _ = _to_arguments(args, kwargs)

        def convert(t: Tensor) -> Tensor:
            if dtype is not None and t.dtype.differentiable:
                t = t.to(dtype)
            return t if device is None else t.to(device)

        return self._apply(convert)

    def float(self) -> Self:
        """All floating-point tensors to float32."""
        return self._floating(dtypes.float32)

    def double(self) -> Self:
        """All floating-point tensors to float64."""
        return self._floating(dtypes.float64)

    def half(self) -> Self:
        """All floating-point tensors to float16."""
        return self._floating(dtypes.float16)

    def bfloat16(self) -> Self:
        """All floating-point tensors to bfloat16."""
        return self._floating(dtypes.bfloat16)

    def type(self, dst_type: DType) -> Self:
        """All tensors to ``dst_type``."""
        return self._apply(lambda t: t.to(dst_type))

    def cpu(self) -> Self:
        """All tensors to the host."""
        return self._apply(lambda t: t.to("cpu"))

    def cuda(self, device: Any = None) -> Self:
        """All tensors to a GPU."""
        place = "cuda" if device is None else device
        if isinstance(place, int):
            place = f"cuda:{place}"
        return self._apply(lambda t: t.to(place))

    def share_memory(self) -> Self:
        """Nothing to do: arrays are shared between threads as they are."""
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze or unfreeze every parameter."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of every parameter."""
        clear_gradients(self.parameters(), set_to_none)


def clear_gradients(params: Any, set_to_none: bool) -> None:
    """Forget the gradients, or fill them with zeros in place."""
    for param in params:
        param.clear_gradient(set_to_none)
