"""MongoDB GridFS as an fsspec filesystem, protocol ``gridfs``: pandas, dask, zarr and pyarrow read and write it."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from glob import has_magic
from typing import Any, ClassVar, Final, cast

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.utils import isfilelike

from datastack_fs.connectors.gridfs_bucket import Bucket, Document
from datastack_fs.connectors.gridfs_chunks import ChunkReader
from datastack_fs.connectors.gridfs_contents import BLOCK_BYTES, GridFSContents
from datastack_fs.connectors.gridfs_errors import not_found
from datastack_fs.connectors.gridfs_removal import remove, rename
from datastack_fs.connectors.gridfs_server import DEFAULT_URL, MongoServer, bucket_in
from datastack_fs.credentials import redact

CHUNK_SIZE: Final = 255 << 10

_FSSPEC_OPTIONS = {"use_listings_cache", "listings_expiry_time", "max_paths", "asynchronous", "loop", "batch_size"}


class GridFSFileSystem(GridFSContents):
    """The files of one GridFS bucket.

    Folders exist as far as names have ``/`` in them; ``mkdir`` makes none. A name means its newest revision, listings
    are never cached, and other programs' files in the bucket are read as they are. Names are literal (``%``, ``#`` and
    ``?`` mean themselves); those that begin or end with ``/``, or have ``//`` in them, are not listed.

    Paths are ``gridfs://folder/file``, with the server in the option ``url`` or ``uri``; or
    ``gridfs://host:27017/database/folder/file``: it is the port that tells a server from a folder.
    (``gridfs:///12:30/x`` is a file in a folder that is named like a server.)

    Writes are all or nothing: a file is published when it is closed, unless an exception ended its ``with`` block.
    Reads are pinned to the revision that was opened.

    Args:
        url: ``mongodb://`` or ``mongodb+srv://`` connection string with the database, and any of MongoDB's own options;
            default: the environment's ``DATASTACK_MONGODB_URL``, which is read on first use and never pickled.
        uri: the same as ``url``, for pandas and all who call ``fsspec.url_to_fs``, whose own first argument is ``url``.
        bucket: GridFS bucket; default: that of ``?bucket=`` in the URL, else ``fs``.
        chunk_size: bytes of a chunk of files to be written. 64 KiB suits random access, 1 MiB is the most that pays.
        host: instead of ``url``: host name, with ``port``, ``database``, ``username`` and ``password``.
        port: its port.
        database: the database; with ``url``, instead of the one in there.
        username: the user.
        password: its password.
        connect_timeout: seconds for a connection to be made.
        timeout: seconds for a server to be found, and for each of its answers.
        deadline: seconds after which a call that keeps losing its connection gives up.
        concurrency: groups of 4 MiB that one read, or one file that is read from front to back, has in flight.
        client_options: more keyword arguments of ``pymongo.MongoClient``.
        fo: what fsspec makes of ``gridfs::folder/file``: a path of this filesystem, opened where none is given.
        target_protocol: as with ``fo``.
        target_options: as with ``fo``.
        options: fsspec's own; others are refused.

    Examples:
        >>> import pandas
        >>> options = {"uri": "mongodb://127.0.0.1:27017/lab"}
        >>> frame.to_parquet("gridfs://birds/train.parquet", storage_options=options)  # doctest: +SKIP
        >>> pandas.read_parquet("gridfs://birds/train.parquet", storage_options=options)  # doctest: +SKIP
    """

    protocol: ClassVar[tuple[str, ...]] = ("gridfs",)
    root_marker = ""

    def __init__(
        self,
        url: str | None = None,
        *,
        uri: str | None = None,
        bucket: str | None = None,
        chunk_size: int = CHUNK_SIZE,
        host: str | None = None,
        port: int = 27017,
        database: str | None = None,
        username: str | None = None,
        password: str | None = None,
        connect_timeout: float = 5.0,
        timeout: float = 30.0,
        deadline: float = 60.0,
        concurrency: int = 4,
        client_options: Mapping[str, Any] | None = None,
        fo: str | None = None,
        target_protocol: str | None = None,
        target_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(use_listings_cache=False)
        if unknown := options.keys() - _FSSPEC_OPTIONS:
            raise TypeError(f"unknown options {sorted(unknown)}; help(GridFSFileSystem) lists the known ones")
        if sum(bool(each) for each in (url, uri, host)) > 1:
            raise ValueError("give one of url, uri (the same) and host")
        if fo is not None and target_protocol not in (None, "file"):
            raise ValueError(
                "gridfs is no layer over another filesystem: put it last, as in simplecache::gridfs://path"
            )
        self.url: str = url or uri or (f"mongodb://{host}:{port}" if host else DEFAULT_URL)
        self.bucket = bucket or bucket_in(self.url)
        self.chunk_size = chunk_size
        credentials = {"username": username, "password": password} if username else {}
        milliseconds = {
            "connectTimeoutMS": int(connect_timeout * 1000),
            "serverSelectionTimeoutMS": int(timeout * 1000),
            "socketTimeoutMS": int(timeout * 1000),
        }
        self.server = MongoServer(
            self.url, database=database, options={**credentials, **(client_options or {})}, defaults=milliseconds
        )
        self.store = Bucket(self.server.database, self.bucket, deadline=deadline)
        self.chunks = ChunkReader(self.store, concurrency=concurrency)
        self._default_path = _relative(fo) if fo else ""

    def close(self) -> None:
        """Ends this process's threads and connections; the filesystem makes them anew when it is used again."""
        self.store.helpers.close()
        self.server.close()

    def __repr__(self) -> str:
        return f"GridFSFileSystem({redact(self.url)!r}, bucket={self.bucket!r})"

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """Fsspec's serializable form; without passwords on request, also in the URL."""
        options = cast(dict[str, Any], super().to_dict(include_password=include_password))
        if not include_password:
            options["args"] = [redact(value) if isinstance(value, str) else value for value in options["args"]]
            options.update({key: redact(options[key]) for key in ("url", "uri") if options.get(key)})
        return options

    # Whole files: downloads, uploads, copies.

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Any = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Downloads files and folders, as fsspec has it."""
        target = self._into(rpath, lpath, os.path.isdir)
        super().get(rpath, target, recursive=recursive, callback=callback, maxdepth=maxdepth, **kwargs)

    def copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        on_error: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Copies files and folders, as fsspec has it."""
        target = self._into(path1, path2, self.isdir)
        super().copy(path1, target, recursive=recursive, maxdepth=maxdepth, on_error=on_error, **kwargs)

    def _into(self, source: Any, target: Any, isdir: Callable[[str], bool]) -> Any:
        """Where a source goes. Of one without ``/`` fsspec would make the name of the folder that it is to go into."""
        if not (isinstance(source, str) and isinstance(target, str)):
            return target
        if has_magic(source):
            names = self.expand_path(source)
            inside = len(names) == 1
        else:
            names = [self._strip_protocol(source)]
            inside = not source.endswith("/") and (target.endswith("/") or isdir(target))
        return f"{target.rstrip('/')}/{names[0]}" if inside and "/" not in names[0] else target

    def get_file(
        self, rpath: str, lpath: Any = None, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **kwargs: Any
    ) -> None:
        """Downloads a file; a local file of that name is replaced only when all has come."""
        if outfile is not None or isfilelike(lpath):
            document = self._existing(rpath)
            self._download(document, outfile if outfile is not None else lpath, callback)
            return
        found = self.file_document(rpath)
        if found is None:
            if not self.isdir(rpath):
                raise not_found(self._name(rpath))
            os.makedirs(lpath, exist_ok=True)
            return
        target = os.path.realpath(lpath)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.exists(target) and not os.path.isfile(target):  # a pipe or device can't be replaced
            with open(target, "wb") as file:
                self._download(found, file, callback)
            return
        temporary = os.path.join(os.path.dirname(target), f".datastack-{uuid.uuid4().hex}")
        try:
            with open(temporary, "xb") as file:
                self._download(found, file, callback)
            os.replace(temporary, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def _download(self, document: Document, file: Any, callback: Any) -> None:
        callback.set_size(int(document["length"]))
        for block in self._blocks(document):
            file.write(block)
            callback.relative_update(len(block))

    def put_file(
        self, lpath: Any, rpath: str, callback: Any = DEFAULT_CALLBACK, mode: str = "overwrite", **kwargs: Any
    ) -> None:
        """Uploads a local file; ``mode="create"`` as in ``pipe_file``."""
        if os.path.isdir(lpath):
            self.makedirs(rpath, exist_ok=True)
            return
        with open(lpath, "rb") as source, self.open(rpath, "xb" if mode == "create" else "wb", **kwargs) as file:
            callback.set_size(os.fstat(source.fileno()).st_size)
            for block in iter(partial(source.read, BLOCK_BYTES), b""):
                file.write(block)
                callback.relative_update(len(block))

    def touch(self, path: str, truncate: bool = True, **kwargs: Any) -> None:
        """Makes an empty file; with ``truncate=False``, dates a file that is there anew."""
        document = None if truncate else self.file_document(path)
        if document is None:
            super().touch(path, **kwargs)
        else:
            rename(self.store, document, document["filename"])

    def cp_file(self, path1: str, path2: str, *, move: bool = False, **kwargs: Any) -> None:
        """Copies a file with its metadata; a folder is nothing to copy."""
        source, target = self._name(path1), self._name(path2)
        document = self.file_document(source)
        if document is None:
            if not self.isdir(source):
                raise not_found(source)
        elif source == target:
            return
        elif move:
            rename(self.store, document, target)
        else:
            with self.open(
                target, "wb", metadata=document.get("metadata"), chunk_size=int(document["chunkSize"])
            ) as file:
                for block in self._blocks(document):
                    file.write(block)

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **kwargs: Any) -> None:
        """Renames files: each in one step, whatever its size, and replacing the target's revisions."""
        if path1 != path2:
            self.copy(path1, path2, recursive=recursive, maxdepth=maxdepth, on_error="raise", move=True)

    def rm_file(self, path: str) -> None:
        """Removes a file, all its revisions."""
        remove(self.store, [self._name(path)])

    _rm = rm_file

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Removes files, and with ``recursive`` what is in folders."""
        paths = self.expand_path(path, recursive=recursive, maxdepth=maxdepth)
        files = self.store.newest_of(paths)
        for name in paths:
            if name not in files and not (recursive and self.isdir(name)):
                if self.isdir(name):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
                raise not_found(name)
        remove(self.store, list(files))


def _relative(path: str) -> str:
    """Takes back what fsspec makes of the path in ``gridfs::folder/file``: a path of the local filesystem."""
    here = os.getcwd().rstrip("/") + "/"
    return path.removeprefix(here).strip("/")
