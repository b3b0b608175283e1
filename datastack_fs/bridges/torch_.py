"""torch: batches of an iterator as tensors, in an order that goes on after a kill, read ahead in each worker."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import MissingDependencyError
from datastack_fs.iterators.base import check_iterator
from datastack_fs.training import PlannedBatches, ResumableBatchSampler, ResumableLoader

if TYPE_CHECKING:
    from datastack_fs.iterators.base import DatasetIterator
    from datastack_fs.training.batch_plan import Last, Order

_NUMBERS = frozenset("biufc")


def to_torch(
    iterator: DatasetIterator[Any],
    batch_size: SupportsIndex,
    *,
    seed: SupportsIndex | None = None,
    shuffle: bool | Order = True,
    window: SupportsIndex | None = None,
    last: Last = "drop",
    rank: SupportsIndex | None = None,
    world_size: SupportsIndex | None = None,
    workers: int = 0,
    prefetch: int = 4,
    max_bytes: int = 256 << 20,
    pin_memory: bool = False,
    start_method: Literal["fork", "spawn", "forkserver"] | None = None,
    log: Callable[[dict[str, float]], object] | None = None,
    log_every: SupportsIndex = 100,
) -> ResumableLoader[tuple[Any, ...]]:
    """A loader of batches as tensors: samples, targets, tags, and what else stands in the samples of the iterator.

    Each pass is an epoch of its own order, of which each rank gets its share; ``state_dict()`` tells where a job is,
    and ``load_state_dict()`` goes on with the very next batch, on other ranks, workers and stores. Each process
    that reads has its next batches under way. What has no tensor (text, and objects such as tags) comes as a list.

    Args:
        iterator: any stack.
        batch_size: samples of a step, of all ranks together; a multiple of ``world_size``.
        seed: decides the order; needed where there is a shuffle.
        shuffle: False for the order in which samples stand; or an order of your own.
        window: shuffle by blocks, so many of them mixed, as ``iterator.shuffle_blocks`` does: each is fetched once.
        last: what becomes of samples that fill no batch: ``"drop"``, or ``"pad"`` with others, which the loader's
            ``mask`` tells.
        rank: which of the ranks; by default that of ``torch.distributed``, else of ``$RANK``, else 0.
        world_size: how many ranks there are; like ``rank``.
        workers: processes that read. Without any, threads fetch and decode what is planned (``iterator.batches``), and
            functions given to ``map`` run in this process: workers pay where these, or decoding, take long.
        prefetch: most batches under way in each process that reads, besides the one in use.
        max_bytes: most memory for them, in each of these processes.
        pin_memory: copy tensors into page-locked memory, from which they get to a GPU sooner.
        start_method: of the workers; by default ``"forkserver"`` (``"spawn"`` where there is none), since a fork of a
            process with threads, as those under S3 and GCS, may hang. Both ask for functions that pickle, not lambdas,
            and for ``if __name__ == "__main__":`` in a script.
        log: called with numbers every ``log_every`` batches, as ``ResumableLoader`` does.
        log_every: how many batches that are.

    Raises:
        MissingDependencyError: torch is not installed.

    Examples:
        >>> import datastack_fs
        >>> digits = datastack_fs.load_dataset("digits", storage="memory://to-torch-example")
        >>> loader = to_torch(digits, 256, seed=1)
        >>> samples, targets, tags = next(iter(loader))
        >>> samples.shape, targets.dtype, loader.state_dict()["step"]
        (torch.Size([256, 8, 8]), torch.int64, 1)
    """
    check_iterator(iterator)
    check_torch("to_torch()")
    from torch.utils.data import DataLoader

    sampler = ResumableBatchSampler(
        iterator,
        batch_size,
        seed=seed,
        shuffle=shuffle,
        window=window,
        last=last,
        rank=rank,
        world_size=world_size,
    )
    return ResumableLoader(
        DataLoader(
            PlannedBatches(sampler, prefetch=prefetch, max_bytes=max_bytes),
            batch_size=None,
            sampler=sampler,
            collate_fn=collate_columns,
            num_workers=workers,
            multiprocessing_context=(start_method or _safe_start_method()) if workers else None,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
        ),
        log=log,
        log_every=log_every,
    )


def collate_columns(columns: Any) -> Any:
    """The columns of a batch as tensors: the ``collate_fn`` of a DataLoader over ``ColumnBatches``.

    Numbers and truth values become tensors that share the memory of their array; text, objects and dates become lists.
    Mappings and tuples of columns keep their shape.

    Examples:
        >>> collate_columns((np.zeros((2, 3)), np.array(["owl", "wren"])))
        (tensor([[0., 0., 0.],
                [0., 0., 0.]], dtype=torch.float64), ['owl', 'wren'])
    """
    if isinstance(columns, Mapping):
        return {name: collate_columns(column) for name, column in columns.items()}
    if isinstance(columns, tuple):
        return tuple(collate_columns(column) for column in columns)
    return _tensor(columns) if isinstance(columns, np.ndarray) else columns


def check_torch(what: str) -> None:
    """Says how to install torch, where it is missing."""
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{what} needs torch: pip install 'datastack-fs[torch]'", name=error.name
        ) from error


def _tensor(column: npt.NDArray[Any]) -> Any:
    if column.dtype.kind not in _NUMBERS:
        return column.tolist()
    import torch

    # torch has neither another byte order nor memory that must not change
    native = np.require(column, column.dtype.newbyteorder("="), ["C", "W"])
    return torch.from_numpy(native)


def _safe_start_method() -> str:
    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
