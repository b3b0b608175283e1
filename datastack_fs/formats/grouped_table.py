"""Tables that lie in groups of rows, which can only be decoded as a whole, as samples: Parquet and Arrow files."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

import numpy.typing as npt

from datastack_fs.formats.row_groups import RowGroups
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.columnar import Names
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.planning import Plan
from datastack_fs.iterators.tabular import TabularDatasetIterator
from datastack_fs.processes import PerProcess
from datastack_fs.resource import StreamedResource

CACHE_BYTES: Final = 256 << 20
"""Most that is kept of decoded groups; the last one is kept whatever its size."""


class GroupedTableDatasetIterator(TabularDatasetIterator):
    """A table in groups of rows as samples. A format writes ``_opener``.

    Args:
        resource: the file. It may be closed afterwards.
        sample: the columns of the sample; it, ``target``, ``tag`` and ``vector`` are as in ``TabularDatasetIterator``.
        target: those of the target.
        tag: those of the tag.
        vector: give the columns of a sample as one array.
        meta: what is known about it. By default it is named by the file, with the classes that Hugging Face's
            ``datasets`` wrote down for the target.
        cache_bytes: how much of decoded groups each process keeps; the last one is kept whatever its size.

    Values come as numpy has them, by the rules of ``formats.arrow_columns.numpy_column``: numbers, ``datetime64``,
    ``str`` and ``Decimal`` objects, lists as arrays, structs as mappings. In a column in which a value is missing
    anywhere in the file, integers are float64 with NaN, and bools are objects with None. A dictionary-encoded
    (categorical) column comes as its values, as text does; ``map_targets`` and ``encode`` number them.
    """

    labels_apart = True

    def __init__(
        self,
        resource: StreamedResource,
        *,
        sample: Names | None = None,
        target: Names | None = None,
        tag: Names | None = None,
        vector: bool = False,
        meta: DatasetMeta | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._groups = PerProcess(self._opener(resource, cache_bytes))
        groups = self._groups.get()
        self._length = len(groups)
        self._is_remote = resource.local_path is None
        known = meta or DatasetMeta(resource.identifier, PurePosixPath(resource.identifier).stem)
        super().__init__(groups.schema.names, known, sample=sample, target=target, tag=tag, vector=vector)
        if meta is None:
            self._meta = known.replace(class_names=_class_names(groups.schema.metadata or {}, self._names[1]))

    @staticmethod
    @abstractmethod
    def _opener(resource: StreamedResource, cache_bytes: int) -> Callable[[], RowGroups]:
        """What makes the groups of a process; it must pickle."""

    def __len__(self) -> int:
        return self._length

    def _read_columns(self, names: Sequence[str], indices: IndexArray) -> Mapping[str, npt.NDArray[Any]]:
        return self._groups.get().read(names, indices)

    def _plan_columns(self, names: Sequence[str], indices: IndexArray) -> Plan[Mapping[str, npt.NDArray[Any]]]:
        return self._groups.get().plan(names, indices) or super()._plan_columns(names, indices)

    def _blocks(self) -> Blocks | None:
        return self._groups.get().blocks

    def _is_planned(self) -> bool:
        return self._is_remote


def _class_names(notes: Mapping[bytes, bytes], target: Any) -> tuple[str, ...] | None:
    """The names of the target's classes that Hugging Face's ``datasets`` leaves in the schema's metadata, if any.

    Source: https://github.com/huggingface/datasets, ``Features.arrow_schema``.
    """
    try:
        feature = json.loads(notes[b"huggingface"])["info"]["features"][target]
        names = feature["names"] if feature["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
