"""Datasets of an HDF5 file in any store, as samples, targets and tags; the file is read lazily, a batch at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.hdf5_file import HDF5File
from datastack_fs.formats.hdf5_rows import HDF5Rows
from datastack_fs.formats.named_arrays import usual_names
from datastack_fs.iterators.base import DatasetIterator, DatasetMeta
from datastack_fs.iterators.columnar import check_triple, constant
from datastack_fs.iterators.columns import own
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.processes import PerProcess
from datastack_fs.resource import ResourceInfo, ResourceOpener, StreamedResource

CLASS_NAMES: Final = "class_names"
"""Attribute of the targets that names their classes, in order."""

FEATURE_NAMES: Final = "feature_names"
"""Attribute of the samples that names the values of each, in order."""

_SAMPLE: Final = 0
_TARGET: Final = 1
_TAG: Final = 2
_ALL: Final = (_SAMPLE, _TARGET, _TAG)

FETCH_BYTES: Final = 16 << 20
"""Most that is fetched ahead of one read: half of what a remote reader can hold."""


class HDF5DatasetIterator(DatasetIterator[tuple[Any, Any, Any]]):
    """Datasets of an HDF5 file as (sample, target, tag): their first axes count the samples.

    The file is opened once in each process and read a batch at a time: from a remote store all bytes of the batch
    are fetched at once, and no chunk is read twice. Threads may share it; they take turns.

    Args:
        resource: the file. It may be closed afterwards.
        sample: the name (path) of the dataset that holds the samples. Without it, samples and targets are found: the
            first of ``samples images data features x X`` and of ``targets labels target label y Y`` at the top of
            the file, or, for the samples, the only other dataset there.
        target: the name of the dataset of the targets; with ``sample`` alone, every target is None.
        tag: the name of a dataset of tags; without, every tag is that of ``meta``.
        meta: what is known about it; by default it is named by the file. Names of classes that it lacks are those of
            the attribute ``class_names`` of the targets, names of features those of ``feature_names`` of the samples.

    Text comes as ``str``. What leads to other files (external links and storage, virtual datasets) is refused.

    Raises:
        DatasetNotFoundError: no dataset of that name; the message lists those that there are.
        DatasetFileCorruptError: it is no HDF5 file, a broken one, or its datasets don't fit together.

    Examples:
        >>> import io, h5py
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector, file = MemoryStorageConnector("hdf5-example"), io.BytesIO()
        >>> with h5py.File(file, "w") as birds:
        ...     birds["images"] = np.zeros((3, 8, 8), dtype=np.uint8)
        ...     birds["labels"] = [4, 5, 6]
        >>> info = connector.set_resource("birds.h5", file.getvalue())
        >>> iterator = HDF5DatasetIterator(connector.get_resource("birds.h5"))
        >>> image, label, _ = iterator[2]
        >>> image.shape, int(label)
        ((8, 8), 6)
    """

    def __init__(
        self,
        resource: StreamedResource,
        *,
        sample: str | None = None,
        target: str | None = None,
        tag: str | None = None,
        meta: DatasetMeta | None = None,
    ) -> None:
        self._readers = PerProcess(partial(_Reader, resource.connector, resource.info, sample, target, tag))
        reader = self._readers.get()
        self._length = reader.length
        if meta is None:
            meta = DatasetMeta(resource.identifier, PurePosixPath(resource.identifier).stem)
        meta = meta.replace(
            class_names=meta.class_names or reader.names(_TARGET, CLASS_NAMES),
            feature_names=meta.feature_names or reader.names(_SAMPLE, FEATURE_NAMES),
        )
        check_triple(meta)
        super().__init__(meta)

    def __len__(self) -> int:
        return self._length

    def _samples(self, indices: IndexArray) -> list[tuple[Any, Any, Any]]:
        samples, targets, tags = self._readers.get().read(indices, _ALL)
        parts: dict[int, Sequence[Any]] = {
            self.meta.sample_pos: _listed(samples, None, len(indices)),
            self.meta.target_pos: _listed(targets, None, len(indices)),
            self.meta.tag_pos: _listed(tags, self.meta.tag, len(indices)),
        }
        return list(zip(parts[0], parts[1], parts[2], strict=True))

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        (targets,) = self._readers.get().read(indices, [_TARGET])
        return np.full(len(indices), None, dtype=object) if targets is None else targets

    def _tags(self, indices: IndexArray) -> npt.NDArray[Any]:
        (tags,) = self._readers.get().read(indices, [_TAG])
        return constant(self.meta.tag, len(indices)) if tags is None else tags


class _Reader:
    """What one process has open of an iterator: the file, and the rows of its datasets."""

    def __init__(
        self,
        connector: ResourceOpener,
        info: ResourceInfo,
        sample: str | None,
        target: str | None,
        tag: str | None,
    ) -> None:
        # Made anew in a forked child, so never inherited in the locked state.
        self._lock = threading.Lock()
        self._file = HDF5File(connector.get_resource(info.identifier, info=info))
        with self._file.reading():
            if sample is None:
                sample, target = usual_names(self._file.names(), target, info.identifier, "dataset")
            names = (sample, target, tag)
            datasets = [None if name is None else self._file.dataset(name) for name in names]
            remote = self._file.resource is not None
            self._columns = [None if found is None else HDF5Rows(found, plan=remote) for found in datasets]
            self._datasets = datasets
        lengths = {name: rows.length for name, rows in zip(names, self._columns, strict=True) if rows is not None}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
            raise DatasetFileCorruptError(
                f"{info.identifier} in {connector.url}: as many rows are needed, but {listed}"
            )
        self.length = lengths[sample]

    def names(self, column: int, attribute: str) -> tuple[str, ...] | None:
        """The names that a column carries as an attribute, if it does."""
        with self._lock, self._file.reading():
            dataset = self._datasets[column]
            if dataset is None or attribute not in dataset.attrs:
                return None
            names = np.atleast_1d(dataset.attrs[attribute])
            return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)

    def read(self, indices: IndexArray, which: Sequence[int]) -> list[npt.NDArray[Any] | None]:
        """The rows of some of the columns, in the order of the indices; None for a column that there isn't."""
        wanted, places = np.unique(indices, return_inverse=True)
        with self._lock, self._file.reading():
            parts = self._read_sorted(wanted, [self._columns[number] for number in which])
        as_read = len(wanted) == len(indices) and bool(np.all(wanted == indices))
        return [rows if rows is None or as_read else rows[places] for rows in parts]

    def _read_sorted(self, indices: IndexArray, columns: Sequence[HDF5Rows | None]) -> list[npt.NDArray[Any] | None]:
        resource = self._file.resource
        if resource is not None and len(indices):
            ranges = sorted({found for rows in columns if rows is not None for found in rows.ranges(indices)})
            if len(indices) > 1 and sum(stop - start for start, stop in ranges) > FETCH_BYTES:
                middle = len(indices) // 2
                halves = [self._read_sorted(half, columns) for half in (indices[:middle], indices[middle:])]
                return [
                    None if a is None or b is None else np.concatenate([a, b]) for a, b in zip(*halves, strict=True)
                ]
            # Never wait for the network inside HDF5: it holds a lock that stops every other file meanwhile.
            resource.prefetch(ranges)
        return [None if rows is None else rows.read(indices) for rows in columns]


def _listed(rows: npt.NDArray[Any] | None, otherwise: Any, length: int) -> Sequence[Any]:
    if rows is None:
        return [otherwise] * length
    return [own(row) for row in rows] if rows.dtype.hasobject else list(rows)
