"""A Parquet file in any store as samples: a batch fetches the row groups and columns that it needs, at once."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from datastack_fs.formats.parquet_file import ParquetGroups
from datastack_fs.formats.parquet_footer import ParquetFooter
from datastack_fs.formats.row_groups import CACHE_BYTES, RowGroupsDatasetIterator
from datastack_fs.iterators.base import DatasetMeta
from datastack_fs.iterators.columnar import Names
from datastack_fs.resource import StreamedResource


class ParquetDatasetIterator(RowGroupsDatasetIterator):
    """The rows of a Parquet file as samples; columns that are not asked for are never fetched.

    A row group can only be decoded as a whole, and is once: what was decoded last is kept. Reading in order is quick,
    and so is a shuffle of what fits ``cache_bytes``; a shuffle of more decodes row groups again for each batch. Write
    files for random access with row groups of few thousand rows.

    Args:
        resource: the file. It may be closed afterwards.
        sample: a column; several, which make a tuple; or a mapping of new names to columns, which makes a mapping.
            Without, a mapping of all columns but target and tag.
        target: the same for the target. Without sample and target, the target is the first of the columns ``targets
            labels target label y Y`` that there is; with ``sample`` alone, every target is None.
        tag: the same for the tag; without, every tag is that of ``meta``.
        vector: give the columns of a sample, which must be numbers, as one array of shape ``(columns,)``.
        meta: what is known about it. By default it is named by the file, with the classes that Hugging Face's
            ``datasets`` wrote down for the target.
        cache_bytes: how much of decoded row groups each process keeps; the last one is kept whatever its size.

    Values come as numpy has them, by the rules of ``formats.arrow_columns.numpy_column``: numbers, ``datetime64``,
    ``str`` and ``Decimal`` objects, lists as arrays, structs as mappings. In a column in which a value is missing
    anywhere in the file, integers are float64 with NaN, and bools are objects with None.

    Raises:
        DatasetNotFoundError: there is no column of that name; the message lists those that there are.
        DatasetFileCorruptError: it is no whole Parquet file, or an encrypted one.

    Examples:
        >>> import io, pyarrow as pa, pyarrow.parquet as pq
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector, file = MemoryStorageConnector("parquet-example"), io.BytesIO()
        >>> pq.write_table(pa.table({"name": ["owl", "wren"], "grams": [480, 9], "label": [0, 1]}), file)
        >>> info = connector.set_resource("birds.parquet", file.getvalue())
        >>> ParquetDatasetIterator(connector.get_resource("birds.parquet"))[1]
        ({'name': 'wren', 'grams': np.int64(9)}, np.int64(1), None)
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
        open_groups = partial(ParquetGroups, ParquetFooter(resource), cache_bytes)
        super().__init__(resource, open_groups, sample=sample, target=target, tag=tag, vector=vector, meta=meta)
        if meta is None:
            notes = self._groups.get().schema.metadata or {}
            self._meta = self.meta.replace(class_names=_class_names(notes, self._names[1]))


def _class_names(notes: dict[bytes, bytes], target: Any) -> tuple[str, ...] | None:
    """The names of the target's classes that Hugging Face's ``datasets`` leaves in the schema's metadata, if any.

    Source: https://github.com/huggingface/datasets, ``Features.arrow_schema``.
    """
    try:
        feature = json.loads(notes[b"huggingface"])["info"]["features"][target]
        names = feature["names"] if feature["_type"] == "ClassLabel" else None
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
