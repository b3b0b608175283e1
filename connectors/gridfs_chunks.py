"""The chunks of GridFS files: fetched in groups, several groups in flight, and checked."""

from __future__ import annotations

import io
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar

from bson import ObjectId
from gridfs.errors import CorruptGridFile

from datastack_fs.connectors.gridfs_bucket import PAGE, Bucket, Document, chunk_length, not_found
from datastack_fs.processes import PerProcess
from datastack_fs.reading import collection_paused

T = TypeVar("T")
Target: TypeAlias = tuple[int, memoryview]
"""A position in a file, and the buffer that the bytes from there are copied into."""

GROUP_BYTES: Final = 4 << 20
"""Most bytes of one reply: 16 chunks of the default size."""


class CorruptGridFileError(CorruptGridFile, OSError):
    """A chunk is missing, or has another length than the files document promises."""


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
        with collection_paused() if "h5py" in sys.modules else nullcontext():
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


class ChunkReader:
    """Reads the chunks of one bucket's files.

    Args:
        bucket: the bucket.
        concurrency: groups of chunks in flight for one read.
    """

    def __init__(self, bucket: Bucket, *, concurrency: int) -> None:
        self.concurrency = concurrency
        self._bucket = bucket

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
        try:
            errors = self.fill(wanted)
        finally:
            for _, targets in wanted:
                for _, view in targets:
                    view.release()
        # BytesIO hands out its buffer without a copy once nobody views it.
        return [
            [blank.getvalue() for blank in blanks] if error is None else error
            for blanks, error in zip(buffers, errors, strict=True)
        ]

    def fill(self, requests: Sequence[tuple[Document, Sequence[Target]]]) -> list[Exception | None]:
        """Copies bytes of revisions, each given once, into buffers; returns each revision's error, or None.

        The chunks of one revision are asked for in one query, or several of about 4 MiB, ``concurrency`` of them in
        flight. Revisions that want the same chunk numbers, as single-chunk files do, share queries.
        """
        placed = [_places(document, targets) for document, targets in requests]
        try:
            return self._fill(requests, placed)
        finally:
            # An error's traceback keeps all this in a cycle, and CPython 3.12.1 crashed, and 3.13.0 complained, when
            # the collector frees a BytesIO before the views of it.
            for places in placed:
                for parts in places.values():
                    for _, view in parts:
                        view.release()

    def _fill(
        self, requests: Sequence[tuple[Document, Sequence[Target]]], placed: Sequence[Mapping[int, Sequence[Target]]]
    ) -> list[Exception | None]:
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
        return self._bucket.run(self._bucket.name, lambda: self._fetch(group))

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
        cursor = self._bucket.chunks.find(group.query(), batch_size=most)
        if len(group.ids) == 1:
            return {(0, chunk["n"]): chunk["data"] for chunk in cursor}
        positions = {files_id: position for position, files_id in enumerate(group.ids)}
        return {(positions[chunk["files_id"]], chunk["n"]): chunk["data"] for chunk in cursor}

    def broken(self, document: Document, number: int) -> Exception:
        """The error for a chunk that is missing or has another length: the revision is gone, or it is corrupt."""
        name = document["filename"]
        try:
            there = self._bucket.run(name, lambda: self._bucket.files.find_one({"_id": document["_id"]}, {"_id": 1}))
        except OSError as error:
            return error
        if there is None:
            return not_found(name, "the revision that was opened has been replaced or deleted")
        return CorruptGridFileError(f"{name}: chunk {number} of {document['_id']} is missing or has a wrong length")


def chunks_per_group(chunk_size: int) -> int:
    """How many chunks of that size make a reply of about 4 MiB."""
    return max(1, min(GROUP_BYTES // chunk_size, PAGE))


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
        if pack and (total + size > GROUP_BYTES or len(pack) == PAGE):
            yield pack
            pack, total = [], 0
        pack.append(member)
        total += size
    if pack:
        yield pack
