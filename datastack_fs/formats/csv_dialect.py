"""How a table of text is written: delimiter, quotes, encoding; and what stands before its rows."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

DELIMITERS: Final = (",", "\t", ";", "|")
"""Those that are recognized, in the order in which they are preferred."""

LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_ASCII: Final = bytes(range(128))


@dataclass(frozen=True)
class CSVDialect:
    r"""How a table is written, as far as it matters for where its records begin and what its fields say.

    Attributes:
        delimiter: one character of ASCII; None until it is told by the first line.
        quote: the character around fields that hold delimiters, quotes (doubled) or line ends; None for none.
        encoding: UTF-8, or one that has a byte for each character and ASCII where ASCII has it.
        header: whether the first record names the columns.
        skip: lines before it that are passed over.
        comment: what begins lines, before the header or the first row, that are passed over.
        missing: texts that stand for a missing value.

    Raises:
        ValueError: it can't be read that way.

    Examples:
        >>> dialect = CSVDialect().told_by(b"name;weight\n1;2", "birds.csv")
        >>> dialect.delimiter, list(dialect.records("owl;3\n'a;b';4\n"))
        (';', [['owl', '3'], ["'a", "b'", '4']])
    """

    delimiter: str | None = None
    quote: str | None = '"'
    encoding: str = "utf-8"
    header: bool = True
    skip: int = 0
    comment: str | None = None
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, mark in (("delimiter", self.delimiter), ("quote", self.quote)):
            if mark is not None and (len(mark) != 1 or not mark.isascii() or mark in "\r\n\0"):
                raise ValueError(f"{name}={mark!r}: it is one character of ASCII, and no line end")
        if self.quote is not None and self.quote == self.delimiter:
            raise ValueError(f"delimiter and quote are both {self.quote!r}")
        if self.comment == "" or self.skip < 0:
            raise ValueError(
                f"comment={self.comment!r}, skip={self.skip}: one has no character, or there are too few lines"
            )
        object.__setattr__(self, "encoding", _checked_encoding(self.encoding))

    def told_by(self, start: bytes, identifier: str) -> CSVDialect:
        """The dialect of a table that starts so: a tab for ``.tsv``, else what its first record has most of.

        What is in quotes does not count, and a record goes on behind a line end in quotes.
        """
        ending = identifier.lower().removesuffix(".gz")
        found = "\t" if ending.endswith(".tsv") else _most_frequent(start, self.quote)
        return CSVDialect(**{**asdict(self), "delimiter": found})

    def records(self, text: str) -> Iterator[list[str]]:
        """The records of a text, each a list of its fields; blank lines are passed over.

        Raises:
            csv.Error: a field is longer than ``csv.field_size_limit()``.
        """
        options: dict[str, Any] = {"quoting": csv.QUOTE_NONE} if self.quote is None else {"quotechar": self.quote}
        return filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter or ",", **options))


def _most_frequent(start: bytes, quote: str | None) -> str:
    if quote is not None:
        mark = re.escape(quote.encode())
        start = re.sub(mark + b".*?" + mark, b"", start, flags=re.DOTALL)
    line = LINE_END.split(start, maxsplit=1)[0]
    return max(DELIMITERS, key=lambda delimiter: line.count(delimiter.encode()))


def _checked_encoding(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        keeps_ascii = _ASCII.decode(name) == _ASCII.decode("ascii")
        one_byte = len(bytes(range(256)).decode(name, errors="replace")) == 256
    except (LookupError, UnicodeError):
        keeps_ascii = one_byte = False
        name = encoding
    if name in {"utf-8", "utf-8-sig"}:
        return "utf-8"
    if not (keeps_ascii and one_byte):
        raise ValueError(
            f"encoding={encoding!r}: rows are found in UTF-8 and in encodings with one byte a character, such as "
            f"latin-1 and cp1252; convert the file once, iconv -f {encoding} -t UTF-8"
        )
    return name
