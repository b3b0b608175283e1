"""What views, shuffles and the like share: one selection of the samples of another iterator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator, check_iterator
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.chunks import read_in_chunks
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.planning import Plan
from datastack_fs.iterators.selections import Selection, looked_up, read_only
from datastack_fs.iterators.stacking import SampleT_co

_HOOKS = ("_samples", "_take", "_targets", "_tags")


class IndexMapDatasetIterator(DatasetIterator[SampleT_co]):
    """Samples of another iterator, named by one range or array of indices that is closed to writing.

    Maps over maps collapse when they are made: ``_source`` is never such a map itself, so however many stand on each
    other, a batch takes one step down. A kind of map sets ``_indices``; it isn't meant for other projects.
    """

    _indices: Selection

    def __init__(self, source: DatasetIterator[SampleT_co], meta: DatasetMeta, view_tags: Mapping[str, str]) -> None:
        super().__init__(meta)
        self._source = source
        self._view_tags = dict(view_tags)

    @property
    def view_tags(self) -> Mapping[str, str]:
        """The tags of this view and of those under it."""
        return MappingProxyType(self._view_tags)

    @property
    def underlying_iterators(self) -> tuple[DatasetIterator[SampleT_co]]:
        """The one iterator that the indices lead to."""
        return (self._source,)

    def __len__(self) -> int:
        return len(self._indices)

    def _sample(self, index: int) -> SampleT_co:
        return self._source._sample(int(self._indices[index]))

    def _samples(self, indices: IndexArray) -> list[SampleT_co]:
        return self._source._read(looked_up(self._indices, indices))

    def _take(self, indices: IndexArray) -> tuple[Any, ...]:
        return self._source._take(looked_up(self._indices, indices))

    def _plan(self, indices: IndexArray) -> Plan[tuple[Any, ...]]:
        return self._source._plan(looked_up(self._indices, indices))

    def _is_planned(self) -> bool:
        return self._source._is_planned()

    def _below(self, index: int) -> tuple[DatasetIterator[Any], int]:
        return self._source, int(self._indices[index])

    def _blocks(self) -> Blocks | None:
        blocks = self._source._blocks()
        return None if blocks is None else blocks.selected(self._indices)

    def _is_columnar(self) -> bool:
        return self._is_plain() and self._source._is_columnar()

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._source._targets(looked_up(self._indices, indices))

    def _tags(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._source._tags(looked_up(self._indices, indices))

    def _chunks(self) -> Iterator[list[SampleT_co]]:
        if not self._is_plain():
            return super()._chunks()
        # The selection of this moment: an epoch set while a loop runs must not mix two orders in it.
        return read_in_chunks(self._source._read, self._indices)

    def _is_plain(self) -> bool:
        """Whether it is a map and no more: a subclass that reads in its own way must not be passed over."""
        cls = type(self)
        return all(getattr(cls, hook) is getattr(IndexMapDatasetIterator, hook) for hook in _HOOKS)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        read_only(self._indices)  # a pickle forgets it


def source_of(
    iterator: DatasetIterator[SampleT_co],
) -> tuple[DatasetIterator[SampleT_co], Selection | None, Mapping[str, str]]:
    """What an index map over that iterator should stand on: the source, the selection of it, the tags so far."""
    check_iterator(iterator)
    if isinstance(iterator, IndexMapDatasetIterator) and iterator._is_plain():
        return iterator._source, iterator._indices, iterator.view_tags
    return iterator, None, {}
