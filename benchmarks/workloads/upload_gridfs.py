"""256 MiB up to GridFS, +0 ms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import gridfs
from bson import Binary, ObjectId

from benchmarks import digests, gridfs_bare, s3
from benchmarks.case import Case, Run
from benchmarks.setting import Setting
from benchmarks.workloads.sequential_s3 import MIB, stream

CHUNK = 255 << 10
INSERT = 16 * MIB


def cases(setting: Setting) -> Iterator[Case]:
    """The limit writes the chunks alone, without what makes a file of them."""
    made, url = stream(setting), setting.mongodb()
    case = Case("from a local file", unit="file")
    case.limit("unordered insert_many of 16 MiB, two threads", partial(uploaded, url, made, bare))
    case.ours("set_resource", partial(uploaded, url, made, by_this_library), 1.2)
    case.peer("GridFSBucket.upload_from_stream", partial(uploaded, url, made, by_bucket))
    yield case


def uploaded(url: str, made: Path, upload: Callable[[str, Any, Path], None], _: int) -> Run:
    """Uploads into an empty database, and reads back what is there: that is not timed."""
    db = gridfs_bare.database(url)
    with closing(db.client):
        db.client.drop_database(db.name)
        db["fs.chunks"].create_index([("files_id", 1), ("n", 1)], unique=True)
        yield
        upload(url, db, made)
        yield
        stored = db["fs.chunks"].find({}, {"_id": 0, "data": 1}).sort([("files_id", 1), ("n", 1)])
        read = digests.of_blocks(chunk["data"] for chunk in stored)
        db.client.drop_database(db.name)
    return read


def bare(_: str, db: Any, made: Path) -> None:
    """No hash, no files document."""
    file_id = ObjectId()
    per_insert = INSERT // CHUNK

    def insert(blocks: list[tuple[int, bytes]]) -> None:
        db["fs.chunks"].insert_many(
            [{"_id": ObjectId(), "files_id": file_id, "n": n, "data": Binary(block)} for n, block in blocks],
            ordered=False,
        )

    def groups(file: Any) -> Iterator[list[tuple[int, bytes]]]:
        blocks = enumerate(iter(partial(file.read, CHUNK), b""))
        while group := list(islice(blocks, per_insert)):
            yield group

    with made.open("rb") as file, ThreadPoolExecutor(2) as pool:
        for _done in s3.ahead(pool, insert, groups(file), 2):
            pass


def by_this_library(url: str, _: Any, made: Path) -> None:
    """With the sha256 taken on the way, and published at the end."""
    with closing(gridfs_bare.connect(url)) as store, made.open("rb") as file:
        store.set_resource(made.name, file)


def by_bucket(_: str, db: Any, made: Path) -> None:
    """PyMongo's own."""
    with made.open("rb") as file:
        gridfs.GridFSBucket(db).upload_from_stream(made.name, file)
