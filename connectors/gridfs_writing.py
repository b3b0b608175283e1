"""Python file objects that write a new revision of a GridFS file."""

from __future__ import annotations

import io
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from datastack_fs.connectors.gridfs_upload import Metadata, Upload

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from _typeshed import ReadableBuffer


class GridFSWriter(io.BufferedIOBase):
    """A file that is being written: ``close`` publishes it whole, an exception in its ``with`` block discards it.

    So does an exception in the ``with`` block of ``fsspec.open``, of pandas' handles and the like, which only close
    the file; and so does forgetting the file unclosed. With ``autocommit=False``, ``commit`` publishes.
    """

    def __init__(self, upload: Upload, mode: str, *, autocommit: bool = True, metadata: Metadata = None) -> None:
        self.path = upload.name
        self.mode = mode
        self.autocommit = autocommit
        self._upload = upload
        self._metadata = metadata
        self._discarded = False
        self._handled = sys.exc_info()[1]

    def writable(self) -> bool:  # noqa: D102
        return True

    def tell(self) -> int:  # noqa: D102
        return self._upload.length

    def write(self, data: ReadableBuffer) -> int:  # noqa: D102
        if self._discarded:  # the finalizer of a compressor on top may still flush; nothing of it is kept
            return memoryview(data).nbytes
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return self._upload.write(data)

    def commit(self) -> None:
        """Publishes the file; not one that was discarded."""
        if not self._discarded:
            self._upload.publish(self._metadata)

    def discard(self) -> None:
        """Gives the file up: what was there before stays."""
        self._discarded = True
        self._upload.abort()
        super().close()

    def close(self) -> None:  # noqa: D102
        if self.closed:
            return
        if _leaves_with_an_error(self._handled):
            self.discard()
            return
        try:
            if self.autocommit:
                self.commit()
            else:
                self._upload.finish()
        finally:
            super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a file that is being written can't be pickled")

    def __del__(self) -> None:
        # Not inline: the collector may have come by while this thread holds one of pymongo's locks.
        upload = getattr(self, "_upload", None)
        if upload is not None and upload.pending:
            with suppress(RuntimeError):  # the interpreter is ending
                threading.Thread(target=upload.abort, name="datastack-gridfs").start()

    def __repr__(self) -> str:
        return f"<GridFSWriter {self.path!r}, {self._upload.length:,} bytes so far>"


def _leaves_with_an_error(handled: BaseException | None) -> bool:
    """Whether ``close`` was called from an ``__exit__`` that was itself called with an exception.

    ``fsspec.OpenFile.__exit__`` and others just close their files, which would publish the part written so far. An
    exception that was being handled when the file was opened has nothing to do with it.
    """
    error = sys.exc_info()[1]
    if error is None or error is handled:
        return False
    frame: FrameType | None = sys._getframe(2)
    for _ in range(4):
        if frame is None or frame.f_code.co_name == "__exit__":
            break
        frame = frame.f_back
    return frame is not None and frame.f_code.co_name == "__exit__"


class CompressedWriter(io.BufferedIOBase):
    """A file that is compressed as it is written; unlike GzipFile and others alone, it closes its target."""

    def __init__(self, compressed: BinaryIO, writer: GridFSWriter) -> None:
        self._compressed = compressed
        self._writer = writer

    def writable(self) -> bool:  # noqa: D102
        return True

    def write(self, data: ReadableBuffer) -> int:  # noqa: D102
        return self._compressed.write(data)

    def close(self) -> None:  # noqa: D102
        if not self.closed:
            super().close()
            self._compressed.close()
            self._writer.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._writer.discard()
            super().close()
        self.close()


class TextFile(io.TextIOWrapper):
    """A text file whose ``with`` block, when it ends by an exception, discards what was written."""

    def __exit__(self, *error: object) -> None:
        # In Python, so that GridFSWriter.close can see that an __exit__ called it: the base's is in C.
        self.close()
