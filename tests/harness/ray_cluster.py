"""A Ray cluster of two nodes on this machine, with little memory for objects; stores and data for its tests."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.formats.hdf5_writing import store_hdf5
from datastack_fs.formats.parquet import ParquetDatasetIterator
from datastack_fs.storage import StorageConnector
from harness.stores import empty_store

OBJECT_BYTES = 78 << 20  # Ray takes no less than 75 MiB
SHAPE = (300, 16, 16)


@pytest.fixture(scope="session", autouse=True)
def cluster(cache_folder: Path) -> Iterator[Any]:
    """Two nodes, each with one processor and an object store smaller than some of the data."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        here = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(here))  # nodes import what the tests do
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        node = {"num_cpus": 1, "object_store_memory": OBJECT_BYTES, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        cluster.add_node(num_cpus=1, object_store_memory=OBJECT_BYTES)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(params=["file", "s3", "gridfs"])
def shared_store(request: pytest.FixtureRequest) -> StorageConnector:
    """An empty store that every node reaches, of each kind in turn."""
    return empty_store(request.param, request)


@pytest.fixture
def no_reads_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever reads samples in this process raises; classes reach the nodes by name, and read there."""

    def refuse(self: Any, *arguments: Any) -> None:
        raise AssertionError(f"{type(self).__name__} reads samples in the driver")

    for kind in (HDF5DatasetIterator, ParquetDatasetIterator):
        for name in ("_take", "_plan", "_samples", "_sample"):
            monkeypatch.setattr(kind, name, refuse)


def images_in(
    store: StorageConnector, length: int = SHAPE[0]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], HDF5DatasetIterator]:
    """Random images and labels as a chunked HDF5 file, and the iterator over it."""
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (length, *SHAPE[1:]), dtype=np.uint8)
    labels = random.integers(0, 3, length)
    info = store_hdf5(store, "images.h5", [(images, labels)], length, class_names=["owl", "wren", "jay"])
    return images, labels, HDF5DatasetIterator(store.get_resource(info.identifier))


def inverted(batch: dict[str, Any]) -> dict[str, Any]:
    """Images with light and dark exchanged."""
    return {**batch, "sample": 255 - batch["sample"]}


def failed_at_the_end(batch: dict[str, Any]) -> dict[str, Any]:
    """Fails on the last block of ``images_in``, which is the smaller."""
    if len(batch["sample"]) < 100:
        raise ValueError("no image at all")
    return batch


def ragged(row: dict[str, Any]) -> dict[str, Any]:
    """Images of several heights."""
    return {**row, "sample": row["sample"][: 1 + row["target"]]}


def killed_once(batch: dict[str, Any], marker: str) -> dict[str, Any]:
    """Kills the process of the first task that gets here."""
    try:
        Path(marker).touch(exist_ok=False)
    except FileExistsError:
        return batch
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")
