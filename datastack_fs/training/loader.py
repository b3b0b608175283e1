"""A loader that knows which batches have arrived, and so where a killed job is to go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, SupportsIndex, TypeVar

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.orders import natural
from datastack_fs.metrics import Metrics
from datastack_fs.training.bad_samples import TolerantBatches, quarantined
from datastack_fs.training.sampler import ResumableBatchSampler

logger = logging.getLogger(__name__)

BatchT = TypeVar("BatchT")


class ResumableLoader(Generic[BatchT]):
    """Batches of a loader over a ``ResumableBatchSampler``, and the state after the one that is in use.

    ``state_dict()`` within the loop counts the batch of this turn as done. Each pass is the next epoch; after
    ``load_state_dict`` the first one begins with the very next batch, without reading those before it.

    Args:
        loader: torch's DataLoader, or whatever yields the batches of its ``batch_sampler`` (or ``sampler``) in order.
        log: called every so many batches with numbers by name, for a logger: the epoch and step, the seconds that the
            loop waited for batches and those that it used them, and, where the data is read in this process, the
            iterator's metrics, all since the call before.
        log_every: how many batches that are.

    Examples:
        >>> class Loader:
        ...     def __init__(self, iterator, batch_sampler):
        ...         self.iterator, self.batch_sampler = iterator, batch_sampler
        ...     def __iter__(self):
        ...         return map(self.iterator.take, self.batch_sampler)
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> numbers = SequenceDatasetIterator(np.arange(8))
        >>> loader = ResumableLoader(Loader(numbers, ResumableBatchSampler(numbers, 3, seed=1)))
        >>> samples, _, _ = next(iter(loader))
        >>> samples.tolist(), loader.state_dict()["step"]
        ([2, 4, 7], 1)
    """

    def __init__(
        self,
        loader: Iterable[BatchT],
        *,
        log: Callable[[dict[str, float]], object] | None = None,
        log_every: SupportsIndex = 100,
    ) -> None:
        self._loader = loader
        self._log = None if log is None else _Log(log, natural("log_every", log_every) or 1)
        found = [getattr(loader, name, None) for name in ("batch_sampler", "sampler")]
        samplers = [sampler for sampler in found if isinstance(sampler, ResumableBatchSampler)]
        if not samplers:
            raise TypeError(
                f"{type(loader).__name__} has no ResumableBatchSampler: make it with batch_sampler=…, or with "
                "sampler=… and batch_size=None over ColumnBatches(iterator)"
            )
        self.sampler = samplers[0]
        dataset = getattr(loader, "dataset", None)
        self._tolerant = dataset if isinstance(dataset, TolerantBatches) else None
        self._quarantine: dict[int, dict[str, Any]] = {}
        self._bad: list[int] = []
        self._epoch = self.sampler.epoch
        self._done = self.sampler.first_step

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[BatchT]:
        """The batches of this epoch that are left; the next one's, if there are none."""
        if self._done >= len(self.sampler):
            self.sampler.set_epoch(self._epoch + 1)
        self.sampler.restart()
        self._epoch, self._done = self.sampler.epoch, self.sampler.first_step
        began = time.monotonic()
        for each in self._loader:
            batch = each if self._tolerant is None else self._without_bad(each)
            self._done += 1
            arrived = time.monotonic()
            yield batch
            if self._log is not None:
                self._log.note(self, arrived - began, time.monotonic() - arrived)
            began = time.monotonic()

    @property
    def batch_sampler(self) -> ResumableBatchSampler:
        """The same as ``sampler``: where frameworks look for it in a DataLoader."""
        return self.sampler

    @property
    def epoch(self) -> int:
        """The epoch of the batch in use."""
        return self._epoch

    @property
    def step(self) -> int:
        """Batches of the epoch that have arrived, the one in use among them."""
        return self._done

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Which samples of the batch in use count: not those that fill it up, or replace one that can't be read."""
        mask = self.sampler.mask(self._done - 1)
        if not self._bad or self._tolerant is None:
            return mask
        indices = self.sampler.plan.batch(self._epoch, self._done - 1, self.sampler.rank)
        is_good = ~np.isin(indices, self._bad)
        if self._tolerant.on_bad == "replace":
            return mask & is_good
        return mask[is_good] if is_good.any() else np.zeros(1, np.bool_)

    @property
    def quarantine(self) -> list[dict[str, Any]]:
        """The samples that couldn't be read so far, of this rank, by their indices: see ``BadSample``."""
        return [self._quarantine[index] for index in sorted(self._quarantine)]

    def _without_bad(self, batch: Any) -> BatchT:
        columns, bad = quarantined(batch)
        self._bad = [int(each["index"]) for each in bad]
        for index, each in zip(self._bad, bad, strict=True):
            if index not in self._quarantine:
                logger.warning("sample %d can't be read: %s", index, each["error"])
                self._quarantine[index] = each
        return columns  # type: ignore[no-any-return]

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the next pass."""
        self.sampler.set_epoch(epoch)
        self._epoch, self._done = self.sampler.epoch, self.sampler.first_step

    def state_dict(self) -> dict[str, Any]:
        """The state after the batch in use: a small dict of what JSON has, the same for all ranks.

        Only the ``quarantine`` in it, where there is one, is this rank's own.
        """
        state = self.sampler.state_after(self._done, self._epoch)
        return state if self._tolerant is None else {**state, "quarantine": self.quarantine}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on after the last batch of a state, with whatever ranks and workers there are.

        Raises:
            ValueError: it is of other data, or of batches in another order; the message names what differs.
        """
        self.sampler.load_state_dict(state)
        self._epoch, self._done = self.sampler.epoch, self.sampler.first_step
        self._quarantine = {int(each["index"]): each for each in state.get("quarantine", ())}


class _Log:
    """What a loop did since it was told last."""

    def __init__(self, tell: Callable[[dict[str, float]], object], every: int) -> None:
        self._tell, self._every = tell, every
        self._batches = 0
        self._waited = self._used = 0.0
        self._before: Metrics | None = None

    def note(self, loader: ResumableLoader[Any], waited: float, used: float) -> None:
        self._batches += 1
        self._waited += waited
        self._used += used
        if self._batches < self._every:
            return
        now = loader.sampler.iterator.metrics
        since = now - (self._before or Metrics())
        times = {"epoch": loader.epoch, "step": loader.step, "waited_seconds": self._waited, "used_seconds": self._used}
        self._batches, self._waited, self._used, self._before = 0, 0.0, 0.0, now
        self._tell({**times, **since.as_dict()})
