"""A new revision of a GridFS file: chunks first, the files document last."""

from __future__ import annotations

import errno
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bson import ObjectId
from pymongo.errors import BulkWriteError, DuplicateKeyError

from datastack_fs.connectors.gridfs_bucket import CREATED, MARK, Bucket, Document, date_after
from datastack_fs.connectors.gridfs_removal import delete_chunks, delete_files, superseded
from datastack_fs.connectors.gridfs_tasks import Task

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

logger = logging.getLogger(__name__)

Metadata: TypeAlias = "Mapping[str, Any] | Callable[[], Mapping[str, Any] | None] | None"
"""A file's metadata, or a function that is called for it after the last byte (for a checksum made on the way)."""

BATCH_BYTES: Final = 8 << 20
"""Bytes of one ``insert_many``; 16 MiB is no faster, and takes twice the memory."""

INSERTS: Final = 2
"""Batches of chunks that are being inserted while the next one is filled."""

LARGEST_CHUNK: Final = 15 << 20
"""A chunk's document must stay under MongoDB's 16 MiB."""

_DUPLICATE_KEY = 11000


class Upload:
    """A new revision: chunks first, the files document last. Any exception takes the chunks away again.

    Args:
        bucket: where to.
        name: the file's name.
        chunk_size: bytes of a chunk.
        exclusive: publish only if the name has no revision; FileExistsError else.
    """

    def __init__(self, bucket: Bucket, name: str, *, chunk_size: int, exclusive: bool = False) -> None:
        if not 0 < chunk_size <= LARGEST_CHUNK:
            raise ValueError(f"chunk_size {chunk_size}: expected 1 to {LARGEST_CHUNK}")
        if not name or "\0" in name:
            raise ValueError(f"a file can't be named {name!r}")
        name.encode()  # lone surrogates: a ValueError here, not somewhere in the middle
        self.name = name
        self.id = ObjectId()
        self.length = 0
        self._bucket = bucket
        self._chunk_size = chunk_size
        self._exclusive = exclusive
        self._owner = os.getpid()
        self._open = True
        self._finished = False
        self._publishing = False
        self._number = 0
        self._tail = bytearray()
        self._batch: list[Document] = []
        self._inserts: deque[Task[None]] = deque()

    @property
    def pending(self) -> bool:
        """Whether it is this process's, and neither published nor given up."""
        return self._open and self._owner == os.getpid()

    def write(self, data: ReadableBuffer) -> int:
        """Takes the next bytes, from any buffer."""
        self._check_open()
        if self._finished:
            raise ValueError(f"the write of {self.name} is finished")
        view = memoryview(data).cast("B")
        size = self._chunk_size
        try:
            done = 0
            if self._tail:
                done = min(size - len(self._tail), len(view))
                self._tail += view[:done]
                if len(self._tail) == size:
                    self._add(bytes(self._tail))
                    self._tail.clear()
            while len(view) - done >= size:
                self._add(bytes(view[done : done + size]))
                done += size
            self._tail += view[done:]
        except BaseException:
            self.abort()
            raise
        self.length += len(view)
        return len(view)

    def finish(self) -> None:
        """Inserts what is left, and waits for all inserts: nothing more can be written."""
        self._check_open()
        self._finished = True
        try:
            if self._tail:
                self._add(bytes(self._tail))
                self._tail.clear()
            self._send()
            self._wait(0)
        except BaseException:
            self.abort()
            raise

    def publish(self, metadata: Metadata = None) -> Document:
        """Makes it the newest revision, in one insert, and deletes those that it replaces.

        Returns:
            the files document.
        """
        self.finish()
        try:
            document, noted = self._document(metadata)
            self._publishing = True
            if self._exclusive:
                self._create(document)
            else:
                self._insert_file(document)
        except BaseException:
            self.abort()
            raise
        self._open = False
        # From here on it is published: what it replaced is out of sight, and else left to the next write or to sweep.
        try:
            delete_files(self._bucket, superseded(self._bucket, self.name, noted))
        except OSError as error:
            logger.warning("old revisions of %s are left: %s", self.name, error)
        return document

    def abort(self) -> None:
        """Takes the chunks away; of a process that was killed, or lost its server, ``sweep`` removes them."""
        if not self.pending:
            return
        self._open = False
        self._batch.clear()
        self._tail.clear()
        for task in self._inserts:
            task.cancel()
        try:
            # After an interrupted publish the files document may be there, or may even come now: a file without
            # chunks must not stay.
            self._delete_file()
            if self._number:
                delete_chunks(self._bucket, self.id, self._number)
            self._delete_file()
        except OSError as error:
            logger.warning("chunks of a failed write of %s are left to sweep: %s", self.name, error)

    def _delete_file(self) -> None:
        if self._publishing:
            self._bucket.run(self.name, lambda: self._bucket.files.delete_one({"_id": self.id}))

    def _add(self, data: bytes) -> None:
        self._batch.append({"_id": ObjectId(), "files_id": self.id, "n": self._number, "data": data})
        self._number += 1
        if len(self._batch) * self._chunk_size >= BATCH_BYTES:
            self._send()

    def _send(self) -> None:
        if not self._batch:
            return
        self._bucket.prepare()
        batch, self._batch = self._batch, []
        task = Task(partial(self._bucket.run, self.name, partial(self._insert_chunks, batch)))
        self._inserts.append(task)
        if len(self._inserts) > 1 or len(batch) * self._chunk_size >= BATCH_BYTES:
            self._bucket.helpers.get().give(task)  # a lone small batch is inserted by finish(), on this thread
        self._wait(INSERTS)

    def _wait(self, most: int) -> None:
        """Waits until at most so many inserts are under way."""
        while len(self._inserts) > most:
            self._inserts[0].result()  # it stays in the queue until then: abort() must know of it
            self._inserts.popleft()

    def _insert_chunks(self, batch: list[Document]) -> None:
        try:
            self._bucket.chunks.insert_many(batch, ordered=False)
        except BulkWriteError as error:
            # Chunks of a repeated insert that are there already are those of the first try: their _id is the same.
            failures = error.details["writeErrors"] + error.details["writeConcernErrors"]
            if any(failure["code"] != _DUPLICATE_KEY for failure in failures):
                raise

    def _document(self, metadata: Metadata) -> tuple[Document, list[Any]]:
        self._bucket.prepare()
        query = {"files_id": self.id}
        stored = self._bucket.run(self.name, lambda: self._bucket.chunks.count_documents(query))
        if stored != self._number:
            raise OSError(errno.EIO, f"{self._number - stored} chunks were lost or swept during the upload", self.name)
        fields = metadata() if callable(metadata) else metadata
        revisions = self._bucket.revisions(self.name)
        if self._exclusive and revisions:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.name)
        document: Document = {
            "_id": self.id,
            "length": self.length,
            "chunkSize": self._chunk_size,
            "uploadDate": date_after(revisions),
            "filename": self.name,
            MARK: {"format": 1},
        }
        if fields is not None:
            document["metadata"] = dict(fields)
        return document, [revision["_id"] for revision in revisions]

    def _insert_file(self, document: Document) -> None:
        def insert() -> None:
            with suppress(DuplicateKeyError):  # repeated after a lost answer: it is there
                self._bucket.files.insert_one(document)

        self._bucket.run(self.name, insert)

    def _create(self, document: Document) -> None:
        document[MARK]["created"] = self.name
        fields = {key: value for key, value in document.items() if key != "filename"}
        self._bucket.run(self.name, lambda: self._bucket.files.create_index(CREATED, unique=True, sparse=True))

        def create() -> bool:
            files = self._bucket.files
            try:
                files.update_one({"filename": self.name}, {"$setOnInsert": fields}, upsert=True)
            except DuplicateKeyError:
                holder = files.find_one({CREATED: self.name}, {"filename": 1})
                if holder is None:  # it has just been deleted
                    return False
                if holder.get("filename") != self.name:  # renamed by a program that knows nothing of the field
                    query = {"_id": holder["_id"], "filename": {"$ne": self.name}}
                    files.update_one(query, {"$unset": {CREATED: ""}})
                    return False
            return True

        while not self._bucket.run(self.name, create):
            pass
        if self._bucket.run(self.name, lambda: self._bucket.files.find_one({"_id": self.id}, {"_id": 1})) is None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), self.name)

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError(f"the write of {self.name} has ended, or was given up after an error")
        if self._owner != os.getpid():
            raise ValueError(f"the write of {self.name} belongs to the process that began it")
