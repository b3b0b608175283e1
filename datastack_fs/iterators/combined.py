"""Several iterators, one after the other."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator, check_iterator
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.gathered import GatheredColumns
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.joined import PartOfBatch, joined_columns
from datastack_fs.iterators.labels import join_labels, samples_of
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.planning import Plan, joint
from datastack_fs.iterators.stacking import SampleT_co

_SHOWN_NAMES = 4


class CombinedDatasetIterator(DatasetIterator[SampleT_co]):
    """Several iterators, one after the other; a batch reaches each of them as one batch.

    Args:
        iterators: the parts; parts that are combined themselves are taken apart.
        meta: of the whole. By default it is made of the parts' metas, which must agree in the positions within a
            sample and, where they have them, in the names of the classes.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> both = CombinedDatasetIterator([SequenceDatasetIterator(["a", "b"]), SequenceDatasetIterator(["c"])])
        >>> both.__getitems__([2, 0])
        [('c', None, None), ('a', None, None)]
    """

    def __init__(self, iterators: Iterable[DatasetIterator[SampleT_co]], meta: DatasetMeta | None = None) -> None:
        given = list(iterators)
        if not given:
            raise ValueError("CombinedDatasetIterator needs at least one iterator")
        self._parts = tuple(_flattened(given))
        # One for each part: a + b + c is the same as joining the three at once. What a caller decided for some stays.
        metas = [meta_of_part for iterator in given for meta_of_part in _metas(iterator)]
        _check_positions([*metas, meta] if meta else metas)
        self._metas = (meta,) if meta else tuple(metas)
        super().__init__(meta or _joined(metas))
        self._starts = np.cumsum([0, *map(len, self._parts)], dtype=np.int64)
        self._starts_list: list[int] = self._starts.tolist()  # for one index, bisect is faster than searchsorted
        self._number_type = np.min_scalar_type(len(self._parts))  # numpy sorts the narrow ones by counting
        self._joined = joined_columns(self._parts)

    @property
    def underlying_iterators(self) -> tuple[DatasetIterator[SampleT_co], ...]:
        """The parts."""
        return self._parts

    def __len__(self) -> int:
        return self._starts_list[-1]

    def _sample(self, index: int) -> SampleT_co:
        number = bisect_right(self._starts_list, index) - 1
        return self._parts[number]._sample(index - self._starts_list[number])

    def _samples(self, indices: IndexArray) -> list[SampleT_co]:
        order, batches = self._by_part(indices)
        if self._is_planned() and all(self._parts[number]._is_columnar() for number, _, _ in batches):
            columns = joint([self._parts[number]._plan(local) for number, local, _ in batches], list).read()
            samples = [sample for each in columns for sample in samples_of(each)]
        else:
            samples = [sample for number, local, _ in batches for sample in self._parts[number]._read(local)]
        if order is None:
            return samples
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        return [samples[place] for place in places.tolist()]

    def _take(self, indices: IndexArray) -> tuple[Any, ...]:
        _, batches = self._by_part(indices)
        if len(batches) == 1:
            ((number, local, _),) = batches
            return self._parts[number]._take(local)
        if self._joined is not None:
            return tuple(column.gathered(len(indices), batches) for column in self._joined)
        return _joined_columns(batches, (self._parts[number]._take(local) for number, local, _ in batches))

    def _plan(self, indices: IndexArray) -> Plan[tuple[Any, ...]]:
        _, batches = self._by_part(indices)
        plans = [self._parts[number]._plan(local) for number, local, _ in batches]
        return plans[0] if len(plans) == 1 else joint(plans, lambda columns: _joined_columns(batches, columns))

    def _is_planned(self) -> bool:
        return any(part._is_planned() for part in self._parts)

    def _below(self, index: int) -> tuple[DatasetIterator[Any], int]:
        number = bisect_right(self._starts_list, index) - 1
        return self._parts[number], index - self._starts_list[number]

    def _blocks(self) -> Blocks | None:
        blocks = [part._blocks() for part in self._parts]
        known = [each for each in blocks if each is not None]
        if not known:
            return None
        rows = max(1, sum(each.length for each in known) // max(1, sum(map(len, known))))  # for what has none
        pairs = zip(self._parts, blocks, strict=True)
        return Blocks.joined([each or Blocks.of_rows(len(part), rows) for part, each in pairs])

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._gathered(lambda part, local: part._targets(local), indices)

    def _tags(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._gathered(lambda part, local: part._tags(local), indices)

    def _gathered(
        self, read: Callable[[DatasetIterator[SampleT_co], IndexArray], npt.NDArray[Any]], indices: IndexArray
    ) -> npt.NDArray[Any]:
        """What is read of each part, in the order of the indices."""
        if not len(indices):
            return read(self._parts[0], indices)
        order, batches = self._by_part(indices)
        values = join_labels([read(self._parts[number], local) for number, local, _ in batches])
        if order is None:
            return values
        placed = np.empty_like(values)
        placed[order] = values
        return placed

    def _by_part(self, indices: IndexArray) -> tuple[IndexArray | None, list[PartOfBatch]]:
        """The indices as one batch for each part that has any, and the order that they are in then.

        The order is None when they were grouped by part already.
        """
        numbers = (self._starts.searchsorted(indices, side="right") - 1).astype(self._number_type)
        local = indices - self._starts[numbers]
        order = None
        if (numbers[1:] < numbers[:-1]).any():
            order = numbers.argsort(kind="stable")
            local = local[order]
        batches: list[PartOfBatch] = []
        start = 0
        counts = np.bincount(numbers)
        present = np.flatnonzero(counts)
        for number, count in zip(present.tolist(), counts[present].tolist(), strict=True):
            rows = slice(start, start + count)
            batches.append((number, local[rows], rows if order is None else order[rows]))
            start += count
        return order, batches


def _joined_columns(batches: Sequence[PartOfBatch], columns: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The columns of the parts, each row at its place in the batch."""
    gathered = GatheredColumns(sum(len(local) for _, local, _ in batches))
    for part, (_, _, rows) in zip(columns, batches, strict=True):
        gathered.add(part, rows)
    return gathered.finished()


def _flattened(iterators: Iterable[DatasetIterator[SampleT_co]]) -> Iterator[DatasetIterator[SampleT_co]]:
    for iterator in iterators:
        check_iterator(iterator)
        if type(iterator) is CombinedDatasetIterator:
            yield from iterator._parts
        else:
            yield iterator


def _metas(iterator: DatasetIterator[Any]) -> tuple[DatasetMeta, ...]:
    return iterator._metas if type(iterator) is CombinedDatasetIterator else (iterator.meta,)


def _check_positions(metas: Sequence[DatasetMeta]) -> None:
    first = metas[0]
    for meta in metas:
        if meta.positions != first.positions:
            raise ValueError(
                "iterators can't be joined: (sample, target, tag) stand at positions "
                f"{first.positions} in {first.name!r} and at {meta.positions} in {meta.name!r}"
            )


def _joined(metas: Sequence[DatasetMeta]) -> DatasetMeta:
    return metas[0].replace(
        identifier=_words([meta.identifier for meta in metas]),
        name=_words([meta.name for meta in metas]),
        tag=_words([meta.tag for meta in metas if meta.tag is not None]) or None,
        class_names=_common_classes(metas),
    )


def _common_classes(metas: Sequence[DatasetMeta]) -> tuple[str, ...] | None:
    named = [meta for meta in metas if meta.class_names is not None]
    for meta in named:
        if meta.class_names != named[0].class_names:
            raise ValueError(
                f"iterators can't be joined: {named[0].name!r} and {meta.name!r} name their classes differently, "
                "so one target would mean two things; CombinedDatasetIterator(..., meta=...) says what holds"
            )
    return named[0].class_names if len(named) == len(metas) else None


def _words(words: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(words))
    if len(distinct) > _SHOWN_NAMES:
        distinct[1:-1] = [f"({len(distinct) - 2} more)"]
    return "+".join(distinct)
