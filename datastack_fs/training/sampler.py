"""A batch sampler whose place is a small dict: any number of workers and ranks goes on from it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final, SupportsIndex

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.orders import natural
from datastack_fs.iterators.ranks import rank_and_world_size
from datastack_fs.training.batch_plan import BatchPlan, BlockOrder, Last, Order, ShuffledOrder, StoredOrder
from datastack_fs.training.fingerprint import DataFingerprint

_VERSION: Final = 1


class ResumableBatchSampler:
    """Batches of indices for one rank, in an order that a seed decides: a ``batch_sampler`` of torch's DataLoader.

    Its place is told by ``state_after``, or by a ``ResumableLoader`` around the DataLoader, which counts the batches
    that arrive: workers draw batches long before they are used, so a sampler alone cannot know.

    Args:
        iterator: what the indices are of.
        batch_size: samples of a step, of all ranks together.
        seed: decides the order.
        shuffle: True for another order in each epoch; False for that in which samples stand, which asks for no seed; or
            an order of your own.
        window: shuffle by blocks, so many of them mixed, as ``iterator.shuffle_blocks`` does.
        rank: which of the ranks; by default that of ``torch.distributed``, else of ``$RANK``, else 0.
        world_size: how many ranks there are; like ``rank``.
        last: what becomes of samples that fill no batch: ``"drop"``, or ``"pad"`` with others, which ``mask`` tells.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> letters = SequenceDatasetIterator(list("abcdefgh"))
        >>> sampler = ResumableBatchSampler(letters, 4, seed=1)
        >>> list(sampler)
        [[2, 4, 7, 5], [0, 6, 3, 1]]
        >>> again = ResumableBatchSampler(letters, 4, seed=1, rank=1, world_size=2)
        >>> again.load_state_dict(sampler.state_after(1, epoch=0))
        >>> next(iter(again))
        [3, 1]
    """

    def __init__(
        self,
        iterator: DatasetIterator[Any],
        batch_size: SupportsIndex,
        *,
        seed: SupportsIndex | None = None,
        shuffle: bool | Order = True,
        window: SupportsIndex | None = None,
        rank: SupportsIndex | None = None,
        world_size: SupportsIndex | None = None,
        last: Last = "drop",
    ) -> None:
        found_rank, found_size = rank_and_world_size()
        self.iterator = iterator
        length = len(iterator)
        order = _order(iterator, shuffle, seed, window)
        size = natural("world_size", found_size if world_size is None else world_size)
        self.plan = BatchPlan(order, length, natural("batch_size", batch_size), size, last)
        self.rank = natural("rank", found_rank if rank is None else rank)
        if self.rank >= size:
            raise ValueError(f"there is no rank {self.rank} among {size}")
        self._epoch = self._first = 0
        self._is_through = False

    @property
    def epoch(self) -> int:
        """The epoch whose batches come."""
        return self._epoch

    @property
    def first_step(self) -> int:
        """The step that comes first: 0, or in the epoch of a state that was loaded the one after it."""
        return self._first

    def set_epoch(self, epoch: SupportsIndex) -> None:
        """Chooses the epoch, from its first step on; the epoch that a state was loaded in goes on where it was."""
        number = natural("epoch", epoch)
        if number != self._epoch:
            self._epoch, self._first, self._is_through = number, 0, False

    def restart(self) -> None:
        """Lets the next pass begin where this one did, even if all its batches were drawn."""
        self._is_through = False

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self.plan.steps

    def __iter__(self) -> DrawnBatches:
        """The batches of the epoch that are left; the next one's, if all of this one were drawn before."""
        if self._is_through:
            self.set_epoch(self._epoch + 1)
        return DrawnBatches(self, self._epoch, self._first)

    def mask(self, step: SupportsIndex) -> npt.NDArray[np.bool_]:
        """Which samples of this rank's batch count, and do not just fill up the last one."""
        return self.plan.mask(step, self.rank)

    def state_after(self, steps: SupportsIndex, epoch: SupportsIndex | None = None) -> dict[str, Any]:
        """The state of a job that has used so many batches of an epoch: values that JSON has.

        It holds nothing of ranks and workers. Of the data a few samples are read, the first time.
        """
        done = natural("steps", steps)
        number = self._epoch if epoch is None else natural("epoch", epoch)
        if done > self.plan.steps:
            raise ValueError(f"an epoch has {self.plan.steps} steps, so {done} can't be done")
        return {**self._identity, "epoch": number, "step": done, "data": self._fingerprint.as_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on after the last batch of a state, whatever ranks and workers there were.

        Raises:
            ValueError: it is of other data, or of batches in another order; the message names what differs.
        """
        unlike = {name: state.get(name) for name, value in self._identity.items() if state.get(name) != value}
        if unlike:
            ours = {name: self._identity[name] for name in unlike}
            raise ValueError(f"the state is of other batches: it has {unlike}, and this sampler {ours}")
        saved = DataFingerprint.from_dict(state["data"])
        if not saved.matches(self._fingerprint):
            raise ValueError(f"the state is of other data: of [{saved}], and this is [{self._fingerprint}]")
        epoch, step = natural("epoch", state["epoch"]), natural("step", state["step"])
        if step >= self.plan.steps:
            epoch, step = epoch + 1, 0
        self._epoch, self._first, self._is_through = epoch, step, False

    @property
    def _identity(self) -> dict[str, Any]:
        plan = self.plan
        return {"version": _VERSION, **plan.order.identity, "batch_size": plan.batch_size, "last": plan.last}

    @cached_property
    def _fingerprint(self) -> DataFingerprint:
        return DataFingerprint.of(self.iterator)


class DrawnBatch(list[int]):
    """The indices of one batch, which know where they come.

    Attributes:
        epoch: the epoch that the batch is of.
        step: its number in that.
    """

    epoch: int
    step: int

    @classmethod
    def of(cls, plan: BatchPlan, epoch: int, step: int, rank: int) -> DrawnBatch:
        """The batch of a step and a rank."""
        batch = cls(plan.batch(epoch, step, rank).tolist())
        batch.epoch, batch.step = epoch, step
        return batch


class DrawnBatches(Iterator[DrawnBatch]):
    """The batches of one epoch, one after the other; torchdata's StatefulDataLoader keeps the place of it."""

    def __init__(self, sampler: ResumableBatchSampler, epoch: int, step: int) -> None:
        self._sampler, self._epoch, self._step = sampler, epoch, step

    def __next__(self) -> DrawnBatch:
        plan = self._sampler.plan
        if self._step >= plan.steps:
            if self._sampler.epoch == self._epoch:
                self._sampler._is_through = True
            raise StopIteration
        batch = DrawnBatch.of(plan, self._epoch, self._step, self._sampler.rank)
        self._step += 1
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The state after the batches that were drawn."""
        return self._sampler.state_after(self._step, self._epoch)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on after the last batch of a state."""
        self._sampler.load_state_dict(state)
        self._epoch, self._step = self._sampler.epoch, self._sampler.first_step


def _order(
    iterator: DatasetIterator[Any], shuffle: bool | Order, seed: SupportsIndex | None, window: SupportsIndex | None
) -> Order:
    if not isinstance(shuffle, bool):
        return shuffle
    if not shuffle:
        return StoredOrder(len(iterator))
    if seed is None:
        raise TypeError("a shuffled order needs seed=…, given explicitly; shuffle=False keeps that of the samples")
    blocks = None if window is None else iterator._blocks()
    if blocks is None or window is None:
        return ShuffledOrder(len(iterator), natural("seed", seed))
    return BlockOrder(blocks, natural("seed", seed), natural("window", window))
