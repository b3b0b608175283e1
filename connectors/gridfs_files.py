"""Python file objects that read one revision of a GridFS file through the filesystem."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from fsspec.spec import AbstractBufferedFile

from datastack_fs.connectors.gridfs_bucket import Document
from datastack_fs.connectors.gridfs_reading import RevisionReader

if TYPE_CHECKING:
    from datastack_fs.connectors.gridfs_contents import GridFSContents


class GridFSFile(io.BufferedReader):
    """One revision of a file, read with a cursor of its own: see ``RevisionReader``.

    It pickles as filesystem, revision and position.

    Attributes:
        fs: the filesystem.
        document: the files document.
        path: the file's name.
        size: in bytes.
    """

    def __init__(self, fs: GridFSContents, document: Document) -> None:
        super().__init__(RevisionReader(fs.chunks, document))
        self.fs = fs
        self.document = document
        self.path: str = document["filename"]
        self.size = int(document["length"])
        self.blocksize = int(document["chunkSize"])

    def info(self) -> dict[str, Any]:
        """What the filesystem says of this revision."""
        return self.fs.info_of(self.document)

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return _reopen, (self.fs, self.document, self.tell())

    def __repr__(self) -> str:
        return f"<GridFSFile {self.path!r} of {self.size:,} bytes{' (closed)' if self.closed else ''}>"


def _reopen(fs: GridFSContents, document: Document, position: int) -> GridFSFile:
    file = GridFSFile(fs, document)
    file.seek(position)
    return file


class CachedFile(AbstractBufferedFile):  # type: ignore[misc]
    """One revision of a file, read through one of fsspec's caches: for those who ask for it, and for ``blockcache``."""

    def __init__(
        self,
        fs: GridFSContents,
        document: Document,
        block_size: int | None = None,
        cache_options: Mapping[str, Any] | None = None,
        cache_type: str = "readahead",
        **_: Any,
    ) -> None:
        self.document = document
        super().__init__(
            fs,
            document["filename"],
            block_size=block_size or "default",
            cache_type=cache_type,
            cache_options=dict(cache_options or {}),
            size=int(document["length"]),
        )

    def _fetch_range(self, start: int, end: int) -> bytes:
        return cast(bytes, self.fs.read_ranges(self.document, [(start, min(end, self.size))])[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.fs, self.document, self.tell())
