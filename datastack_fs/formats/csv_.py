"""Tables of text, CSV and TSV, in any store: a row is one byte range, by an index that one pass over the file makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError
from datastack_fs.formats.csv_columns import FieldError, as_values, checked_dtype
from datastack_fs.formats.csv_dialect import LINE_END, CSVDialect
from datastack_fs.formats.csv_rows import RowParser
from datastack_fs.formats.csv_scan import TableScanner, TableSummary
from datastack_fs.formats.csv_types import MISSING, TEXT
from datastack_fs.formats.kept_column import KeptColumn
from datastack_fs.formats.kept_index import IndexPlace
from datastack_fs.formats.text_content import MAX_BYTES
from datastack_fs.formats.text_rows import RunBytes, TextRows, ascending
from datastack_fs.index_cache import IndexKey
from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.chunks import MAX_SAMPLES
from datastack_fs.iterators.columnar import Names
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.labels import pick, rows_of
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.planning import Plan
from datastack_fs.iterators.tabular import TabularDatasetIterator
from datastack_fs.resource import StreamedResource

_KIND: Final = "csv-1"
_COLUMN_KIND: Final = "csv-column-1"


class CSVDatasetIterator(TabularDatasetIterator):
    r"""The rows of a table of text as (sample, target, tag), plain or gzipped.

    The first time, one pass over the file finds where each row begins, checks that all have equally many fields, and
    learns the types of the columns. What it found is kept in the user's cache folder (or beside the data), by the
    version of the file, so that the next opening reads nothing of it. A batch is one request for exactly its rows,
    nearby ones joined.

    Rows are taken apart as by Python's ``csv`` module: quoted fields may hold delimiters, line ends and doubled quotes;
    lines end with LF, CRLF or CR; blank ones are passed over. A byte order mark of UTF-8 is, too.

    Types are told by **all** fields of a column: ``int64`` if all are integers, ``float64`` if all are numbers or
    missing (missing ones are NaN, also among integers), else text (``str``). Integers with leading zeros, or with
    more digits than the type holds exactly, stay text. Bools and times are read where ``dtypes`` says so.

    A gzipped file is unpacked once, into the cache folder: see ``UnpackedText`` for what that costs.

    Args:
        resource: the file. It may be closed afterwards.
        sample: the columns of the sample; it, ``target``, ``tag`` and ``vector`` are as in ``TabularDatasetIterator``.
        target: those of the target.
        tag: those of the tag.
        vector: give the columns of a sample as one array.
        meta: what is known about it.
        delimiter: between fields; without, a tab for ``.tsv``, else that of ``, tab ; |`` of which the first line has
            most.
        header: whether the first record names the columns; or their names, for a file that doesn't. With False they are
            called ``"0"``, ``"1"``, ...
        quote: the character around fields; None if quotes are characters like any other.
        encoding: UTF-8, or one with a byte for each character, such as ``latin-1`` and ``cp1252``.
        dtypes: types of some columns, which are then not told by their fields: integers, floats, ``bool``,
            ``datetime64[...]`` or ``text``.
        missing: texts that stand for a missing value: NaN or NaT, and None in text. Without, in columns of numbers
            those are an empty field and ``NA N/A NaN nan null NULL``, and text is left as it is.
        skip: lines at the top that are passed over.
        comment: what begins lines above the table that are passed over.
        index: ``"cache"``, or ``"beside"`` to keep the index also as ``<identifier>.dsindex`` in the same store, for
            all who read it. One that is there is used either way.
        max_bytes: the most that a gzipped file may unpack to.

    Raises:
        DatasetNotFoundError: there is no column of that name; the message lists those that there are.
        DatasetFileCorruptError: it is no such table; a row of another length, or one that can't be read, is named by
            its line.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("csv-example")
        >>> info = connector.set_resource("birds.csv", b'name,weight,label\n"owl,\nbarn",300,1\nwren,,0\n')
        >>> birds = CSVDatasetIterator(connector.get_resource("birds.csv"))
        >>> birds[0]
        ({'name': 'owl,\nbarn', 'weight': np.float64(300.0)}, np.int64(1), None)
        >>> birds.targets().tolist(), birds.dtypes
        ([1, 0], {'name': 'text', 'weight': 'float64', 'label': 'int64'})
    """

    def __init__(
        self,
        resource: StreamedResource,
        *,
        sample: Names | None = None,
        target: Names | None = None,
        tag: Names | None = None,
        vector: bool = False,
        meta: DatasetMeta | None = None,
        delimiter: str | None = None,
        header: bool | Sequence[str] = True,
        quote: str | None = '"',
        encoding: str = "utf-8",
        dtypes: Mapping[str, Any] | None = None,
        missing: Sequence[str] | None = None,
        skip: int = 0,
        comment: str | None = None,
        index: IndexPlace = "cache",
        max_bytes: int = MAX_BYTES,
    ) -> None:
        if isinstance(missing, str) or isinstance(header, str):
            raise TypeError("missing and header are lists of texts, not one text")
        texts = tuple(sorted(set(MISSING if missing is None else missing)))
        dialect = CSVDialect(delimiter, quote, encoding, header is True, skip, comment, texts)
        what = f"{resource.identifier} in {resource.connector.url}"
        scanner = partial(TableScanner, dialect, resource.identifier, what)
        rows = TextRows(
            resource, _KIND, asdict(dialect), scanner, LINE_END, TableSummary.of, place=index, max_bytes=max_bytes
        )
        summary = TableSummary.of(rows.index.summary)
        names = summary.names if isinstance(header, bool) else tuple(header)
        if len(names) != len(summary.names):
            raise DatasetFileCorruptError(f"{what} has {len(summary.names)} columns, and header= names {len(names)}")
        meta = meta or DatasetMeta(resource.identifier, PurePosixPath(resource.identifier).name.partition(".")[0])
        super().__init__(names, meta, sample=sample, target=target, tag=tag, vector=vector)
        self._rows = rows
        self._dialect = summary.dialect
        self._parser = RowParser(rows, self._dialect, len(names))
        self._columns = self._described(dtypes or {}, summary, frozenset(texts), always=missing is not None)
        self._kept = {name: self._kept_column(resource, column) for name, column in self._columns.items()}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def dtypes(self) -> dict[str, str]:
        """The type of each column: the name of a numpy type, or ``text``."""
        return {column.name: TEXT if column.dtype is None else str(column.dtype) for column in self._columns.values()}

    def _described(
        self, dtypes: Mapping[str, Any], summary: TableSummary, missing: frozenset[str], *, always: bool
    ) -> dict[str, _Column]:
        for name in dtypes:
            if name not in self._column_names:
                raise DatasetNotFoundError(f"no column {name!r} in {self.meta.identifier}; it has {self._listing()}")
        found = {}
        for place, name in enumerate(self._column_names):
            dtype = checked_dtype(dtypes.get(name, summary.types[place]))
            # In a column whose type was told by its fields, it is known whether any are missing.
            may_miss = always if dtype is None else name in dtypes or summary.missing[place] > 0
            found[name] = _Column(name, place, dtype, missing if may_miss else frozenset())
        return found

    def _read_columns(self, names: Sequence[str], indices: IndexArray) -> Mapping[str, npt.NDArray[Any]]:
        kept = self._kept[names[0]] if len(names) == 1 else None
        found = None if kept is None else kept.find(len(indices), len(self))
        if found is not None:
            return {names[0]: found[indices]}
        rows, places = ascending(indices)
        columns = self._values(names, self._parser.read(rows) if names else ())
        if kept is not None and len(rows) == len(self):  # labels, most often, and asked for again
            kept.keep(columns[names[0]])
            columns = {names[0]: columns[names[0]].copy()}
        return columns if places is None else {name: column[places] for name, column in columns.items()}

    def _plan_columns(self, names: Sequence[str], indices: IndexArray) -> Plan[Mapping[str, npt.NDArray[Any]]]:
        rows, places = ascending(indices)
        plan = self._rows.plan(rows)
        if plan is None:
            return super()._plan_columns(names, indices)

        def decode(runs: Sequence[RunBytes]) -> Mapping[str, npt.NDArray[Any]]:
            columns = self._values(names, self._parser.parse(runs))
            return columns if places is None else {name: column[places] for name, column in columns.items()}

        return plan.decoded_by(decode)

    def _blocks(self) -> Blocks | None:
        return self._rows.blocks

    def _is_planned(self) -> bool:
        return self._rows.is_remote

    def _kept_column(self, resource: StreamedResource, column: _Column) -> KeptColumn:
        parameters = [asdict(self._dialect), column.place, str(column.dtype), sorted(column.missing)]
        return KeptColumn(IndexKey.of(resource, _COLUMN_KIND, parameters))

    def _values(
        self, names: Sequence[str], parsed: Iterable[tuple[IndexArray, list[list[str]]]]
    ) -> dict[str, npt.NDArray[Any]]:
        """Some columns of rows that were taken apart; the text of one piece of them is in memory at a time."""
        columns = [self._columns[name] for name in names]
        parts: dict[str, list[npt.NDArray[Any]]] = {name: [self._columns[name].values([])] for name in names}
        for numbers, records in parsed:
            for column in columns:
                try:
                    parts[column.name].append(column.values([record[column.place] for record in records]))
                except FieldError as error:
                    reason = f"has in column {column.name!r}: {error}"
                    raise self._rows.error(int(numbers[error.position]), reason) from error
        return {name: np.concatenate(arrays) for name, arrays in parts.items()}

    def _chunks(self) -> Iterator[list[tuple[Any, Any, Any]]]:
        """All samples in order: the file is read in large pieces, from front to back."""
        for rows in self._rows.in_order():
            columns = self._take(rows)
            for start in range(0, len(rows), MAX_SAMPLES):
                places = np.arange(start, min(start + MAX_SAMPLES, len(rows)))
                yield list(zip(*(rows_of(pick(column, places)) for column in columns), strict=True))


@dataclass(frozen=True)
class _Column:
    """A column of the table: its place, its type (None is text), and the texts that are missing values there."""

    name: str
    place: int
    dtype: np.dtype[Any] | None
    missing: frozenset[str]

    def values(self, texts: Sequence[str]) -> npt.NDArray[Any]:
        return as_values(texts, self.dtype, self.missing)
