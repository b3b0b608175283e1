"""Shuffled batches of 32 rows, HDF5 in GridFS, +0 and +5 ms."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import gridfs

import datastack_fs as ds
from benchmarks import digests, gridfs_bare, images
from benchmarks.case import Case, Run
from benchmarks.setting import Setting


def cases(setting: Setting) -> Iterator[Case]:
    """One raw file, in chunks of 255 KiB."""
    made = images.path(setting)
    with closing(gridfs_bare.connect(setting.mongodb())) as store:
        store.set_resource(made.name, [made.read_bytes()])
    for delay, threads in ((0.0, 2), (0.005, 4)):
        case = Case(f"+{1000 * delay:g} ms", unit="batch", units=images.n_batches(setting))
        url = setting.mongodb(delay)
        for look_ahead in (0, 4):
            name = f"planned $in queries of 16 chunks, {threads} threads, {look_ahead} batches ahead"
            case.limit(name, partial(limit, setting, url, threads, look_ahead))
        case.ours("index known", partial(ours, setting, url), 1.3)
        case.peer("download it whole by GridFSBucket first, h5py", partial(downloaded, setting, url))
        case.peer("h5py on GridOut", partial(h5py_on_gridout, setting, url), 2)
        yield case


def limit(setting: Setting, url: str, threads: int, look_ahead: int, count: int) -> Run:
    """For each batch the GridFS chunks that hold its HDF5 chunks, in groups."""
    made = images.path(setting)
    index, db = images.chunks(made), gridfs_bare.database(url)
    document = gridfs_bare.files_document(db, made.name)
    size = document["chunkSize"]
    with closing(db.client), ThreadPoolExecutor(threads) as pool:

        def begun(plan: list[int]) -> list[Future[dict[int, bytes]]]:
            ranges = [(index.starts[number], index.stops[number]) for number in plan]
            parts = gridfs_bare.groups(gridfs_bare.chunks_of(ranges, size))
            return [pool.submit(gridfs_bare.fetched, db, document["_id"], part) for part in parts]

        yield
        plans = [(rows, images.chunks_of(rows)) for rows in images.batches(setting, count)]
        under_way = [begun(plan) for _, plan in plans[:look_ahead]]
        read = []
        for place, (rows, plan) in enumerate(plans):
            under_way += [begun(later) for _, later in plans[place + look_ahead : place + look_ahead + 1]]
            chunks: dict[int, bytes] = {}
            for future in under_way[place]:
                chunks |= future.result()
            under_way[place] = []
            parts = {n: gridfs_bare.cut(chunks, index.starts[n], index.stops[n], size) for n in plan}
            read.append(images.picked(rows, {n: index.decoded(part) for n, part in parts.items()}))
        yield
    return digests.of_batches(read)


def ours(setting: Setting, url: str, count: int) -> Run:
    """This library on an iterator that is open."""
    with closing(gridfs_bare.connect(url)) as store:
        iterator = ds.open_dataset(images.path(setting).name, storage=store, sample="images")
        iterator.take([0])
        yield
        read = list(images.library_batches(iterator, setting, count))
        yield
    return digests.of_batches(read)


def downloaded(setting: Setting, url: str, count: int) -> Run:
    """The whole file to the disk, and h5py on it."""
    import h5py

    made, copy, db = images.path(setting), setting.folder / "downloaded.h5", gridfs_bare.database(url)
    with closing(db.client):
        yield
        with copy.open("wb") as file:
            gridfs.GridFSBucket(db).download_to_stream_by_name(made.name, file)
        with h5py.File(copy) as read_file:
            read = [images.sorted_rows(read_file["images"], rows) for rows in images.batches(setting, count)]
        yield
    copy.unlink()
    return digests.of_batches(read)


def h5py_on_gridout(setting: Setting, url: str, count: int) -> Run:
    """h5py on pymongo's file object, row by row, which is quicker there than a list of indices."""
    import h5py

    db: Any = gridfs_bare.database(url)
    with closing(db.client):
        yield
        out = gridfs.GridFSBucket(db).open_download_stream_by_name(images.path(setting).name)
        with h5py.File(out) as file:
            read = [images.one_by_one(file["images"], rows.tolist()) for rows in images.batches(setting, count)]
        yield
    return digests.of_batches(read)
