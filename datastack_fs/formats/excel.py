"""A sheet of an Excel workbook (``.xlsx``, ``.xlsm``) in any store as samples: read into memory once per process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final

import numpy.typing as npt

from datastack_fs.formats.csv_types import MISSING
from datastack_fs.formats.excel_sheet import Sheet, Table, read_sheet
from datastack_fs.iterators.columnar import Names
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.tabular import TabularDatasetIterator
from datastack_fs.processes import PerProcess
from datastack_fs.resource import StreamedResource

MAX_BYTES: Final = 1 << 30


class ExcelDatasetIterator(TabularDatasetIterator):
    """The rows of a sheet as samples. A workbook has no random access: each process reads the sheet once, as a whole.

    The first row names the columns; one without a name is called by its letter. Rows and columns without any value are
    passed over. Types are told by all cells of a column:

    - ``int64`` or ``float64`` if all are numbers, ``bool`` if all are TRUE or FALSE, ``datetime64[us]`` if all are
      dates, ``timedelta64[us]`` if all are durations; anything else is objects: ``str``, times of day, and the cells as
      they are where a column mixes kinds.
    - A missing value is NaN (integers become float64 then), NaT, or None among objects and bools. A cell is missing
      where it is empty, where its row ends before it, and where it holds an error such as ``#DIV/0!``, of which a
      warning tells.

    A formula is what the spreadsheet program last saved as its value; a workbook that none has calculated has no such
    values, so those cells are empty.

    Args:
        resource: the file. It may be closed afterwards.
        sheet: the name of the sheet, or its number, from 0.
        header: whether the first row names the columns; or their names, for a sheet that doesn't. With False they are
            called ``"A"``, ``"B"``, ...
        skip: rows at the top that are passed over.
        missing: texts that stand for a missing value. Without, in columns that otherwise have no text, those are
            ``NA N/A NaN nan null NULL``.
        sample: the columns of the sample; it, ``target``, ``tag`` and ``vector`` are as in ``TabularDatasetIterator``.
        target: those of the target.
        tag: those of the tag.
        vector: give the columns of a sample as one array.
        meta: what is known about it.
        max_bytes: the most that the workbook may unpack to.

    Raises:
        DatasetNotFoundError: there is no sheet or column of that name; the message lists those that there are.
        DatasetFileCorruptError: it is no whole workbook, an older one (``.xls``) or one with a password, or unpacks to
            more than ``max_bytes``.

    Examples:
        >>> import io, openpyxl
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector, file = MemoryStorageConnector("excel-example"), io.BytesIO()
        >>> workbook = openpyxl.Workbook()
        >>> for row in [("name", "grams", "label"), ("owl", 480, 0), ("wren", None, 1)]:
        ...     workbook.active.append(row)
        >>> workbook.save(file)
        >>> info = connector.set_resource("birds.xlsx", file.getvalue())
        >>> ExcelDatasetIterator(connector.get_resource("birds.xlsx"))[1]
        ({'name': 'wren', 'grams': np.float64(nan)}, np.int64(1), None)
    """

    def __init__(
        self,
        resource: StreamedResource,
        *,
        sheet: str | int = 0,
        header: bool | Sequence[str] = True,
        skip: int = 0,
        missing: Sequence[str] | None = None,
        sample: Names | None = None,
        target: Names | None = None,
        tag: Names | None = None,
        vector: bool = False,
        meta: DatasetMeta | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        if isinstance(missing, str) or isinstance(header, str):
            raise TypeError("missing and header are lists of texts, not one text")
        layout = Sheet(sheet, header if isinstance(header, bool) else tuple(header), skip)
        texts = frozenset(MISSING if missing is None else missing)
        read = partial(
            read_sheet,
            resource.connector,
            resource.info,
            layout,
            texts,
            also_in_text=missing is not None,
            max_bytes=max_bytes,
        )
        self._tables: PerProcess[Table] = PerProcess(read)
        table = self._tables.get()
        self._length = table.length
        meta = meta or DatasetMeta(resource.identifier, PurePosixPath(resource.identifier).stem)
        super().__init__(table.names, meta, sample=sample, target=target, tag=tag, vector=vector)

    def __len__(self) -> int:
        return self._length

    def _read_columns(self, names: Sequence[str], indices: IndexArray) -> Mapping[str, npt.NDArray[Any]]:
        table = self._tables.get()
        return {name: table.columns[table.names.index(name)][indices] for name in names}
