"""The bytes of a text in any store: as they are stored, or unpacked from gzip once, for random access."""

from __future__ import annotations

import gzip
import logging
import mmap
import tempfile
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from datastack_fs.errors import DatasetFileCorruptError, StorageFullError
from datastack_fs.index_cache import IndexCache, IndexKey
from datastack_fs.iterators.planning import Answers, ByteRanges, Plan
from datastack_fs.resource import CHUNK_BYTES, Range, ResourceInfo, ResourceOpener, StreamedResource

logger = logging.getLogger(__name__)

MAX_BYTES: Final = 16 << 30
"""The most that a gzipped text may unpack to, on the disk of the cache folder."""

_GZIP: Final = b"\x1f\x8b"


class TextContent(Protocol):
    """The bytes of a text; it pickles as the address and version of its resource."""

    def read(self, ranges: Sequence[Range]) -> Sequence[bytes | memoryview]:
        """The bytes of each range."""

    def plan(self, ranges: Sequence[Range]) -> Plan[Answers]:
        """What ``read`` would fetch, and the bytes of each range of that."""

    def blocks(self) -> Iterator[bytes]:
        """All bytes, from front to back."""


def text_content(resource: StreamedResource, max_bytes: int = MAX_BYTES) -> TextContent:
    """The bytes of a text, plain or gzipped, told by its first two bytes."""
    resource.seek(0)
    packed = resource.read(len(_GZIP)) == _GZIP
    resource.seek(0)
    connector, info = resource.connector, resource.info
    return UnpackedText(connector, info, max_bytes) if packed else StoredText(connector, info)


class StoredText:
    """A text that is stored as it is: what is asked for is fetched at once, neighbours joined.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("stored-text-example")
        >>> text = StoredText(connector, connector.set_resource("a.txt", b"owl wren"))
        >>> [bytes(word) for word in text.read([(4, 8), (0, 3)])], list(text.blocks())
        ([b'wren', b'owl'], [b'owl wren'])
    """

    def __init__(self, connector: ResourceOpener, info: ResourceInfo) -> None:
        self._connector, self._info = connector, info

    def read(self, ranges: Sequence[Range]) -> Sequence[bytes | memoryview]:
        """The bytes of each range, of the one version."""
        return self._connector.get_ranges(self._info.identifier, ranges, info=self._info, copy=False)

    def plan(self, ranges: Sequence[Range]) -> Plan[Answers]:
        """The ranges themselves."""
        request = ByteRanges(self._connector, self._info.identifier, self._info, ranges)
        return Plan.fetching(request)

    def blocks(self) -> Iterator[bytes]:
        """All bytes, read ahead in parallel from a remote store."""
        with self._connector.get_resource(self._info.identifier, info=self._info) as resource:
            yield from resource.chunks()


class UnpackedText:
    """A gzipped text, which has no random access: it is unpacked once into the cache folder, and mapped from there.

    That takes the disk space of the unpacked text and one pass over all bytes. Where the cache can't keep it, it is
    unpacked into a temporary file, anew in each process. Memory stays bounded either way.

    Raises:
        DatasetFileCorruptError: it is no whole gzip file, or unpacks to more than ``max_bytes``.
        StorageFullError: there is no room to unpack it.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("unpacked-text-example")
        >>> text = UnpackedText(connector, connector.set_resource("a.txt.gz", gzip.compress(b"owl wren")), MAX_BYTES)
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     [bytes(word) for word in text.read([(4, 8), (0, 3)])]
        [b'wren', b'owl']
    """

    def __init__(self, connector: ResourceOpener, info: ResourceInfo, max_bytes: int) -> None:
        self._connector, self._info, self._max_bytes = connector, info, max_bytes
        self._what = f"{info.identifier} in {connector.url}"
        self._mapped: memoryview | None = None

    def read(self, ranges: Sequence[Range]) -> Sequence[bytes | memoryview]:
        """The bytes of each range of the unpacked text."""
        content = self._content()
        return [content[start:stop] for start, stop in ranges]

    def plan(self, ranges: Sequence[Range]) -> Plan[Answers]:
        """Nothing to fetch: all bytes are on this machine."""
        return Plan.unfetched(lambda: self.read(ranges))

    def blocks(self) -> Iterator[bytes]:
        """All bytes of the unpacked text."""
        content = self._content()
        for start in range(0, len(content), CHUNK_BYTES):
            yield bytes(content[start : start + CHUNK_BYTES])

    def _content(self) -> memoryview:
        if self._mapped is None:  # two threads may both do it, and one result is kept
            key, cache = IndexKey(self._connector.url, self._info, "unpacked-1"), IndexCache()
            content = cache.load(key)
            if content is None:
                warnings.warn(
                    f"{self._what} is gzipped, so all of it is unpacked into {cache.folder}: gunzip it to save that",
                    stacklevel=2,
                )
                content = cache.store(key, self._unpacked())
            if content is None:
                content = _in_temporary_file(self._unpacked(), self._what)
            if len(content) > self._max_bytes:
                raise self._too_large()
            self._mapped = content
        return self._mapped

    def _unpacked(self) -> Iterator[bytes]:
        came = 0
        try:
            with (
                self._connector.get_resource(self._info.identifier, info=self._info) as resource,
                gzip.GzipFile(fileobj=resource) as file,
            ):
                while block := file.read(CHUNK_BYTES):
                    came += len(block)
                    if came > self._max_bytes:
                        raise self._too_large()
                    yield block
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DatasetFileCorruptError(f"{self._what} is not a whole gzip file: {error}") from error

    def _too_large(self) -> DatasetFileCorruptError:
        return DatasetFileCorruptError(f"{self._what} unpacks to more than max_bytes={self._max_bytes:,}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": None}


def _in_temporary_file(blocks: Iterable[bytes], what: str) -> memoryview:
    with tempfile.TemporaryFile(prefix="datastack-") as file:
        for block in blocks:
            try:
                file.write(block)
            except OSError as error:
                raise StorageFullError(f"can't unpack {what} into {tempfile.gettempdir()}: {error}") from error
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if file.tell() else b"")
