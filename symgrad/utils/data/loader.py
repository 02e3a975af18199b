"""DataLoader: batches of a data set, epoch after epoch.

A :class:`TensorDataset` (or a Subset of one) with the default collation is read by one index per
batch instead of one per sample.  Workers are threads: arrays are shared, nothing is pickled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
from symgrad_codegen import arrays

from symgrad.tensors import creation
from symgrad.tensors.tensor import Tensor
from symgrad.utils.data.collate import default_collate, default_convert
from symgrad.utils.data.dataset import IterableDataset, Subset, TensorDataset
from symgrad.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler

Collate = Callable[[Any], Any]


def get_worker_info() -> None:
    """None: workers are threads over one shared data set, so nothing has to be divided."""


class DataLoader:
    """Iterate over a data set in batches; mirrors ``torch.utils.data.DataLoader``.

    **Arguments:** ``batch_size`` (None: single samples); ``shuffle``: a new order each epoch;
    ``sampler`` or ``batch_sampler`` instead of it; ``num_workers``: threads that fetch ahead;
    ``collate_fn``: list of samples to batch; ``drop_last``: leave out a smaller last batch;
    ``generator``: of the random order.  ``pin_memory``, ``timeout`` and the options of worker
    processes are taken and change nothing.

    >>> import symgrad as sg
    >>> data = TensorDataset(sg.arange(5))
    >>> [batch.tolist() for (batch,) in DataLoader(data, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Collate | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if num_workers < 0:
            raise ValueError(
                "num_workers option should be non-negative; use num_workers=0 to disable "
                "multiprocessing."
            )
        if timeout < 0:
            raise ValueError("timeout option should be non-negative")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError(
                "prefetch_factor option could only be specified in multiprocessing.let "
                "num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor to None."
            )
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers option needs num_workers > 0")
        streams = isinstance(dataset, IterableDataset)
        if streams:
            _refuse_order(shuffle, sampler, batch_sampler)
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, "
                    "sampler, and drop_last"
                )
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with "
                "drop_last"
            )
        if sampler is None and not streams:
            sampler = (
                RandomSampler(dataset, generator=generator)
                if shuffle
                else SequentialSampler(dataset)
            )
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(
                sampler if sampler is not None else (), batch_size, drop_last
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler: Any = sampler
        self.batch_sampler: Any = batch_sampler
        self.generator = generator
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.persistent_workers = persistent_workers
        self.in_order = in_order
        batched = batch_sampler is not None
        self.collate_fn: Collate = collate_fn or (default_collate if batched else default_convert)

    def __len__(self) -> int:
        """How many batches one epoch has."""
        if isinstance(self.dataset, IterableDataset):
            count = len(self.dataset)  # type: ignore[arg-type]
            if self.batch_size is None:
                return count
            return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        if isinstance(self.dataset, IterableDataset):
            return self._stream()
        fetch = self._fetcher()
        places = iter(self.sampler if self.batch_sampler is None else self.batch_sampler)
        if self.num_workers:
            return self._ahead(fetch, places)
        return map(fetch, places)

    def _stream(self) -> Iterator[Any]:
        samples = iter(self.dataset)
        if self.batch_size is None:
            yield from map(self.collate_fn, samples)
            return
        while batch := list(islice(samples, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self.collate_fn(batch)

    def _fetcher(self) -> Callable[[Any], Any]:
        """From the index or indices of one batch to the batch."""
        dataset, collate = self.dataset, self.collate_fn
        if self.batch_sampler is None:
            return lambda place: collate(dataset[place])
        if collate is default_collate:
            whole = _whole_tensors(dataset)
            if whole is not None:
                tensors, rows = whole
                readers = [_reader(t) for t in tensors]
                return lambda places: [read(_rows(rows, places)) for read in readers]
        many = getattr(dataset, "__getitems__", None)
        if many is not None:
            return lambda places: collate(many(places))
        return lambda places: collate([dataset[place] for place in places])

    def _ahead(self, fetch: Callable[[Any], Any], places: Iterator[Any]) -> Iterator[Any]:
        """Batches in order, fetched by threads before they are asked for."""
        depth = self.num_workers * int(self.prefetch_factor or 1)
        with ThreadPoolExecutor(self.num_workers) as pool:
            if self.worker_init_fn is not None:
                for worker in range(self.num_workers):
                    self.worker_init_fn(worker)
            waiting: deque[Future[Any]] = deque(
                pool.submit(fetch, place) for place in islice(places, depth)
            )
            while waiting:
                ready = waiting.popleft()
                waiting.extend(pool.submit(fetch, place) for place in islice(places, 1))
                yield ready.result()


def _refuse_order(shuffle: bool | None, sampler: Any, batch_sampler: Any) -> None:
    """A stream has its own order."""
    for name, value in (
        ("shuffle", shuffle),
        ("sampler", sampler),
        ("batch_sampler", batch_sampler),
    ):
        if value:
            raise ValueError(
                f"DataLoader with IterableDataset: expected unspecified {name} option, but got "
                f"{name}={value}"
            )


def _whole_tensors(dataset: Any) -> tuple[tuple[Tensor, ...], Any] | None:
    """The tensors behind a data set and the rows it shows of them (None: all), if that is all."""
    if type(dataset) is TensorDataset:
        return dataset.tensors, None
    if type(dataset) is Subset and type(dataset.dataset) is TensorDataset:
        return dataset.dataset.tensors, np.asarray(dataset.indices, dtype=np.int64)
    return None


def _rows(rows: Any, places: Any) -> Any:
    index = np.asarray(places, dtype=np.int64)
    return index if rows is None else rows[index]


def _reader(tensor: Tensor) -> Callable[[Any], Tensor]:
    """Rows of a tensor: by NumPy where its values are on the host and nothing is differentiated."""
    if tensor.requires_grad or str(tensor.device) != "cpu":
        return lambda index: tensor[creation.from_numpy(index)]
    values, dtype = arrays.to_numpy(tensor.array()), tensor.dtype
    return lambda index: Tensor.from_value(values[index], dtype)
