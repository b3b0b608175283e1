"""Where the members of a zip or tar archive lie, read once from its directory or its headers."""

from __future__ import annotations

import stat
import struct
import tarfile
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from datastack_fs.connectors.archive_directory import read_directory
from datastack_fs.connectors.archive_members import NO_CRC, IndexingError, Member, Members
from datastack_fs.decompression import MOST_BYTES, MOST_MEMBERS, TAR_CODECS, Decompressor, ForwardStream
from datastack_fs.resource import Range, ResourceInfo
from datastack_fs.resource_columns import ResourceColumns

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

Prefetch: TypeAlias = "Callable[[list[Range]], None]"


class TarBytes(Protocol):
    """What is read of a tar: from front to back, with seeks forward."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102

    def seek(self, position: int, /) -> int: ...  # noqa: D102

    def tell(self) -> int: ...  # noqa: D102


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
    members: Members
    ambiguous: frozenset[str]
    starts: dict[int, int] | None = None

    def listed(self, prefix: str) -> list[str]:
        """The identifiers that begin with a prefix, sorted."""
        return self.members.names[self._listed_places(prefix)]

    def scanned(self, prefix: str) -> ResourceColumns:
        """The same, with their versions."""
        places = self._listed_places(prefix)
        sizes: list[int] = self.members.column("size", places).tolist()
        return ResourceColumns(self.members.names[places], sizes, self.versions(places))

    def describe(self, identifier: str) -> ResourceInfo:
        """A member of it, as a resource."""
        member = self.members[identifier]
        return ResourceInfo(identifier, member.size, self.version(member), self.archive.modified)

    def __reduce__(self) -> tuple[Any, ...]:
        """Small: not the places that reading finds out anyway."""
        magic = next((magic for magic, codec in TAR_CODECS.items() if codec is self.codec), b"")
        return _restored, (self.archive, magic, self.members, self.ambiguous, self.starts is not None)

    def holds(self, info: ResourceInfo) -> bool:
        """Whether a version of a resource is of this version of the archive."""
        member = self.members.get(info.identifier)
        return member is not None and self.version(member) == info.version

    def version(self, member: Member) -> str:
        """What names the bytes of a member: a replaced archive makes all of them new."""
        return _versions(self.archive, [member.offset], [NO_CRC if member.crc is None else member.crc])[0]

    def versions(self, places: Sequence[int] | slice) -> list[str]:
        """The same of many."""
        offsets, crcs = (self.members.column(name, places).tolist() for name in ("offset", "crc"))
        return _versions(self.archive, offsets, crcs)

    def _listed_places(self, prefix: str) -> slice:
        if not prefix:
            return slice(0, len(self.members))
        names = self.members.names
        start = bisect_left(names, prefix)
        return slice(start, bisect_left(names, True, start, key=lambda name: not name.startswith(prefix)))


def _versions(archive: ResourceInfo, offsets: Sequence[int], crcs: Sequence[int]) -> list[str]:
    version = archive.version
    return [
        f"{version}@{offset:x}-{crc:08x}" if crc >= 0 else f"{version}@{offset:x}"
        for offset, crc in zip(offsets, crcs, strict=True)
    ]


def _restored(archive: ResourceInfo, magic: bytes, members: Members, ambiguous: frozenset[str], is_zip: bool) -> Index:
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
        IndexingError: the directory is not what it should be.
        UnicodeDecodeError: a name in it is not the UTF-8 that it is said to be.
    """
    directory = read_directory(file)
    records, wide = directory.records, directory.wide
    _check_count(len(records))
    _check_size(sum(wide["size"].tolist()))
    offsets = wide["offset"].tolist()
    if offsets and not 0 <= min(offsets) + directory.shift <= max(offsets) + directory.shift < directory.start:
        raise IndexingError("its directory names places outside of it")
    begins = np.array(offsets, np.int64) + directory.shift
    order = np.argsort(begins)
    if np.any(begins[order[1:]] == begins[order[:-1]]):
        raise IndexingError("members overlap: its directory names one place twice")
    ends = np.empty_like(begins)
    ends[order] = np.append(begins[order[1:]], directory.start)[: len(begins)]
    columns = np.stack(
        [
            begins,
            wide["size"].astype(np.int64),
            np.minimum(wide["stored_size"], MOST_BYTES).astype(np.int64),  # no archive has more
            ends,
            records["method"].astype(np.int64),
            records["crc"].astype(np.int64),
            (records["flags"] & _ENCRYPTED_FLAG).astype(np.int64),
        ]
    )
    kinds = np.where(records["system"] == _UNIX, stat.S_IFMT(0xFFFF) & (records["attributes"] >> 16), 0)
    is_plain = ((kinds == 0) | (kinds == stat.S_IFREG)).tolist()
    kept = [place for place, name in enumerate(directory.names) if is_plain[place] and not name.endswith("/")]
    return _make_index([directory.names[place] for place in kept], columns[:, kept], prefix, archive, starts={})


def read_tar(file: TarBytes, prefix: str, archive: ResourceInfo, prefetch: Prefetch) -> Index:
    """The index of a tar that is not compressed, from one header to the next."""
    return _make_index(*_columns(_tar_members(file, prefetch)), prefix, archive)


def read_compressed_tar(
    stream: ForwardStream, prefix: str, archive: ResourceInfo, codec: Callable[[], Decompressor]
) -> Index:
    """The index of a compressed tar, for which all of it is decompressed once."""
    index = _make_index(*_columns(_tar_members(stream, lambda _: None)), prefix, archive, codec=codec)
    stream.seek(MOST_BYTES)  # to its end: gzip and xz have a checksum there
    return index


def _columns(found: Iterable[tuple[str, int, int]]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Names, and the columns of members of a tar, found as name, offset and size."""
    names: list[str] = []
    places = array("q")
    for name, *place in found:
        names.append(name)
        places.extend(place)
    offsets, sizes = np.array(places, np.int64).reshape(-1, 2).T
    columns = np.zeros((len(Member.__slots__), len(names)), np.int64)
    columns[:4] = offsets, sizes, sizes, offsets + sizes
    columns[5] = NO_CRC
    return names, columns


def _tar_members(file: TarBytes, prefetch: Prefetch) -> Iterator[tuple[str, int, int]]:
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
                yield entry.name, entry.offset_data, entry.size
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
    names: list[str],
    columns: npt.NDArray[np.int64],
    prefix: str,
    archive: ResourceInfo,
    *,
    codec: Callable[[], Decompressor] | None = None,
    starts: dict[int, int] | None = None,
) -> Index:
    names = [_without_dot(name) if name.startswith("./") else name for name in names]
    if prefix:
        folder = f"{prefix}/"
        kept = [place for place, name in enumerate(names) if name.startswith(folder)]
        names, columns = [names[place][len(folder) :] for place in kept], columns[:, kept]
    ambiguous: frozenset[str] = frozenset()
    if len(set(names)) < len(names):
        ambiguous = frozenset(name for name, count in Counter(names).items() if count > 1)
        kept = [place for place, name in enumerate(names) if name not in ambiguous]
        names, columns = [names[place] for place in kept], columns[:, kept]
    return Index(archive, codec, Members.of_columns(names, columns), ambiguous, starts)


def _without_dot(name: str) -> str:
    """The name without what ``tar -C folder .`` puts before it."""
    while name.startswith("./"):
        name = name[2:]
    return name


def _check_count(count: int) -> None:
    if count > MOST_MEMBERS:
        raise IndexingError(f"it has more than {MOST_MEMBERS:,} members")


def _check_size(size: int) -> None:
    if size > MOST_BYTES:
        raise IndexingError(f"its members have {size:,} bytes, and at most {MOST_BYTES:,} are allowed")
