"""Shuffled batches of 32 rows, HDF5 in a local folder."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import datastack_fs as ds
from benchmarks import digests, images
from benchmarks.case import Case, Run
from benchmarks.setting import Setting

THREADS = 2
ROW_BYTES = math.prod(images.SHAPE)


def cases(setting: Setting) -> Iterator[Case]:
    """Raw against an array in memory, gzip against threaded zlib."""
    for gzip in (False, True):
        made = images.path(setting, gzip=gzip)
        case = Case("gzip" if gzip else "raw", unit="batch", units=images.n_batches(setting))
        if gzip:
            case.limit("os.preadv and zlib in two threads", partial(threaded_zlib, setting, made))
        else:
            case.limit("fancy index of an array in memory", partial(in_memory, setting))
        case.ours("open", partial(ours, setting, made), 1.1 if gzip else 1.5)
        if not gzip:
            case.ours("open, stored by this library, in larger pages", partial(ours, setting, stored(made)), 1.5)
            case.peer("a bare map, in the same pages", partial(bare_map, setting, made))
        case.peer("h5py, row by row", partial(by_h5py, setting, made, images.one_by_one))
        case.peer("h5py, a sorted list of indices", partial(by_h5py, setting, made, images.sorted_rows))
        yield case


def in_memory(setting: Setting, count: int) -> Run:
    """What numpy takes when everything is read already."""
    array, batches = images.array(setting), images.batches(setting, count)
    yield
    read = [array[rows] for rows in batches]
    yield
    return digests.of_batches(read)


def threaded_zlib(setting: Setting, made: Path, count: int) -> Run:
    """Each chunk by a preadv and zlib."""
    index, batches = images.chunks(made), images.batches(setting, count)
    with made.open("rb") as file, ThreadPoolExecutor(THREADS) as pool:

        def fetched(number: int) -> object:
            buffer = bytearray(index.stops[number] - index.starts[number])
            os.preadv(file.fileno(), [buffer], index.starts[number])
            return index.decoded(buffer)

        yield
        read = []
        for rows in batches:
            plan = images.chunks_of(rows)
            read.append(images.picked(rows, dict(zip(plan, pool.map(fetched, plan), strict=True))))
        yield
    return digests.of_batches(read)


def bare_map(setting: Setting, made: Path, count: int) -> Run:
    """Addresses that are known, in a new map."""
    addresses = np.add.outer(images.chunks(made).starts, np.arange(images.CHUNK_ROWS) * ROW_BYTES).ravel()
    batches = images.batches(setting, count)
    with made.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    places = np.ndarray((len(content) - ROW_BYTES + 1,), np.dtype((np.void, ROW_BYTES)), content, strides=(1,))
    yield
    read = [places[addresses[rows]] for rows in batches]
    yield
    return digests.of_batches(rows.view(np.uint8).reshape(-1, *images.SHAPE) for rows in read)


def stored(made: Path) -> Path:
    """The file as this library stores it."""
    with closing(ds.connect(made.parent / "stored")) as store, made.open("rb") as file:
        store.set_resource(made.name, file)
    return made.parent / "stored" / made.name


def ours(setting: Setting, made: Path, count: int) -> Run:
    """This library on an iterator that is open."""
    with closing(ds.connect(made.parent)) as store:
        iterator = ds.open_dataset(made.name, storage=store, sample="images")
        iterator.take([0])
        batches = images.batches(setting, count)
        yield
        read = [iterator.take(rows)[0] for rows in batches]
        yield
    return digests.of_batches(read)


def by_h5py(setting: Setting, made: Path, pick: Callable[[Any, Any], Any], count: int) -> Run:
    """h5py on the path."""
    import h5py

    batches = images.batches(setting, count)
    with h5py.File(made) as file:
        yield
        read = [pick(file["images"], rows) for rows in batches]
        yield
    return digests.of_batches(read)
