"""Datasets of an HDF5 file in any store, as samples, targets and tags; the file is read lazily, a batch at a time."""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final

import numpy.typing as npt

from datastack_fs.formats.hdf5_reader import HDF5Reader
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
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.planning import Plan
from datastack_fs.processes import PerProcess
from datastack_fs.resource import StreamedResource

CLASS_NAMES: Final = "class_names"
"""Attribute of the targets that names their classes, in order."""


FEATURE_NAMES: Final = "feature_names"
"""Attribute of the samples that names the values of each, in order."""


class HDF5DatasetIterator(ColumnarDatasetIterator):
    """Datasets of an HDF5 file as (sample, target, tag): their first axes count the samples.

    The file is opened once in each process and read a batch at a time: from a remote store all bytes of the batch
    are fetched at once, and no chunk is read twice. In a local file, datasets without filters are read from a memory
    map. Threads may share it.

    Args:
        resource: the file. It may be closed afterwards.
        sample: the path of the dataset that holds the samples (``"images"``, ``"train/images"``); or several, as a
            list (samples are tuples) or a mapping (they are mappings). Without it, samples and targets are found: the
            first of ``samples images data features x X`` and of ``targets labels target label y Y`` at the top of
            the file, or, for the samples, the only other dataset there.
        target: the same for the targets; with ``sample`` alone, every target is None.
        tag: the same for the tags; without, every tag is that of ``meta``.
        meta: what is known about it; by default it is named by the file. Names of classes that it lacks are those of
            the attribute ``class_names`` of the targets, names of features those of ``feature_names`` of the samples.

    The path of a group stands for a mapping of all datasets directly in it, by name, but for those that are named
    themselves. A dataset without an axis is one value, which all samples share.

    Values come as numpy has them: numbers of any byte order, booleans, complex numbers, and compound types as
    structured arrays. Text comes as ``str`` (in compound types: that of variable length), enums as their numbers,
    variable-length rows as one array each. References are refused, and what leads to other files (external links and
    storage, virtual datasets).

    Raises:
        DatasetNotFoundError: no dataset of that name; the message lists those that there are.
        DatasetFileCorruptError: it is no HDF5 file, a broken one, or its datasets don't fit together.
        MaliciousFilePathError: a dataset leads to another file.
        MissingDependencyError: a dataset needs a filter that is not installed.

    Examples:
        >>> import io, h5py, numpy as np
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
        sample: Names | None = None,
        target: Names | None = None,
        tag: Names | None = None,
        meta: DatasetMeta | None = None,
    ) -> None:
        names = (sample, target, tag)
        for each in names:
            names_in(each)  # what are no names is refused before anything is opened
        self._readers = PerProcess(partial(HDF5Reader, resource.connector, resource.info, names))
        reader = self._readers.get()
        self._names, self._length, self._is_remote = reader.names, reader.length, reader.is_remote
        self._wanted = tuple(dict.fromkeys(name for each in self._names for name in names_in(each)))
        if meta is None:
            meta = DatasetMeta(resource.identifier, PurePosixPath(resource.identifier).stem)
        features, classes = (
            reader.words(name, attribute) if isinstance(name, str) else None
            for name, attribute in zip(self._names[:2], (FEATURE_NAMES, CLASS_NAMES), strict=True)
        )
        meta = meta.replace(class_names=meta.class_names or classes, feature_names=meta.feature_names or features)
        check_triple(meta)
        super().__init__(meta)
        self._stored_together = reader.blocks(names_in(self._names[0]))
        self._words = contents_of(meta, self._names, reader.contents())

    def __len__(self) -> int:
        return self._length

    def _contents(self) -> tuple[str | None, ...] | None:
        return self._words  # kept: in another process the file may not be open yet

    def _take(self, indices: IndexArray) -> tuple[Any, ...]:
        return triple(self.meta, self._names, self._readers.get().read(self._wanted, indices), len(indices))

    def _plan(self, indices: IndexArray) -> Plan[tuple[Any, ...]]:
        rows = self._readers.get().plan(self._wanted, indices)
        return rows.then(lambda columns: triple(self.meta, self._names, columns, len(indices)))

    def _is_planned(self) -> bool:
        return self._is_remote

    def _blocks(self) -> Blocks | None:
        return self._stored_together

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        return labels_at(self._names[1], None, indices, self._readers.get().read)

    def _tags(self, indices: IndexArray) -> npt.NDArray[Any]:
        return labels_at(self._names[2], self.meta.tag, indices, self._readers.get().read)
