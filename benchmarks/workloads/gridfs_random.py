"""256 random ranges of 4 to 64 KiB from GridFS, +0 and +5 ms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import gridfs
import numpy as np

from benchmarks import digests, gridfs_bare
from benchmarks.case import Case, Run
from benchmarks.setting import Setting
from benchmarks.workloads.sequential_s3 import MIB, stream

RANGES = 256
Ranges = Sequence[tuple[int, int]]


def cases(setting: Setting) -> Iterator[Case]:
    """Of a file of 256 MiB in chunks of 255 KiB, all ranges known at once."""
    made = stream(setting)
    with closing(gridfs_bare.connect(setting.mongodb())) as store, made.open("rb") as file:
        store.set_resource(made.name, file)
    rng = np.random.default_rng(4)
    sizes = rng.integers(4 << 10, 64 << 10, RANGES)
    starts = rng.integers(0, made.stat().st_size - MIB, RANGES)
    ranges = [(start, start + size) for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)]
    for delay, threads in ((0.0, 2), (0.005, 4)):
        url = setting.mongodb(delay)
        case = Case(f"+{1000 * delay:g} ms", unit="range", units=RANGES)
        case.limit(f"$in in groups of 16, {threads} in flight", partial(limit, url, made.name, ranges, threads))
        case.ours("get_ranges", partial(ours, url, made.name, ranges), 1.2)
        case.peer("GridOut, seek and read", partial(by_gridout, url, made.name, ranges), 32)
        yield case
    with closing(gridfs_bare.connect(setting.mongodb())) as store:
        store.delete_resource(made.name)


def limit(url: str, identifier: str, ranges: Ranges, threads: int, count: int) -> Run:
    """The chunks that hold them, each once, in the order of the file."""
    db = gridfs_bare.database(url)
    with closing(db.client), ThreadPoolExecutor(threads) as pool:
        document = gridfs_bare.files_document(db, identifier)
        size = document["chunkSize"]
        yield
        groups = gridfs_bare.groups(gridfs_bare.chunks_of(ranges, size))
        chunks: dict[int, bytes] = {}
        for found in pool.map(partial(gridfs_bare.fetched, db, document["_id"]), groups):
            chunks |= found
        read = [gridfs_bare.cut(chunks, start, stop, size) for start, stop in ranges[:count]]
        yield
    return digests.of_buffers(read)


def ours(url: str, identifier: str, ranges: Ranges, count: int) -> Run:
    """One call."""
    with closing(gridfs_bare.connect(url)) as store:
        info = store.get_info(identifier)
        yield
        read = store.get_ranges(identifier, ranges[:count], info=info)
        yield
    return digests.of_buffers(read)


def by_gridout(url: str, identifier: str, ranges: Ranges, count: int) -> Run:
    """PyMongo's file object."""
    db = gridfs_bare.database(url)
    with closing(db.client):
        out = gridfs.GridFSBucket(db).open_download_stream_by_name(identifier)
        yield
        read = []
        for start, stop in ranges[:count]:
            out.seek(start)
            read.append(out.read(stop - start))
        yield
    return digests.of_buffers(read)
