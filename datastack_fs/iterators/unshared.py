"""Tells a job of several ranks, once, that each of them reads all samples: shares are easily forgotten."""

from __future__ import annotations

import gc
import sys
import warnings
from typing import TYPE_CHECKING, Any, Final

from datastack_fs.iterators.ranks import rank_and_world_size

if TYPE_CHECKING:
    from datastack_fs.iterators.base import DatasetIterator

_SAMPLERS: Final = frozenset({"DistributedSampler", "ResumableBatchSampler"})
_FETCHER: Final = "torch.utils.data._utils.fetch"

_is_settled = False  # told, or nothing to tell
_loops = 0


def note_batch(iterator: DatasetIterator[Any]) -> None:
    """Called for each batch of indices that is asked for; one that a torch DataLoader asks for is looked into."""
    if not _is_settled and sys._getframe(2).f_globals.get("__name__") == _FETCHER:
        _look_into(iterator)


def note_loop(iterator: DatasetIterator[Any]) -> None:
    """Called for each loop over all samples; the second is looked into: one may be for statistics."""
    global _loops
    if not _is_settled and rank_and_world_size()[1] > 1:
        _loops += 1
        if _loops > 1:
            _look_into(iterator)


def _look_into(iterator: DatasetIterator[Any]) -> None:
    global _is_settled
    ranks = rank_and_world_size()[1]
    if ranks < 2:
        return
    _is_settled = True
    if _is_share(iterator, ranks) or _is_shared_by_a_sampler():
        return
    warnings.warn(
        f"each of {ranks} ranks reads all {len(iterator):,} samples of {iterator.meta.identifier}: nothing gives each "
        "its share. ResumableBatchSampler (or to_torch) does, as does torch's DistributedSampler; or read a view of "
        "each rank's own, iterator[rank::ranks]",
        stacklevel=4,
    )


def _is_share(iterator: DatasetIterator[Any], ranks: int) -> bool:
    """Whether it is a view of so few samples that each rank may have its own."""
    from datastack_fs.iterators.index_map import source_of

    source, selection, _ = source_of(iterator)
    return selection is not None and len(selection) <= -(-len(source) // ranks)


def _is_shared_by_a_sampler() -> bool:
    """Whether there is a sampler that shares batches among ranks; also if that can't be known, as in a spawned worker.

    A forked worker has the objects of its parent.
    """
    names = {base.__name__ for kind in set(map(type, gc.get_objects())) for base in kind.__mro__}
    data = sys.modules.get("torch.utils.data")
    info = None if data is None else data.get_worker_info()
    if info is not None and (info.id > 0 or "DataLoader" not in names):
        return True
    return not names.isdisjoint(_SAMPLERS)
