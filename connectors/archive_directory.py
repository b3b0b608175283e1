"""The central directory of a zip, read into columns."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.connectors.archive_members import IndexingError

_RECORD: Final = np.dtype(
    [
        ("magic", "<u4"),
        ("writer", "u1"),
        ("system", "u1"),
        ("needs", "u1"),
        ("reserved", "u1"),
        ("flags", "<u2"),
        ("method", "<u2"),
        ("time", "<u4"),
        ("crc", "<u4"),
        ("stored_size", "<u4"),
        ("size", "<u4"),
        ("lengths", "<u2", 3),
        ("volume", "<u2"),
        ("internal", "<u2"),
        ("attributes", "<u4"),
        ("offset", "<u4"),
    ]
)
_MAGIC: Final = 0x02014B50
_LENGTHS: Final = struct.Struct("<HHH")
_LENGTHS_AT: Final = 28
_END: Final = struct.Struct("<4s4H2LH")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64: Final = struct.Struct("<4sLQL")
_MOST_COMMENT: Final = 1 << 16
_MOST_NEEDS: Final = 63
_IN_EXTRA: Final = 0xFFFFFFFF
_ZIP64: Final = 1
_UTF_8: Final = 0x800
_SIZES: Final = (("size", "size"), ("stored_size", "stored size"), ("offset", "offset"))


@dataclass(frozen=True)
class Directory:
    """What a zip says of its members.

    Attributes:
        names: as they are written, NULs and all.
        records: the fields of each with a fixed size; the sizes and offsets are those in ``wide``.
        wide: ``size``, ``stored_size`` and ``offset`` of each, 64 bits wide.
        shift: how far from its own beginning the zip begins in the file.
        start: where the directory begins in the file.
    """

    names: list[str]
    records: npt.NDArray[Any]
    wide: dict[str, npt.NDArray[np.uint64]]
    shift: int
    start: int


def read_directory(file: BinaryIO) -> Directory:
    """Reads the directory at the end of a zip.

    Raises:
        IndexingError: it is not what it should be.
        UnicodeDecodeError: a name is not what it is said to be.
    """
    start, size, shift = _place(file)
    file.seek(start)
    content = file.read(size)
    if len(content) < size:
        raise IndexingError("its directory is cut off")
    names: list[str] = []
    places: list[int] = []
    extras: dict[int, bytes] = {}
    text = content.decode("latin-1")  # a part of it costs half of decoding bytes
    at = 0
    while at < size:
        name_at = at + _RECORD.itemsize
        if name_at > size:
            raise IndexingError("its directory is cut off")
        name_bytes, extra_bytes, comment_bytes = _LENGTHS.unpack_from(content, at + _LENGTHS_AT)
        extra_at = name_at + name_bytes
        if extra_bytes:
            extras[len(names)] = content[extra_at : extra_at + extra_bytes]
        names.append(text[name_at:extra_at])
        places.append(at)
        at = extra_at + extra_bytes + comment_bytes
    records = np.frombuffer(b"".join([content[each : each + _RECORD.itemsize] for each in places]), _RECORD)
    if at > size or np.any(records["magic"] != _MAGIC):
        raise IndexingError("its directory is broken")
    if np.any(records["needs"] > _MOST_NEEDS):
        raise IndexingError(f"it needs version {records['needs'].max() / 10} of the format")
    if not text.isascii():
        encodings = np.where(records["flags"] & _UTF_8, "utf-8", "cp437").tolist()
        names = [
            name if name.isascii() else name.encode("latin-1").decode(encoding)
            for name, encoding in zip(names, encodings, strict=True)
        ]
    wide = {field: records[field].astype(np.uint64) for field, _ in _SIZES}
    for number, extra in extras.items():
        _widen(wide, number, extra)
    return Directory(names, records, wide, shift, start)


def _place(file: BinaryIO) -> tuple[int, int, int]:
    """Where the directory begins, its size, and how far into the file the zip begins."""
    length = file.seek(0, 2)
    end, record = _end_record(file, length)
    _, _, _, _, _, size, offset, _ = _END.unpack(record)
    locator_at = end - _LOCATOR_64.size
    if locator_at >= _END_64.size:
        file.seek(locator_at - _END_64.size)
        both = file.read(_END_64.size + _LOCATOR_64.size)
        magic, number, _, disks = _LOCATOR_64.unpack_from(both, _END_64.size)
        if magic == b"PK\6\7":
            if number or disks > 1:
                raise IndexingError("it spans several disks")
            wide = _END_64.unpack_from(both)
            if wide[0] == b"PK\6\6":
                end = locator_at - _END_64.size
                size, offset = wide[8:]
    start = end - size
    if start < 0:
        raise IndexingError("its directory would begin before it does")
    return start, size, start - offset


def _end_record(file: BinaryIO, length: int) -> tuple[int, bytes]:
    """Where the record at the end of a zip begins, and that; a comment may follow it."""
    for tail_bytes in (_END.size, _END.size + _MOST_COMMENT):
        start = max(0, length - tail_bytes)
        file.seek(start)
        tail = file.read()
        at = tail.rfind(b"PK\5\6")
        record = tail[at : at + _END.size]
        if at >= 0 and (tail_bytes > _END.size or record[-2:] == b"\0\0") and len(record) == _END.size:
            return start + at, record
    raise IndexingError("it has no end record")


def _widen(wide: dict[str, npt.NDArray[np.uint64]], number: int, extra: bytes) -> None:
    """Takes from the extra field of a member what doesn't fit into 32 bits."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        at += 4
        if at + length > len(extra):
            raise IndexingError(f"the extra field {kind:04x} of a member is cut off")
        if kind == _ZIP64:
            values = extra[at : at + length]
            for field, name in _SIZES:
                if wide[field][number] == _IN_EXTRA:
                    if len(values) < 8:
                        raise IndexingError(f"the Zip64 field of a member lacks its {name}")
                    wide[field][number] = int.from_bytes(values[:8], "little")
                    values = values[8:]
        at += length
