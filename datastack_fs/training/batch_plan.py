"""Which samples make the batch of a step and a rank: a pure function, that no process keeps a state for."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, SupportsIndex, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.keyed import order_of
from datastack_fs.iterators.orders import natural
from datastack_fs.iterators.selections import Selection, looked_up
from datastack_fs.iterators.windowed import WindowedOrder

Last: TypeAlias = Literal["drop", "pad"]
"""What becomes of samples that fill no batch: left out, or filled up with others, which ``BatchPlan.mask`` tells."""


class Order(Protocol):
    """The order of all samples in each epoch."""

    @property
    def identity(self) -> dict[str, int | str]:
        """What tells it from other orders of as many samples: kept in saved states."""

    def at_epoch(self, epoch: int) -> Selection:
        """The order of an epoch: indices of all samples."""


@dataclass(frozen=True)
class ShuffledOrder:
    """Another permutation in each epoch, as ``iterator.shuffle(seed, epoch)`` has it.

    Examples:
        >>> ShuffledOrder(4, seed=1).at_epoch(0).tolist()
        [2, 0, 3, 1]
    """

    length: int
    seed: int

    @property
    def identity(self) -> dict[str, int | str]:  # noqa: D102
        return {"order": "shuffled", "seed": self.seed}

    def at_epoch(self, epoch: int) -> Selection:  # noqa: D102
        return order_of(self.length, self.seed, epoch)


@dataclass(frozen=True)
class StoredOrder:
    """The order in which samples stand, in every epoch."""

    length: int

    @property
    def identity(self) -> dict[str, int | str]:  # noqa: D102
        return {"order": "stored"}

    def at_epoch(self, epoch: int) -> Selection:  # noqa: D102
        return range(self.length)


@dataclass(frozen=True)
class BlockOrder:
    """Another order of blocks in each epoch, the samples of some mixed, as ``iterator.shuffle_blocks`` has it.

    Examples:
        >>> BlockOrder(Blocks.of_rows(6, 2), seed=1, window=2).at_epoch(0).at(np.arange(6)).tolist()
        [4, 5, 0, 1, 3, 2]
    """

    blocks: Blocks
    seed: int
    window: int

    @property
    def identity(self) -> dict[str, int | str]:  # noqa: D102
        return {"order": "blocks", "seed": self.seed, "window": self.window, "blocks": len(self.blocks)}

    def at_epoch(self, epoch: int) -> Selection:  # noqa: D102
        return WindowedOrder(self.blocks, self.seed, epoch, self.window)


@dataclass(frozen=True)
class BatchPlan:
    """The batches of all epochs, steps and ranks: a function of what it is made with, and of nothing else.

    The batch of a step is the same for any number of ranks: each takes its share of it, one after the other. So a job
    may go on with other ranks, and sees what it would have seen.

    Args:
        order: of the samples in each epoch.
        length: how many samples there are.
        batch_size: samples of a step, of all ranks together; a multiple of ``world_size``.
        world_size: how many ranks share a step.
        last: ``"drop"`` leaves out samples at an epoch's end that fill no batch; ``"pad"`` fills the last batch up with
            the first ones of the epoch, so that every rank has as many batches.

    Examples:
        >>> plan = BatchPlan(StoredOrder(10), 10, batch_size=4, world_size=2, last="pad")
        >>> plan.steps, plan.batch(0, step=2, rank=0).tolist(), plan.batch(0, step=2, rank=1).tolist()
        (3, [8, 9], [0, 1])
        >>> plan.mask(step=2, rank=1).tolist()
        [False, False]
    """

    order: Order
    length: int
    batch_size: int
    world_size: int = 1
    last: Last = "drop"
    _kept: dict[int, Selection] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.last not in get_args(Last):
            raise ValueError(f"last must be one of {', '.join(map(repr, get_args(Last)))}, not {self.last!r}")
        for name in ("length", "batch_size", "world_size"):
            object.__setattr__(self, name, natural(name, getattr(self, name)))
        if self.world_size < 1 or self.batch_size < 1 or self.batch_size % self.world_size:
            raise ValueError(
                f"a batch of {self.batch_size} samples can't be shared by {self.world_size} ranks alike: batch_size is "
                "of all ranks together, and must be a multiple of world_size"
            )
        if self.last == "pad" and not self.length:
            raise ValueError("without any sample, no batch can be filled up")

    @property
    def steps(self) -> int:
        """Batches in an epoch: as many for each rank."""
        return self.length // self.batch_size if self.last == "drop" else -(-self.length // self.batch_size)

    @property
    def share(self) -> int:
        """Samples of a batch that one rank gets."""
        return self.batch_size // self.world_size

    def batch(self, epoch: SupportsIndex, step: SupportsIndex, rank: SupportsIndex = 0) -> IndexArray:
        """The indices of a rank's share of a step.

        Raises:
            IndexError: there is no such step or rank.
        """
        places = self._places(step, rank)
        return looked_up(self._order_in(operator.index(epoch)), places % self.length)

    def mask(self, step: SupportsIndex, rank: SupportsIndex = 0) -> npt.NDArray[np.bool_]:
        """Which samples of a rank's share count: not those that fill the last batch up.

        Over all steps and ranks each sample counts once.
        """
        return self._places(step, rank) < self.length

    def _places(self, step: SupportsIndex, rank: SupportsIndex) -> IndexArray:
        at, who = operator.index(step), operator.index(rank)
        if not 0 <= at < self.steps:
            raise IndexError(f"there is no step {at}: an epoch has {self.steps}")
        if not 0 <= who < self.world_size:
            raise IndexError(f"there is no rank {who} among {self.world_size}")
        first = at * self.batch_size + who * self.share
        return np.arange(first, first + self.share, dtype=np.int64)

    def _order_in(self, epoch: int) -> Selection:
        """The order of an epoch; that of the last one asked for is kept."""
        order = self._kept.get(epoch)
        if order is None:
            order = self.order.at_epoch(epoch)
            self._kept.clear()
            self._kept[epoch] = order
        return order

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}
