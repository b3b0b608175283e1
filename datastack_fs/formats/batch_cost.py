"""What shuffled batches of a dataset cost, told by their byte ranges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.reading import RangePlan
from datastack_fs.resource import Range, ResourceOpener

_DRAWS: Final = 16


@dataclass(frozen=True)
class BatchCost:
    """What a batch costs of which nothing is kept, on average over some that are drawn, always the same ones.

    Attributes:
        requests: that the store is sent, neighbours joined as it joins them.
        fetched_bytes: in the answers to all of them.
    """

    requests: float
    fetched_bytes: float


def batch_cost(
    ranges_of: Callable[[IndexArray], Sequence[Sequence[Range]]], length: int, batch: int, store: ResourceOpener
) -> BatchCost:
    """The cost of batches of rows that are drawn without replacement.

    Args:
        ranges_of: what sorted rows need, of each resource.
        length: of the dataset, at least 1.
        batch: rows in a batch.
        store: says which ranges are joined, and which are cut.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> rows = lambda indices: [[(900_000 * row, 900_000 * row + 80) for row in indices.tolist()]]
        >>> batch_cost(rows, 1000, 32, MemoryStorageConnector("cost-example"))
        BatchCost(requests=32.0, fetched_bytes=2560.0)
    """
    rng = np.random.default_rng(0)
    requests = [
        request
        for _ in range(_DRAWS)
        for ranges in ranges_of(np.sort(rng.choice(length, min(batch, length), replace=False, shuffle=False)))
        for request in RangePlan(ranges, gap=store.gap_bytes, part=store.part_bytes).requests
    ]
    return BatchCost(len(requests) / _DRAWS, sum(stop - start for start, stop in requests) / _DRAWS)


def batch_cost_of(iterator: DatasetIterator[Any], batch: int, store: ResourceOpener) -> BatchCost | None:
    """The same of an open dataset; None where it has no samples, or can't tell what they need before it reads them."""
    if not len(iterator) or iterator.byte_ranges([0]) is None:
        return None

    def ranges_of(rows: IndexArray) -> Sequence[Sequence[Range]]:
        return [request.ranges for request in iterator.byte_ranges(rows) or ()]

    return batch_cost(ranges_of, len(iterator), batch, store)
