"""How well an order mixes samples that stand near each other: numbers to set beside the bytes that it saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, SupportsIndex

import numpy as np

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.index_map import source_of
from datastack_fs.iterators.orders import natural
from datastack_fs.iterators.selections import looked_up

_MOST: Final = 1 << 22


@dataclass(frozen=True)
class ShuffleQuality:
    """An order beside an exact shuffle.

    Attributes:
        rank_correlation: of places in the order and places in the data: 0 for an exact shuffle, 1 for none.
        neighbour_distance: how far apart neighbours of the order stand in the data: 1 as far as in an exact shuffle.
        batch_variance: how much more the means of batches vary than in an exact shuffle, of a quantity that grows along
            the data (its worst case, as in data sorted by class): 1 for an exact shuffle, up to the size of a batch
            for none. About as many samples of a batch as share a block.
    """

    rank_correlation: float
    neighbour_distance: float
    batch_variance: float

    def __str__(self) -> str:
        return (
            f"rank correlation {self.rank_correlation:.3f}, neighbours {self.neighbour_distance:.2f} as far apart and "
            f"batch means {self.batch_variance:.2f} as variable as in an exact shuffle"
        )


def shuffle_quality(iterator: DatasetIterator[Any], batch_size: SupportsIndex = 256) -> ShuffleQuality:
    """Measures the order of a shuffle, or of any view; nothing is read, and of large ones the first 4 million count.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> numbers = SequenceDatasetIterator(np.arange(100_000))
        >>> print(shuffle_quality(numbers.shuffle(seed=1)))
        rank correlation 0.000, neighbours 1.00 as far apart and batch means 0.99 as variable as in an exact shuffle
        >>> print(shuffle_quality(numbers[:]))
        rank correlation 1.000, neighbours 0.00 as far apart and batch means 255.18 as variable as in an exact shuffle
    """
    size = natural("batch_size", batch_size)
    selection = source_of(iterator)[1]
    count = min(len(iterator), _MOST) if selection is None else min(len(selection), _MOST)
    if size < 1 or count < 2 * size:
        raise ValueError(f"{count} samples are too few to tell, in batches of {size}")
    order = np.arange(count) if selection is None else looked_up(selection, np.arange(count))
    places = np.argsort(np.argsort(order, kind="stable"), kind="stable").astype(np.float64)
    batches = places[: count - count % size].reshape(-1, size).mean(axis=1)
    return ShuffleQuality(
        float(np.corrcoef(np.arange(count), places)[0, 1]),
        float(np.abs(np.diff(places)).mean() / (count / 3)),
        float(batches.var() / (places.var() / size)),
    )
