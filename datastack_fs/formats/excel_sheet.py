"""One sheet of a workbook as columns of numpy, read with all that a hostile one could do in mind."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final, NamedTuple
from xml.parsers import expat

import numpy.typing as npt
import openpyxl
from openpyxl.utils import get_column_letter

from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError, DatastackError
from datastack_fs.formats.cell_columns import cell_column
from datastack_fs.resource import ResourceInfo, ResourceOpener

MAX_ROWS: Final = 1 << 20
"""Rows of a sheet: https://support.microsoft.com/office/excel-specifications-and-limits"""

_CELL_BYTES: Final = 8
_OLD: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_XML: Final = (".xml", ".rels", ".vml")
_CHUNK: Final = 4096


class Sheet(NamedTuple):
    """Which sheet, and how it is laid out."""

    sheet: str | int
    header: bool | tuple[str, ...]
    skip: int


class Table(NamedTuple):
    """Names and columns, and how many rows there are."""

    names: list[str]
    columns: list[npt.NDArray[Any]]
    length: int


def read_sheet(
    connector: ResourceOpener,
    info: ResourceInfo,
    layout: Sheet,
    missing: frozenset[str],
    *,
    also_in_text: bool,
    max_bytes: int,
) -> Table:
    """The columns of a sheet; see ``ExcelDatasetIterator``."""
    what = f"{info.identifier} in {connector.url}"
    with connector.get_resource(info.identifier, info=info) as resource:
        if resource.read(len(_OLD)) == _OLD:
            raise DatasetFileCorruptError(
                f"{what} is a workbook of Excel before 2007 (.xls), or has a password: save it as .xlsx without one"
            )
        resource.seek(0)
        with _reading(what):
            _check_members(resource, what, max_bytes)
            workbook = openpyxl.load_workbook(resource, read_only=True, data_only=True, keep_links=False)
            cells = _cells(_find(workbook, layout.sheet, what), what, layout.skip, max_bytes // _CELL_BYTES)
            return _table(cells, layout, missing, also_in_text, what)


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except DatastackError:
        raise
    except Exception as error:  # the translating edge: openpyxl raises whatever a broken workbook leads to
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise DatasetFileCorruptError(f"{what} can't be read as a workbook of Excel: {reason}") from error


def _check_members(file: IO[bytes], what: str, max_bytes: int) -> None:
    """Refuses what would unpack to too much, and XML with a document type, which can define entities without end."""
    with zipfile.ZipFile(file) as archive:
        members = [member for member in archive.infolist() if member.filename.lower().endswith(_XML)]
        size = sum(member.file_size for member in members)  # zipfile holds members to it
        if size > max_bytes:
            raise DatasetFileCorruptError(f"{what} unpacks to {size:,} bytes of XML, more than max_bytes={max_bytes:,}")
        for member in members:
            with archive.open(member) as content:
                if _has_document_type(content):
                    raise DatasetFileCorruptError(
                        f"{what}: {member.filename} has a document type, which no workbook has"
                    )


class _BegunError(Exception):
    """The first element was met, and whether a document type was before it."""


def _has_document_type(content: IO[bytes]) -> bool:
    found: list[str] = []

    def begin(*_: Any) -> None:
        raise _BegunError

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = lambda *names: found.append(names[0])
    parser.StartElementHandler = begin
    try:
        while not found and (chunk := content.read(_CHUNK)):
            parser.Parse(chunk, False)
    except _BegunError:
        pass
    return bool(found)


def _find(workbook: Any, sheet: str | int, what: str) -> Any:
    sheets = workbook.worksheets
    names = [each.title for each in sheets]
    if isinstance(sheet, str) and sheet in names:
        return sheets[names.index(sheet)]
    if isinstance(sheet, int) and 0 <= sheet < len(sheets):
        return sheets[sheet]
    listed = ", ".join(map(repr, names)) or "none"
    raise DatasetNotFoundError(f"no sheet {sheet!r} in {what}; it has {listed}, numbered from 0")


class _Cells(NamedTuple):
    """The values of a sheet: those of each row that has any, by the number of the column."""

    rows: list[dict[int, Any]]
    columns: list[int]


def _cells(sheet: Any, what: str, skip: int, most: int) -> _Cells:
    rows: list[dict[int, Any]] = []
    columns: set[int] = set()
    errors: list[str] = []
    seen = 0
    sheet.reset_dimensions()  # a sheet may claim to have more rows than it has
    for number, row in enumerate(sheet.iter_rows(), start=1):
        seen += len(row) + 1
        if number > MAX_ROWS or seen > most:
            raise DatasetFileCorruptError(
                f"{what}: the sheet {sheet.title!r} has more than {MAX_ROWS:,} rows, or max_bytes"
            )
        if number <= skip:
            continue
        found = {}
        for place, cell in enumerate(row):
            if cell.value is None:
                continue
            if cell.data_type == "e":
                errors.append(f"{get_column_letter(place + 1)}{number} ({cell.value})")
                columns.add(place)
            else:
                found[place] = cell.value
        if found:
            rows.append(found)
            columns.update(found)
    if errors:
        warnings.warn(
            f"{what}: {len(errors):,} cells of the sheet {sheet.title!r} hold errors, which are missing values here; "
            f"the first is {errors[0]}",
            stacklevel=2,
        )
    return _Cells(rows, sorted(columns))


def _table(cells: _Cells, layout: Sheet, missing: frozenset[str], also_in_text: bool, what: str) -> Table:
    rows = cells.rows
    names = {place: get_column_letter(place + 1) for place in cells.columns}
    if layout.header is True:
        if not rows:
            raise DatasetFileCorruptError(f"{what}: the sheet is empty, so there is no row that names columns")
        names.update({place: str(value) for place, value in rows[0].items()})
        rows = rows[1:]
    elif layout.header:
        if len(layout.header) != len(cells.columns):
            raise DatasetFileCorruptError(
                f"{what}: header names {len(layout.header)} columns, and the sheet has {len(cells.columns)} with values"
            )
        names = dict(zip(cells.columns, layout.header, strict=True))
    columns = [cell_column([row.get(place) for row in rows], missing, also_in_text=also_in_text) for place in names]
    return Table(list(names.values()), columns, len(rows))
