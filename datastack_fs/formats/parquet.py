"""A Parquet file in any store as samples: a batch fetches the row groups and columns that it needs, at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from datastack_fs.formats.grouped_table import GroupedTableDatasetIterator
from datastack_fs.formats.parquet_file import ParquetGroups
from datastack_fs.formats.parquet_footer import ParquetFooter
from datastack_fs.formats.row_groups import RowGroups
from datastack_fs.resource import StreamedResource


class ParquetDatasetIterator(GroupedTableDatasetIterator):
    """The rows of a Parquet file as samples; columns that are not asked for are never fetched.

    A row group can only be decoded as a whole, and is once: what was decoded last is kept. Reading in order is quick,
    and so is a shuffle of what fits ``cache_bytes``; a shuffle of more decodes row groups again for each batch. Write
    files for random access with row groups of few thousand rows.

    Arguments, and what values come as, are those of ``GroupedTableDatasetIterator``. Columns that are encrypted under a
    plain footer can't be asked for; the others can.

    Raises:
        DatasetNotFoundError: there is no column of that name; the message lists those that there are.
        DatasetFileCorruptError: it is no whole Parquet file, or what is asked for is encrypted.

    Examples:
        >>> import io, pyarrow as pa, pyarrow.parquet as pq
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector, file = MemoryStorageConnector("parquet-example"), io.BytesIO()
        >>> pq.write_table(pa.table({"name": ["owl", "wren"], "grams": [480, 9], "label": [0, 1]}), file)
        >>> info = connector.set_resource("birds.parquet", file.getvalue())
        >>> ParquetDatasetIterator(connector.get_resource("birds.parquet"))[1]
        ({'name': 'wren', 'grams': np.int64(9)}, np.int64(1), None)
    """

    @staticmethod
    def _opener(resource: StreamedResource, cache_bytes: int) -> Callable[[], RowGroups]:
        return partial(ParquetGroups, ParquetFooter(resource), cache_bytes)
