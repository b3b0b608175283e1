"""20,000 samples of 4 KiB in the files people have, and converted for each of the peers."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import tarfile
import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.setting import Setting

COUNT = 20_000
BYTES = 4096
BUCKET = "samples"
SHARD_BYTES = 8 << 20


@cache
def array(setting: Setting) -> npt.NDArray[np.uint8]:
    """The samples: noise, so that no compression helps anyone."""
    count = setting.scaled(COUNT)
    return np.frombuffer(np.random.default_rng(8).bytes(count * BYTES), np.uint8).reshape(count, BYTES)


def folder(setting: Setting, name: str = "") -> Path:
    """A folder in the bucket."""
    made = setting.objects / BUCKET / name
    made.mkdir(parents=True, exist_ok=True)
    return made


@cache
def shards(setting: Setting) -> list[str]:
    """The samples one after the other, in objects of 8 MiB."""
    per_shard = SHARD_BYTES // BYTES
    names = []
    for start in range(0, len(array(setting)), per_shard):
        names.append(f"shard-{start}.bin")
        (folder(setting) / names[-1]).write_bytes(array(setting)[start : start + per_shard].tobytes())
    return names


@cache
def npy(setting: Setting) -> str:
    """One npy file."""
    np.save(folder(setting) / "samples.npy", array(setting))
    return "samples.npy"


@cache
def hdf5(setting: Setting) -> str:
    """One HDF5 file, with chunks of 16 samples, as h5py writes by default."""
    import h5py

    with h5py.File(folder(setting) / "samples.h5", "w") as file:
        file.create_dataset("samples", data=array(setting), chunks=(16, BYTES))
    return "samples.h5"


@cache
def zip_file(setting: Setting) -> str:
    """One zip file, with a stored member for each sample."""
    with zipfile.ZipFile(folder(setting) / "samples.zip", "w") as archive:
        for number, sample in enumerate(array(setting)):
            archive.writestr(f"{number:05}.bin", sample.tobytes())
    return "samples.zip"


@cache
def webdataset(setting: Setting) -> list[str]:
    """Tar shards of about 8 MiB."""
    per_shard = SHARD_BYTES // BYTES
    names = []
    for start in range(0, len(array(setting)), per_shard):
        names.append(f"webdataset/{start:06}.tar")
        with tarfile.open(folder(setting, "webdataset").parent / names[-1], "w") as archive:
            for number in range(start, min(start + per_shard, len(array(setting)))):
                member = tarfile.TarInfo(f"{number:06}.bin")
                member.size = BYTES
                archive.addfile(member, BytesIO(array(setting)[number].tobytes()))
    return names


@cache
def parquet(setting: Setting) -> str:
    """A Parquet file with a column of bytes, in row groups of 1,000."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pa.array([sample.tobytes() for sample in array(setting)], pa.binary())
    pq.write_table(
        pa.table({"x": column}), folder(setting) / "samples.parquet", compression="none", row_group_size=1000
    )
    return "samples.parquet"


@cache
def mosaic(setting: Setting) -> str:
    """MDS shards of 8 MiB."""
    target = folder(setting, "mosaic")
    options = {"columns": {"x": "bytes"}, "size_limit": SHARD_BYTES, "exist_ok": True}
    with streaming().MDSWriter(out=str(target), **options) as writer:
        for sample in array(setting):
            writer.write({"x": sample.tobytes()})
    return "mosaic"


@cache
def litdata(setting: Setting) -> str:
    """LitData's chunks of 8 MB."""
    from litdata.streaming import Cache

    target = folder(setting, "litdata")
    writer = Cache(str(target), chunk_bytes=SHARD_BYTES)
    for number, sample in enumerate(array(setting)):
        writer[number] = sample.tobytes()
    writer.done()
    writer.merge()
    return "litdata"


def streaming() -> Any:
    """MosaicML Streaming, without the torchvision that it imports for pictures.

    The wheels of torchvision do not load beside every build of torch, so that a stub stands in while it is imported.
    """
    names = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
    before = {name: sys.modules[name] for name in names if name in sys.modules}
    for name in names:
        sys.modules[name] = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, None))
    sys.modules["torchvision.datasets"].VisionDataset = object  # type: ignore[attr-defined]
    sys.modules["torchvision.transforms.functional"].to_tensor = None  # type: ignore[attr-defined]
    try:
        return importlib.import_module("streaming")
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(before)
