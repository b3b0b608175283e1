"""What one process has open of an HDF5 file that is read as samples: its columns, those of a batch read together."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import h5py
import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.hdf5_checks import check_type
from datastack_fs.formats.hdf5_decoded import DecodedRows, decoded_rows
from datastack_fs.formats.hdf5_file import HDF5File
from datastack_fs.formats.hdf5_lengths import length_check
from datastack_fs.formats.hdf5_mapped import MappedRows, is_plain, mapped_rows
from datastack_fs.formats.hdf5_rows import HDF5Rows, SingleValue, copies
from datastack_fs.formats.local import PinnedFile
from datastack_fs.formats.named_arrays import usual_names
from datastack_fs.formats.stored_array import StoredArray
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.columnar import Names, names_in
from datastack_fs.iterators.columns import ArrayColumn
from datastack_fs.iterators.contents import element_type
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.planning import Plan, joint
from datastack_fs.reading import BLOCK_BYTES, CACHE_BYTES
from datastack_fs.resource import Range, ResourceInfo, ResourceOpener

FETCH_BYTES: Final = CACHE_BYTES // 2
"""Most that is fetched ahead of one read, in whole blocks of a remote reader's cache."""

_SMALL: Final = 1 << 20
"""Bytes up to which a column of a remote file is read as a whole, once, as labels mostly are."""

_Column: TypeAlias = HDF5Rows | MappedRows | SingleValue | DecodedRows | StoredArray | ArrayColumn


class HDF5Reader:
    """The columns of an open HDF5 file, by name; threads may share it.

    Args:
        connector: where the file is.
        info: which version of it.
        names: those of sample, target and tag; a group's stands for the datasets directly in it.

    Attributes:
        names: the same, where nothing was said with what was found.
        length: how many samples there are.
    """

    def __init__(self, connector: ResourceOpener, info: ResourceInfo, names: Sequence[Names | None]) -> None:
        # Made anew in a forked child, so never inherited in the locked state.
        self._lock = threading.Lock()
        self._what = f"{info.identifier} in {connector.url}"
        self._connector, self._info = connector, info
        self._file = HDF5File(connector.get_resource(info.identifier, info=info))
        sample, target, tag = names
        with self._file.reading():
            if sample is None:
                sample, target = usual_names(self._file.names(), target, info.identifier, "dataset")
            self.names: tuple[Names | None, ...] = (sample, target, tag)
            self._datasets = self._find(list(dict.fromkeys(name for each in self.names for name in names_in(each))))
        self.length = self._common_length(names_in(sample))
        self._columns: dict[tuple[str, str | None], _Column] = {}
        self._mapped: dict[tuple[str, ...], Mapping[str, MappedRows] | None] = {}

    @property
    def is_remote(self) -> bool:
        """Whether the file has to be fetched."""
        return self._file.pin is None

    def read(self, names: Sequence[str], indices: IndexArray) -> dict[str, Any]:
        """Rows of some of the columns, as new arrays; a group's are a mapping. There may be no index, and no name."""
        key = tuple(names)
        if key not in self._mapped:
            self._mapped[key] = self._all_mapped(key)
        mapped = self._mapped[key]
        if mapped is None:
            return self.plan(names, indices).read()
        return {name: column.read(indices) for name, column in mapped.items()}

    def plan(self, names: Sequence[str], indices: IndexArray) -> Plan[dict[str, Any]]:
        """What is to be fetched for ``read``, and what it gives."""
        columns = self._opened(names)
        by_hdf5 = {leaf: column for leaf, column in columns.items() if isinstance(column, HDF5Rows)}
        plans = [self._plan(column, indices) for leaf, column in columns.items() if leaf not in by_hdf5]
        if by_hdf5:
            plans.append(self._plan_by_hdf5(list(by_hdf5.values()), indices))
        order = [leaf for leaf in columns if leaf not in by_hdf5]

        def named(read: list[Any]) -> dict[str, Any]:
            rows = dict(zip(order, read, strict=False))
            rows.update(zip(by_hdf5, read[-1] if by_hdf5 else (), strict=True))
            return {
                name: {member: rows[name, member] for member in self._members(name)}
                if isinstance(self._datasets[name], Mapping)
                else rows[name, None]
                for name in names
            }

        return joint(plans, named)

    def _opened(self, names: Sequence[str]) -> dict[tuple[str, str | None], _Column]:
        leaves = [(name, member) for name in names for member in self._members(name)]
        if any(leaf not in self._columns for leaf in leaves):
            with self._lock, self._file.reading():
                for leaf in leaves:
                    self._open(leaf)
        return {leaf: self._columns[leaf] for leaf in leaves}

    def _all_mapped(self, names: Sequence[str]) -> dict[str, MappedRows] | None:
        """The columns, if they are read without a plan, which takes as long as the rows of a small batch."""
        opened = self._opened(names)
        found = {name: column for (name, _), column in opened.items() if isinstance(column, MappedRows)}
        return found if all((name, None) in opened for name in names) and len(found) == len(opened) else None

    def _plan(self, column: _Column, indices: IndexArray) -> Plan[Any]:
        if isinstance(column, DecodedRows):
            if self._file.pin is None:
                return column.plan(self._connector, self._info, indices)
            pin = self._file.pin
            return Plan.of((), lambda _: column.read(pin, indices))
        if isinstance(column, (StoredArray, ArrayColumn)):
            return column.plan(indices)
        return Plan.unfetched(lambda: column.read(indices))

    def _plan_by_hdf5(self, columns: Sequence[HDF5Rows], indices: IndexArray) -> Plan[list[npt.NDArray[Any]]]:
        plan: Plan[list[npt.NDArray[Any]]] = Plan.of((), lambda _: self._read_by_hdf5(columns, indices))
        return dataclasses.replace(plan, is_known=False)

    def blocks(self, names: Sequence[str]) -> Blocks | None:
        """Which rows are fetched together, by the largest of some columns: its chunks, or what lies unchunked."""
        with self._lock, self._file.reading():
            leaves = [self._dataset(name, member) for name in names for member in self._members(name)]
            datasets = [dataset for dataset in leaves if dataset.shape]
            largest = max(datasets, key=lambda dataset: dataset.size * dataset.dtype.itemsize)
            if largest.chunks:
                return Blocks.of_rows(len(largest), largest.chunks[0])
            return Blocks.of_bytes(len(largest), largest.size * largest.dtype.itemsize // max(1, len(largest)))

    def contents(self) -> dict[str, str | None]:
        """What a value of each column is, in words; nothing of groups."""
        with self._lock, self._file.reading():
            return {name: _contents(found) for name, found in self._datasets.items()}

    def words(self, name: str, attribute: str) -> tuple[str, ...] | None:
        """The words that a dataset carries as an attribute, where it does."""
        with self._lock, self._file.reading():
            dataset = self._datasets[name]
            if isinstance(dataset, Mapping) or attribute not in dataset.attrs:
                return None
            check_type(dataset.attrs.get_id(attribute).get_type(), f"the attribute {attribute!r} of {name!r}")
            words = np.atleast_1d(dataset.attrs[attribute])
            return tuple(word.decode() if isinstance(word, bytes) else str(word) for word in words)

    def _find(self, names: Sequence[str]) -> dict[str, h5py.Dataset | dict[str, h5py.Dataset]]:
        found = {name: self._file.find(name) for name in names}
        named = {item for item in found.values() if isinstance(item, h5py.Dataset)}
        for name, item in found.items():
            if isinstance(item, h5py.Group):
                members = self._file.datasets_in(name, item)
                found[name] = {member: dataset for member, dataset in members.items() if dataset not in named}
                if not found[name]:
                    raise self._file.no_datasets(name)
        return found

    def _members(self, name: str) -> Sequence[str | None]:
        item = self._datasets[name]
        return list(item) if isinstance(item, Mapping) else [None]

    def _dataset(self, name: str, member: str | None) -> h5py.Dataset:
        item = self._datasets[name]
        return item if member is None else item[member]

    def _common_length(self, sample: Sequence[str]) -> int:
        lengths = {
            name if member is None else f"{name}/{member}": dataset.shape[0]
            for name in self._datasets
            for member in self._members(name)
            if (dataset := self._dataset(name, member)).shape
        }
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
            raise DatasetFileCorruptError(f"{self._what}: as many rows are needed, but {listed}")
        if not any(self._dataset(name, member).shape for name in sample for member in self._members(name)):
            raise DatasetFileCorruptError(
                f"{', '.join(map(repr, sample))} in {self._what} is a single value: it has no axis of samples"
            )
        return int(next(iter(lengths.values())))

    def _open(self, leaf: tuple[str, str | None]) -> None:
        if leaf in self._columns:
            return
        dataset, pin = self._dataset(*leaf), self._file.pin
        lengths = length_check(dataset, self._file.resource) if self._file.begins_with_magic else None
        if not dataset.shape:
            self._columns[leaf] = SingleValue(dataset, lengths)
        else:
            self._columns[leaf] = self._plain_column(dataset, pin) or HDF5Rows(
                dataset, self._file.chunk_index if pin is None else None, lengths
            )

    def _plain_column(self, dataset: h5py.Dataset, pin: PinnedFile | None) -> _Column | None:
        """The rows of a dataset whose bytes are those of numpy arrays; None where only HDF5 can read it."""
        # Behind a user block, not every version of HDF5 counts addresses from the first byte of the file.
        if not is_plain(dataset) or not self._file.begins_with_magic:
            return None
        if pin is not None and (mapped := mapped_rows(dataset, pin)):
            return mapped
        if pin is None and is_read_whole(dataset):
            rows = HDF5Rows(dataset, self._file.chunk_index)
            return ArrayColumn(self._read_sorted(np.arange(len(dataset)), [rows])[0])
        if dataset.chunks:
            return decoded_rows(dataset, f"{dataset.name!r} of {self._what}", self._info.size, self._file.chunk_index)
        start = dataset.id.get_offset()
        if pin is None and start is not None:
            shape = (*dataset.shape, *dataset.dtype.shape)
            return StoredArray(self._file.resource, shape, dataset.dtype.base, start)
        return None

    def _read_by_hdf5(self, columns: Sequence[HDF5Rows], indices: IndexArray) -> list[npt.NDArray[Any]]:
        if not columns:
            return []
        wanted, places = np.unique(indices, return_inverse=True)
        with self._lock, self._file.reading():
            parts = self._read_sorted(wanted, columns)
        if len(wanted) == len(indices) and bool(np.all(wanted == indices)):
            return parts
        return [rows[places] if len(wanted) == len(indices) else copies(rows[places]) for rows in parts]

    def _read_sorted(self, indices: IndexArray, columns: Sequence[HDF5Rows]) -> list[npt.NDArray[Any]]:
        if self._file.pin is None and len(indices):
            ranges = sorted({found for rows in columns for found in rows.ranges(indices)})
            if len(indices) > 1 and _blocks(ranges) * BLOCK_BYTES > FETCH_BYTES:
                middle = len(indices) // 2
                halves = [self._read_sorted(half, columns) for half in (indices[:middle], indices[middle:])]
                return [np.concatenate(pair) for pair in zip(*halves, strict=True)]
            # Never wait for the network inside HDF5: it holds a lock that stops every other file meanwhile.
            self._file.resource.prefetch(ranges)
        return [rows.read(indices) for rows in columns]


def is_read_whole(dataset: h5py.Dataset) -> bool:
    """Whether a dataset with an axis is read whole when it is first used, out of a remote file without a user block."""
    is_filtered = dataset.id.get_create_plist().get_nfilters() > 0  # a damaged chunk is an error of its rows alone
    return is_plain(dataset) and not is_filtered and bool(dataset.size * dataset.dtype.itemsize <= _SMALL)


def _blocks(ranges: Sequence[Range]) -> int:
    """How many blocks of a remote reader's cache sorted ranges take."""
    count, done = 0, -1
    for start, stop in ranges:
        first, last = max(start // BLOCK_BYTES, done + 1), (stop - 1) // BLOCK_BYTES
        count += max(0, last - first + 1)
        done = max(done, last)
    return count


def _contents(found: h5py.Dataset | Mapping[str, h5py.Dataset]) -> str | None:
    if isinstance(found, Mapping):
        return None
    is_text = h5py.check_string_dtype(found.dtype) is not None
    return "text" if is_text else element_type(found.dtype, found.shape[1:])
