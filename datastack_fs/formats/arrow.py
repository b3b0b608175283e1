"""An Arrow IPC file (Feather V2) in any store as samples: the record batches and columns that a batch needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from datastack_fs.formats.arrow_file import ArrowBatches
from datastack_fs.formats.arrow_footer import ArrowFooter
from datastack_fs.formats.grouped_table import GroupedTableDatasetIterator
from datastack_fs.formats.row_groups import RowGroups
from datastack_fs.resource import StreamedResource


class ArrowDatasetIterator(GroupedTableDatasetIterator):
    """The rows of an Arrow IPC file, which is what Feather (version 2) is, as samples.

    From a remote store a batch is one request for the columns it needs of the record batches that have its rows; a
    file of this machine is mapped into memory.

    Arguments, and what values come as, are those of ``GroupedTableDatasetIterator``.

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

    @staticmethod
    def _opener(resource: StreamedResource, cache_bytes: int) -> Callable[[], RowGroups]:
        return partial(ArrowBatches, ArrowFooter(resource), cache_bytes)
