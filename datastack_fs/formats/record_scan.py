"""One streaming pass over a text that finds where its records begin, block by block, in bounded memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.row_index import RowIndex, RowIndexBuilder
from datastack_fs.iterators.indices import IndexArray

LONGEST_RECORD: Final = 256 << 20
"""A longer one is taken for a mistake: a text that is no such file, or a quote that is never closed."""

BOM: Final = b"\xef\xbb\xbf"
_OTHER_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")  # of UTF-16, and of UTF-32, which begins or ends with the same bytes
_BLANKS: Final = b" \t\r"


class RecordScanner(ABC):
    """What scans share: a record that a block cuts is put together with the next one.

    Args:
        what: the file, for messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._builder = RowIndexBuilder()
        self._begun = False
        self._base = 0
        """The place in the file of the first byte of the buffer."""
        self._line = 1
        """The line that this byte is on."""

    def scan(self, blocks: Iterable[bytes]) -> RowIndex:
        """The index of a text that is given in blocks of any size.

        Raises:
            DatasetFileCorruptError: it is no such text; the message names the line.
        """
        carried, fresh = b"", bytearray()
        for block in blocks:
            fresh += block
            if len(fresh) >= len(carried):  # else a long record would be looked at again with every block
                carried = self._drain(carried + fresh, final=False)
                fresh.clear()
        carried = self._drain(carried + fresh, final=True)
        return self._builder.finished(self._base, self._summary())

    @abstractmethod
    def _consume(self, buffer: bytes, *, final: bool) -> int:
        """Takes whole records at the start of the buffer, and says how many bytes they are; none: more must come.

        With ``final`` nothing comes after the buffer, so that its last record may lack its line end.
        """

    @abstractmethod
    def _summary(self) -> Any:
        """What was learnt besides."""

    def _drain(self, buffer: bytes, *, final: bool) -> bytes:
        """Takes what there is to take, and gives the rest."""
        if not self._begun and (final or len(buffer) >= len(BOM)):
            self._begun = True
            self._base = self._start_of_text(buffer)
            buffer = buffer[self._base :]
        while self._begun and buffer:
            used = self._consume(buffer, final=final)
            if not used:
                break
            self._base += used
            buffer = buffer[used:]
        if len(buffer) > LONGEST_RECORD:
            raise self._error(self._line, self._base, f"goes on for more than {LONGEST_RECORD:,} bytes")
        return buffer

    def _error(self, line: int, place: int, reason: str) -> DatasetFileCorruptError:
        return DatasetFileCorruptError(f"{self._what}: line {line:,} (byte {place:,}) {reason}")

    def _start_of_text(self, buffer: bytes) -> int:
        """How long the byte order mark is; UTF-16, whose bytes can't be searched for line ends, is refused."""
        if buffer.startswith(_OTHER_BOMS):
            raise DatasetFileCorruptError(
                f"{self._what} begins with the byte order mark of UTF-16 or UTF-32, which can't be read by rows: "
                "convert it once, iconv -f UTF-16 -t UTF-8"
            )
        return len(BOM) if buffer.startswith(BOM) else 0

    def _add(self, starts: IndexArray, newlines: IndexArray) -> None:
        """Adds rows by their places in the buffer, which has line ends at ``newlines``."""
        base, line = self._base, self._line
        self._builder.add(starts + base, lambda found: line + np.searchsorted(newlines, found - base))


class LineScanner(RecordScanner):
    r"""Finds the lines of a text that are not blank; a line ends with a line feed, as JSON Lines has it.

    Examples:
        >>> index = LineScanner("a.jsonl").scan([b'{"a": 1}\n\n{"a"', b": 2}"])
        >>> index.starts(np.arange(3)).tolist(), index.lines.tolist()
        ([0, 10, 18], [1])
    """

    def _consume(self, buffer: bytes, *, final: bool) -> int:
        newlines = np.flatnonzero(np.frombuffer(buffer, dtype=np.uint8) == ord("\n"))
        ends = np.append(newlines, len(buffer)) if final and not buffer.endswith(b"\n") else newlines
        if not len(ends):
            return 0
        starts = np.concatenate(([0], ends[:-1] + 1))
        self._add(starts[~_blank(buffer, starts, ends)], newlines)
        self._line += len(newlines)
        return min(int(ends[-1]) + 1, len(buffer))

    def _summary(self) -> Any:
        return None


def _blank(buffer: bytes, starts: IndexArray, ends: IndexArray) -> npt.NDArray[np.bool_]:
    blank: npt.NDArray[np.bool_] = starts == ends
    firsts = np.frombuffer(buffer, dtype=np.uint8)[starts]
    for number in np.flatnonzero(np.isin(firsts, list(_BLANKS)) & ~blank).tolist():
        blank[number] = not buffer[starts[number] : ends[number]].strip(_BLANKS)
    return blank
