"""From an archive that was retrieved to a resource for each of its members, streamed and within limits."""

from __future__ import annotations

import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from datastack_fs.decompression import (
    BLOCK_BYTES,
    FREE_BYTES,
    MOST_BYTES,
    MOST_MEMBERS,
    MOST_RATIO,
    STORED,
    TAR_CODECS,
    ZIP_METHODS,
    Copier,
    Decompressor,
    ForwardStream,
    StreamError,
)
from datastack_fs.errors import UnsupportedStorageError
from datastack_fs.members import Members, translated

if TYPE_CHECKING:
    from datastack_fs.resource import ResourceInfo
    from datastack_fs.storage import StorageConnector

_PIECE_BYTES: Final = 64 << 10
_LARGEST_HEADER: Final = 1 << 20
_HEADER_BYTES: Final = 30
_ENCRYPTED: Final = 1
_UNIX: Final = 3


def unzip(
    file: BinaryIO,
    connector: StorageConnector,
    prefix: str = "",
    *,
    max_members: int = MOST_MEMBERS,
    max_size: int = MOST_BYTES,
    max_ratio: float = MOST_RATIO,
) -> list[ResourceInfo]:
    """Stores every member of a zip under its name, each all or nothing, checked by its CRC-32.

    Folders are left out. All that the directory of the archive tells is checked before anything is stored.

    Args:
        file: the archive, a ``StreamedResource`` or any other binary file that can seek.
        connector: the store.
        prefix: a folder of the store that the names begin from.
        max_members: the most members.
        max_size: the most bytes that they may have together.
        max_ratio: a member that is so many times larger than what is stored of it is taken for a decompression bomb.

    Returns:
        the resources, in the order of the archive.

    Raises:
        MaliciousFilePathError: a name that leaves the folder, a link or a device.
        MalformedIdentifierError: a name that is no identifier.
        DatasetFileCorruptError: it is no zip or a damaged one, a name is there twice, or a limit is passed.
        UnsupportedStorageError: a member is encrypted, or compressed in a way that is not known.

    Examples:
        >>> import io
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> with zipfile.ZipFile(stream := io.BytesIO(), "w") as archive:
        ...     archive.writestr("owls/tawny.txt", "hoo")
        >>> connector = MemoryStorageConnector("unzip-example")
        >>> [info.identifier for info in unzip(stream, connector, "birds")]
        ['birds/owls/tawny.txt']
    """
    members = Members(file, prefix, max_members, max_size)
    with translated(members.archive):
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            end: int = cast(Any, archive).start_dir
        wanted = [(name, entry) for entry in entries if (name := _zip_name(members, entry))]
        _check_zip(wanted, end, max_ratio)
    offsets = sorted({entry.header_offset for entry in entries} | {end})
    ends = dict(pairwise(offsets))
    return [
        connector.set_resource(name, _zip_blocks(file, members.archive, entry, ends[entry.header_offset], max_ratio))
        for name, entry in wanted
    ]


def untar(
    file: BinaryIO,
    connector: StorageConnector,
    prefix: str = "",
    *,
    max_members: int = MOST_MEMBERS,
    max_size: int = MOST_BYTES,
    max_ratio: float = MOST_RATIO,
) -> list[ResourceInfo]:
    """Stores every member of a tar under its name, each all or nothing; one compressed by gzip, bzip2 or xz, too.

    It is read once, from front to back, and need not seek. So members that come before one that is refused, or before
    damage, are stored.

    Args:
        file: the archive, a ``StreamedResource`` or any other binary file.
        connector: the store.
        prefix: a folder of the store that the names begin from.
        max_members: the most members.
        max_size: the most bytes that they may have together.
        max_ratio: an archive that becomes so many times larger is taken for a decompression bomb.

    Returns:
        the resources, in the order of the archive.

    Raises:
        MaliciousFilePathError: a name that leaves the folder, a link or a device.
        MalformedIdentifierError: a name that is no identifier.
        DatasetFileCorruptError: it is no tar or a damaged one, a name is there twice, or a limit is passed.

    Examples:
        >>> import io
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> with tarfile.open(fileobj=(stream := io.BytesIO()), mode="w:gz") as archive:
        ...     member = tarfile.TarInfo("tawny.txt")
        ...     member.size = 3
        ...     archive.addfile(member, io.BytesIO(b"hoo"))
        >>> _ = stream.seek(0)
        >>> [info.identifier for info in untar(stream, MemoryStorageConnector("untar-example"), "birds/owls")]
        ['birds/owls/tawny.txt']
    """
    members = Members(file, prefix, max_members, max_size)
    infos = []
    with translated(members.archive):
        stream = _TarStream(_tar_bytes(file, max_ratio))
        with tarfile.TarFile(fileobj=cast(Any, stream), encoding="utf-8", errors="surrogateescape") as tar:
            reached = 0
            while (entry := tar.next()) is not None:
                if (
                    entry.offset < reached or entry.size < 0
                ):  # tarfile of Python up to 3.13.5 goes round in circles then
                    raise StreamError(f"the header at {entry.offset:,} is wrong")
                reached = entry.offset + tarfile.BLOCKSIZE
                is_file = entry.isreg() and not entry.issparse()
                name = members.take(entry.name, entry.size, is_file=is_file, is_folder=entry.isdir())
                if name:
                    stream.seek(entry.offset_data)
                    infos.append(connector.set_resource(name, _tar_blocks(stream, members.archive, entry)))
                stream.seek(tar.offset)
                cast(Any, tar).members.clear()  # else a million of them are kept
        stream.finish()
    return infos


def _zip_name(members: Members, entry: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(entry.external_attr >> 16) if entry.create_system == _UNIX else 0
    name = entry.orig_filename  # zipfile cuts the other one off at a NUL
    is_folder = name.endswith("/") or kind == stat.S_IFDIR
    return members.take(name, entry.file_size, is_file=kind in {0, stat.S_IFREG}, is_folder=is_folder)


def _check_zip(wanted: list[tuple[str, zipfile.ZipInfo]], end: int, max_ratio: float) -> None:
    if len({entry.header_offset for _, entry in wanted}) < len(wanted):
        raise StreamError("members overlap")
    for name, entry in wanted:
        if entry.flag_bits & _ENCRYPTED:
            raise UnsupportedStorageError(f"{name!r} is encrypted: unpack it with its password, and store the members")
        if entry.compress_type not in {STORED, *ZIP_METHODS}:
            raise UnsupportedStorageError(
                f"{name!r} is compressed by method {entry.compress_type}, and deflate, bzip2 and LZMA are known"
            )
        if entry.compress_type == STORED and entry.file_size != entry.compress_size:
            raise StreamError(f"{entry.compress_size:,} bytes are stored of {name!r}, said to have {entry.file_size:,}")
        if not 0 <= entry.header_offset < end:
            raise StreamError(f"{name!r} is said to be outside of it")
        if entry.file_size > max(FREE_BYTES, max_ratio * entry.compress_size):
            raise StreamError(
                f"{entry.compress_size:,} bytes of {name!r} would become {entry.file_size:,}; max_ratio= allows more"
            )


def _zip_blocks(file: BinaryIO, archive: str, entry: zipfile.ZipInfo, end: int, max_ratio: float) -> Iterator[bytes]:
    with translated(archive, entry.orig_filename):
        file.seek(entry.header_offset)
        header = file.read(_HEADER_BYTES)
        if not header.startswith(b"PK\3\4") or len(header) < _HEADER_BYTES:
            raise StreamError(f"no local header at {entry.header_offset:,}")
        start: int = entry.header_offset + _HEADER_BYTES + sum(struct.unpack_from("<HH", header, 26))
        if start + entry.compress_size > end:  # members that share bytes are how a small zip becomes petabytes
            raise StreamError(f"it overlaps what begins at {end:,}")
        file.seek(start)
        codec = Copier if entry.compress_type == STORED else ZIP_METHODS[entry.compress_type]
        promised = (entry.file_size, entry.CRC)
        stream = ForwardStream(_pieces(file, entry.compress_size), codec, most_ratio=max_ratio, promised=promised)
        yield from _blocks(stream, entry.file_size)
        stream.read(1)  # an empty one has a checksum, too


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size and (piece := file.read(min(size, _PIECE_BYTES))):
        size -= len(piece)
        yield piece


def _blocks(stream: ForwardStream, size: int) -> Iterator[bytes]:
    while size:
        block = stream.read(min(size, BLOCK_BYTES))
        if not block:
            raise StreamError(f"it ends {size:,} bytes too early")
        size -= len(block)
        yield block


def _tar_blocks(stream: _TarStream, archive: str, entry: tarfile.TarInfo) -> Iterator[bytes]:
    with translated(archive, entry.name):
        yield from _blocks(stream.bytes, entry.size)


def _tar_bytes(file: BinaryIO, max_ratio: float) -> ForwardStream:
    head = file.read(tarfile.BLOCKSIZE)
    codec: Callable[[], Decompressor] = next(
        (TAR_CODECS[magic] for magic in TAR_CODECS if head.startswith(magic)), Copier
    )
    rest = iter(lambda: file.read(_PIECE_BYTES), b"")
    return ForwardStream(chain([head], rest), codec, most_ratio=max_ratio)


class _TarStream:
    """What tarfile reads headers from: forward only, and no more at once than a header needs."""

    def __init__(self, stream: ForwardStream) -> None:
        self.bytes = stream
        self.tell = stream.tell
        self._last = b""

    def read(self, size: int) -> bytes:
        if size > _LARGEST_HEADER:
            raise StreamError(f"it has a header of {size:,} bytes")
        self._last = self.bytes.read(size)
        return self._last

    def seek(self, position: int) -> int:
        if self.bytes.seek(position) < position:
            raise StreamError(f"it ends after {self.bytes.tell():,} bytes, where {position:,} were to come")
        return position

    def finish(self) -> None:
        """Reads to the end, where gzip and xz have a checksum."""
        # tarfile takes a broken header, and the end of the file, for the end; that is a block of zeros.
        if self._last != bytes(tarfile.BLOCKSIZE):
            raise StreamError(f"no end mark at {self.tell():,}: it is cut off, or the header there is broken")
        self.bytes.seek(MOST_BYTES)
