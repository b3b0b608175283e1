"""Which samples and labels a report looks at: spread over the whole, few of a remote store, all only when asked."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.columnar import ColumnarDatasetIterator
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.tabular import TabularDatasetIterator

MOST_LABELS: Final = 5_000_000
"""So many labels are counted at most, unless all are asked for."""

MOST_LABELS_OF_SAMPLES: Final = 100_000
"""So many samples of local data are read at most for labels that can't be had without."""

FEW: Final = 32
"""So many samples of a remote store may be looked at, or timed, however few it has: but never more than a quarter."""

SMALL: Final = 8 << 20
"""Resources of fewer bytes in all are small: a quarter of their samples may be read."""

_RUNS: Final = 8
_SHARE: Final = 100
_READ_SAMPLES: Final = (
    DatasetIterator._targets,
    ColumnarDatasetIterator._targets,
    TabularDatasetIterator._targets,
)
"""Ways to read labels that read whole samples: of a table, since most kinds keep a row's values together."""


def leaves_of(iterator: DatasetIterator[Any]) -> list[DatasetIterator[Any]]:
    """The leaves that a stack stands on, each once."""
    leaves, seen, waiting = [], set(), [iterator]
    while waiting:
        found = waiting.pop()
        if id(found) not in seen:
            seen.add(id(found))
            below = found.underlying_iterators
            waiting.extend(reversed(below))
            if not below:
                leaves.append(found)
    return leaves


def is_remote(iterator: DatasetIterator[Any]) -> bool:
    """Whether any leaf reads from a store that isn't a file of this machine."""
    return any(leaf.origin is not None and not leaf.origin.is_local for leaf in leaves_of(iterator))


def has_labels_apart(iterator: DatasetIterator[Any]) -> bool:
    """Whether labels can be had without reading samples, all the way down.

    A class says so by ``labels_apart``; else one that has a way of its own to read labels is believed.
    """
    said = iterator.labels_apart
    is_apart = type(iterator)._targets not in _READ_SAMPLES if said is None else said
    return is_apart and all(map(has_labels_apart, iterator.underlying_iterators))


def remote_budget(iterator: DatasetIterator[Any], wanted: int) -> int:
    """How many samples of a remote store may be read for one purpose: about a hundredth, of a small one a quarter.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> [remote_budget(SequenceDatasetIterator(range(length)), 256) for length in (100_000, 1000, 20, 1)]
        [256, 250, 5, 1]
    """
    length = len(iterator)
    sizes = [leaf.origin.size for leaf in leaves_of(iterator) if leaf.origin is not None]
    is_small = sum(SMALL if size is None else size for size in sizes) < SMALL
    share = length if is_small else max(FEW, length // _SHARE)
    return min(wanted, share, max(1, length // 4))


def spread(length: int, count: int, runs: int = _RUNS) -> IndexArray:
    """So many indices, in runs of neighbours that are spread from the first sample to the last.

    Neighbours lie in one chunk or block of most formats, so that a run costs about one read.

    Examples:
        >>> spread(100, 6, runs=3).tolist()
        [0, 1, 49, 50, 98, 99]
        >>> spread(3, 10).tolist()
        [0, 1, 2]
    """
    if count >= length:
        return np.arange(length, dtype=np.int64)
    runs = max(1, min(runs, count))
    sizes = [count // runs + (number < count % runs) for number in range(runs)]
    starts = [0] if runs == 1 else [(length - sizes[-1]) * number // (runs - 1) for number in range(runs)]
    parts = [np.arange(start, min(start + size, length)) for start, size in zip(starts, sizes, strict=True)]
    return np.unique(np.concatenate(parts)).astype(np.int64)
