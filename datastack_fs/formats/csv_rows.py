"""Rows of a table of text by number, taken apart into their fields."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Final

import numpy as np

from datastack_fs.formats.csv_dialect import CSVDialect
from datastack_fs.formats.row_index import Run
from datastack_fs.formats.text_rows import RunBytes, TextRows
from datastack_fs.iterators.indices import IndexArray

AT_ONCE: Final = 2048
"""Rows that are taken apart at a time."""


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
            yield from self.parse(runs)

    def parse(self, runs: Sequence[RunBytes]) -> Iterator[tuple[IndexArray, list[list[str]]]]:
        """Yields rows with their fields as ``read`` does, of bytes that were fetched."""
        numbers = np.concatenate([np.arange(run.first, run.stop) for run, _ in runs])
        records = chain.from_iterable(self._records(run, content) for run, content in runs)
        # Few at a time: lists that live long would keep Python's collector busy.
        for start in range(0, len(numbers), AT_ONCE):
            yield numbers[start : start + AT_ONCE], list(islice(records, AT_ONCE))

    def _records(self, run: Run, content: bytes) -> Iterator[list[str]]:
        row = run.first
        try:
            for record in self._dialect.records(content.decode(self._dialect.encoding)):
                if len(record) != self._width or row == run.stop:
                    break
                yield record
                row += 1
        except UnicodeDecodeError as error:
            row = self._rows.row_at(run.start + error.start)
            reason = f"is no {error.encoding} ({error.reason}): encoding='latin-1' or another may be right"
            raise self._rows.error(row, reason) from error
        except csv.Error as error:
            raise self._rows.error(row, f"can't be read: {error}") from error
        if row != run.stop:
            raise self._rows.error(row, f"has not {self._width} fields, as its index says: the index is of other data")
