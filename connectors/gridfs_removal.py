"""What is removed from a GridFS bucket: names, revisions that others replace, and left-overs of killed writers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Final

from bson import ObjectId
from pymongo import DESCENDING

from datastack_fs.connectors.gridfs_bucket import CREATED, MARK, PAGE, Bucket, Document, chunk_count, date_after
from datastack_fs.connectors.gridfs_errors import not_found

DELETE_CHUNKS: Final = 4096
"""Most chunks that one delete removes: each must end within the socket timeout."""


def rename(bucket: Bucket, document: Document, target: str) -> None:
    """Gives a revision another name, whose revisions it replaces, or the same name with a new date; in one step."""
    name = document["filename"]
    if name != target:
        revisions = bucket.revisions(name)
        ids = [each["_id"] for each in revisions]
        if document["_id"] in ids:  # the older ones go first: else they would come to light
            delete_files(bucket, revisions[: ids.index(document["_id"])])
    replaced = bucket.revisions(target)
    change = {"$set": {"filename": target, "uploadDate": date_after(replaced)}, "$unset": {CREATED: ""}}
    result = bucket.run(name, lambda: bucket.files.update_one({"_id": document["_id"]}, change))
    if not result.matched_count:
        raise not_found(name)
    noted = [each["_id"] for each in replaced] if name != target else []
    delete_files(bucket, superseded(bucket, target, noted))


def remove(bucket: Bucket, names: Collection[str]) -> None:
    """Removes all revisions of names; FileNotFoundError for the first that has none, and then removes nothing."""
    unique = list(dict.fromkeys(names))
    newest: dict[str, Document] = {}
    found: list[Document] = []
    for document in bucket.revisions_of(unique):
        found.append(document)
        bucket.keep_newer(newest, document)
    for name in unique:
        if name not in newest:
            raise not_found(name)
    # The newest goes last: a removal that is cut short must not bring an old revision to light.
    delete_files(bucket, [document for document in found if newest[document["filename"]]["_id"] != document["_id"]])
    delete_files(bucket, list(newest.values()))


def delete_files(bucket: Bucket, documents: Sequence[Document]) -> None:
    """Deletes revisions: the files documents first, so that no reader finds a file without chunks."""
    for start in range(0, len(documents), PAGE):
        some = documents[start : start + PAGE]
        ids = [document["_id"] for document in some]
        bucket.run(bucket.name, partial(bucket.files.delete_many, {"_id": {"$in": ids}}))
        small = [document["_id"] for document in some if chunk_count(document) <= 1]
        if small:
            bucket.run(bucket.name, partial(bucket.chunks.delete_many, {"files_id": {"$in": small}}))
        for document in some:
            if chunk_count(document) > 1:
                delete_chunks(bucket, document["_id"], chunk_count(document))


def delete_chunks(bucket: Bucket, files_id: Any, count: int) -> None:
    """Deletes the chunks of one revision, about ``count``, some thousands at a time."""
    for stop in range(DELETE_CHUNKS, count, DELETE_CHUNKS):
        query = {"files_id": files_id, "n": {"$lt": stop}}
        bucket.run(bucket.name, partial(bucket.chunks.delete_many, query))
    bucket.run(bucket.name, partial(bucket.chunks.delete_many, {"files_id": files_id}))


def superseded(bucket: Bucket, name: str, noted: Sequence[Any]) -> list[Document]:
    """Revisions to delete after a publish: those noted before it, and this library's that are not the newest."""
    revisions = bucket.revisions(name)
    return [
        document
        for document in revisions
        if document["_id"] in noted or (MARK in document and document is not revisions[-1])
    ]


def orphans(bucket: Bucket, older_than: float) -> list[Any]:
    """The ``files_id`` of chunks that belong to no file and were last added to ``older_than`` seconds ago.

    An upload that is under way looks the same; what tells them apart is the age of its last chunk. Ages are read
    from ObjectIds, made by the writers' clocks; chunks that can't be dated are left alone.
    """
    limit = datetime.now(timezone.utc) - timedelta(seconds=older_than)
    return [files_id for files_id in _without_file(bucket) if _is_older(_last_chunk(bucket, files_id), limit)]


def sweep(bucket: Bucket, older_than: float) -> int:
    """Deletes orphans, and revisions of this library that a killed writer had replaced but not yet deleted."""
    left = orphans(bucket, older_than)
    for files_id in left:
        last = _last_chunk(bucket, files_id)
        delete_chunks(bucket, files_id, last["n"] + 1 if last else 0)
    limit = datetime.now(timezone.utc) - timedelta(seconds=older_than)
    replaced = [document for document in _replaced(bucket) if document["uploadDate"] <= limit]
    delete_files(bucket, replaced)
    return len(left) + len(replaced)


def _without_file(bucket: Bucket) -> Iterator[Any]:
    # Served by the index alone (DISTINCT_SCAN): one key a file is looked at, and no data.
    pipeline: list[Document] = [{"$sort": {"files_id": 1, "n": 1}}, {"$group": {"_id": "$files_id"}}]
    ids = bucket.run(bucket.name, lambda: [group["_id"] for group in bucket.chunks.aggregate(pipeline)])
    for start in range(0, len(ids), PAGE):
        some = ids[start : start + PAGE]
        there = bucket.run(bucket.name, partial(_among_files, bucket, some))
        yield from (files_id for files_id in some if files_id not in there)


def _among_files(bucket: Bucket, ids: list[Any]) -> list[Any]:
    return [document["_id"] for document in bucket.files.find({"_id": {"$in": ids}}, {"_id": 1})]


def _last_chunk(bucket: Bucket, files_id: Any) -> Document | None:
    query = {"files_id": files_id}
    return bucket.run(bucket.name, lambda: bucket.chunks.find_one(query, {"n": 1}, sort=[("n", DESCENDING)]))


def _replaced(bucket: Bucket) -> Iterator[Document]:
    pipeline: list[Document] = [
        {"$match": {"filename": {"$gte": ""}}},
        {"$group": {"_id": "$filename", "revisions": {"$sum": 1}}},
        {"$match": {"revisions": {"$gt": 1}}},
    ]
    names = bucket.run(bucket.name, lambda: [group["_id"] for group in bucket.files.aggregate(pipeline)])
    for name in names:
        yield from (document for document in bucket.revisions(name)[:-1] if MARK in document)


def _is_older(chunk: Document | None, limit: datetime) -> bool:
    made = chunk["_id"] if chunk else None
    return isinstance(made, ObjectId) and made.generation_time <= limit
