"""256 MiB sequential from GridFS, +0 and +5 ms."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import gridfs

from benchmarks import digests, gridfs_bare, s3
from benchmarks.case import Case, Run
from benchmarks.setting import Setting
from benchmarks.workloads.sequential_s3 import MIB, stream

REPLY = 4 * MIB


def cases(setting: Setting) -> Iterator[Case]:
    """In 1 MiB reads; limits that need no buffer of the whole file's size are quicker on some machines."""
    made = stream(setting)
    with closing(gridfs_bare.connect(setting.mongodb())) as store, made.open("rb") as file:
        store.set_resource(made.name, file)
    for delay, threads in ((0.0, 2), (0.005, 4)):
        url = setting.mongodb(delay)
        case = Case(f"+{1000 * delay:g} ms", unit="file")
        name = f"find with replies of 4 MiB, {threads} threads"
        case.limit(f"{name}, into one buffer", partial(into_one_buffer, url, made.name, threads))
        case.limit(f"{name}, in order", partial(in_order, url, made.name, threads))
        case.limit("one cursor", partial(one_cursor, url, made.name))
        case.ours("read(1 MiB)", partial(ours, url, made.name), 1.1)
        case.peer("GridOut.read(1 MiB)", partial(by_gridout, url, made.name))
        case.peer("GridFSBucket.download_to_stream", partial(downloaded, url, made.name, setting.folder))
        yield case
    with closing(gridfs_bare.connect(setting.mongodb())) as store:
        store.delete_resource(made.name)


def into_one_buffer(url: str, identifier: str, threads: int, _: int) -> Run:
    """Each reply is a query of its own."""
    db = gridfs_bare.database(url)
    with closing(db.client), ThreadPoolExecutor(threads) as pool:
        document = gridfs_bare.files_document(db, identifier)
        size, length, per_reply = document["chunkSize"], document["length"], REPLY // document["chunkSize"]
        yield
        buffer = bytearray(length)

        def fetch(first: int) -> None:
            for number, content in gridfs_bare.run_of_chunks(db, document["_id"], first, per_reply):
                buffer[number * size : number * size + len(content)] = content

        list(pool.map(fetch, range(0, -(-length // size), per_reply)))
        view = memoryview(buffer)
        read = digests.of_blocks(view[start : start + MIB] for start in range(0, length, MIB))
        yield
    return read


def in_order(url: str, identifier: str, threads: int, _: int) -> Run:
    """The same, handed on chunk by chunk."""
    db = gridfs_bare.database(url)
    with closing(db.client), ThreadPoolExecutor(threads) as pool:
        document = gridfs_bare.files_document(db, identifier)
        size, length, per_reply = document["chunkSize"], document["length"], REPLY // document["chunkSize"]

        def fetched(first: int) -> list[tuple[int, bytes]]:
            return list(gridfs_bare.run_of_chunks(db, document["_id"], first, per_reply))

        yield
        replies = s3.ahead(pool, fetched, range(0, -(-length // size), per_reply), threads)
        read = digests.of_blocks(content for reply in replies for _, content in reply)
        yield
    return read


def one_cursor(url: str, identifier: str, _: int) -> Run:
    """A query for all chunks, with the server's own replies of 16 MiB."""
    db = gridfs_bare.database(url)
    with closing(db.client):
        document = gridfs_bare.files_document(db, identifier)
        yield
        found = db["fs.chunks"].find({"files_id": document["_id"]}, {"_id": 0, "data": 1}).sort("n", 1)
        read = digests.of_blocks(chunk["data"] for chunk in found)
        yield
    return read


def ours(url: str, identifier: str, _: int) -> Run:
    """This library's file, from its opening on."""
    with closing(gridfs_bare.connect(url)) as store:
        store.has_resource(identifier)
        yield
        with store.get_resource(identifier) as resource:
            read = digests.of_blocks(iter(partial(resource.read, MIB), b""))
        yield
    return read


def by_gridout(url: str, identifier: str, _: int) -> Run:
    """PyMongo's file object."""
    db = gridfs_bare.database(url)
    with closing(db.client):
        db.client.admin.command("ping")
        yield
        out = gridfs.GridFSBucket(db).open_download_stream_by_name(identifier)
        read = digests.of_blocks(iter(partial(out.read, MIB), b""))
        yield
    return read


def downloaded(url: str, identifier: str, folder: Path, _: int) -> Run:
    """By a file on the disk."""
    db, copy = gridfs_bare.database(url), folder / "downloaded.bin"
    with closing(db.client):
        db.client.admin.command("ping")
        yield
        with copy.open("wb") as file:
            gridfs.GridFSBucket(db).download_to_stream_by_name(identifier, file)
        with copy.open("rb") as file:
            read = digests.of_blocks(iter(partial(file.read, MIB), b""))
        yield
    copy.unlink()
    return read
