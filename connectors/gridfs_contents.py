"""The contents of a GridFS bucket's files: opened, read by ranges, written all or nothing."""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from fsspec.compression import compr
from fsspec.core import get_compression

from datastack_fs.connectors import gridfs_removal
from datastack_fs.connectors.gridfs_bucket import Document
from datastack_fs.connectors.gridfs_chunks import ChunkReader
from datastack_fs.connectors.gridfs_errors import not_found
from datastack_fs.connectors.gridfs_files import CachedFile, GridFSFile
from datastack_fs.connectors.gridfs_tree import GridFSTree
from datastack_fs.connectors.gridfs_upload import Metadata, Upload
from datastack_fs.connectors.gridfs_writing import CompressedWriter, GridFSWriter, TextFile

BLOCK_BYTES: Final = 1 << 20
READ_ATTEMPTS: Final = 10


class GridFSContents(GridFSTree):
    """Reads pinned to one revision and writes that are published when they are complete."""

    chunks: ChunkReader
    chunk_size: int

    # What a GridFS connector builds on: pinned revisions, ranges, atomic writes, sweeping.

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
        return gridfs_removal.orphans(self.store, older_than)

    def sweep(self, older_than: float = 86400) -> int:
        """Removes what killed writers left more than ``older_than`` seconds ago, and counts it.

        An upload that has added nothing for so long counts as left.
        """
        return gridfs_removal.sweep(self.store, older_than)

    # As fsspec has it.

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

    def pipe_file(self, path: str, value: Any, mode: str = "overwrite", **kwargs: Any) -> None:
        """Writes a file; ``mode="create"`` refuses with FileExistsError, atomically, if it is there."""
        with self.open(path, "xb" if mode == "create" else "wb", **kwargs) as file:
            file.write(value)

    def _blocks(self, document: Document) -> Iterator[bytes]:
        with GridFSFile(self, document) as file:
            yield from iter(partial(file.read, BLOCK_BYTES), b"")

    def _upload(self, path: str, chunk_size: int | None, *, exclusive: bool) -> Upload:
        return Upload(self.store, self._name(path), chunk_size=chunk_size or self.chunk_size, exclusive=exclusive)


def _slice(document: Document, start: int | None, end: int | None) -> tuple[int, int]:
    first, last, _ = slice(start, end).indices(int(document["length"]))
    return first, max(first, last)
