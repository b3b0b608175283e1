"""Several iterators side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator, check_iterator
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.planning import Plan, joint


class ZippedDatasetIterator(DatasetIterator[tuple[Any, Any, Any]]):
    """Several iterators of one length side by side: a sample is the tuple of theirs.

    Args:
        iterators: the parts.
        labelled_by: the number of the part whose targets and tags count.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> left, right = SequenceDatasetIterator(["a", "b"], [0, 1]), SequenceDatasetIterator(["c", "d"])
        >>> ZippedDatasetIterator([left, right])[1]
        (('b', 'd'), 1, None)
    """

    def __init__(self, iterators: Iterable[DatasetIterator[Any]], *, labelled_by: int = 0) -> None:
        self._parts = tuple(iterators)
        if not self._parts:
            raise ValueError("ZippedDatasetIterator needs at least one iterator")
        for part in self._parts:
            check_iterator(part)
            if len(part) != len(self._parts[0]):
                raise ValueError(
                    f"iterators side by side need one length: {self._parts[0].meta.name!r} has "
                    f"{len(self._parts[0])} samples, {part.meta.name!r} has {len(part)}"
                )
        self._labelled = self._parts[labelled_by]
        meta = self._labelled.meta
        super().__init__(
            DatasetMeta(
                "+".join(part.meta.identifier for part in self._parts),
                "+".join(part.meta.name for part in self._parts),
                meta.tag,
                class_names=meta.class_names,
            )
        )

    @property
    def underlying_iterators(self) -> tuple[DatasetIterator[Any], ...]:
        """The parts."""
        return self._parts

    def __len__(self) -> int:
        return len(self._labelled)

    def _samples(self, indices: IndexArray) -> list[tuple[Any, Any, Any]]:
        batches = {id(part): part._read(indices) for part in self._parts}
        places = [part.meta.sample_pos for part in self._parts]
        rows = zip(*[batches[id(part)] for part in self._parts], strict=True)
        labelled, meta = batches[id(self._labelled)], self._labelled.meta
        return [
            (
                tuple(sample[place] for sample, place in zip(row, places, strict=True)),
                own[meta.target_pos],
                own[meta.tag_pos],
            )
            for row, own in zip(rows, labelled, strict=True)
        ]

    def _is_columnar(self) -> bool:
        return all(part._is_columnar() for part in self._parts)

    def _take(self, indices: IndexArray) -> tuple[Any, ...]:
        return self._side_by_side({id(part): part._take(indices) for part in self._parts})

    def _plan(self, indices: IndexArray) -> Plan[tuple[Any, ...]]:
        plans = {id(part): part._plan(indices) for part in self._parts}
        return joint(list(plans.values()), lambda batches: self._side_by_side(dict(zip(plans, batches, strict=True))))

    def _is_planned(self) -> bool:
        return any(part._is_planned() for part in self._parts)

    def _blocks(self) -> Blocks | None:
        """Those of the first part that has any: samples can keep near each other in one way only."""
        return next((blocks for part in self._parts if (blocks := part._blocks()) is not None), None)

    def _side_by_side(self, batches: Mapping[int, tuple[Any, ...]]) -> tuple[Any, ...]:
        """The columns of a batch made of those of each part, by its identity."""
        labelled, meta = batches[id(self._labelled)], self._labelled.meta
        samples = tuple(batches[id(part)][part.meta.sample_pos] for part in self._parts)
        return samples, labelled[meta.target_pos], labelled[meta.tag_pos]

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._labelled._targets(indices)

    def _tags(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._labelled._tags(indices)
