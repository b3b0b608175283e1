"""Rows of a table of text by number, taken apart into their fields."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Final

import numpy as np

from datastack_fs.formats.csv_dialect import CSVDialect
from datastack_fs.formats.row_index import Run
from datastack_fs.formats.text_rows import TextRows
from datastack_fs.iterators.indices import IndexArray

_UNREADABLE: Final = (UnicodeDecodeError, csv.Error, ValueError)


class RowParser:
    """Reads rows and gives their fields.

    Args:
        rows: the text.
        dialect: how it is written.
        width: how many fields each row has.
    """

    def __init__(self, rows: TextRows, dialect: CSVDialect, width: int) -> None:
        self._rows, self._dialect, self._width = rows, dialect, width

    def read(self, rows: IndexArray) -> Iterator[tuple[IndexArray, list[list[str]]]]:
        """Yields rows, which ascend and differ, in pieces of bounded size: their numbers, and the fields of each.

        Raises:
            DatasetFileCorruptError: a row can't be read; it is named by its line.
        """
        for runs in self._rows.read(rows):
            numbers = np.concatenate([np.arange(run.first, run.stop) for run, _ in runs])
            yield numbers, [record for run, content in runs for record in self._records(run, content)]

    def _records(self, run: Run, content: bytes) -> list[list[str]]:
        try:
            records = list(self._dialect.records(content.decode(self._dialect.encoding)))
            if len(records) != run.stop - run.first or any(len(record) != self._width for record in records):
                raise ValueError(f"it has not {self._width} fields, as its index says: the index is of other data")
        except _UNREADABLE as error:
            if run.stop - run.first > 1:
                return [record for row, part in self._rows.split(run, content) for record in self._records(row, part)]
            hint = "; encoding='latin-1' or another may be right" if isinstance(error, UnicodeDecodeError) else ""
            raise self._rows.error(run.first, f"can't be read: {error}{hint}") from error
        return records
