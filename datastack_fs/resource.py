"""A stored resource: what is known of it, and the binary file that reads it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, Protocol, overload

Range = tuple[int, int]
"""A half-open range of bytes, ``(start, stop)``."""

Content = bytes | memoryview
"""Bytes of a resource, perhaps as a part of more that was fetched at once."""

CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class ResourceInfo:
    """What a store says of one version of a resource, without its bytes.

    Attributes:
        identifier: its name within the store.
        size: in bytes.
        version: names these very bytes in the store's own terms (ETag, generation, ``_id``, inode and times); equal
            versions are equal bytes.
        modified: when it was stored, where the store says.
        checksum: ``sha256:<hex>`` if it was stored with one.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> info = MemoryStorageConnector("info-example").set_resource("list.txt", b"finch")
        >>> info.identifier, info.size, info.checksum[:6]
        ('list.txt', 5, 'sha256')
    """

    identifier: str
    size: int
    version: str
    modified: datetime | None = None
    checksum: str | None = None


class ResourceOpener(Protocol):
    """What a resource asks of the connector that it came from, and what is told of the requests that it makes."""

    gap_bytes: int
    part_bytes: int

    @property
    def url(self) -> str: ...  # noqa: D102

    def get_resource(self, identifier: str, *, info: ResourceInfo | None = None) -> StreamedResource: ...  # noqa: D102

    @overload
    def get_ranges(
        self, identifier: str, ranges: Sequence[Range], *, info: ResourceInfo | None = None, copy: Literal[True] = True
    ) -> list[bytes]: ...
    @overload
    def get_ranges(
        self, identifier: str, ranges: Sequence[Range], *, info: ResourceInfo | None = None, copy: bool
    ) -> Sequence[Content]: ...
    def get_many_ranges(  # noqa: D102
        self, wanted: Sequence[tuple[ResourceInfo, Sequence[Range]]]
    ) -> list[Sequence[Content]]: ...


class StreamedResource(io.BufferedReader):
    r"""A stored resource as a Python binary file, opened lazily and pinned to one version.

    It goes wherever a file goes (``h5py.File``, ``numpy.load``, ``pandas.read_csv``, ``zipfile``, ``torch.load``) and
    pickles as address, version and position. Reads give the bytes of the version it was opened on, or raise
    ``ResourceChangedError``; they never end early. One resource belongs to one thread: ``reopen()`` gives another
    thread its own.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("birds")
        >>> info = connector.set_resource("list.txt", b"finch\nowl\n")
        >>> with connector.get_resource("list.txt") as resource:
        ...     resource.seek(6), resource.read(3), resource.size
        (6, b'owl', 10)
        >>> resource = connector.get_resource("list.txt")
        >>> resource.prefetch([(0, 5), (6, 9)])
        >>> list(resource.chunks(6)), resource.reopen().text().readline()
        ([b'finch\n', b'owl\n'], 'finch\n')
    """

    def __init__(
        self,
        raw: io.RawIOBase,
        info: ResourceInfo,
        opener: ResourceOpener,
        *,
        buffer_size: int = io.DEFAULT_BUFFER_SIZE,
    ) -> None:
        super().__init__(raw, buffer_size)
        self.info = info
        self._opener = opener
        self._prefetch = getattr(raw, "prefetch", None)
        self.local_path: str | None = getattr(raw, "local_path", None)
        """The path of the bytes when they are a file of this machine, else None."""

    @property
    def connector(self) -> ResourceOpener:
        """The store that it came from: with ``info`` it gives the same version again, also after this was closed."""
        return self._opener

    @property
    def identifier(self) -> str:
        """Its name within the store."""
        return self.info.identifier

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return self.info.size

    @property
    def name(self) -> str:
        """The identifier, under the name that Python's files have for it."""
        return self.info.identifier

    def chunks(self, size: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Yields the rest of the resource in blocks of ``size`` bytes, the last one shorter."""
        if size < 1:
            raise ValueError(f"chunks of {size} bytes: the size is at least 1")
        while block := self.read(size):
            yield block

    def text(self, encoding: str = "utf-8", *, errors: str = "strict", newline: str | None = None) -> io.TextIOWrapper:
        """The resource as a text file; closing the one closes the other. ``newline=""`` is what ``csv`` wants."""
        return io.TextIOWrapper(self, encoding=encoding, errors=errors, newline=newline)

    def prefetch(self, ranges: Sequence[Range]) -> None:
        """Fetches byte ranges that will be read soon, all at once; does nothing for a local file."""
        if self._prefetch is not None:
            self._prefetch(ranges)

    def reopen(self) -> StreamedResource:
        """Another reader of the same version, with a cursor of its own that stands at the beginning.

        Raises:
            ResourceChangedError: the version is no longer there (a remote store may say so at the first read).
        """
        return self._opener.get_resource(self.identifier, info=self.info)

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return _reopen_at, (self._opener, self.info, self.tell())

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.size:,} bytes"
        return f"<StreamedResource {self.identifier!r} of {self._opener.url} ({state})>"


def _reopen_at(opener: ResourceOpener, info: ResourceInfo, position: int) -> StreamedResource:
    resource = opener.get_resource(info.identifier, info=info)
    resource.seek(position)
    return resource
