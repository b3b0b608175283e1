"""The pass over a table of text: where its records begin, whether they have equally many fields, and of which types."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.csv_dialect import LINE_END, CSVDialect
from datastack_fs.formats.csv_types import FLOAT, INTEGER, TEXT, ColumnTypes
from datastack_fs.formats.record_scan import RecordScanner
from datastack_fs.iterators.indices import IndexArray

_LF, _CR = ord("\n"), ord("\r")
_TYPES: Final = {INTEGER, FLOAT, TEXT}
_ENOUGH: Final = 64 << 10  # bytes, in which the first record ends, as a rule
_BEFORE_THE_FIRST: Final = -2


@dataclass(frozen=True)
class TableSummary:
    """What the pass over a table learnt besides where its rows begin.

    Attributes:
        names: of the columns.
        types: of the columns: ``int64``, ``float64`` or ``text``.
        missing: of each column of numbers, how many fields are missing.
        dialect: how the table is written, with the delimiter that its first line told.

    Examples:
        >>> summary = TableSummary(("x",), ("int64",), (0,), CSVDialect(","))
        >>> TableSummary.of(asdict(summary)) == summary
        True
    """

    names: tuple[str, ...]
    types: tuple[str, ...]
    missing: tuple[int, ...]
    dialect: CSVDialect

    @classmethod
    def of(cls, found: Any) -> TableSummary:
        """The summary that an index holds.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        dialect = CSVDialect(**{**found["dialect"], "missing": tuple(found["dialect"]["missing"])})
        made = cls(tuple(found["names"]), tuple(found["types"]), tuple(found["missing"]), dialect)
        alike = len(made.names) == len(made.types) == len(made.missing)
        if not alike or not {*made.types} <= _TYPES or not all(isinstance(name, str) for name in made.names):
            raise ValueError(f"no summary of a table: {found!r:.200}")
        return made


@dataclass(frozen=True)
class Marks:
    """The marks of a part of a table that begins with a record.

    Attributes:
        places: of delimiters and line ends outside of quotes, as far as the last line end.
        ends: which of them are line ends.
        newlines: the places of all line ends, also those within quotes.
    """

    places: IndexArray
    ends: npt.NDArray[np.bool_]
    newlines: IndexArray


class TableScanner(RecordScanner):
    r"""Finds the records of a table, just as Python's ``csv`` module takes them apart.

    Quotes are counted in whole blocks: a line end after an odd number of them is within a field. Where a quote stands
    that isn't one (inside of an unquoted field), they are looked at one by one, as the module does.

    Args:
        dialect: how it is written; the delimiter may be told by its first line.
        identifier: of the file.
        what: the file, for messages.

    Raises:
        DatasetFileCorruptError: a row has more or fewer fields than the first record; the message names its line.

    Examples:
        >>> index = TableScanner(CSVDialect(), "a.csv", "a.csv").scan([b'x,y\n1,"a\n', b'b"\n2,c'])
        >>> index.starts(np.arange(3)).tolist(), index.summary["names"], index.summary["types"]
        ([4, 12, 15], ('x', 'y'), ('int64', 'text'))
    """

    def __init__(self, dialect: CSVDialect, identifier: str, what: str) -> None:
        super().__init__(what)
        self._dialect, self._identifier = dialect, identifier
        self._names: list[str] | None = None
        self._types: ColumnTypes | None = None

    def _summary(self) -> Any:
        if self._names is None or self._types is None:
            raise DatasetFileCorruptError(f"{self._what} is empty: a table has at least a first record")
        names, types, missing = tuple(self._names), tuple(self._types.found()), tuple(self._types.missing)
        return asdict(TableSummary(names, types, missing, self._dialect))

    def _consume(self, buffer: bytes, *, final: bool) -> int:
        if self._names is None:
            return self._consume_top(buffer, final=final)
        marks = self._marks(buffer, final=final)
        if not len(marks.places):
            return 0
        used = min(int(marks.places[-1]) + 1, len(buffer))
        self._take_rows(np.frombuffer(buffer, dtype=np.uint8), marks)
        self._line += int(np.searchsorted(marks.newlines, used))
        return used

    def _consume_top(self, buffer: bytes, *, final: bool) -> int:
        """Takes a line that is passed over before the first record, or the record if it is the header."""
        end = LINE_END.search(buffer)
        if end is None or (end.end() == len(buffer) and not final):  # of a line end's two bytes the second may come
            if not final:
                return 0
            line, used = buffer, len(buffer)
        else:
            line, used = buffer[: end.start()], end.end()
        comment = self._dialect.comment
        skipped = self._line <= self._dialect.skip
        if skipped or not line or (comment is not None and line.startswith(comment.encode(self._dialect.encoding))):
            self._line += 1
            return used
        if self._dialect.delimiter is None:
            if len(buffer) < _ENOUGH and not final:
                return 0
            self._dialect = self._dialect.told_by(buffer, self._identifier)
        marks = self._marks(buffer, final=final)
        if not len(marks.places):
            return 0
        used = min(int(marks.places[marks.ends.argmax()]) + 1, len(buffer))
        fields = self._fields(buffer[:used])
        header = self._dialect.header
        self._names = fields if header else [str(number) for number in range(len(fields))]
        missing = [text.encode(self._dialect.encoding) for text in self._dialect.missing]
        self._types = ColumnTypes(len(fields), self._dialect.quote, missing)
        if not header:
            return self._consume(buffer, final=final)
        self._line += int(np.searchsorted(marks.newlines, used))
        return used

    def _fields(self, record: bytes) -> list[str]:
        try:
            return next(self._dialect.records(record.decode(self._dialect.encoding)))
        except (UnicodeDecodeError, csv.Error) as error:
            raise self._error(self._line, self._base, f"can't be read as the first record: {error}") from error

    def _marks(self, buffer: bytes, *, final: bool) -> Marks:
        """Where delimiters and line ends are. A text that ends without a line end has one after its last byte."""
        delimiter, quote = ord(self._dialect.delimiter or ","), self._dialect.quote
        marks = [_LF, _CR, delimiter] if quote is None else [_LF, _CR, delimiter, ord(quote)]
        table = bytes(byte in marks for byte in range(256))
        places = np.flatnonzero(np.frombuffer(buffer.translate(table), dtype=np.bool_))
        block = np.frombuffer(buffer, dtype=np.uint8)
        kinds = block[places]
        if final and not buffer.endswith((b"\n", b"\r")):
            places, kinds = np.append(places, len(buffer)), np.append(kinds, np.uint8(_LF))
        if b"\r" in buffer:
            alone = _alone(block, places, kinds, final=final)
            places, kinds = places[alone], kinds[alone]
        ends = (kinds == _LF) | (kinds == _CR)
        newlines = places[ends]
        if quote is not None and quote.encode() in buffer:
            outside = _outside(block, places, kinds, delimiter, ord(quote))
            if final and not outside[-1]:
                raise self._unclosed(places, ends, outside)
            places, ends = places[outside], ends[outside]
        cut = len(ends) - int(ends[::-1].argmax()) if ends.any() else 0
        return Marks(places[:cut], ends[:cut], newlines)

    def _unclosed(
        self, places: IndexArray, ends: npt.NDArray[np.bool_], outside: npt.NDArray[np.bool_]
    ) -> DatasetFileCorruptError:
        finished = places[ends & outside]
        start = int(finished[-1]) + 1 if len(finished) else 0
        line = self._line + int(np.count_nonzero(places[ends] < start))
        return self._error(line, self._base + start, "begins a record with a quote that is never closed")

    def _take_rows(self, block: npt.NDArray[np.uint8], marks: Marks) -> None:
        last = np.flatnonzero(marks.ends)
        counts = np.diff(last, prepend=-1)
        ends = marks.places[last]
        starts = np.concatenate(([0], ends[:-1] + 1))
        contents = ends - (block[np.maximum(ends - 1, 0)] == _CR)  # a line end may have two bytes
        blank = (counts == 1) & (contents <= starts)
        self._check(block, starts, counts, blank, marks)
        fields = marks.places
        if blank.any():
            fields = np.delete(fields, last[blank])
            starts, contents = starts[~blank], contents[~blank]
        self._add(starts, marks.newlines)
        if self._types is not None:
            stops = fields.reshape(len(starts), -1).copy() if len(starts) else np.empty((0, 1), dtype=np.int64)
            begins = np.empty_like(stops)
            begins[:, 0], begins[:, 1:] = starts, stops[:, :-1] + 1
            stops[:, -1] = np.maximum(contents, begins[:, -1])
            self._types.update(block, begins, stops)

    def _check(
        self,
        block: npt.NDArray[np.uint8],
        starts: IndexArray,
        counts: IndexArray,
        blank: npt.NDArray[np.bool_],
        marks: Marks,
    ) -> None:
        """Refuses rows of another length, and comments among the rows."""
        expected = len(self._names or ())
        wrong = (counts != expected) & ~blank
        reason = "has {} fields, and the first record has " + str(expected)
        comment = self._dialect.comment
        if comment is not None:
            mark = np.frombuffer(comment.encode(self._dialect.encoding), dtype=np.uint8)
            near = np.flatnonzero(block[np.minimum(starts, len(block) - 1)] == mark[0])
            for number in near.tolist():
                if np.array_equal(block[starts[number] : starts[number] + len(mark)], mark):
                    wrong[number] = True
                    reason = f"begins with {comment!r}: comments are passed over above the table only"
        if wrong.any():
            number = int(wrong.argmax())
            start = int(starts[number])
            line = self._line + int(np.searchsorted(marks.newlines, start))
            raise self._error(line, self._base + start, reason.format(int(counts[number])))


def _alone(
    block: npt.NDArray[np.uint8], places: IndexArray, kinds: npt.NDArray[np.uint8], *, final: bool
) -> npt.NDArray[np.bool_]:
    """Which marks are not the first byte of a line end of two bytes, as far as that is known."""
    returns = kinds == _CR
    following = block[np.minimum(places + 1, len(block) - 1)]
    at_end = places == len(block) - 1
    alone: npt.NDArray[np.bool_] = ~returns | (at_end if final else False) | (~at_end & (following != _LF))
    return alone


def _outside(
    block: npt.NDArray[np.uint8], places: IndexArray, kinds: npt.NDArray[np.uint8], delimiter: int, quote: int
) -> npt.NDArray[np.bool_]:
    """Which marks are delimiters or line ends outside of quotes; the last says whether the text ends outside."""
    is_quote = kinds == quote
    quotes = places[is_quote]
    befores = np.where(quotes > 0, block[quotes - 1], _LF)
    opens_field = (befores == _LF) | (befores == _CR) | (befores == delimiter)
    doubled = np.diff(quotes, prepend=_BEFORE_THE_FIRST) == 1
    toggles = is_quote
    if not np.all((opens_field | doubled)[::2]):
        toggles = is_quote.copy()
        toggles[is_quote] = _real_quotes(quotes, opens_field)
    inside = np.cumsum(toggles) & 1 == 1
    outside: npt.NDArray[np.bool_] = ~is_quote & ~inside
    return outside


def _real_quotes(quotes: IndexArray, opens_field: npt.NDArray[np.bool_]) -> list[bool]:
    """Which quotes open or close a field in quotes, where others stand within fields without."""
    real, inside, closed = [], False, _BEFORE_THE_FIRST
    for place, opens in zip(quotes.tolist(), opens_field.tolist(), strict=True):
        takes = inside or opens or place == closed + 1
        if takes:
            inside = not inside
            closed = _BEFORE_THE_FIRST if inside else place
        real.append(takes)
    return real
