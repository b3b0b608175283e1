"""What formats share that keep several arrays by name: some of them are samples, targets and tags."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final, TypeVar

import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.columnar import (
    ColumnarDatasetIterator,
    Names,
    check_triple,
    contents_of,
    labels_at,
    names_in,
    triple,
)
from datastack_fs.iterators.columns import Column
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.planning import Plan, joint
from datastack_fs.iterators.tabular import TARGET_NAMES
from datastack_fs.resource import StreamedResource

SAMPLE_NAMES: Final = ("samples", "images", "data", "features", "x", "X")
NamesT = TypeVar("NamesT", str | None, Names | None)
_MOST_LISTED: Final = 20


class NamedArraysDatasetIterator(ColumnarDatasetIterator):
    """Arrays of one file as (sample, target, tag): their first axes count the samples.

    Args:
        resource: the file.
        names: the arrays in it.
        open_array: makes the column of one of them.
        sample: the array of the samples; or several, as a list (samples are tuples) or a mapping (they are mappings).
            Without, samples and targets are found by the usual names, or the samples are the only array there.
        target: the same for the targets; with ``sample`` alone, every target is None.
        tag: the same for the tags; without, every tag is that of ``meta``.
        meta: what is known about it.

    Raises:
        DatasetNotFoundError: no array of that name; the message lists those that there are.
        DatasetFileCorruptError: the arrays differ in length.
    """

    def __init__(
        self,
        resource: StreamedResource,
        names: Collection[str],
        open_array: Callable[[str], Column],
        *,
        sample: Names | None,
        target: Names | None,
        tag: Names | None,
        meta: DatasetMeta | None,
    ) -> None:
        super().__init__(meta or DatasetMeta(resource.identifier, PurePosixPath(resource.identifier).stem))
        check_triple(self.meta)
        self._connector, self._info = resource.connector, resource.info
        if sample is None:
            sample, target = usual_names(names, target, resource.identifier)
        self._names: tuple[Names | None, ...] = (sample, target, tag)
        wanted = dict.fromkeys(name for each in self._names for name in names_in(each))
        for name in wanted:
            if name not in names:
                raise DatasetNotFoundError(f"no array {name!r} in {resource.identifier}; it has {_listing(names)}")
        self._columns: Mapping[str, Column] = {name: open_array(name) for name in wanted}
        lengths = {name: len(column) for name, column in self._columns.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
            raise DatasetFileCorruptError(f"{resource.identifier}: as many rows are needed, but {listed}")
        self._length = next(iter(lengths.values()))

    def __len__(self) -> int:
        return self._length

    def _take(self, indices: IndexArray) -> tuple[Any, ...]:
        return triple(self.meta, self._names, self._read_arrays(list(self._columns), indices), len(indices))

    def _plan(self, indices: IndexArray) -> Plan[tuple[Any, ...]]:
        arrays = self._plan_arrays(list(self._columns), indices)
        return arrays.then(lambda columns: triple(self.meta, self._names, columns, len(indices)))

    def _is_planned(self) -> bool:
        return any(column.is_planned() for column in self._columns.values())

    def _blocks(self) -> Blocks | None:
        found = [self._columns[name].blocks() for name in names_in(self._names[0])]
        return next((blocks for blocks in found if blocks is not None), None)

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        return labels_at(self._names[1], None, indices, self._read_arrays)

    def _tags(self, indices: IndexArray) -> npt.NDArray[Any]:
        return labels_at(self._names[2], self.meta.tag, indices, self._read_arrays)

    def _contents(self) -> tuple[str | None, ...] | None:
        return contents_of(self.meta, self._names, {name: array.contents() for name, array in self._columns.items()})

    def _read_arrays(self, names: Sequence[str], indices: IndexArray) -> dict[str, Any]:
        if self._is_planned():
            return self._plan_arrays(names, indices).read()
        return {name: self._columns[name].column(indices) for name in names}

    def _plan_arrays(self, names: Sequence[str], indices: IndexArray) -> Plan[dict[str, Any]]:
        plans = [self._columns[name].plan(indices) for name in names]
        return joint(plans, lambda arrays: dict(zip(names, arrays, strict=True)))


def usual_names(
    names: Collection[str], target: NamesT, identifier: str, kind: str = "array"
) -> tuple[str, NamesT | str]:
    """The names of samples and targets where a caller says none: ``samples images data features x X``, and so on.

    Examples:
        >>> usual_names(["images", "labels", "ids"], None, "birds.npz")
        ('images', 'labels')
    """
    found: NamesT | str = target
    if target is None:
        found = next((name for name in TARGET_NAMES if name in names), target)
    others = [name for name in names if name not in names_in(found)]
    sample = next((name for name in SAMPLE_NAMES if name in others), others[0] if len(others) == 1 else None)
    if sample is None:
        raise DatasetNotFoundError(
            f"{identifier}: which {kind} holds the samples? Say sample=…, one of: {_listing(others)}"
        )
    return sample, found


def _listing(names: Collection[str]) -> str:
    shown = ", ".join(map(repr, sorted(names)[:_MOST_LISTED])) or "none"
    more = len(names) - _MOST_LISTED
    return shown + (f" and {more} more" if more > 0 else "")
