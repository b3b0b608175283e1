"""Where the members of a zip or tar archive lie, read once from its directory or its headers."""

from __future__ import annotations

import stat
import struct
import tarfile
import zipfile
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, BinaryIO, Final, Protocol, TypeAlias, cast

from datastack_fs.decompression import MOST_BYTES, MOST_MEMBERS, STORED, TAR_CODECS, Decompressor, ForwardStream
from datastack_fs.resource import Range, ResourceInfo

HEADER_BYTES: Final = 30
"""Size of the fixed part of a zip member's local header."""

MAGIC_BYTES: Final = 512

_ENDINGS = {
    "zip": (".zip", ".npz"),
    "tar": (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz"),
}
_BLOCK = tarfile.BLOCKSIZE
_DENSE_BYTES = 256 << 10
_AHEAD_BYTES = 8 << 20
_ENCRYPTED_FLAG = 1
_UNIX = 3
_NO_CRC = -1
_FIELDS = attrgetter("offset", "size", "stored_size", "end", "method", "crc", "encrypted")

Prefetch: TypeAlias = "Callable[[list[Range]], None]"


class TarBytes(Protocol):
    """What is read of a tar: from front to back, with seeks forward."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102

    def seek(self, position: int, /) -> int: ...  # noqa: D102

    def tell(self) -> int: ...  # noqa: D102


class IndexingError(ValueError):
    """The directory of an archive is not what it should be; the text says how."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive.

    Attributes:
        offset: where it begins: a zip member's local header; a tar member's bytes, in the tar as it is uncompressed.
        size: of its bytes.
        stored_size: of its bytes as they are in the archive.
        end: where the next thing begins.
        method: a zip member's method of compression.
        crc: CRC-32 of its bytes, where the archive has one.
        encrypted: whether it needs a password.
    """

    offset: int
    size: int
    stored_size: int
    end: int
    method: int = STORED
    crc: int | None = None
    encrypted: bool = False


@dataclass(frozen=True)
class Index:
    """The members of one version of an archive that can be reached.

    Attributes:
        archive: that version.
        codec: what decompresses a compressed tar as a whole.
        members: by identifier. Not among them are folders, links, devices, and names that are there more than once; the
            connector itself keeps those outside the grammar away.
        ambiguous: the last of these.
        starts: where the bytes of zip members begin, by the offset of their local headers, as far as these were read;
            None for a tar, whose members' offsets are those of their bytes.
    """

    archive: ResourceInfo
    codec: Callable[[], Decompressor] | None
    members: dict[str, Member]
    ambiguous: frozenset[str]
    starts: dict[int, int] | None = None
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", sorted(self.members))

    def listed(self, prefix: str) -> Iterator[str]:
        """The identifiers that begin with a prefix, sorted."""
        for position in range(bisect_left(self.names, prefix), len(self.names)):
            if not self.names[position].startswith(prefix):
                return
            yield self.names[position]

    def describe(self, identifier: str) -> ResourceInfo:
        """A member of it, as a resource."""
        member = self.members[identifier]
        return ResourceInfo(identifier, member.size, self.version(member), self.archive.modified)

    def __reduce__(self) -> tuple[Any, ...]:
        """Small: columns of numbers, and not the places that reading finds out anyway."""
        magic = next((magic for magic, codec in TAR_CODECS.items() if codec is self.codec), b"")
        rows = map(_FIELDS, self.members.values())
        columns = [array("q", map(_as_number, column)) for column in zip(*rows, strict=True)]
        is_zip = self.starts is not None
        return _restored, (self.archive, magic, list(self.members), columns, self.ambiguous, is_zip)

    def holds(self, info: ResourceInfo) -> bool:
        """Whether a version of a resource is of this version of the archive."""
        member = self.members.get(info.identifier)
        return member is not None and self.version(member) == info.version

    def version(self, member: Member) -> str:
        """What names the bytes of a member: a replaced archive makes all of them new."""
        crc = "" if member.crc is None else f"-{member.crc:08x}"
        return f"{self.archive.version}@{member.offset:x}{crc}"


def _as_number(value: int | None) -> int:
    return _NO_CRC if value is None else int(value)


def _restored(
    archive: ResourceInfo,
    magic: bytes,
    names: list[str],
    columns: list[array[int]],
    ambiguous: frozenset[str],
    is_zip: bool,
) -> Index:
    rows = zip(names, zip(*columns, strict=True), strict=True)
    members = {
        name: Member(offset, size, stored_size, end, method, None if crc == _NO_CRC else crc, bool(encrypted))
        for name, (offset, size, stored_size, end, method, crc, encrypted) in rows
    }
    return Index(archive, TAR_CODECS.get(magic), members, ambiguous, {} if is_zip else None)


def kind_of(identifier: str, head: bytes = b"") -> str | None:
    r"""``"zip"`` or ``"tar"``, by the first bytes, else by the ending; None if neither tells.

    Examples:
        >>> kind_of("birds.tar.gz"), kind_of("birds", b"PK\3\4"), kind_of("birds.h5")
        ('tar', 'zip', None)
    """
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return "zip"
    if head[257:262] == b"ustar" or head.startswith(tuple(TAR_CODECS)):
        return "tar"
    return next((kind for kind, endings in _ENDINGS.items() if identifier.lower().endswith(endings)), None)


def codec_of(head: bytes) -> Callable[[], Decompressor] | None:
    """What decompresses a tar with these first bytes; None if it is not compressed."""
    return next((codec for magic, codec in TAR_CODECS.items() if head.startswith(magic)), None)


def data_start(member: Member, header: bytes) -> int:
    """Where a zip member's bytes begin, by its local header, which can be longer than the directory says."""
    if not header.startswith(b"PK\3\4") or len(header) < HEADER_BYTES:
        raise IndexingError(f"no local header at {member.offset}")
    start: int = member.offset + HEADER_BYTES + sum(struct.unpack_from("<HH", header, 26))
    if start + member.stored_size > member.end:
        raise IndexingError(f"it overlaps what begins at {member.end}")
    return start


def read_zip(file: BinaryIO, prefix: str, archive: ResourceInfo) -> Index:
    """The index of a zip, from the directory at its end.

    Raises:
        IndexingError: the directory is not what it should be; so may whatever ``zipfile`` raises.
    """
    with zipfile.ZipFile(file) as zip_file:
        entries = zip_file.infolist()
        directory: int = cast(Any, zip_file).start_dir
    _check_count(len(entries))
    _check_size(sum(entry.file_size for entry in entries))
    offsets = sorted({entry.header_offset for entry in entries})
    if offsets and not 0 <= offsets[0] <= offsets[-1] < directory:
        raise IndexingError("its directory names places outside of it")
    if len(offsets) < len(entries):
        raise IndexingError("members overlap: its directory names one place twice")
    ends = dict(zip(offsets, [*offsets[1:], directory], strict=False))  # of an empty zip, none
    members = (
        (
            entry.orig_filename,  # zipfile cuts the other one off at a NUL
            Member(
                entry.header_offset,
                entry.file_size,
                entry.compress_size,
                ends[entry.header_offset],
                entry.compress_type,
                entry.CRC,
                bool(entry.flag_bits & _ENCRYPTED_FLAG),
            ),
        )
        for entry in entries
        if _is_plain_file(entry)
    )
    return _make_index(members, prefix, archive, starts={})


def read_tar(file: TarBytes, prefix: str, archive: ResourceInfo, prefetch: Prefetch) -> Index:
    """The index of a tar that is not compressed, from one header to the next."""
    return _make_index(_tar_members(file, prefetch), prefix, archive)


def read_compressed_tar(
    stream: ForwardStream, prefix: str, archive: ResourceInfo, codec: Callable[[], Decompressor]
) -> Index:
    """The index of a compressed tar, for which all of it is decompressed once."""
    members = _tar_members(stream, lambda _: None)
    index = _make_index(members, prefix, archive, codec=codec)
    stream.seek(MOST_BYTES)  # to its end: gzip and xz have a checksum there
    return index


def _is_plain_file(entry: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(entry.external_attr >> 16) if entry.create_system == _UNIX else 0
    return not entry.orig_filename.endswith("/") and kind in {0, stat.S_IFREG}


def _tar_members(file: TarBytes, prefetch: Prefetch) -> Iterator[tuple[str, Member]]:
    source = _LastRead(file)
    with tarfile.TarFile(fileobj=cast(Any, source), encoding="utf-8", errors="surrogateescape") as tar:
        end = count = fetched = 0
        while (entry := tar.next()) is not None:
            count += 1
            _check_count(count)
            if entry.offset < end or entry.size < 0:  # tarfile of Python up to 3.13.5 goes round in circles then
                raise IndexingError(f"the header at {entry.offset} is wrong")
            end = entry.offset + _BLOCK
            if entry.isreg() and not entry.issparse():
                yield entry.name, Member(entry.offset_data, entry.size, entry.size, entry.offset_data + entry.size)
            if fetched <= tar.offset < count * _DENSE_BYTES:  # small members: their headers come in one read
                fetched = tar.offset + _AHEAD_BYTES
                prefetch([(tar.offset, fetched)])
            cast(Any, tar).members.clear()  # else a million of them are kept
        # tarfile takes a broken header, and the end of the file, for the end; that is a block of zeros.
        if source.block != bytes(_BLOCK):
            raise IndexingError(f"no end mark at {tar.offset}: it is cut off, or the header there is broken")


class _LastRead:
    """A file that remembers what was read last."""

    def __init__(self, file: TarBytes) -> None:
        self._file = file
        self.tell = file.tell
        self.seek = file.seek
        self.block = b""

    def read(self, size: int) -> bytes:
        self.block = self._file.read(size)
        return self.block


def _make_index(
    found: Iterable[tuple[str, Member]],
    prefix: str,
    archive: ResourceInfo,
    *,
    codec: Callable[[], Decompressor] | None = None,
    starts: dict[int, int] | None = None,
) -> Index:
    members: dict[str, Member] = {}
    ambiguous = set()
    folder = f"{prefix}/" if prefix else ""
    for name, member in found:
        while name.startswith("./"):  # as "tar -C folder ." writes them
            name = name[2:]
        identifier = name[len(folder) :]
        if name.startswith(folder):
            if identifier in members:
                ambiguous.add(identifier)
            members[identifier] = member
    for identifier in ambiguous:
        del members[identifier]
    return Index(archive, codec, members, frozenset(ambiguous), starts)


def _check_count(count: int) -> None:
    if count > MOST_MEMBERS:
        raise IndexingError(f"it has more than {MOST_MEMBERS:,} members")


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise IndexingError(f"its members have {size:,} bytes, and at most {MOST_BYTES:,} are allowed")
