"""MongoDB GridFS as an fsspec filesystem, protocol ``gridfs``: pandas, dask, zarr and pyarrow read and write it."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from glob import has_magic
from typing import Any, ClassVar, Final, cast

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.compression import compr
from fsspec.core import get_compression
from fsspec.spec import AbstractFileSystem
from fsspec.utils import isfilelike, stringify_path

from datastack_fs.connectors.gridfs_bucket import Bucket, Document, not_found
from datastack_fs.connectors.gridfs_chunks import ChunkReader
from datastack_fs.connectors.gridfs_files import (
    CachedFile,
    CompressedWriter,
    GridFSFile,
    GridFSWriter,
    TextFile,
)
from datastack_fs.connectors.gridfs_server import DEFAULT_URL, MongoServer, bucket_in, path_of, server_in
from datastack_fs.connectors.gridfs_upload import Metadata, Upload
from datastack_fs.credentials import redact

CHUNK_SIZE: Final = 255 << 10
BLOCK_BYTES: Final = 1 << 20
READ_ATTEMPTS: Final = 10

_FSSPEC_OPTIONS = {"use_listings_cache", "listings_expiry_time", "max_paths", "asynchronous", "loop", "batch_size"}


class GridFSFileSystem(AbstractFileSystem):  # type: ignore[misc]
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
        """Ends this process's connections; the filesystem connects anew when it is used again."""
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

    # Names.

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, (list, tuple)):
            return [cls._strip_protocol(item) for item in path]
        return server_in(stringify_path(path))[1]

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        server, _ = server_in(path)
        return {} if server is None else {"url": server}

    def unstrip_protocol(self, name: str) -> str:
        """``gridfs://name``."""
        return name if name.startswith("gridfs://") else path_of(name)

    def _name(self, path: Any) -> str:
        return self._strip_protocol(path) or self._default_path

    # What a GridFS connector builds on: pinned revisions, ranges, atomic writes, sweeping.

    def file_document(self, path: str) -> Document | None:
        """The files document of a name's newest revision (``_id``, ``length``, ``chunkSize``, ...), or None."""
        name = self._name(path)
        return self.store.newest(name) if name else None

    def read_ranges(self, document: Document, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Half-open ranges of exactly that revision, in the order asked for.

        Args:
            document: as ``file_document`` gave it; ``_id``, ``length``, ``chunkSize`` and ``filename`` are enough.
            ranges: within the revision; they may overlap.

        Raises:
            FileNotFoundError: the revision has been replaced or deleted.
            CorruptGridFileError: a chunk is missing or has a wrong length.
        """
        size = int(document["length"])
        for start, stop in ranges:
            if not 0 <= start <= stop <= size:
                raise ValueError(f"range ({start}, {stop}) of {document['filename']}, which has {size} bytes")
        return self.chunks.read(document, ranges)

    def write(
        self,
        path: str,
        blocks: Iterable[bytes | bytearray | memoryview],
        *,
        metadata: Metadata = None,
        overwrite: bool = True,
        chunk_size: int | None = None,
    ) -> Document:
        """Stores blocks of bytes as a file's new revision, all or nothing.

        Args:
            path: the file.
            blocks: of any size. Whatever they raise takes the write back.
            metadata: of the files document; or a function, called for it after the last block.
            overwrite: False refuses with FileExistsError, atomically among all writers that ask for this.
            chunk_size: default: the filesystem's.

        Returns:
            the files document as it was published.

        Raises:
            FileExistsError: with ``overwrite=False``: at once, or if another writer was first.
        """
        if not overwrite:
            self._refuse_existing(path)
        upload = self._upload(path, chunk_size, exclusive=not overwrite)
        try:
            for block in blocks:
                upload.write(block)
            return upload.publish(metadata)
        finally:
            upload.abort()

    def orphans(self, older_than: float = 86400) -> list[Any]:
        """The ``files_id`` of chunks that killed writers left, if the last is ``older_than`` seconds old."""
        return self.store.orphans(older_than)

    def sweep(self, older_than: float = 86400) -> int:
        """Removes what killed writers left more than ``older_than`` seconds ago, and counts it.

        An upload that has added nothing for so long counts as left.
        """
        return self.store.sweep(older_than)

    # Listings.

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """Name, size, type; of files also ``created``, ``mtime``, ``version`` and ``metadata``."""
        name = self._name(path)
        document = self.file_document(name)
        if document is not None:
            return self.info_of(document)
        if not self.isdir(name):
            raise not_found(name)
        return _folder(name)

    def info_of(self, document: Document) -> dict[str, Any]:
        """What ``info`` says of a files document."""
        return {
            "name": document["filename"],
            "size": int(document["length"]),
            "type": "file",
            "created": document["uploadDate"],
            "mtime": document["uploadDate"],
            "version": str(document["_id"]),
            "chunk_size": int(document["chunkSize"]),
            "metadata": document.get("metadata"),
        }

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        """The files and folders in a folder, sorted; of a file, itself."""
        name = self._name(path)
        prefix = f"{name}/" if name else ""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for document in self.store.listing(prefix, folders=True):
            first, slash, _ = document["filename"][len(prefix) :].partition("/")
            info = _folder(prefix + first) if slash else self.info_of(document)
            found[info["name"], info["type"]] = info
        if not found and name:
            found[name, "file"] = self.info_of(self._existing(name))
        listed = [found[key] for key in sorted(found)]
        return listed if detail else list(dict.fromkeys(info["name"] for info in listed))

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **kwargs: Any
    ) -> Any:
        """All files below a path, in one pass over the names; the path itself, if it is a file and no folder."""
        if maxdepth is not None and maxdepth < 1:
            raise ValueError("maxdepth must be at least 1")
        name = self._name(path)
        prefix = f"{name}/" if name else ""
        files: dict[str, dict[str, Any]] = {}
        folders: dict[str, dict[str, Any]] = {}
        for document in self.store.listing(prefix, folders=maxdepth == 1):
            parts = document["filename"][len(prefix) :].split("/")
            for depth in range(1, len(parts) if maxdepth is None else min(len(parts), maxdepth + 1)):
                folder = prefix + "/".join(parts[:depth])
                folders[folder] = _folder(folder)
            if maxdepth is None or len(parts) <= maxdepth:
                files[document["filename"]] = self.info_of(document)
        if not folders and not files:
            itself = self.file_document(name)
            if itself is not None:
                files[name] = self.info_of(itself)
        elif withdirs and name:
            folders[name] = _folder(name)
        found = {**folders, **files} if withdirs else files
        names = sorted(found)
        return {each: found[each] for each in names} if detail else names

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Whether there is a file or folder; denied or unreachable raises."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def isfile(self, path: str) -> bool:
        """Whether there is a file of that name."""
        return self.file_document(path) is not None

    def isdir(self, path: str) -> bool:
        """Whether there are files below it; the root always is."""
        name = self._name(path)
        return not name or self.store.has_below(f"{name}/")

    def du(
        self, path: str, total: bool = True, maxdepth: int | None = None, withdirs: bool = False, **kwargs: Any
    ) -> Any:
        """Bytes below a path, in all or by file."""
        found = self.find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True)
        sizes = {name: info["size"] for name, info in found.items()}
        return sum(sizes.values()) if total else sizes

    def created(self, path: str) -> datetime:
        """When the newest revision was published."""
        return cast(datetime, self._existing(path)["uploadDate"])

    modified = created

    def ukey(self, path: str) -> str:
        """Changes when, and only when, the file is written anew."""
        document = self._existing(path)
        return hashlib.sha256(f"{document['filename']}\0{document['_id']}".encode()).hexdigest()

    def checksum(self, path: str) -> int:
        """As ``ukey``, but an integer."""
        return int(self.ukey(path), 16)

    def mkdir(self, path: str, create_parents: bool = True, **kwargs: Any) -> None:
        """Makes nothing, as folders come with their files; FileExistsError if the name is taken."""
        self.makedirs(path, exist_ok=False)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Makes nothing, as folders come with their files; FileExistsError as ``os.makedirs``."""
        name = self._strip_protocol(path)
        if (name and self.isfile(name)) or (not exist_ok and self.isdir(name)):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)

    def rmdir(self, path: str) -> None:
        """Removes nothing: an empty folder is none. OSError if there are files in it."""
        if self.isdir(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), self._name(path))
        raise not_found(self._name(path))

    # Reading.

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: Mapping[str, Any] | None = None,
        *,
        metadata: Metadata = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> CachedFile | GridFSWriter:
        if mode == "rb":
            return CachedFile(self, self._existing(path), block_size, cache_options, **kwargs)
        if mode not in {"wb", "xb", "ab"}:
            raise ValueError(f"mode {mode!r}: GridFS files are read ('rb') or written anew ('wb', 'xb', 'ab')")
        if mode == "xb":
            self._refuse_existing(path)
        old = self.file_document(path) if mode == "ab" else None
        if old is not None:
            metadata = old.get("metadata") if metadata is None else metadata
            chunk_size = chunk_size or int(old["chunkSize"])
        upload = self._upload(path, chunk_size, exclusive=mode == "xb")
        writer = GridFSWriter(upload, mode, autocommit=autocommit, metadata=metadata)
        if old is not None:  # chunks never change, so appending is writing anew
            for block in self._blocks(old):
                writer.write(block)
        return writer

    def open(self, path: str, mode: str = "rb", *, compression: str | None = None, **kwargs: Any) -> Any:
        """A ``GridFSFile`` or ``GridFSWriter``, wrapped for text modes and ``compression``.

        Args:
            path: the file.
            mode: ``rb``, ``wb``, ``xb`` (create, or FileExistsError), ``ab``, or the same for text.
            compression: as fsspec names it, or ``"infer"``.
            kwargs: ``metadata`` and ``chunk_size`` of a file to be written; ``encoding``, ``errors``, ``newline``;
                ``cache_type`` and ``cache_options`` to read with one of fsspec's caches.
        """
        if "b" not in mode:
            text = {key: kwargs.pop(key) for key in ("encoding", "errors", "newline") if key in kwargs}
            return TextFile(self.open(path, mode.replace("t", "") + "b", compression=compression, **kwargs), **text)
        if mode == "rb" and "cache_type" not in kwargs:
            file = GridFSFile(self, self._existing(path))
        else:
            file = super().open(self._name(path), mode, **kwargs)
        codec = get_compression(self._name(path), compression)
        if codec is None:
            return file
        compressed = compr[codec](file, mode=mode[0])
        return CompressedWriter(compressed, file) if isinstance(file, GridFSWriter) else compressed

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """The bytes of a file, or of a slice of it."""
        name = self._name(path)
        answer = self._read_newest({name: [(start, end)]})[name]
        if isinstance(answer, FileNotFoundError) and self.isdir(name):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if isinstance(answer, Exception):
            raise answer
        return answer[0]

    def cat_ranges(
        self,
        paths: list[str],
        starts: int | list[int | None] | None,
        ends: int | list[int | None] | None,
        max_gap: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[bytes | Exception]:
        """Slices of files: one query finds the files, then one fetches all chunks of a file, or several if over 4 MiB.

        Single-chunk files share a query up to 4 MiB in all.
        """
        if not isinstance(paths, list):
            raise TypeError(f"paths is a list, not {type(paths).__name__}")
        starts = starts if isinstance(starts, list) else [starts] * len(paths)
        ends = ends if isinstance(ends, list) else [ends] * len(paths)
        if not len(paths) == len(starts) == len(ends):
            raise ValueError(f"{len(paths)} paths, {len(starts)} starts, {len(ends)} ends")
        names = [self._name(path) for path in paths]
        asked: dict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(names):
            asked[name].append(index)
        answers = self._read_newest({name: [(starts[i], ends[i]) for i in asked[name]] for name in asked})
        out: list[bytes | Exception] = [b""] * len(names)
        for name, answer in answers.items():
            for position, index in enumerate(asked[name]):
                out[index] = answer if isinstance(answer, Exception) else answer[position]
        if on_error != "return":
            for each in out:
                if isinstance(each, Exception):
                    raise each
        return out

    def _read_newest(
        self, slices: Mapping[str, Sequence[tuple[int | None, int | None]]]
    ) -> dict[str, list[bytes] | Exception]:
        """Slices of each name's newest revision; of one that is replaced meanwhile, all of the next."""
        answers: dict[str, list[bytes] | Exception] = {}
        names = list(slices)
        for _ in range(READ_ATTEMPTS):
            documents = self.store.newest_of(names)
            answers.update({name: not_found(name) for name in names})
            names = [name for name in names if name in documents]
            wanted = [(documents[name], [_slice(documents[name], *each) for each in slices[name]]) for name in names]
            answers.update(zip(names, self.chunks.read_many(wanted), strict=True))
            names = [name for name in names if isinstance(answers[name], FileNotFoundError)]
            if not names:
                break
        return answers

    def cat(self, path: Any, recursive: bool = False, on_error: str = "raise", **kwargs: Any) -> Any:
        """The contents of a file, or a dict of those of several, fetched together."""
        paths = self.expand_path(path, recursive=recursive)
        if isinstance(path, str) and paths == [self._strip_protocol(path)]:
            return self.cat_file(path)
        if recursive:
            files = self.store.newest_of(paths)
            paths = [name for name in paths if name in files]
        contents = self.cat_ranges(paths, None, None, on_error="raise" if on_error == "raise" else "return")
        return {
            name: content
            for name, content in zip(paths, contents, strict=True)
            if on_error != "omit" or not isinstance(content, Exception)
        }

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

    def _blocks(self, document: Document) -> Iterator[bytes]:
        with GridFSFile(self, document) as file:
            yield from iter(partial(file.read, BLOCK_BYTES), b"")

    # Writing.

    def pipe_file(self, path: str, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        """Writes a file; ``mode="create"`` refuses with FileExistsError, atomically, if it is there."""
        with self.open(path, "xb" if mode == "create" else "wb", **kwargs) as file:
            file.write(value)

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
            self.store.rename(document, document["filename"])

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
            self.store.rename(document, target)
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
        self.store.remove([self._name(path)])

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
        self.store.remove(list(files))

    def _existing(self, path: str) -> Document:
        document = self.file_document(path)
        if document is not None:
            return document
        name = self._name(path)
        if self.isdir(name):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        raise not_found(name)

    def _refuse_existing(self, path: str) -> None:
        if self.isfile(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self._name(path))

    def _upload(self, path: str, chunk_size: int | None, *, exclusive: bool) -> Upload:
        return Upload(self.store, self._name(path), chunk_size=chunk_size or self.chunk_size, exclusive=exclusive)


def _folder(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory"}


def _slice(document: Document, start: int | None, end: int | None) -> tuple[int, int]:
    first, last, _ = slice(start, end).indices(int(document["length"]))
    return first, max(first, last)


def _relative(path: str) -> str:
    """Takes back what fsspec makes of the path in ``gridfs::folder/file``: a path of the local filesystem."""
    here = os.getcwd().rstrip("/") + "/"
    return path.removeprefix(here).strip("/")
