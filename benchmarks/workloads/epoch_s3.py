"""Shuffled epoch of 20,000 samples of 4 KiB from S3, +20 ms, cold."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np

import datastack_fs as ds
from benchmarks import digests, s3, samples
from benchmarks.case import Case, Run, program
from benchmarks.setting import Setting

BATCH = 256
IN_FLIGHT = 8


def cases(setting: Setting) -> Iterator[Case]:
    """From its opening on, nothing kept on the disk; this library on unconverted files, in an exact shuffle."""
    count = len(samples.array(setting))
    case = Case("first epoch", unit="sample", units=count, ordered=False)
    case.limit("shards of 8 MiB by obstore, 8 in flight, shuffled within", partial(limit, setting))
    for what, made in (("npy", samples.npy), ("HDF5", samples.hdf5), ("zip", samples.zip_file)):
        case.ours(f"fast, one {what}", partial(ours, setting, made), 2.5)
    case.ours("s3fs alone, one npy", partial(ours, setting, samples.npy, fast=False))
    case.ours("fast, one npy, with the making of the client", partial(ours, setting, samples.npy, warm=False))
    case.peer("LitData (converted)", partial(by_litdata, setting))
    case.peer("WebDataset (converted), curl, buffer of 1,000", partial(by_webdataset, setting))
    case.peer("MosaicML Streaming (converted)", partial(by_mosaic, setting))
    case.peer("Hugging Face datasets, Parquet streamed by s3fs", partial(by_datasets, setting), count // 4)
    case.peer("one object a sample: s3fs.cat of 256", partial(objects_by_s3fs, setting), count // 20)
    yield case


def limit(setting: Setting, _: int) -> Run:
    """Whole shards, each shuffled when it is there."""
    store, names = s3.obstore_store(setting.s3(), samples.BUCKET), samples.shards(setting)
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        yield
        rng, read = np.random.default_rng(9), []
        for content in s3.ahead(pool, lambda name: store.get(name).bytes(), rng.permutation(names), IN_FLIGHT - 1):
            shard = np.frombuffer(content, np.uint8).reshape(-1, samples.BYTES)
            order = rng.permutation(len(shard))
            read += [shard[order[start : start + BATCH]] for start in range(0, len(shard), BATCH)]
        yield
    return digests.of_samples(read)


def ours(setting: Setting, made: Callable[[Setting], str], _: int, *, fast: bool = True, warm: bool = True) -> Run:
    """This library, opening the file for the first time, by a client that is there, as the limit's is, or is not."""
    name = made(setting)
    with setting.fresh_cache(), closing(s3.connect(setting.s3(), samples.BUCKET, fast=fast)) as store:
        if warm:
            store.has_resource(name)
        yield
        iterator = ds.open_dataset(name, storage=store)
        read = [columns[0] for columns in iterator.shuffle(seed=1).batches(BATCH, prefetch=4)]
        yield
    return digests.of_samples(_arrays(read))


def by_litdata(setting: Setting, _: int) -> Run:
    """Its own chunks, into an empty cache folder."""
    import litdata
    from litdata.streaming import downloader

    name, cache, server = samples.litdata(setting), setting.folder / "litdata-cache", setting.s3()
    if hasattr(downloader, "_OBSTORE_CLIENT_OPTIONS"):
        downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # it refuses endpoints without TLS
    options = {
        "endpoint_url": server.endpoint_url,
        "aws_access_key_id": server.key,
        "aws_secret_access_key": server.secret,
        "region_name": s3.REGION,
    }
    yield
    address = f"s3://{samples.BUCKET}/{name}"
    dataset = litdata.StreamingDataset(address, cache_dir=str(cache), shuffle=True, storage_options=options)
    read = list(dataset)
    yield
    shutil.rmtree(cache, ignore_errors=True)
    return digests.of_samples([read])


def by_webdataset(setting: Setting, _: int) -> Run:
    """Tar shards by curl, a shuffle of shards and of a buffer."""
    import webdataset

    program("curl")
    server = setting.s3().endpoint_url
    urls = [f"pipe:curl -s -f {server}/{samples.BUCKET}/{name}" for name in samples.webdataset(setting)]
    yield
    dataset = webdataset.WebDataset(urls, shardshuffle=len(urls)).shuffle(1000)
    read = [sample["bin"] for sample in dataset]
    yield
    return digests.of_samples([read])


def by_mosaic(setting: Setting, _: int) -> Run:
    """Its own shards, into an empty folder."""
    streaming = samples.streaming()
    name, local, server = samples.mosaic(setting), setting.folder / "mosaic-cache", setting.s3()
    variables = {"S3_ENDPOINT_URL": server.endpoint_url, "AWS_DEFAULT_REGION": s3.REGION}
    variables |= {"AWS_ACCESS_KEY_ID": server.key, "AWS_SECRET_ACCESS_KEY": server.secret}
    with s3.environment(**variables):
        streaming.base.util.clean_stale_shared_memory()
        yield
        remote = f"s3://{samples.BUCKET}/{name}"
        dataset = streaming.StreamingDataset(remote=remote, local=str(local), shuffle=True, batch_size=BATCH)
        read = [sample["x"] for sample in dataset]
        yield
    shutil.rmtree(local, ignore_errors=True)
    return digests.of_samples([read])


def by_datasets(setting: Setting, count: int) -> Run:
    """A Parquet file, streamed, with a shuffled buffer."""
    import datasets

    name, server = samples.parquet(setting), setting.s3()
    endpoint = {"endpoint_url": server.endpoint_url, "region_name": s3.REGION}
    options = {"key": server.key, "secret": server.secret, "client_kwargs": endpoint}
    yield
    address = f"s3://{samples.BUCKET}/{name}"
    dataset = datasets.load_dataset(
        "parquet", data_files=address, split="train", streaming=True, storage_options=options
    )
    read = [sample["x"] for sample, _ in zip(dataset.shuffle(1, buffer_size=1000), range(count), strict=False)]
    yield
    return digests.of_samples([read])


def objects_by_s3fs(setting: Setting, count: int) -> Run:
    """Each sample an object of its own."""
    folder = samples.folder(setting, "objects")
    array = samples.array(setting)
    for number in range(count):
        (folder / f"{number}.bin").write_bytes(array[number].tobytes())
    filesystem = s3.s3fs_filesystem(setting.s3())
    yield
    order = np.random.default_rng(9).permutation(count).tolist()
    read: list[Any] = []
    for start in range(0, count, BATCH):
        paths = [f"{samples.BUCKET}/objects/{number}.bin" for number in order[start : start + BATCH]]
        read += filesystem.cat(paths).values()
    yield
    return digests.of_samples([read])


def _arrays(batches: list[Any]) -> list[Any]:
    """Samples of an archive come as mappings or bytes; all are the 4,096 bytes."""
    return [[getattr(row, "content", row) for row in batch] for batch in batches]
