"""Shuffled batches of 32 rows, HDF5 in S3, +20 ms."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import datastack_fs as ds
from benchmarks import digests, images, s3
from benchmarks.case import Case, Run
from benchmarks.setting import Setting

LOOK_AHEAD = 4
IN_FLIGHT = 64
CAT_RANGES = "s3fs.cat_ranges, 4 batches ahead"


def cases(setting: Setting) -> Iterator[Case]:
    """64 batches, which want nearly every chunk; and 16, for which the whole file would be too much."""
    for gzip in (False, True):
        made, paged = images.path(setting, gzip=gzip), images.path(setting, gzip=gzip, paged=True)
        case = Case("gzip" if gzip else "raw", unit="batch", units=images.n_batches(setting))
        _add_ranges(case, setting, made, 1.3 if gzip else 1.2)
        case.ours("fast, cold", partial(ours_cold, setting, made), None if gzip else 1.8)
        case.ours("fast, cold, paged file", partial(ours_cold, setting, paged), None if gzip else 1.3)
        _add_peers(case, setting, made, gzip)
        yield case
    case = Case("raw, 16 batches", unit="batch", units=min(16, images.n_batches(setting)))
    _add_ranges(case, setting, images.path(setting), 1.2)
    yield case


def _add_ranges(case: Case, setting: Setting, made: Path, mark: float) -> None:
    """The chunks that batches need, by those who know where they lie."""
    case.limit("obstore GETs in 64 threads, 4 batches ahead", partial(limit_of_gets, setting, made))
    case.limit("obstore.get_ranges in 32 threads, 4 batches ahead", partial(limit_of_range_lists, setting, made))
    case.ours("fast, index known", partial(ours, setting, made), mark)
    case.peer(CAT_RANGES, partial(cat_ranges, setting, made))
    case.ours("s3fs alone, index known", partial(ours, setting, made, fast=False), 1.2, over=CAT_RANGES)


def _add_peers(case: Case, setting: Setting, made: Path, gzip: bool) -> None:
    case.peer("whole file by obstore in parts of 8 MiB, numpy", partial(fetched_whole, setting, made))
    case.peer("download it whole by s3fs first, h5py", partial(downloaded, setting, made))
    case.peer("h5py on s3fs, default cache", partial(h5py_on_s3fs, setting, made, {}), 1)
    blockcache = {"cache_type": "blockcache", "block_size": 1 << 20}
    case.peer("h5py on s3fs, blockcache of 1 MiB", partial(h5py_on_s3fs, setting, made, blockcache), 2)
    for concurrency in (10, 64):
        name = f"zarr 3 on obstore, concurrency {concurrency} (converted)"
        case.peer(name, partial(zarr_on_obstore, setting, gzip, concurrency))


def limit_of_gets(setting: Setting, made: Path, count: int) -> Run:
    """The chunks of each batch, each by a GET of its own."""
    store, index = s3.obstore_store(setting.s3(), images.BUCKET), images.chunks(made)
    with ThreadPoolExecutor(IN_FLIGHT) as pool:

        def fetched(number: int) -> object:
            return index.decoded(store.get_range(made.name, start=index.starts[number], end=index.stops[number]))

        yield
        plans = [(rows, images.chunks_of(rows)) for rows in images.batches(setting, count)]
        under_way = [{number: pool.submit(fetched, number) for number in plan} for _, plan in plans[:LOOK_AHEAD]]
        read = []
        for place, (rows, _) in enumerate(plans):
            for _, plan in plans[place + LOOK_AHEAD : place + LOOK_AHEAD + 1]:
                under_way.append({number: pool.submit(fetched, number) for number in plan})
            decoded = {number: future.result() for number, future in under_way[place].items()}
            under_way[place] = {}
            read.append(images.picked(rows, decoded))
        yield
    return digests.of_batches(read)


def limit_of_range_lists(setting: Setting, made: Path, count: int) -> Run:
    """The chunks of each batch in lists of four, each list by one call, which has ten ranges in flight."""
    store, index = s3.obstore_store(setting.s3(), images.BUCKET), images.chunks(made)
    with ThreadPoolExecutor(IN_FLIGHT // 2) as pool:

        def fetched(numbers: list[int]) -> list[object]:
            starts, ends = [index.starts[number] for number in numbers], [index.stops[number] for number in numbers]
            return [index.decoded(part) for part in store.get_ranges(made.name, starts=starts, ends=ends)]

        def begun(rows: object) -> list[tuple[list[int], object]]:
            plan = images.chunks_of(rows)
            return [(part := plan[start : start + 4], pool.submit(fetched, part)) for start in range(0, len(plan), 4)]

        yield
        batches = images.batches(setting, count)
        under_way = [begun(rows) for rows in batches[:LOOK_AHEAD]]
        read = []
        for place, rows in enumerate(batches):
            under_way += [begun(later) for later in batches[place + LOOK_AHEAD : place + LOOK_AHEAD + 1]]
            parts, under_way[place] = under_way[place], []
            decoded = {n: rows for part, future in parts for n, rows in zip(part, future.result(), strict=True)}
            read.append(images.picked(rows, decoded))
        yield
    return digests.of_batches(read)


def cat_ranges(setting: Setting, made: Path, count: int) -> Run:
    """The same ranges by s3fs; a thread decodes while the next are under way."""
    filesystem, index = s3.s3fs_filesystem(setting.s3()), images.chunks(made)
    address = f"{images.BUCKET}/{made.name}"
    filesystem.cat_ranges([address], [0], [1])

    def fetched(numbers: list[int]) -> list[bytes]:
        starts, ends = [index.starts[number] for number in numbers], [index.stops[number] for number in numbers]
        parts: list[bytes] = filesystem.cat_ranges([address] * len(numbers), starts, ends, batch_size=IN_FLIGHT)
        return parts

    with ThreadPoolExecutor(LOOK_AHEAD) as pool:
        yield
        batches = images.batches(setting, count)
        plans = [images.chunks_of(rows) for rows in batches]
        read = []
        for rows, plan, parts in zip(batches, plans, s3.ahead(pool, fetched, plans, LOOK_AHEAD - 1), strict=True):
            decoded = {number: index.decoded(part) for number, part in zip(plan, parts, strict=True)}
            read.append(images.picked(rows, decoded))
        yield
    return digests.of_batches(read)


def ours(setting: Setting, made: Path, count: int, *, fast: bool = True) -> Run:
    """This library on an iterator that is open."""
    with closing(s3.connect(setting.s3(), images.BUCKET, fast=fast)) as store:
        iterator = ds.open_dataset(made.name, storage=store, sample="images")
        iterator.take([0])
        yield
        read = list(images.library_batches(iterator, setting, count))
        yield
    return digests.of_batches(read)


def ours_cold(setting: Setting, made: Path, count: int) -> Run:
    """This library, opening the file for the first time."""
    with setting.fresh_cache(), closing(s3.connect(setting.s3(), images.BUCKET, fast=True)) as store:
        store.has_resource(made.name)
        yield
        iterator = ds.open_dataset(made.name, storage=store, sample="images")
        read = list(images.library_batches(iterator, setting, count))
        yield
    return digests.of_batches(read)


def fetched_whole(setting: Setting, made: Path, count: int) -> Run:
    """What is best where the batches want most of a file that fits in memory, and the chunk index is known."""
    store, index = s3.obstore_store(setting.s3(), images.BUCKET), images.chunks(made)
    size, part = made.stat().st_size, 8 << 20
    with ThreadPoolExecutor(8) as pool:

        def fetched(start: int) -> Any:
            return store.get_range(made.name, start=start, end=min(start + part, size))

        yield
        content = memoryview(b"".join(pool.map(fetched, range(0, size, part))))
        read = []
        for rows in images.batches(setting, count):
            plan = images.chunks_of(rows)
            parts = pool.map(index.decoded, [content[index.starts[n] : index.stops[n]] for n in plan])
            read.append(images.picked(rows, dict(zip(plan, parts, strict=True))))
        yield
    return digests.of_batches(read)


def downloaded(setting: Setting, made: Path, count: int) -> Run:
    """The whole file to the disk, and h5py on it."""
    import h5py

    filesystem, copy = s3.s3fs_filesystem(setting.s3()), setting.folder / "downloaded.h5"
    yield
    filesystem.get_file(f"{images.BUCKET}/{made.name}", str(copy))
    with h5py.File(copy) as file:
        read = [images.sorted_rows(file["images"], rows) for rows in images.batches(setting, count)]
    yield
    copy.unlink()
    return digests.of_batches(read)


def h5py_on_s3fs(setting: Setting, made: Path, options: dict[str, object], count: int) -> Run:
    """h5py on s3fs' own file object."""
    import h5py

    filesystem = s3.s3fs_filesystem(setting.s3())
    yield
    with filesystem.open(f"{images.BUCKET}/{made.name}", **options) as remote, h5py.File(remote) as file:
        read = [images.sorted_rows(file["images"], rows) for rows in images.batches(setting, count)]
    yield
    return digests.of_batches(read)


def zarr_on_obstore(setting: Setting, gzip: bool, concurrency: int, count: int) -> Run:
    """The images as a zarr array with an object for each chunk."""
    import zarr
    from zarr.storage import ObjectStore

    name = f"{'gzip' if gzip else 'raw'}.zarr"
    if not (folder := setting.objects / images.BUCKET / name).exists():
        compressors = [zarr.codecs.GzipCodec(level=4)] if gzip else None
        chunks = (images.CHUNK_ROWS, *images.SHAPE)
        zarr.create_array(str(folder), data=images.array(setting), chunks=chunks, compressors=compressors)
    store = ObjectStore(s3.obstore_store(setting.s3(), images.BUCKET, name), read_only=True)
    with zarr.config.set({"async.concurrency": concurrency}):
        yield
        array = zarr.open_array(store, mode="r")
        read = [array.oindex[rows] for rows in images.batches(setting, count)]
        yield
    return digests.of_batches(read)
