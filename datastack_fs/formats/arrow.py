"""An Arrow IPC file (Feather V2) in any store as samples: the record batches and columns that a batch needs."""

from __future__ import annotations

from functools import partial

from datastack_fs.formats.arrow_file import ArrowBatches
from datastack_fs.formats.arrow_footer import ArrowFooter
from datastack_fs.formats.row_groups import CACHE_BYTES, RowGroupsDatasetIterator
from datastack_fs.iterators.base import DatasetMeta
from datastack_fs.iterators.columnar import Names
from datastack_fs.resource import StreamedResource


class ArrowDatasetIterator(RowGroupsDatasetIterator):
    """The rows of an Arrow IPC file, which is what Feather (version 2) is, as samples.

    From a remote store a batch is one request for the columns it needs of the record batches that have its rows; a
    file of this machine is mapped into memory.

    Args:
        resource: the file. It may be closed afterwards.
        sample: a column; several, which make a tuple; or a mapping of new names to columns, which makes a mapping.
            Without, a mapping of all columns but target and tag.
        target: the same for the target. Without sample and target, the target is the first of the columns ``targets
            labels target label y Y`` that there is; with ``sample`` alone, every target is None.
        tag: the same for the tag; without, every tag is that of ``meta``.
        vector: give the columns of a sample, which must be numbers, as one array of shape ``(columns,)``.
        meta: what is known about it.
        cache_bytes: how much of record batches each process keeps; the last one is kept whatever its size.

    Values come as those of a Parquet file (see ``ParquetDatasetIterator``).

    Raises:
        DatasetNotFoundError: there is no column of that name; the message lists those that there are.
        DatasetFileCorruptError: it is no whole Arrow file: a stream, or of the first version of Feather, for instance.

    Examples:
        >>> import io, pyarrow as pa
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector, file = MemoryStorageConnector("arrow-example"), io.BytesIO()
        >>> table = pa.table({"name": ["owl", "wren"], "label": [0, 1]})
        >>> with pa.ipc.new_file(file, table.schema) as writer:
        ...     writer.write_table(table)
        >>> info = connector.set_resource("birds.arrow", file.getvalue())
        >>> ArrowDatasetIterator(connector.get_resource("birds.arrow"), sample="name", target="label")[1]
        ('wren', np.int64(1), None)
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
        open_groups = partial(ArrowBatches, ArrowFooter(resource), cache_bytes)
        super().__init__(resource, open_groups, sample=sample, target=target, tag=tag, vector=vector, meta=meta)
