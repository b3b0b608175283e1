"""Any fsspec filesystem, as a storage connector."""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import fsspec
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from datastack_fs.connectors.fsspec_loop import CONCURRENCY, gather_ranges, run_on_loop
from datastack_fs.connectors.fsspec_place import MemoryPlace, Place, explained, open_given, open_url
from datastack_fs.credentials import redact
from datastack_fs.errors import (
    ConfigError,
    DatasetFileCorruptError,
    DatastackError,
    ResourceNotFoundError,
    StoragePermissionError,
    StorageUnavailableError,
    UnsupportedStorageError,
)
from datastack_fs.identifiers import RESERVED
from datastack_fs.processes import PerProcess
from datastack_fs.resource import Range, ResourceInfo
from datastack_fs.storage import DEADLINE, StorageConnector

if TYPE_CHECKING:
    from typing_extensions import Self

    from datastack_fs.writing import Upload

__all__ = ["CONCURRENCY", "FsspecStorageConnector", "gather_ranges", "run_on_loop"]

TEMPORARY: Final = f"{RESERVED}-tmp-"
"""Beginning of a temporary file's name; the time it was made follows, for not every filesystem tells."""

# What names a version in the various filesystems' ``info``: all that are there count, and of the times the first.
_MARKS = ("etag", "ETag", "e_tag", "generation", "VersionId", "version_id", "md5Hash", "md5", "sha", "checksum", "CRC")
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "modificationTime", "date_time", "created")

_SETTLED: Final = timedelta(minutes=1)

# Errors of libraries that may not be installed are known by the names of their classes.
_DENIED = {"AuthenticationException", "ClientAuthenticationError"}
_NO_ANSWER = {
    "ClientConnectionError",
    "ClientPayloadError",
    "ConnectionError",
    "HTTPClientError",
    "ServiceRequestError",
    "ServiceResponseError",
    "SSHException",
    "Timeout",
}


class FsspecStorageConnector(StorageConnector):
    """What is below a root path in any fsspec filesystem (SFTP, SMB, HDFS, Azure, WebDAV, memory, …).

    For folders, S3, GCS, GridFS and HTTP this library has connectors of their own, which promise more. What holds here
    depends on the filesystem:

    - A version is what ``info`` tells of the file (ETag, generation, time, size). It is compared after each read, so
      that a replaced file raises ``ResourceChangedError``; where only the size is told, a file replaced by one of
      the same size goes unnoticed.
    - A write goes to a temporary file in the same folder and is moved onto the target. Readers never see a part of
      it if the filesystem's own ``mv`` (or its copy) is atomic.
    - ``overwrite=False`` works in memory and on local files only; elsewhere it raises ``UnsupportedStorageError``.
    - Checksums are not kept, symbolic links are followed wherever they lead, and folders that a delete leaves empty
      stay, except on this machine: elsewhere ``rmdir`` may take along what is in them.

    Args:
        fs: a filesystem, or the URL of one.
        root: the folder in it that is the store.
        read_only: refuse every write.
        deadline: seconds without progress after which an operation gives up.
        **storage_options: with a URL, the arguments of the filesystem.

    Examples:
        >>> import fsspec
        >>> connector = FsspecStorageConnector(fsspec.filesystem("memory"), "/fsspec-example")
        >>> info = connector.set_resource("birds/owl.txt", b"hoo")
        >>> connector.get_resource("birds/owl.txt").read()
        b'hoo'
    """

    def __init__(
        self,
        fs: AbstractFileSystem | str,
        root: str = "",
        *,
        read_only: bool = False,
        deadline: float = DEADLINE,
        **storage_options: Any,
    ) -> None:
        make: Callable[[], Place]
        if isinstance(fs, str):
            with explained(fs):
                fsspec.get_filesystem_class(fs.partition("://")[0].partition("::")[0])
            url = f"{fs.rstrip('/')}/{root.strip('/')}" if root else fs
            make = partial(open_url, fs, root, storage_options, deadline)
        elif storage_options:
            raise TypeError(f"{', '.join(storage_options)}: options go with a URL, not with a filesystem")
        else:
            protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
            url = f"{protocol}://{fs._strip_protocol(root)}"
            is_memory = isinstance(fs, MemoryFileSystem)
            make = (
                MemoryPlace(fs, root, deadline) if is_memory else partial(open_given, fs, root, os.getpid(), deadline)
            )
        super().__init__(redact(url), read_only=read_only, deadline=deadline)
        self._identity = repr(sorted(storage_options.items())) if isinstance(fs, str) else fs._fs_token
        self._places = PerProcess(make)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Any URL that fsspec takes, also a chained one; options that are not ours are the filesystem's."""
        return cls(url, **options)

    def close(self) -> None:  # noqa: D102
        self._places.close()

    # Reading.

    def _block_bytes(self, info: ResourceInfo) -> int:
        place = self._places.get()
        is_weak = info.version == str(info.size) or place.is_local or place.is_memory
        # A time may be in whole seconds: what was written just now can be replaced without another one.
        is_new = info.modified is not None and datetime.now(timezone.utc) - info.modified < _SETTLED
        return 0 if is_weak or is_new else super()._block_bytes(info)

    def _cache_identity(self) -> str:
        return f"{self.url} {self._identity}"

    def _stat(self, identifier: str) -> ResourceInfo:
        info = self._places.get().info(identifier)
        if info["type"] == "directory":
            raise FileNotFoundError(identifier)
        if info.get("size") is None:
            reason = "the filesystem does not tell its size"
            raise UnsupportedStorageError(self._sentence("open", identifier, reason))
        return ResourceInfo(identifier, info["size"], _version(info), _modified(info))

    def _read_ranges(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[bytes | Exception]:
        answers = self._places.get().read(info.identifier, ranges)
        # Versions don't come back: if it is that version now, it was while the ranges were read.
        try:
            present = self._stat(info.identifier)
        except FileNotFoundError as error:
            raise self._changed(info.identifier) from error
        if present.version != info.version:
            raise self._changed(info.identifier)
        return answers

    def _list(self, prefix: str) -> Iterator[str]:
        found = self._places.get().names(prefix.rpartition("/")[0])
        return (name for name in found if name.startswith(prefix))

    # Writing.

    def _publish(self, identifier: str, upload: Upload, overwrite: bool) -> ResourceInfo:
        place = self._places.get()
        if not overwrite:
            if not place.is_local and not place.is_memory:
                reason = "overwrite=False can't be atomic on this filesystem"
                raise UnsupportedStorageError(self._sentence("store", identifier, reason))
            with suppress(FileNotFoundError):
                self._stat(identifier)
                raise FileExistsError(identifier)
        if place.is_memory:
            place.keep(identifier, b"".join(upload.blocks()), overwrite)
            return self._stat(identifier)
        folder, slash, _ = identifier.rpartition("/")
        temporary = f"{folder}{slash}{TEMPORARY}{int(time.time()):x}-{secrets.token_hex(8)}"
        with tempfile.NamedTemporaryFile(prefix="datastack-") as file:
            for block in upload.blocks():
                file.write(block)
            file.flush()
            try:
                self._put(place, file.name, temporary)
                stored = place.info(temporary).get("size", upload.size)
                if stored != upload.size:
                    reason = f"{stored:,} of {upload.size:,} bytes were stored"
                    raise DatasetFileCorruptError(self._sentence("store", identifier, reason))
                self._move(place, temporary, identifier, overwrite)
            except BaseException:
                with suppress(Exception):  # the first error is the one to tell; a sweep removes what is left
                    place.call("rm_file", place.path(temporary))
                raise
        return self._stat(identifier)

    def _put(self, place: Place, source: str, name: str) -> None:
        try:
            place.put(source, name)
        except FileNotFoundError:
            try:
                place.make_folders(name)
                place.put(source, name)
            except FileNotFoundError as error:
                reason = "the root of the store is not there, and is not made by a write"
                raise ConfigError(self._sentence("store", name, reason)) from error

    def _move(self, place: Place, temporary: str, identifier: str, overwrite: bool) -> None:
        try:
            place.move(temporary, identifier, overwrite)
            if place.is_local:
                return
            place.info(temporary)
        except FileNotFoundError:  # as it should be: it has gone to its place
            return
        except FileExistsError:
            if not overwrite:
                raise
        # HDFS answers that it did not rename, and fsspec doesn't look.
        reason = "this filesystem does not replace a file by another; delete it first"
        raise UnsupportedStorageError(self._sentence("store", identifier, reason))

    def _delete(self, identifier: str) -> None:
        self._stat(identifier)
        place = self._places.get()
        place.call("rm_file", place.path(identifier))
        place.prune(identifier)

    def _sweep(self, older_than: float) -> int:
        place = self._places.get()
        before = time.time() - older_than
        swept = 0
        for name in place.names(""):
            made = name.rpartition("/")[2].partition(TEMPORARY)[2].partition("-")[0]
            with suppress(ValueError, FileNotFoundError):
                if int(made, 16) < before:
                    place.call("rm_file", place.path(name))
                    swept += 1
        return swept

    def _translate(self, error: Exception) -> tuple[type[DatastackError], str] | None:
        names = {kind.__name__ for kind in type(error).__mro__}
        status = _status(error)
        if names & _DENIED or status in (401, 403):
            return StoragePermissionError, "the filesystem refuses these credentials"
        if status == 404:
            return ResourceNotFoundError, "not found"
        if status in (408, 429) or status >= 500:
            return StorageUnavailableError, "the filesystem asks to try again later"
        if names & _NO_ANSWER or isinstance(error, asyncio.TimeoutError):
            return StorageUnavailableError, "no answer"
        return super()._translate(error)


def _status(error: Exception) -> int:
    """The HTTP status that an error of some library carries under one name or other; 0 for none."""
    codes = (getattr(error, name, None) for name in ("status", "status_code", "code"))
    return next((code for code in codes if isinstance(code, int)), 0)


def _version(info: Mapping[str, Any]) -> str:
    marks = [f"{info[name]}" for name in _MARKS if info.get(name)]
    times = [f"{info[name]}" for name in _TIMES if info.get(name)][:1]
    inode = [f"{info['ino']}"] if info.get("ino") else []
    return " ".join([*marks, *times, *inode, str(info["size"])])


def _modified(info: Mapping[str, Any]) -> datetime | None:
    found = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(found, (int, float)):
        return datetime.fromtimestamp(found, timezone.utc)
    if isinstance(found, str):
        try:
            found = datetime.fromisoformat(found.replace("Z", "+00:00"))
        except ValueError:
            return None
    if not isinstance(found, datetime):
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)
