"""The rows of a text by number: which bytes to fetch, in pieces of bounded size, and where a row stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.formats.kept_index import KEPT_FROM, IndexPlace, kept_index
from datastack_fs.formats.record_scan import RecordScanner
from datastack_fs.formats.row_index import GROUP, RowIndex, Run
from datastack_fs.formats.text_content import MAX_BYTES, UnpackedText, text_content
from datastack_fs.iterators.blocks import BLOCK_BYTES, Blocks
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.planning import Answers, Plan
from datastack_fs.resource import StreamedResource

PIECE_BYTES: Final = 8 << 20
"""Most that is fetched at once; a piece holds at least one row."""

PLANNED_BYTES: Final = 32 << 20
"""Most that is planned to be fetched at once for a batch; one of more is read in pieces."""

FIRST_PIECE_BYTES: Final = 64 << 10
"""The first piece of a loop over all rows is smaller, so that its first sample comes soon."""


RunBytes: TypeAlias = tuple[Run, bytes]
"""A run of rows, and the bytes that they lie in."""


class TextRows:
    """The rows of one text; it pickles as the address and version of its resource, with an index that is kept nowhere.

    Args:
        resource: the text, plain or gzipped.
        kind: of its index, and the version of its layout.
        parameters: what the index depends on; values that JSON has.
        make_scanner: makes what finds the rows, once the index is found nowhere; it must pickle.
        line_end: what ends a line.
        check_summary: raises ValueError and the like for a summary that no such scanner gave.
        place: where the index is kept.
        max_bytes: the most that a gzipped text may unpack to.
    """

    def __init__(
        self,
        resource: StreamedResource,
        kind: str,
        parameters: Any,
        make_scanner: Callable[[], RecordScanner],
        line_end: re.Pattern[bytes],
        check_summary: Callable[[Any], object],
        *,
        place: IndexPlace = "cache",
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._connector, self._info = resource.connector, resource.info
        self._kind, self._parameters, self._make_scanner = kind, parameters, make_scanner
        self._what, self._line_end = f"{resource.identifier} in {resource.connector.url}", line_end
        self._check_summary = check_summary
        self._content = text_content(resource, max_bytes)
        self.is_remote = resource.local_path is None and not isinstance(self._content, UnpackedText)
        """Whether rows are fetched from far away."""
        self._index, self._is_kept = self._found(resource, place)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def index(self) -> RowIndex:
        """Where each row begins, and what the pass over the text learnt besides."""
        if self._index is None:
            with self._connector.get_resource(self._info.identifier, info=self._info) as resource:
                self._index, self._is_kept = self._found(resource, "cache")
        return self._index

    def _found(self, resource: StreamedResource, place: IndexPlace) -> tuple[RowIndex, bool]:
        def make() -> RowIndex:
            return self._make_scanner().scan(self._content.blocks())

        def check(index: RowIndex) -> None:
            self._check_summary(index.summary)
            if not is_packed and index.end > self._info.size:
                raise ValueError(f"an index of {index.end:,} bytes")

        is_packed = isinstance(self._content, UnpackedText)
        least = 0 if is_packed else KEPT_FROM  # to unpack it once more takes long, however small it is
        return kept_index(resource, self._kind, self._parameters, make, check, place=place, least=least)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_index": None} if self._is_kept else self.__dict__

    def read(self, rows: IndexArray) -> Iterator[list[RunBytes]]:
        """Yields the bytes of rows, which ascend and differ, as runs of rows: a piece at a time, fetched at once."""
        for piece in self.index.pieces(rows, PIECE_BYTES):
            runs = self.index.runs(piece)
            yield _paired(runs, self._content.read([run.range for run in runs]))

    def plan(self, rows: IndexArray) -> Plan[list[RunBytes]] | None:
        """The bytes of rows, which ascend and differ, as runs of rows; None for more than is fetched at once."""
        runs = self.index.runs(rows)
        if sum(run.end - run.start for run in runs) > PLANNED_BYTES:
            return None
        return self._content.plan([run.range for run in runs]).decoded_by(lambda answers: _paired(runs, answers))

    @property
    def blocks(self) -> Blocks:
        """Which rows are fetched together: those of about a megabyte of the text."""
        megabytes = self.index.anchors // BLOCK_BYTES
        starts = np.append(0, np.flatnonzero(np.diff(megabytes)) + 1) * GROUP
        return Blocks(starts[starts < len(self)], len(self))

    def row_at(self, place: int) -> int:
        """The row that a byte belongs to."""
        group = int(np.searchsorted(self.index.anchors, place, side="right")) - 1
        rows = np.arange(group * GROUP, min((group + 1) * GROUP, len(self)), dtype=np.int64)
        return int(rows[np.searchsorted(self.index.starts(rows), place, side="right") - 1])

    def split(self, run: Run, content: bytes) -> Iterator[RunBytes]:
        """The rows of a run one by one, each with its bytes."""
        edges = self.index.starts(np.arange(run.first, run.stop + 1, dtype=np.int64)).tolist()
        for row, (start, end) in enumerate(pairwise(edges), run.first):
            yield Run(row, row + 1, start, end), content[start - run.start : end - run.start]

    def in_order(self) -> Iterator[IndexArray]:
        """All rows in pieces: a small one first, so that it comes soon, then such as are fetched at once."""
        start, most = 0, FIRST_PIECE_BYTES
        anchors = self.index.anchors
        while start < len(self):
            (place,) = self.index.starts(np.array([start])).tolist()
            stop = min(int(np.searchsorted(anchors, place + most)) * GROUP, len(self))
            piece = next(self.index.pieces(np.arange(start, max(stop, start + 1), dtype=np.int64), most))
            yield piece
            start, most = int(piece[-1]) + 1, PIECE_BYTES

    def error(self, row: int, reason: object) -> DatasetFileCorruptError:
        """What is wrong with a row, with the line and the byte that it begins at."""
        group = row // GROUP
        start, place = self.index.starts(np.array([group * GROUP, row])).tolist()
        (before,) = self._content.read([(start, place)])
        line = int(self.index.lines[group]) + len(self._line_end.findall(bytes(before)))
        return DatasetFileCorruptError(f"{self._what}: line {line:,} (row {row:,}, byte {place:,}) {reason}")


def _paired(runs: Sequence[Run], answers: Answers) -> list[RunBytes]:
    return [(run, bytes(answer)) for run, answer in zip(runs, answers, strict=True)]


def ascending(indices: IndexArray) -> tuple[IndexArray, IndexArray | None]:
    """The rows of a batch, each once and in order, and the place of each index among them; None: as they are.

    Examples:
        >>> rows, places = ascending(np.array([5, 2, 5]))
        >>> rows.tolist(), places.tolist(), ascending(rows)[1] is None
        ([2, 5], [1, 0, 1], True)
    """
    if bool(np.all(indices[1:] > indices[:-1])):
        return indices, None
    rows, places = np.unique(indices, return_inverse=True)
    return rows, places
