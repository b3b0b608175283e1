"""GridFS by pymongo's plain queries: what limits are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import datastack_fs as ds

DATABASE = "benchmark"
GROUP = 16


def connect(url: str, **options: Any) -> Any:
    """This library's connector."""
    return ds.connect(f"{url}/{DATABASE}", **options)


def database(url: str) -> Any:
    """The database, as pymongo has it."""
    import pymongo

    return pymongo.MongoClient(url)[DATABASE]


def files_document(db: Any, identifier: str) -> dict[str, Any]:
    """The newest files document of this name."""
    found: dict[str, Any] = db["fs.files"].find_one({"filename": identifier}, sort=[("uploadDate", -1)])
    return found


def chunks_of(ranges: Sequence[tuple[int, int]], chunk_size: int) -> list[int]:
    """The numbers of the chunks that hold these ranges, sorted."""
    return sorted({n for start, stop in ranges for n in range(start // chunk_size, (stop - 1) // chunk_size + 1)})


def groups(numbers: Sequence[int], size: int = GROUP) -> list[Sequence[int]]:
    """In lists of so many."""
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def fetched(db: Any, file_id: Any, numbers: Sequence[int]) -> dict[int, bytes]:
    """Chunks by their numbers, with one query."""
    query = {"files_id": file_id, "n": {"$in": list(numbers)}}
    found = db["fs.chunks"].find(query, {"_id": 0, "n": 1, "data": 1}, batch_size=len(numbers) + 1)
    return {chunk["n"]: chunk["data"] for chunk in found}


def run_of_chunks(db: Any, file_id: Any, first: int, count: int) -> Iterator[tuple[int, bytes]]:
    """So many neighbouring chunks, with one query of one reply."""
    query = {"files_id": file_id, "n": {"$gte": first, "$lt": first + count}}
    for chunk in db["fs.chunks"].find(query, {"_id": 0, "n": 1, "data": 1}, batch_size=count + 1).sort("n", 1):
        yield chunk["n"], chunk["data"]


def cut(chunks: dict[int, bytes], start: int, stop: int, chunk_size: int) -> bytes | memoryview:
    """A range, out of the chunks that hold it."""
    first, last = start // chunk_size, (stop - 1) // chunk_size
    if first == last:
        return memoryview(chunks[first])[start - first * chunk_size : stop - first * chunk_size]
    joined = b"".join(chunks[n] for n in range(first, last + 1))
    return joined[start - first * chunk_size : stop - first * chunk_size]
