"""A bucket of MongoDB's GridFS, as a storage connector over ``GridFSFileSystem``."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qs, unquote

from datastack_fs.credentials import EnvironmentText, expand, redact
from datastack_fs.errors import ConfigError, DatasetFileCorruptError, DatastackError, MissingDependencyError
from datastack_fs.resource import Range, ResourceInfo
from datastack_fs.storage import DEADLINE, StorageConnector

try:
    from bson import json_util

    from datastack_fs.connectors.gridfs_errors import CorruptGridFileError
    from datastack_fs.connectors.gridfs_filesystem import CHUNK_SIZE, GridFSFileSystem
    from datastack_fs.connectors.gridfs_reading import RevisionReader
    from datastack_fs.connectors.gridfs_removal import remove
except ModuleNotFoundError as error:
    raise MissingDependencyError(
        "mongodb:// needs pymongo: pip install 'datastack-fs[mongodb]'", name=error.name
    ) from error

if TYPE_CHECKING:
    import io

    from _typeshed import WriteableBuffer
    from typing_extensions import Self

    from datastack_fs.connectors.gridfs_bucket import Document
    from datastack_fs.writing import Upload

T = TypeVar("T")

STALL_TIMEOUT: Final = 15.0
BUCKET: Final = "fs"

_URL = re.compile(r"(?P<server>mongodb(?:\+srv)?://[^/]+)/(?P<path>[^?]*)(?:\?(?P<query>.*))?", re.DOTALL)


class GridFSStorageConnector(StorageConnector):
    """A GridFS bucket of a MongoDB database.

    A write makes a new revision, which its files document publishes, and then removes those that it replaces. A reader
    is pinned to its revision's ``_id``. The database and the bucket come with the first write, as MongoDB has it.

    Args:
        url: ``mongodb://`` or ``mongodb+srv://`` connection string with the database, and any of MongoDB's options.
        bucket: GridFS bucket; files that other programs put there are read as they are.
        chunk_size: bytes of a chunk of what is written. 64 KiB suits random access, 1 MiB is the most that pays.
        read_only: refuse every write.
        deadline: seconds without progress after which an operation gives up.

    Examples:
        >>> GridFSStorageConnector("mongodb://ann:s3cret@127.0.0.1:27017/lab")
        GridFSStorageConnector('mongodb://ann:***@127.0.0.1:27017/lab?bucket=fs')
    """

    gap_bytes = 0
    part_bytes = 1 << 40
    # Chunks are what is fetched, each once, in groups: neighbouring ranges need not be joined, nor long ones be cut.

    def __init__(
        self,
        url: str,
        *,
        bucket: str = BUCKET,
        chunk_size: int = CHUNK_SIZE,
        read_only: bool = False,
        deadline: float = DEADLINE,
    ) -> None:
        match = _URL.fullmatch(url)
        if not isinstance(url, EnvironmentText) and not (match and match["path"]):
            raise ConfigError(f"{redact(url)} names no database: mongodb://host:27017/database")
        shown = f"{match['server']}/{match['path']}?bucket={bucket}" if match else url
        super().__init__(redact(shown), read_only=read_only, deadline=deadline)
        self._fs = GridFSFileSystem(
            url,
            bucket=bucket,
            chunk_size=chunk_size,
            connect_timeout=min(5.0, deadline),
            timeout=min(STALL_TIMEOUT, deadline),
            deadline=deadline,
            skip_instance_cache=True,
        )

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """``mongodb://host/database?bucket=fs``; what else is in the query goes to MongoDB's own driver."""
        match = _URL.fullmatch(url)
        if match is None:
            # The URL as a whole is in the environment, and stays there: only the bucket's name is taken from it.
            whole = _URL.fullmatch(expand(url))
            named = parse_qs(whole["query"] or "").get("bucket") if whole else None
            return cls(url, **({"bucket": named[-1]} if named else {}) | options)
        parameters = [part for part in (match["query"] or "").split("&") if part]
        ours = [part for part in parameters if part.startswith("bucket=")]
        if ours:
            options.setdefault("bucket", parse_qs(ours[-1])["bucket"][0])
        query = "&".join(part for part in parameters if part not in ours)
        return cls(type(url)(f"{match['server']}/{match['path']}{'?' if query else ''}{query}"), **options)

    @classmethod
    def split_url(cls, url: str) -> tuple[str, str]:
        """``mongodb://host/database/identifier?bucket=fs``; the identifier is taken literally."""
        match = _URL.fullmatch(url)
        if match is None:
            return url, ""
        database, _, identifier = match["path"].partition("/")
        query = f"?{match['query']}" if match["query"] else ""
        return f"{match['server']}/{unquote(database)}{query}", identifier

    def close(self) -> None:  # noqa: D102
        self._fs.close()

    def _open(self, identifier: str, info: ResourceInfo | None) -> tuple[io.RawIOBase, ResourceInfo]:
        if self.is_cached:
            return super()._open(identifier, info)
        info = info or self._stat(identifier)
        return _ResourceReader(self, info), info

    def _block_bytes(self, info: ResourceInfo) -> int:
        return int(_document(info)["chunkSize"])  # a chunk is fetched as a whole

    def _stat(self, identifier: str) -> ResourceInfo:
        document = self._fs.store.newest(identifier)
        if document is None:
            raise FileNotFoundError(identifier)
        return _describe(document)

    def _read_ranges(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[bytes | Exception]:
        with self._pinned(info.identifier):
            return self._fs.chunks.read(_document(info), ranges)

    def _ask(self, identifier: str, call: Callable[[], T]) -> T:
        """Makes a call of an open reader, as the connector's own verbs make theirs."""
        with self._pinned(identifier):
            return self._retry("read", identifier, call)

    @contextmanager
    def _pinned(self, identifier: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise self._changed(identifier) from error

    def _list(self, prefix: str) -> Iterator[str]:
        folder = prefix[: prefix.rfind("/") + 1]
        names = (document["filename"] for document in self._fs.store.listing(folder))
        return (name for name in names if name.startswith(prefix))

    def _scan(self, prefix: str) -> Iterator[tuple[str, ResourceInfo]]:
        folder = prefix[: prefix.rfind("/") + 1]
        found = (document for document in self._fs.store.listing(folder) if document["filename"].startswith(prefix))
        return ((document["filename"], _describe(document)) for document in found)

    def _publish(self, identifier: str, upload: Upload, overwrite: bool) -> ResourceInfo:
        def metadata() -> Mapping[str, Any]:
            return {"checksum": upload.checksum}

        return _describe(self._fs.write(identifier, upload.blocks(), metadata=metadata, overwrite=overwrite))

    def _delete(self, identifier: str) -> None:
        remove(self._fs.store, [identifier])

    def _sweep(self, older_than: float) -> int:
        return self._fs.sweep(older_than)

    def _translate(self, error: Exception) -> tuple[type[DatastackError], str] | None:
        if isinstance(error, CorruptGridFileError):
            return DatasetFileCorruptError, "the file in GridFS is damaged"
        return super()._translate(error)


class _ResourceReader(RevisionReader):
    """The reader of a revision, with the connector's retries and errors."""

    def __init__(self, connector: GridFSStorageConnector, info: ResourceInfo) -> None:
        super().__init__(connector._fs.chunks, _document(info))
        self._connector = connector

    def readinto(self, buffer: WriteableBuffer) -> int:
        count = super().readinto(buffer)
        self._connector.meter.note(self._document["filename"], used_bytes=count)
        return count

    def readall(self) -> bytes:
        content = super().readall()
        size = len(content)
        self._connector.meter.note(self._document["filename"], fetched_bytes=size, used_bytes=size)
        return content

    def _ask(self, call: Callable[[], T]) -> T:
        began = time.monotonic()
        answer = self._connector._ask(self._document["filename"], call)
        self._connector.meter.note(self._document["filename"], requests=1, seconds=time.monotonic() - began)
        return answer

    def _keep(self, chunks: dict[int, bytes]) -> None:
        self._connector.meter.note(self._document["filename"], fetched_bytes=sum(map(len, chunks.values())))
        super()._keep(chunks)


def _document(info: ResourceInfo) -> Document:
    return {"filename": info.identifier, "length": info.size, **json_util.loads(info.version)}


def _describe(document: Mapping[str, Any]) -> ResourceInfo:
    # The version carries the chunk size: with it, a pinned read needs no second look at the files document.
    version = json_util.dumps({"_id": document["_id"], "chunkSize": document["chunkSize"]})
    checksum = (document.get("metadata") or {}).get("checksum")
    return ResourceInfo(
        document["filename"],
        int(document["length"]),
        version,
        document["uploadDate"],
        checksum if isinstance(checksum, str) else None,
    )
