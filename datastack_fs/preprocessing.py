"""From the files that were retrieved to those that a dataset is read from, as streams of bounded memory."""

from __future__ import annotations

import gzip
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

from datastack_fs.decompression import MOST_BYTES
from datastack_fs.errors import DatasetFileCorruptError

if TYPE_CHECKING:
    from datastack_fs.resource import ResourceInfo
    from datastack_fs.storage import StorageConnector

BLOCK_BYTES: Final = 1 << 20


class Preprocessor(ABC):
    """A step that reads resources of a store and writes another one there, from the same bytes the same bytes.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> class Unpack(Preprocessor):
        ...     def preprocess(self, connector):
        ...         with connector.get_resource("owl.txt.gz") as packed:
        ...             return connector.set_resource("owl.txt", gunzip(packed))
        >>> connector = MemoryStorageConnector("preprocessor-example")
        >>> info = connector.set_resource("owl.txt.gz", gzip.compress(b"hoo"))
        >>> Unpack().preprocess(connector).size
        3
    """

    @abstractmethod
    def preprocess(self, connector: StorageConnector) -> ResourceInfo:
        """Reads, writes, and says what was written."""


def gunzip(stream: BinaryIO, *, max_size: int = MOST_BYTES) -> Iterator[bytes]:
    """Yields what a gzip file holds, in blocks of at most 1 MiB.

    Args:
        stream: the compressed file, a ``StreamedResource`` or any other binary file.
        max_size: the most bytes that may come out of it.

    Raises:
        DatasetFileCorruptError: it is no gzip file, a damaged one or a part of one, or more comes out of it; the
            message names it.

    Examples:
        >>> import io
        >>> list(gunzip(io.BytesIO(gzip.compress(b"hoo"))))
        [b'hoo']
    """
    name = getattr(stream, "name", "the stream")
    with gzip.GzipFile(fileobj=stream) as file:
        size = 0
        while block := _read(file, name):
            size += len(block)
            if size > max_size:
                raise DatasetFileCorruptError(f"{name}: more than {max_size:,} bytes come out; max_size= allows more")
            yield block
    if not size and stream.seekable() and stream.tell() == 0:
        raise DatasetFileCorruptError(f"{name} is not a whole gzip file: it is empty")


def _read(file: gzip.GzipFile, name: str) -> bytes:
    try:
        return file.read(BLOCK_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DatasetFileCorruptError(f"{name} is not a whole gzip file: {error}") from error
