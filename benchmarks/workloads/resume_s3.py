"""The first batch of a job that goes on in the middle of an epoch: 256 of 20,000 samples of 4 KiB from S3, +20 ms."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import datastack_fs as ds
from benchmarks import digests, s3, samples
from benchmarks.case import Case, Run, program
from benchmarks.setting import Setting

BATCH = 256
SEED = 1
NPY_HEADER = 128

Samples = npt.NDArray[np.uint8]


def cases(setting: Setting) -> Iterator[Case]:
    """From a state on, with nothing kept on the disk; each compares its batch with that of its own unbroken run.

    What is right is told by whether these agree, since each shuffles another way.
    """
    case = Case("opened, state loaded, first batch; right is what an unbroken run has there", unit="batch")
    case.limit("obstore, one round of the batch's own rows", partial(limit, setting))
    case.ours("one npy", partial(ours, setting, samples.npy), 10)
    case.ours("one HDF5", partial(ours, setting, samples.hdf5), 10)
    case.peer("LitData (converted), StreamingDataLoader's state", partial(by_litdata, setting))
    case.peer("MosaicML Streaming (converted), StreamingDataLoader's state", partial(by_mosaic, setting))
    case.peer("WebDataset (converted), which has no state: samples before are skipped", partial(by_webdataset, setting))
    yield case


def limit(setting: Setting, _: int) -> Run:
    """All rows at once, by someone who knows where they are."""
    array, name = samples.array(setting), samples.npy(setting)
    plan = ds.ResumableBatchSampler(ds.SequenceDatasetIterator(array), BATCH, seed=SEED).plan
    rows = plan.batch(0, done_steps(setting), 0).tolist()
    store = s3.obstore_store(setting.s3(), samples.BUCKET)
    store.head(name)

    async def read() -> list[Any]:
        starts = [NPY_HEADER + row * samples.BYTES for row in rows]
        return await asyncio.gather(*(store.get_range_async(name, start=at, length=samples.BYTES) for at in starts))

    yield
    found = asyncio.run(read())
    yield
    return is_due([np.frombuffer(row, np.uint8) for row in found], array[rows])


def ours(setting: Setting, made: Callable[[Setting], str], _: int) -> Run:
    """This library, which opens the file for the first time, by a client that is there, as the limit's is."""
    array, name = samples.array(setting), made(setting)
    sampler = ds.ResumableBatchSampler(ds.open_dataset(str(samples.folder(setting) / name)), BATCH, seed=SEED)
    state = sampler.state_after(done_steps(setting), epoch=0)
    due = array[sampler.plan.batch(0, done_steps(setting), 0)]
    with setting.fresh_cache(), closing(s3.connect(setting.s3(), samples.BUCKET, fast=True)) as store:
        store.has_resource(name)
        yield
        resumed = ds.ResumableBatchSampler(ds.open_dataset(name, storage=store), BATCH, seed=SEED)
        resumed.load_state_dict(state)
        batches = ds.PlannedBatches(resumed)
        found = batches[next(iter(resumed))][0]
        yield
        batches.close()
    return is_due(found, due)


def by_litdata(setting: Setting, _: int) -> Run:
    """Its own chunks, into an empty cache folder."""
    import litdata
    from litdata.streaming import downloader

    name, cache, server = samples.litdata(setting), setting.folder / "litdata-resume", setting.s3()
    if hasattr(downloader, "_OBSTORE_CLIENT_OPTIONS"):
        downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # it refuses endpoints without TLS
    options = {
        "endpoint_url": server.endpoint_url,
        "aws_access_key_id": server.key,
        "aws_secret_access_key": server.secret,
        "region_name": s3.REGION,
    }

    def loader() -> Any:
        address = f"s3://{samples.BUCKET}/{name}"
        dataset = litdata.StreamingDataset(
            address, cache_dir=str(cache), shuffle=True, seed=SEED, storage_options=options
        )
        return litdata.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=0, collate_fn=rows_of)

    state, due = state_and_next(loader(), done_steps(setting))
    forget(cache)
    yield
    resumed = loader()
    resumed.load_state_dict(state)
    found = next(iter(resumed))
    yield
    forget(cache)
    return is_due(found, due)


def by_mosaic(setting: Setting, _: int) -> Run:
    """Its own shards, into an empty folder."""
    streaming = samples.streaming()
    name, local, server = samples.mosaic(setting), setting.folder / "mosaic-resume", setting.s3()
    variables = {"S3_ENDPOINT_URL": server.endpoint_url, "AWS_DEFAULT_REGION": s3.REGION}
    variables |= {"AWS_ACCESS_KEY_ID": server.key, "AWS_SECRET_ACCESS_KEY": server.secret}

    def loader() -> Any:
        remote = f"s3://{samples.BUCKET}/{name}"
        dataset = streaming.StreamingDataset(
            remote=remote, local=str(local), shuffle=True, shuffle_seed=SEED, batch_size=BATCH
        )
        return streaming.StreamingDataLoader(dataset, batch_size=BATCH, collate_fn=columns_of)

    with s3.environment(**variables):
        streaming.base.util.clean_stale_shared_memory()
        state, due = state_and_next(loader(), done_steps(setting))
        forget(local)
        streaming.base.util.clean_stale_shared_memory()
        yield
        resumed = loader()
        resumed.load_state_dict(state)
        found = next(iter(resumed))
        yield
    forget(local)
    return is_due(found["x"], due["x"])


def by_webdataset(setting: Setting, _: int) -> Run:
    """Tar shards by curl, shuffled by a seed; all that came before is read again."""
    import webdataset

    program("curl")
    server = setting.s3().endpoint_url
    urls = [f"pipe:curl -s -f {server}/{samples.BUCKET}/{name}" for name in samples.webdataset(setting)]

    def batch(step: int) -> Samples:
        dataset = webdataset.WebDataset(urls, shardshuffle=len(urls), detshuffle=True, seed=SEED)
        shuffled = webdataset.DataPipeline(dataset, webdataset.detshuffle(1000, seed=SEED))
        return rows_of([each["bin"] for each in itertools.islice(shuffled, step * BATCH, (step + 1) * BATCH)])

    due = batch(done_steps(setting))
    yield
    found = batch(done_steps(setting))
    yield
    return is_due(found, due)


def done_steps(setting: Setting) -> int:
    """Half an epoch."""
    return len(samples.array(setting)) // BATCH // 2


def state_and_next(loader: Any, steps: int) -> tuple[Any, Any]:
    """The state after so many batches, and the batch that comes then."""
    passing = iter(loader)
    for _ in range(steps):
        next(passing)
    return loader.state_dict(), next(passing)


def rows_of(contents: Iterable[bytes]) -> Samples:
    """A batch: what PyTorch would collate, without tensors."""
    return np.stack([np.frombuffer(content, np.uint8) for content in contents])


def columns_of(found: Iterable[dict[str, bytes]]) -> dict[str, Samples]:
    """The same of mappings, as MosaicML's loader must have it to count samples."""
    return {"x": rows_of([sample["x"] for sample in found])}


def is_due(found: Iterable[Any], due: Iterable[Any]) -> list[bool]:
    """One checksum, which is the same for all whose batch is the one that was due."""
    return [digests.of_batches(found) == digests.of_batches(due)]


def forget(folder: Path) -> None:
    """Removes what a contender has kept on the disk."""
    shutil.rmtree(folder, ignore_errors=True)
