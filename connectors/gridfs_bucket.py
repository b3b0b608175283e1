"""One GridFS bucket, below the filesystem: its collections, and the revisions of names.

What GridFS's specification leaves open is decided here:

- *The newest revision of a name* is the one with the latest ``uploadDate``, then the greatest ``_id``. Dates come from
  the writers' clocks; a publish therefore dates itself after every revision that it replaces, so that a slow clock
  never hides it. Only among writers that overlap in time may the clocks decide which came last.
- *A write* inserts its chunks under a fresh ``_id`` and its files document last, in one insert: that is the publish.
  Then it deletes the revisions that it found just before, and those of this library that are no longer the newest.
- *Exclusive creation* is one upsert on the name, whose document carries the name in ``datastack.created`` under a
  unique sparse index. Of creators in a race the index lets one pass; there is no lock that a crash could leave behind,
  and documents of other programs, which lack the field, may share a name as before.
- *Left-overs* of killed writers are chunks without a files document: see ``gridfs_removal``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from datastack_fs.connectors.gridfs_tasks import Helpers
from datastack_fs.deadline import Deadline
from datastack_fs.errors import MissingDependencyError
from datastack_fs.processes import PerProcess

try:
    from bson import ObjectId, Regex
    from pymongo import ASCENDING, DESCENDING, ReadPreference, WriteConcern
    from pymongo.collection import Collection as MongoCollection
    from pymongo.database import Database
    from pymongo.errors import AutoReconnect, PyMongoError, ServerSelectionTimeoutError

    from datastack_fs.connectors.gridfs_errors import translated
except ImportError as error:
    raise MissingDependencyError("gridfs:// needs pymongo: pip install 'datastack-fs[mongodb]'") from error

T = TypeVar("T")
Document: TypeAlias = dict[str, Any]
"""A document of ``<bucket>.files``."""

PAGE: Final = 1000
"""Most documents of one query for names, or for small chunks."""

HELPERS: Final = 16
"""Most threads of a bucket that fetch and insert chunks."""

MARK: Final = "datastack"
"""The field of a files document that says that this library wrote it."""

CREATED: Final = "datastack.created"

_UNSPEAKABLE = Regex(r"//|^/|/\z")  # names that no path can say, as paths lose slashes at their ends
_DURABLE = WriteConcern("majority", j=True)
_REPLICATED = WriteConcern("majority")
_AFTER_SLASH = chr(ord("/") + 1)


class Bucket:
    """A GridFS bucket.

    Args:
        database: gives this process's own database handle.
        name: the bucket, ``fs`` by GridFS's custom.
        deadline: seconds after which a call that loses its connection again and again gives up.

    Attributes:
        helpers: threads that fetch and insert chunks.
    """

    def __init__(self, database: Callable[[], Database[Document]], name: str, *, deadline: float) -> None:
        self.name = name
        self._database = database
        self._deadline = deadline
        self._prepared = False
        self.helpers = PerProcess(partial(Helpers, HELPERS), Helpers.close)
        weakref.finalize(self, self.helpers.close)

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

    def round_trip(self) -> float:
        """Seconds to the nearest server and back, as the driver's monitor sees it; 0 where it does not know yet."""
        servers = self._database().client.topology_description.server_descriptions().values()
        return min((server.round_trip_time for server in servers if server.round_trip_time is not None), default=0.0)

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
        for document in self.revisions_of(list(dict.fromkeys(names))):
            self.keep_newer(found, document)
        return found

    def revisions(self, name: str) -> list[Document]:
        """All revisions of a name, the newest last."""
        order = [("uploadDate", ASCENDING), ("_id", ASCENDING)]
        fields = {"uploadDate": 1, "length": 1, "chunkSize": 1, MARK: 1}
        return self.run(name, lambda: list(self.files.find({"filename": name}, fields).sort(order)))

    def revisions_of(self, names: Sequence[str]) -> Iterator[Document]:
        """All revisions of many names, each given once, in the order of their dates; in one query a thousand."""
        for start in range(0, len(names), PAGE):
            some = names[start : start + PAGE]
            yield from self.run(some[0], partial(self._revisions, {"$in": some}))

    def has_below(self, prefix: str) -> bool:
        """Whether any name begins with ``prefix``, which ends with "/"."""
        query = {"filename": _below(prefix)}
        return self.run(prefix, lambda: self.files.find_one(query, {"_id": 1})) is not None

    def listing(self, prefix: str, *, folders: bool = False) -> Iterator[Document]:
        """The newest revision of each name that begins with ``prefix``, sorted; ``prefix`` is "" or ends with "/".

        The names are found by ranges of the index on ``filename``, a page of a thousand at a time, so that no cursor
        is left open and a lost connection costs one page.

        Args:
            prefix: what the names begin with.
            folders: of a subfolder one name is enough: a page that ends within it is followed by one past its end.
        """
        names = _below(prefix)
        while True:
            page = self.run(prefix or "/", partial(self._revisions, names, PAGE))
            found: dict[str, Document] = {}
            for document in page:
                self.keep_newer(found, document)
            last = page[-1]["filename"] if len(page) == PAGE else None
            if last is not None and (newest := self.newest(last)):
                found[last] = newest  # the page may end between its revisions
            yield from found.values()
            if last is None:
                return
            folder, slash, _ = last[len(prefix) :].partition("/")
            names = _below(prefix)
            if folders and slash:
                names["$gte"] = prefix + folder + _AFTER_SLASH
            else:
                names["$gt"] = last

    def _revisions(self, names: Document, limit: int = 0) -> list[Document]:
        order = [("filename", ASCENDING), ("uploadDate", ASCENDING)]
        return list(self.files.find({"filename": names}, limit=limit, batch_size=PAGE + 1).sort(order))

    def keep_newer(self, found: dict[str, Document], document: Document) -> None:
        """Keeps the newer of two revisions; they come in the order of their dates."""
        name = document["filename"]
        other = found.get(name)
        if other is not None and other["uploadDate"] == document["uploadDate"]:
            ids = other["_id"], document["_id"]
            if not all(isinstance(each, ObjectId) for each in ids):
                document = self.newest(name) or document  # only the server knows the order of other types
            elif ids[0] > ids[1]:
                document = other
        found[name] = document


def _below(prefix: str) -> Document:
    """Names that begin with ``prefix``, which is "" or ends with "/"; without those that no path can say."""
    end = {"$lt": prefix[:-1] + _AFTER_SLASH} if prefix else {}
    return {"$gte": prefix, **end, "$not": _UNSPEAKABLE}


def date_after(revisions: Sequence[Document]) -> datetime:
    """Now, but later than the newest of the revisions, whatever clock that was dated by."""
    now = datetime.now(timezone.utc)
    if revisions:
        now = max(now, revisions[-1]["uploadDate"] + timedelta(milliseconds=1))
    return now.replace(microsecond=now.microsecond // 1000 * 1000)  # MongoDB keeps milliseconds


def chunk_count(document: Document) -> int:
    """How many chunks a revision has."""
    return -(-int(document["length"]) // int(document["chunkSize"]))


def chunk_length(document: Document, number: int) -> int:
    """How many bytes a chunk must have: all are full but the last."""
    size = int(document["chunkSize"])
    return min(size, int(document["length"]) - number * size)
