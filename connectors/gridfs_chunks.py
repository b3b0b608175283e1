"""The chunks of GridFS files: fetched in groups, several groups in flight, and checked."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from bson import ObjectId

from datastack_fs.connectors.gridfs_bucket import PAGE, Bucket, Document, chunk_length
from datastack_fs.connectors.gridfs_errors import CorruptGridFileError, not_found
from datastack_fs.connectors.gridfs_tasks import Helpers, in_flight
from datastack_fs.resource import Range

Put: TypeAlias = Callable[[memoryview], None]
"""Takes a piece of a chunk to where it belongs."""

Places: TypeAlias = dict[int, list[tuple[int, int, Put]]]
"""By chunk number: which parts of the chunk, by offset and length, go where."""

GROUP_BYTES: Final = 4 << 20
"""Most bytes of one reply: 16 chunks of the default size."""

NEAR: Final = 0.002
"""Seconds of a round trip below which two replies in flight keep both sides busy: more only contend for the CPU."""


@dataclass(frozen=True)
class _Group:
    """The chunks of one query: the same numbers of one file, or of several small ones."""

    members: Sequence[int]
    ids: Sequence[Any]
    numbers: Sequence[int]

    def query(self) -> Document:
        files_id = self.ids[0] if len(self.ids) == 1 else {"$in": list(self.ids)}
        if isinstance(self.numbers, range):
            return {"files_id": files_id, "n": {"$gte": self.numbers.start, "$lt": self.numbers.stop}}
        return {"files_id": files_id, "n": {"$in": list(self.numbers)}}


class ChunkReader:
    """Reads the chunks of one bucket's files.

    Args:
        bucket: the bucket.
        concurrency: most groups of chunks in flight for one read.
    """

    def __init__(self, bucket: Bucket, *, concurrency: int) -> None:
        self._concurrency = concurrency
        self._bucket = bucket

    @property
    def helpers(self) -> Helpers:
        """The threads of the bucket, in this process."""
        return self._bucket.helpers.get()

    @property
    def depth(self) -> int:
        """How many groups are to be in flight: two of a server that is near, ``concurrency`` of a distant one."""
        return min(2, self._concurrency) if self._bucket.round_trip() < NEAR else self._concurrency

    def read(self, document: Document, ranges: Sequence[Range]) -> list[bytes]:
        """The bytes of half-open ranges within one revision: see ``read_many``."""
        (answer,) = self.read_many([(document, ranges)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read_many(self, requests: Sequence[tuple[Document, Sequence[Range]]]) -> list[list[bytes] | Exception]:
        """The bytes of half-open ranges within many revisions, each given once; each answers with its own error, too.

        The chunks of one revision are asked for in one query, or several of about 4 MiB, ``depth`` of them in flight.
        Revisions that want the same chunk numbers, as single-chunk files do, share queries.
        """
        answers = [[b""] * len(ranges) for _, ranges in requests]
        buffers = [
            {
                index: blank(stop - start)
                for index, (start, stop) in enumerate(ranges)
                if _is_in_chunks(document, start, stop)
            }
            for document, ranges in requests
        ]
        views: list[memoryview] = []
        placed: list[Places] = []
        for (document, ranges), answer, blanks in zip(requests, answers, buffers, strict=True):
            places: Places = defaultdict(list)
            for index, (start, stop) in enumerate(ranges):
                if index in blanks:
                    views.append(blanks[index].getbuffer())
                    _place(places, document, start, views[-1])
                elif start < stop:
                    number, within = divmod(start, int(document["chunkSize"]))
                    places[number].append((within, stop - start, partial(_keep_bytes, answer, index)))
            placed.append(places)
        try:
            errors = self._fill([document for document, _ in requests], placed)
        finally:
            # An error's traceback keeps all this in a cycle, and CPython 3.12.1 crashed, and 3.13.0 complained, when
            # the collector frees a BytesIO before the views of it.
            for view in views:
                view.release()
        for answer, blanks in zip(answers, buffers, strict=True):
            for index, buffer in blanks.items():
                answer[index] = buffer.getvalue()  # its own buffer, without a copy, as nobody views it any more
        return [answer if error is None else error for answer, error in zip(answers, errors, strict=True)]

    def fill(self, document: Document, start: int, view: memoryview) -> None:
        """Copies the bytes of one revision from a position on into a buffer."""
        places: Places = defaultdict(list)
        _place(places, document, start, view)
        (error,) = self._fill([document], [places])
        if error is not None:
            raise error

    def _fill(self, documents: Sequence[Document], placed: Sequence[Places]) -> list[Exception | None]:
        groups = list(_groups(documents, placed))
        errors: list[Exception | None] = [None] * len(documents)
        # The helpers copy, too: a thread that frees a reply before it gets the next one gets the same memory again.
        calls = [partial(self._fetch_into, group, documents, placed) for group in groups]
        for group, task in zip(groups, in_flight(self.helpers, calls, self.depth), strict=True):
            try:
                found = task.result()
            except Exception as failure:  # noqa: BLE001 (belongs to the members of this group)
                found = dict.fromkeys(group.members, failure)
            for member, error in found.items():
                errors[member] = errors[member] or error
        return errors

    def _fetch_into(
        self, group: _Group, documents: Sequence[Document], placed: Sequence[Places]
    ) -> dict[int, Exception]:
        """Fetches a group and puts its pieces where they belong; the error of each member that has one."""
        chunks = self.fetch(group)
        errors: dict[int, Exception] = {}
        for position, member in enumerate(group.members):
            for number in group.numbers:
                data = chunks.get((position, number))
                if data is None or len(data) != chunk_length(documents[member], number):
                    errors[member] = errors.get(member) or self.broken(documents[member], number)
                    continue
                whole = memoryview(data)
                for within, length, put in placed[member][number]:
                    put(whole[within : within + length])
        return errors

    def fetch(self, group: _Group) -> dict[tuple[int, int], bytes]:
        """The chunks of a group that are there, by the member's position and the chunk's number."""
        return self._bucket.run(self._bucket.name, lambda: self._fetch(group))

    def fetch_chunks(self, document: Document, numbers: Sequence[int]) -> Iterator[dict[int, bytes]]:
        """Whole chunks of one revision, verified, by number: a few at a time, in the order of ``numbers``."""
        most = chunks_per_group(int(document["chunkSize"]))
        groups = [numbers[start : start + most] for start in range(0, len(numbers), most)]
        calls = [partial(self.fetch_group, document, group) for group in groups]
        for task in in_flight(self.helpers, calls, self.depth):
            yield task.result()

    def fetch_group(self, document: Document, numbers: Sequence[int]) -> dict[int, bytes]:
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


def _is_in_chunks(document: Document, start: int, stop: int) -> bool:
    """Whether a range has bytes of more than one chunk."""
    size = int(document["chunkSize"])
    return start < stop and start // size < (stop - 1) // size


def _keep_bytes(answer: list[bytes], index: int, piece: memoryview) -> None:
    answer[index] = bytes(piece)


def _place(places: Places, document: Document, start: int, view: memoryview) -> None:
    """Adds what of which chunk fills a buffer with the bytes from a position on."""
    size = int(document["chunkSize"])
    done = 0
    while done < len(view):
        number, within = divmod(start + done, size)
        length = min(size - within, len(view) - done)
        places[number].append((within, length, partial(view.__setitem__, slice(done, done + length))))
        done += length


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
