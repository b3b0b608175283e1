"""How a report is made: what is looked at, counted and timed, and what happens when that fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator, check_iterator
from datastack_fs.iterators.contents import one_line
from datastack_fs.iterators.labels import label_array
from datastack_fs.iterators.report.examples import MOST_EXAMPLES, example
from datastack_fs.iterators.report.looking import (
    MOST_LABELS,
    MOST_LABELS_OF_SAMPLES,
    has_labels_apart,
    is_remote,
    leaves_of,
    remote_budget,
    spread,
)
from datastack_fs.iterators.report.model import Example, Report, SpeedReport, TargetReport
from datastack_fs.iterators.report.reading import read_samples
from datastack_fs.iterators.report.speed import measure
from datastack_fs.iterators.report.summary import Summary
from datastack_fs.iterators.report.targets import target_report
from datastack_fs.iterators.tree import format_of, text_lines, tree_of

MOST_PARTS: Final = 20
"""So many iterators below the one asked for get a report of their own."""

PART_SAMPLES: Final = 64
REMOTE_TIMED: Final = 128
"""So many samples of a remote store are timed in each order, at most."""

_BATCH: Final = 1024
_REMOTE_BATCH: Final = 32  # of more, scattered over a small file, so many are near one another that most is fetched

T = TypeVar("T")


def report(iterator: DatasetIterator[Any], *, samples: int = 256, seconds: float = 2.0, full: bool = False) -> Report:
    """Looks at an iterator, and at those that it stands on.

    Some samples are looked at: in runs of neighbours from the first to the last, always the same ones. Labels are all
    counted where they can be had without samples and are not more than five million (or, of local data, where not more
    than a hundred thousand samples are read for them); else those of some, or of the samples looked at. Reading is
    timed in order and at random. Of a remote store, about a hundredth of the samples is read for each of these
    purposes, of a small one up to a quarter, and never all. Looking ends early after 30 seconds or 256 MiB;
    ``looked_at`` says how far it came.

    What can't be read stands in the report's ``problems``: a report is made of damaged data too.

    Args:
        iterator: what to report on.
        samples: how many to look at, at most; of the iterators below, 64 at most.
        seconds: for the timing, all in all; 0 leaves it away.
        full: look at every sample and count every label, however many there are and wherever they are.

    Examples:
        >>> from datastack_fs.iterators import DatasetMeta, SequenceDatasetIterator
        >>> meta = DatasetMeta("birds", "birds", class_names=("owl", "wren"))
        >>> birds = SequenceDatasetIterator(np.ones((30, 8, 8)), [0] * 10 + [1] * 20, meta=meta)
        >>> found = report(birds.shuffle(seed=1), seconds=0)
        >>> [(each.name, each.types) for each in found.columns[:2]]
        [('sample', ('float64 (8, 8)',)), ('target', ('int',))]
        >>> [(each.label, each.count) for each in found.targets.classes], found.targets.imbalance
        ([('owl', 10), ('wren', 20)], 2.0)
        >>> found.save("birds.html")
    """
    check_iterator(iterator)
    if samples < 1:
        raise ValueError(f"a report looks at one sample or more, not at {samples}")
    if seconds < 0:
        raise ValueError(f"seconds must not be negative: {seconds}")
    return _Reports().of(iterator, samples, seconds, full=full)


class _Reports:
    """The reports of one stack: one for each iterator, and not too many."""

    def __init__(self) -> None:
        self._seen: dict[int, DatasetIterator[Any]] = {}

    def of(self, iterator: DatasetIterator[Any], samples: int, seconds: float, *, full: bool) -> Report:
        self._seen[id(iterator)] = iterator
        look = _Look(iterator, samples, seconds, full)
        parts, left_out = [], 0
        for part in iterator.underlying_iterators:
            if id(part) in self._seen:
                continue
            if len(self._seen) > MOST_PARTS:
                left_out += 1
            else:
                parts.append(self.of(part, min(PART_SAMPLES, samples), 0, full=False))
        return look.report(tuple(parts), left_out)


class _Look:
    """What is found out about one iterator."""

    def __init__(self, iterator: DatasetIterator[Any], samples: int, seconds: float, full: bool) -> None:
        self._iterator = iterator
        self._length = len(iterator)
        self._full = full
        self._is_remote = is_remote(iterator)
        self._most = samples if full or not self._is_remote else remote_budget(iterator, samples)
        self._problems: list[str] = []
        self._is_reachable = True
        names = dict(zip(iterator.meta.positions, ("sample", "target", "tag"), strict=True))
        self._summary = Summary([names.get(place, f"[{place}]") for place in range(max(names) + 1)])
        self._examples: list[Example] = []
        self._labels: list[Any] = []
        self._looked_at = 0
        started = time.monotonic()
        if self._length:
            self._try("samples", self._look)
        self._sample_seconds = (time.monotonic() - started) / max(1, self._looked_at)
        self._targets = self._try("targets", self._count_labels)
        self._speed: tuple[SpeedReport, ...] = ()
        if seconds and self._looked_at:
            most = min(self._most, REMOTE_TIMED) if self._is_remote and not full else None
            self._speed = self._try("speed", lambda: measure(iterator, seconds, most, self._sample_seconds)) or ()

    def report(self, parts: tuple[Report, ...], left_out: int) -> Report:
        """All of it."""
        meta = self._iterator.meta
        leaves = leaves_of(self._iterator)
        if self._targets is not None and self._targets.unnamed:
            self._problems.append(f"targets: {self._targets.unnamed:,} are outside the named classes")
        return Report(
            one_line(type(self._iterator).__name__),
            one_line(meta.name),
            None if meta.tag is None else one_line(meta.tag),
            one_line(meta.identifier, 200),
            self._length,
            dict(zip(("sample", "target", "tag"), meta.positions, strict=True)),
            None if meta.class_names is None else tuple(one_line(name, 60) for name in meta.class_names),
            **_stored(leaves),
            is_remote=self._is_remote,
            looked_at=self._looked_at,
            columns=tuple(self._summary.columns()),
            columns_left_out=len(self._summary.left_out),
            targets=self._targets,
            speed=self._speed,
            examples=tuple(self._examples),
            tree=tuple(text_lines(tree_of(self._iterator))),
            problems=tuple(self._problems),
            parts=parts,
            parts_left_out=left_out + sum(part.parts_left_out for part in parts),
        )

    def _try(self, what: str, find: Callable[[], T]) -> T | None:
        if not self._is_reachable:
            return None
        try:
            return find()
        except Exception as error:  # noqa: BLE001 (the report says what is wrong with the data, or with its functions)
            self._note(what, error)
            return None

    def _note(self, what: str, error: Exception) -> None:
        self._problems.append(f"{what}: {one_line(f'{type(error).__name__}: {error}', 300)}")
        self._is_reachable = not isinstance(error, ConnectionError)

    def _look(self) -> None:
        meta = self._iterator.meta
        chosen = np.arange(self._length, dtype=np.int64) if self._full else spread(self._length, self._most)
        for_show = set(chosen[spread(len(chosen), MOST_EXAMPLES, runs=MOST_EXAMPLES)].tolist())
        batch = _REMOTE_BATCH if self._is_remote and not self._full else _BATCH
        for samples in read_samples(self._iterator, chosen, self._note, batch=batch, is_bounded=not self._full):
            self._looked_at += len(samples)
            self._summary.add([sample for _, sample in samples])
            if not self._full:
                self._labels += [sample[meta.target_pos] for _, sample in samples]
            self._examples += [example(index, sample, meta) for index, sample in samples if index in for_show]

    def _count_labels(self) -> TargetReport:
        return target_report(self._found_labels(), self._length, self._iterator.meta.class_names)

    def _found_labels(self) -> npt.NDArray[Any]:
        if self._full:
            return self._iterator.targets()
        if not has_labels_apart(self._iterator) and (self._is_remote or self._length > MOST_LABELS_OF_SAMPLES):
            return label_array(self._labels)
        if self._length <= MOST_LABELS:
            return self._iterator.targets()
        return self._iterator._targets(spread(self._length, MOST_LABELS))


def _stored(leaves: list[DatasetIterator[Any]]) -> dict[str, Any]:
    """What is known of the one resource that everything is read from."""
    origin = leaves[0].origin if len(leaves) == 1 else None
    if origin is None:
        return {}
    return {
        "store": one_line(origin.store, 200),
        "resource": origin.identifier and one_line(origin.identifier, 900),
        "format": format_of(leaves[0]),
        "size": origin.size,
        "checksum": origin.checksum and one_line(origin.checksum),
    }
