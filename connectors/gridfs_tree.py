"""The names in a GridFS bucket, as a tree of files and folders."""

from __future__ import annotations

import errno
import hashlib
import os
from datetime import datetime
from typing import Any, cast

from fsspec.spec import AbstractFileSystem
from fsspec.utils import stringify_path

from datastack_fs.connectors.gridfs_bucket import Bucket, Document
from datastack_fs.connectors.gridfs_errors import not_found
from datastack_fs.connectors.gridfs_server import path_of, server_in


class GridFSTree(AbstractFileSystem):  # type: ignore[misc]
    """Paths, listings and what is known of a file: the part of the filesystem that reads no content."""

    store: Bucket
    _default_path: str

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

    def file_document(self, path: str) -> Document | None:
        """The files document of a name's newest revision (``_id``, ``length``, ``chunkSize``, ...), or None."""
        name = self._name(path)
        return self.store.newest(name) if name else None

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


def _folder(name: str) -> dict[str, Any]:
    return {"name": name, "size": 0, "type": "directory"}
