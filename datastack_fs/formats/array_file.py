"""What formats share that keep one array in a file: its rows are the samples, and labels come from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.columnar import check_triple
from datastack_fs.iterators.columns import ArrayColumn, Column, ColumnsDatasetIterator, ConstantColumn
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.resource import StreamedResource

Targets: TypeAlias = "StreamedResource | str | Sequence[Any] | npt.NDArray[Any] | None"
"""Labels: a file of the same format, the name of one in the same store, or an array."""


class ArrayFileDatasetIterator(ColumnsDatasetIterator[tuple[Any, Any, Any]]):
    """The rows of an array in a file as samples.

    Args:
        resource: the file of the samples.
        read: makes the column of a file.
        targets: as many labels; without, every target is None.
        meta: what is known about it; its tag is the tag of every sample.
    """

    def __init__(
        self,
        resource: StreamedResource,
        read: Callable[[StreamedResource], Column],
        targets: Targets,
        meta: DatasetMeta | None,
    ) -> None:
        meta = meta or DatasetMeta(resource.identifier, PurePosixPath(resource.identifier).name.partition(".")[0])
        check_triple(meta)
        samples = read(resource)
        length = len(samples)
        if isinstance(targets, str):
            with resource.connector.get_resource(targets) as found:
                labels = read(found)
        else:
            labels = _labels(targets, read, length)
        if len(labels) != length:
            raise ValueError(f"{resource.identifier} has {length} rows, but there are {len(labels)} targets")
        columns = [samples, labels, ConstantColumn(meta.tag, length)]
        placed = sorted(zip(meta.positions, columns, strict=True), key=lambda pair: pair[0])
        super().__init__(meta, [column for _, column in placed], length)


def _labels(targets: Any, read: Callable[[StreamedResource], Column], length: int) -> Column:
    if targets is None:
        return ConstantColumn(None, length)
    if isinstance(targets, StreamedResource):
        return read(targets)
    array = np.asarray(targets)
    if array.ndim == 0:
        raise TypeError("targets must be a resource, the name of one, or an array with one label for each row")
    return ArrayColumn(array)
