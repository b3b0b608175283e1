"""What an epoch will cost, before anything of it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.kept_resources import KeptResources
from datastack_fs.iterators.planning import ByteRanges, merged
from datastack_fs.reading import RangePlan
from datastack_fs.resource import ResourceOpener

_BATCHES: Final = 64
"""So many are planned; the others cost as much on average."""


@dataclass(frozen=True)
class EpochCost:
    """What all batches of an epoch will ask of a store.

    Attributes:
        batches: in the epoch.
        requests: that the store is sent.
        fetched_bytes: in its answers.
        used_bytes: that the batches want of these, each for itself.
        is_kept: whether the whole resource is fetched once, and kept in memory.
    """

    batches: int
    requests: float
    fetched_bytes: float
    used_bytes: float
    is_kept: bool

    def price(self, for_1000_requests: float, for_a_gigabyte: float) -> float:
        """By a price list.

        Examples:
            >>> EpochCost(4, requests=2000, fetched_bytes=3e9, used_bytes=3e9, is_kept=False).price(0.0004, 0.09)
            0.2708
        """
        return round(self.requests / 1000 * for_1000_requests + self.fetched_bytes / 1e9 * for_a_gigabyte, 6)


def epoch_cost(
    order: DatasetIterator[Any], batch: int, store: ResourceOpener, max_bytes: int = 256 << 20
) -> EpochCost | None:
    """What ``order.batches(batch, max_bytes=max_bytes)`` will ask a store for; nothing is fetched for it.

    Args:
        order: a dataset in the order of the epoch: a shuffle, say.
        batch: samples in a batch.
        store: says which ranges are joined, and which are cut.
        max_bytes: as ``batches`` has it.

    Returns:
        None where a format can't tell what it will read, or nothing will be fetched.
    """
    count = -(-len(order) // batch)
    kept = KeptResources(max_bytes // 2)
    requests = fetched = used = 0
    planned = min(count, _BATCHES)
    for number in range(planned):
        plan = order._plan(np.arange(number * batch, min((number + 1) * batch, len(order)), dtype=np.int64))
        if not plan.is_known or (number == 0 and not plan.requests):
            return None
        if number == 0:
            kept.choose(plan.requests, count)
        used += sum(stop - start for request in merged(plan.requests) for start, stop in request.ranges)
        for wanted in kept.missing(plan.requests):
            parts = RangePlan(wanted.ranges, gap=store.gap_bytes, part=store.part_bytes).requests
            requests += len(parts)
            fetched += sum(stop - start for start, stop in parts)
    if planned == 0:
        return None
    scale = count / planned
    whole = _whole(kept, plan.requests)
    if whole is not None:
        return EpochCost(count, -(-whole // store.part_bytes), whole, used * scale, is_kept=True)
    return EpochCost(count, requests * scale, fetched * scale, used * scale, is_kept=False)


def _whole(kept: KeptResources, requests: list[ByteRanges] | Any) -> int | None:
    """The bytes of all resources, if all are kept."""
    sizes = {request.resource: int(request.info.size) for request in requests if kept.keeps(request)}
    return sum(sizes.values()) if all(kept.keeps(request) for request in requests) else None
