"""One GridFS bucket, below the filesystem: revisions of names, chunks in groups, uploads that publish last.

What GridFS's specification leaves open is decided here:

- *The newest revision of a name* is the one with the latest ``uploadDate``, then the greatest ``_id``. Dates come from
  the writers' clocks; a publish therefore dates itself after every revision that it replaces, so that a slow clock
  never hides it. Only among writers that overlap in time may the clocks decide which came last.
- *A write* inserts its chunks under a fresh ``_id`` and its files document last, in one insert: that is the publish.
  Then it deletes the revisions that it found just before, and those of this library that are no longer the newest.
- *Exclusive creation* is one upsert on the name, whose document carries the name in ``datastack.created`` under a
  unique sparse index. Of creators in a race the index lets one pass; there is no lock that a crash could leave behind,
  and documents of other programs, which lack the field, may share a name as before.
- *Left-overs* of killed writers are chunks without a files document: see ``Bucket.orphans``.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar

from datastack_fs.credentials import redact
from datastack_fs.deadline import Deadline
from datastack_fs.errors import MissingDependencyError
from datastack_fs.processes import PerProcess
from datastack_fs.reading import collection_paused

try:
    from bson import ObjectId
    from gridfs.errors import CorruptGridFile
    from pymongo import ASCENDING, DESCENDING, ReadPreference, WriteConcern
    from pymongo.collection import Collection as MongoCollection
    from pymongo.database import Database
    from pymongo.errors import (
        AutoReconnect,
        ConfigurationError,
        ConnectionFailure,
        OperationFailure,
        PyMongoError,
        ServerSelectionTimeoutError,
    )
except ImportError as error:
    raise MissingDependencyError("gridfs:// needs pymongo: pip install 'datastack-fs[mongodb]'") from error

T = TypeVar("T")
Document: TypeAlias = dict[str, Any]
"""A document of ``<bucket>.files``."""

Target: TypeAlias = tuple[int, memoryview]
"""A position in a file, and the buffer that the bytes from there are copied into."""

GROUP_BYTES: Final = 4 << 20
"""Most bytes of one reply: 16 chunks of the default size."""

GROUP_DOCUMENTS: Final = 1000
"""Most documents of one query, where they are small."""

BATCH_BYTES: Final = 8 << 20
"""Bytes of one ``insert_many``; 16 MiB is no faster, and takes twice the memory."""

DELETE_CHUNKS: Final = 4096
"""Most chunks that one delete removes: each must end within the socket timeout."""

LARGEST_CHUNK: Final = 15 << 20
"""A chunk's document must stay under MongoDB's 16 MiB."""

CREATED: Final = "datastack.created"
MARK: Final = "datastack"

_DURABLE = WriteConcern("majority", j=True)
_REPLICATED = WriteConcern("majority")
_DENIED = {13, 18, 8000}
_DISK_FULL = 14031
_AUTHORITY_END = chr(ord("/") + 1)


class CorruptGridFileError(CorruptGridFile, OSError):
    """A chunk is missing, or has another length than the files document promises."""


def translated(error: PyMongoError, what: str) -> Exception:
    """The built-in exception that says the same as one of pymongo's; connection errors name the server, never secrets.

    Example:
        >>> translated(AutoReconnect("127.0.0.1:27017: connection closed"), "birds.h5")
        ConnectionError('birds.h5: 127.0.0.1:27017: connection closed')
    """
    text = redact(f"{what}: {error}")
    if isinstance(error, ConnectionFailure):
        return ConnectionError(text)
    if isinstance(error, ConfigurationError):
        return ValueError(text)
    code = error.code if isinstance(error, OperationFailure) else None
    if code in _DENIED:
        return PermissionError(text)
    if code == _DISK_FULL:
        return OSError(errno.ENOSPC, text)
    return TimeoutError(text) if error.timeout else OSError(text)


def not_found(name: str, reason: str | None = None) -> FileNotFoundError:
    """The error for a name that has no revision, or whose opened revision is gone."""
    return FileNotFoundError(errno.ENOENT, reason or os.strerror(errno.ENOENT), name)


class Task(Generic[T]):
    """A call that a helper thread may do ahead of time; whoever asks for the result does it, if none has begun.

    So nobody ever waits for a thread that has not begun. A helper that has begun keeps the garbage collector off until
    the result is there: were it to free an h5py object, it would wait for h5py's lock, which the waiting thread may
    hold.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._begun = threading.Lock()
        self._done = threading.Event()
        self._submitted = False
        self._answer: T | None = None
        self._error: BaseException | None = None

    def start(self) -> None:
        """Hands it to a helper thread, once."""
        if not self._submitted:
            self._submitted = True
            with suppress(RuntimeError):  # the interpreter is ending: result() does it
                _helpers.get().submit(self._help)

    def cancel(self) -> None:
        """Returns when it neither runs nor will run."""
        if self._begun.acquire(blocking=False):
            self._done.set()
        self._done.wait()

    def result(self) -> T:
        """What the call returns, or raises."""
        self._do()
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._answer  # type: ignore[return-value]

    def _help(self) -> None:
        with collection_paused():
            self._do()

    def _do(self) -> None:
        if not self._begun.acquire(blocking=False):
            return
        try:
            self._answer = self._call()
        except BaseException as error:  # noqa: BLE001 (raised by result(), on the thread that asks)
            self._error = error
        finally:
            self._done.set()


_helpers = PerProcess(partial(ThreadPoolExecutor, 16, thread_name_prefix="gridfs"))


def in_flight(calls: Iterable[Callable[[], T]], depth: int) -> Iterator[Task[T]]:
    """The calls as tasks, in order, ``depth`` of them under way at once."""
    waiting: deque[Task[T]] = deque()
    for call in calls:
        waiting.append(Task(call))
        if len(waiting) < depth:
            continue
        for upcoming in list(waiting)[1:]:
            upcoming.start()
        yield waiting.popleft()
    for task in list(waiting)[1:]:
        task.start()
    while waiting:
        yield waiting.popleft()


@dataclass(frozen=True)
class _Group:
    """The chunks of one query: the same numbers of one file, or of several small ones."""

    members: Sequence[int]
    ids: Sequence[Any]
    numbers: Sequence[int]

    def query(self) -> Document:
        files_id = self.ids[0] if len(self.ids) == 1 else {"$in": list(self.ids)}
        return {"files_id": files_id, "n": {"$in": list(self.numbers)}}


class Bucket:
    """A GridFS bucket.

    Args:
        database: gives this process's own database handle.
        name: the bucket, ``fs`` by GridFS's custom.
        deadline: seconds after which a call that loses its connection again and again gives up.
        concurrency: groups of chunks in flight for one read.
    """

    def __init__(
        self, database: Callable[[], Database[Document]], name: str, *, deadline: float, concurrency: int
    ) -> None:
        self.name = name
        self.concurrency = concurrency
        self._database = database
        self._deadline = deadline
        self._prepared = False

    @property
    def files(self) -> MongoCollection[Document]:
        """The collection of files documents, read and written at the primary."""
        return self._collection("files", _DURABLE)

    @property
    def chunks(self) -> MongoCollection[Document]:
        """The collection of chunks. The journal is in order: what makes the files document durable does it for them."""
        return self._collection("chunks", _REPLICATED)

    def prepare(self) -> None:
        """Makes the indexes that GridFS wants before a bucket's first file; once, and only if there is no file yet."""
        if self._prepared:
            return
        if self.run(self.name, lambda: self.files.find_one({}, {"_id": 1})) is None:
            by_date = [("filename", ASCENDING), ("uploadDate", ASCENDING)]
            self.run(self.name, lambda: self.files.create_index(by_date))
            by_number = [("files_id", ASCENDING), ("n", ASCENDING)]
            self.run(self.name, lambda: self.chunks.create_index(by_number, unique=True))
        self._prepared = True

    def _collection(self, part: str, concern: WriteConcern) -> MongoCollection[Document]:
        collection = self._database()[f"{self.name}.{part}"]
        return collection.with_options(write_concern=concern, read_preference=ReadPreference.PRIMARY)

    def run(self, what: str, call: Callable[[], T]) -> T:
        """Does a call that may be repeated, anew after each lost connection; raises built-in exceptions."""
        deadline = Deadline(self._deadline)
        while True:
            try:
                return call()
            except PyMongoError as error:
                failure = translated(error, what)
                # Server selection has waited for its own timeout already.
                if not isinstance(error, AutoReconnect) or isinstance(error, ServerSelectionTimeoutError):
                    raise failure from error
                failure.__cause__ = error
                deadline.wait(failure)

    # Revisions.

    def newest(self, name: str) -> Document | None:
        """The files document of the newest revision."""
        order = [("uploadDate", DESCENDING), ("_id", DESCENDING)]
        return self.run(name, lambda: self.files.find_one({"filename": name}, sort=order))

    def newest_of(self, names: Collection[str]) -> dict[str, Document]:
        """The newest revisions of many names, in one query a thousand."""
        found: dict[str, Document] = {}
        unique = list(dict.fromkeys(names))
        for start in range(0, len(unique), GROUP_DOCUMENTS):
            some = unique[start : start + GROUP_DOCUMENTS]
            for document in self.run(some[0], partial(self._revisions, {"$in": some})):
                self._keep_newer(found, document)
        return found

    def revisions(self, name: str) -> list[Document]:
        """All revisions of a name, the newest last."""
        order = [("uploadDate", ASCENDING), ("_id", ASCENDING)]
        fields = {"uploadDate": 1, "length": 1, "chunkSize": 1, MARK: 1}
        return self.run(name, lambda: list(self.files.find({"filename": name}, fields).sort(order)))

    def listing(self, prefix: str, *, folders: bool = False) -> Iterator[Document]:
        """The newest revision of each name that begins with ``prefix``, sorted; ``prefix`` is "" or ends with "/".

        The names are found by ranges of the index on ``filename``, a page of a thousand at a time, so that no cursor
        is left open and a lost connection costs one page.

        Args:
            prefix: what the names begin with.
            folders: of a subfolder one name is enough: a page that ends within it is followed by one past its end.
        """
        lower: Document = {"$gte": prefix}
        if prefix:
            lower["$lt"] = prefix[:-1] + _AUTHORITY_END
        while True:
            page = self.run(prefix or "/", partial(self._revisions, lower, GROUP_DOCUMENTS))
            found: dict[str, Document] = {}
            for document in page:
                self._keep_newer(found, document)
            last = page[-1]["filename"] if len(page) == GROUP_DOCUMENTS else None
            if last is not None and (newest := self.newest(last)):
                found[last] = newest  # the page may end between its revisions
            yield from found.values()
            if last is None:
                return
            folder, slash, _ = last[len(prefix) :].partition("/")
            lower.pop("$gte", None)
            lower.pop("$gt", None)
            if folders and slash:
                lower["$gte"] = prefix + folder + _AUTHORITY_END
            else:
                lower["$gt"] = last

    def _revisions(self, names: Document, limit: int = 0) -> list[Document]:
        order = [("filename", ASCENDING), ("uploadDate", ASCENDING)]
        return list(self.files.find({"filename": names}, limit=limit, batch_size=GROUP_DOCUMENTS + 1).sort(order))

    def _keep_newer(self, found: dict[str, Document], document: Document) -> None:
        """Keeps the newer of two revisions; they come in the order of their dates."""
        name = document["filename"]
        other = found.get(name)
        if other is not None and other["uploadDate"] == document["uploadDate"]:
            document = self.newest(name) or document
        found[name] = document

    # Reading.

    def read(self, document: Document, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of half-open ranges within one revision: see ``fill``."""
        (answer,) = self.read_many([(document, ranges)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read_many(
        self, requests: Sequence[tuple[Document, Sequence[tuple[int, int]]]]
    ) -> list[list[bytes] | Exception]:
        """The bytes of half-open ranges within many revisions; each revision answers with bytes or its own error."""
        buffers = [[blank(stop - start) for start, stop in ranges] for _, ranges in requests]
        wanted = [
            (document, [(start, blank.getbuffer()) for (start, _), blank in zip(ranges, blanks, strict=True)])
            for (document, ranges), blanks in zip(requests, buffers, strict=True)
        ]
        errors = self.fill(wanted)
        for _, targets in wanted:
            for _, view in targets:
                view.release()
        # BytesIO hands out its buffer without a copy once nobody views it.
        return [
            [blank.getvalue() for blank in blanks] if error is None else error
            for blanks, error in zip(buffers, errors, strict=True)
        ]

    def fill(self, requests: Sequence[tuple[Document, Sequence[Target]]]) -> list[Exception | None]:
        """Copies bytes of revisions into buffers, and returns each revision's error, or None.

        The chunks of one revision are asked for in one query, or several of about 4 MiB, ``concurrency`` of them in
        flight. Revisions that want the same chunk numbers, as single-chunk files do, share queries.
        """
        placed = [_places(document, targets) for document, targets in requests]
        groups = list(_groups([document for document, _ in requests], placed))
        errors: list[Exception | None] = [None] * len(requests)
        tasks = in_flight([partial(self.fetch, group) for group in groups], self.concurrency)
        for group, task in zip(groups, tasks, strict=True):
            try:
                chunks = task.result()
            except Exception as error:  # noqa: BLE001 (belongs to the members of this group)
                for member in group.members:
                    errors[member] = errors[member] or error
                continue
            for position, member in enumerate(group.members):
                document = requests[member][0]
                for number in group.numbers:
                    data = chunks.get((position, number))
                    if data is None or len(data) != chunk_length(document, number):
                        errors[member] = errors[member] or self.broken(document, number)
                        continue
                    whole = memoryview(data)
                    for within, view in placed[member][number]:
                        view[:] = whole[within : within + len(view)]
        return errors

    def fetch(self, group: _Group) -> dict[tuple[int, int], bytes]:
        """The chunks of a group that are there, by the member's position and the chunk's number."""
        return self.run(self.name, lambda: self._fetch(group))

    def fetch_span(self, document: Document, numbers: range) -> dict[int, bytes]:
        """Whole chunks of one revision, verified, by number: one query."""
        found = self.fetch(_Group([0], [document["_id"]], numbers))
        for number in numbers:
            if len(found.get((0, number), b"")) != chunk_length(document, number):
                raise self.broken(document, number)
        return {number: data for (_, number), data in found.items()}

    def _fetch(self, group: _Group) -> dict[tuple[int, int], bytes]:
        # One more than can come, so that the server knows that the first reply is the last. Whole documents, because a
        # projection makes the server copy each of them.
        most = len(group.ids) * len(group.numbers) + 1
        cursor = self.chunks.find(group.query(), batch_size=most)
        if len(group.ids) == 1:
            return {(0, chunk["n"]): chunk["data"] for chunk in cursor}
        positions = {files_id: position for position, files_id in enumerate(group.ids)}
        return {(positions[chunk["files_id"]], chunk["n"]): chunk["data"] for chunk in cursor}

    def broken(self, document: Document, number: int) -> Exception:
        """The error for a chunk that is missing or has another length: the revision is gone, or it is corrupt."""
        name = document["filename"]
        try:
            there = self.run(name, lambda: self.files.find_one({"_id": document["_id"]}, {"_id": 1}))
        except OSError as error:
            return error
        if there is None:
            return not_found(name, "the revision that was opened has been replaced or deleted")
        return CorruptGridFileError(f"{name}: chunk {number} of {document['_id']} is missing or has a wrong length")

    # Removing.

    def remove(self, names: Collection[str]) -> None:
        """Removes all revisions of names; FileNotFoundError for the first that has none, and then removes nothing."""
        revisions = {name: self.revisions(name) for name in names}
        for name, found in revisions.items():
            if not found:
                raise not_found(name)
        # The newest goes last: a removal that is cut short must not bring an old revision to light.
        self.delete_files([document for found in revisions.values() for document in found[:-1]])
        self.delete_files([found[-1] for found in revisions.values()])

    def delete_files(self, documents: Sequence[Document]) -> None:
        """Deletes revisions: the files documents first, so that no reader finds a file without chunks."""
        for start in range(0, len(documents), GROUP_DOCUMENTS):
            some = documents[start : start + GROUP_DOCUMENTS]
            ids = [document["_id"] for document in some]
            self.run(self.name, partial(self.files.delete_many, {"_id": {"$in": ids}}))
            small = [document["_id"] for document in some if chunk_count(document) <= 1]
            if small:
                self.run(self.name, partial(self.chunks.delete_many, {"files_id": {"$in": small}}))
            for document in some:
                if chunk_count(document) > 1:
                    self.delete_chunks(document["_id"], chunk_count(document))

    def delete_chunks(self, files_id: Any, count: int) -> None:
        """Deletes the chunks of one revision, about ``count``, some thousands at a time."""
        for stop in range(DELETE_CHUNKS, count, DELETE_CHUNKS):
            query = {"files_id": files_id, "n": {"$lt": stop}}
            self.run(self.name, partial(self.chunks.delete_many, query))
        self.run(self.name, partial(self.chunks.delete_many, {"files_id": files_id}))

    def superseded(self, name: str, noted: Sequence[Any]) -> list[Document]:
        """Revisions to delete after a publish: those noted before it, and this library's that are not the newest."""
        revisions = self.revisions(name)
        return [
            document
            for document in revisions
            if document["_id"] in noted or (MARK in document and document is not revisions[-1])
        ]

    def orphans(self, older_than: float) -> list[Any]:
        """The ``files_id`` of chunks that belong to no file and were last added to ``older_than`` seconds ago.

        An upload that is under way looks the same; what tells them apart is the age of its last chunk. Ages are read
        from ObjectIds, made by the writers' clocks; chunks that can't be dated are left alone.
        """
        limit = datetime.now(timezone.utc) - timedelta(seconds=older_than)
        return [files_id for files_id in self._without_file() if _is_older(self._last_chunk(files_id), limit)]

    def sweep(self, older_than: float) -> int:
        """Deletes orphans, and revisions of this library that a killed writer had replaced but not yet deleted."""
        orphans = self.orphans(older_than)
        for files_id in orphans:
            last = self._last_chunk(files_id)
            self.delete_chunks(files_id, last["n"] + 1 if last else 0)
        limit = datetime.now(timezone.utc) - timedelta(seconds=older_than)
        left_over = [document for document in self._replaced() if document["uploadDate"] <= limit]
        self.delete_files(left_over)
        return len(orphans) + len(left_over)

    def _without_file(self) -> Iterator[Any]:
        # Served by the index alone (DISTINCT_SCAN): one key a file is looked at, and no data.
        pipeline: list[Document] = [{"$sort": {"files_id": 1, "n": 1}}, {"$group": {"_id": "$files_id"}}]
        ids = self.run(self.name, lambda: [group["_id"] for group in self.chunks.aggregate(pipeline)])
        for start in range(0, len(ids), GROUP_DOCUMENTS):
            some = ids[start : start + GROUP_DOCUMENTS]
            there = self.run(self.name, partial(self._among_files, some))
            yield from (files_id for files_id in some if files_id not in there)

    def _among_files(self, ids: list[Any]) -> list[Any]:
        return [document["_id"] for document in self.files.find({"_id": {"$in": ids}}, {"_id": 1})]

    def _last_chunk(self, files_id: Any) -> Document | None:
        query = {"files_id": files_id}
        return self.run(self.name, lambda: self.chunks.find_one(query, {"n": 1}, sort=[("n", DESCENDING)]))

    def _replaced(self) -> Iterator[Document]:
        pipeline: list[Document] = [
            {"$match": {"filename": {"$gte": ""}}},
            {"$group": {"_id": "$filename", "revisions": {"$sum": 1}}},
            {"$match": {"revisions": {"$gt": 1}}},
        ]
        names = self.run(self.name, lambda: [group["_id"] for group in self.files.aggregate(pipeline)])
        for name in names:
            yield from (document for document in self.revisions(name)[:-1] if MARK in document)


def chunk_count(document: Document) -> int:
    """How many chunks a revision has."""
    return -(-int(document["length"]) // int(document["chunkSize"]))


def chunk_length(document: Document, number: int) -> int:
    """How many bytes a chunk must have: all are full but the last."""
    size = int(document["chunkSize"])
    return min(size, int(document["length"]) - number * size)


def chunks_per_group(chunk_size: int) -> int:
    """How many chunks of that size make a reply of about 4 MiB."""
    return max(1, min(GROUP_BYTES // chunk_size, GROUP_DOCUMENTS))


def blank(size: int) -> io.BytesIO:
    """A buffer of that size to be filled, which then gives its bytes without a copy."""
    buffer = io.BytesIO()
    if size:
        buffer.seek(size - 1)
        buffer.write(b"\0")
    return buffer


def _places(document: Document, targets: Sequence[Target]) -> dict[int, list[Target]]:
    """Which part of which chunk goes where: by chunk number, positions within the chunk and buffers."""
    size = int(document["chunkSize"])
    places: dict[int, list[Target]] = defaultdict(list)
    for start, view in targets:
        done = 0
        while done < len(view):
            number, within = divmod(start + done, size)
            length = min(size - within, len(view) - done)
            places[number].append((within, view[done : done + length]))
            done += length
    return places


def _groups(documents: Sequence[Document], placed: Sequence[Mapping[int, Any]]) -> Iterator[_Group]:
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for member, places in enumerate(placed):
        numbers = sorted(places)
        most = chunks_per_group(int(documents[member]["chunkSize"]))
        if 0 < len(numbers) <= most and isinstance(documents[member]["_id"], ObjectId):
            alike[tuple(numbers)].append(member)
            continue
        for start in range(0, len(numbers), most):
            yield _Group([member], [documents[member]["_id"]], numbers[start : start + most])
    for shared, members in alike.items():
        for some in _packed(members, [sum(chunk_length(documents[m], n) for n in shared) for m in members]):
            yield _Group(some, [documents[member]["_id"] for member in some], shared)


def _packed(members: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    pack: list[int] = []
    total = 0
    for member, size in zip(members, sizes, strict=True):
        if pack and (total + size > GROUP_BYTES or len(pack) == GROUP_DOCUMENTS):
            yield pack
            pack, total = [], 0
        pack.append(member)
        total += size
    if pack:
        yield pack


def _is_older(chunk: Document | None, limit: datetime) -> bool:
    made = chunk["_id"] if chunk else None
    return isinstance(made, ObjectId) and made.generation_time <= limit
