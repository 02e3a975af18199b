"""Mixed precision on the CPU in the older names of ``torch.cpu.amp``."""

from __future__ import annotations

from symgrad import amp
from symgrad.core.dtypes import DType, bfloat16


class autocast(amp.autocast):
    """``amp.autocast`` with ``device_type="cpu"``."""

    def __init__(
        self, enabled: bool = True, dtype: DType = bfloat16, cache_enabled: bool = True
    ) -> None:
        super().__init__("cpu", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """``amp.GradScaler`` with its scale on the CPU."""

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        super().__init__("cpu", init_scale, growth_factor, backoff_factor, growth_interval, enabled)


__all__ = ["GradScaler", "autocast"]
