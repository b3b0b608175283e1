"""The third-party and standard libraries that take a ``StreamedResource`` as a file."""

from __future__ import annotations

import csv
import gzip
import io
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from datastack_fs.testing.content import difference, noise
from datastack_fs.testing.processes import in_child

if TYPE_CHECKING:
    from datastack_fs.storage import StorageConnector


class FileConsumerTests:
    """Part of ``StorageReadingTests``: each library reads its own format from the store, unchanged."""

    def test_feeds_h5py_and_numpy(self, fill: Any, tmp_path: Path) -> None:
        import h5py
        import numpy as np

        array = np.arange(120_000, dtype=np.int32).reshape(200, 600)
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("raw", data=array, chunks=(10, 600))
            file.create_dataset("packed", data=array, chunks=(10, 600), compression="gzip")
        np.save(tmp_path / "a.npy", array)
        connector: StorageConnector = fill({name: (tmp_path / name).read_bytes() for name in ("a.h5", "a.npy")})
        with connector.get_resource("a.h5") as resource, h5py.File(resource) as file:
            assert (file["raw"][37:41] == array[37:41]).all()
            assert (file["packed"][...] == array).all()
        with connector.get_resource("a.npy") as resource:
            assert (np.load(resource, allow_pickle=False) == array).all()

    def test_feeds_pandas_and_pyarrow(self, fill: Any, tmp_path: Path) -> None:
        pandas = pytest.importorskip("pandas")
        parquet = pytest.importorskip("pyarrow.parquet")
        frame = pandas.DataFrame({"number": range(5000), "text": [f"row {number}" for number in range(5000)]})
        frame.to_csv(tmp_path / "a.csv", index=False)
        frame.to_parquet(tmp_path / "a.parquet", row_group_size=500)
        connector: StorageConnector = fill({name: (tmp_path / name).read_bytes() for name in ("a.csv", "a.parquet")})
        with connector.get_resource("a.csv") as resource:
            assert pandas.read_csv(resource).equals(frame)
        with connector.get_resource("a.parquet") as resource:
            assert pandas.read_parquet(resource).equals(frame)
        with connector.get_resource("a.parquet") as resource:
            table = parquet.ParquetFile(resource).read_row_group(3, columns=["number"])
            assert table["number"].to_pylist() == list(range(1500, 2000))

    def test_feeds_pillow(self, fill: Any) -> None:
        image = pytest.importorskip("PIL.Image")
        stream = io.BytesIO()
        image.frombytes("L", (200, 100), noise(20_000)).save(stream, "PNG")
        with fill({"a.png": stream.getvalue()}).get_resource("a.png") as resource:
            assert not difference(image.open(resource).tobytes(), noise(20_000))

    def test_feeds_the_standard_library(self, fill: Any) -> None:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("one.txt", "first")
            file.writestr("two.bin", noise(300_000))
        connector: StorageConnector = fill(
            {
                "a.zip": archive.getvalue(),
                "a.gz": gzip.compress(noise(100_000)),
                "a.csv": 'name,n\r\n"two\r\nlines",2\r\nné,3\r\n'.encode(),
                "a.pickle": pickle.dumps(list(range(1000))),
            }
        )
        with connector.get_resource("a.zip") as resource, zipfile.ZipFile(resource) as file:
            assert not difference(file.read("two.bin"), noise(300_000))
        with connector.get_resource("a.gz") as resource, gzip.open(resource) as file:
            assert not difference(file.read(), noise(100_000))
        with connector.get_resource("a.csv").text(newline="") as text:
            assert list(csv.reader(text)) == [["name", "n"], ["two\r\nlines", "2"], ["né", "3"]]
        with connector.get_resource("a.pickle") as resource:
            assert pickle.load(resource) == list(range(1000))

    def test_h5py_survives_collection_while_it_reads(self, fill: Any, tmp_path: Path) -> None:
        """Cyclic garbage with h5py objects, a collector that runs all the time: measured to deadlock bare s3fs."""
        import h5py
        import numpy as np

        with h5py.File(tmp_path / "a.h5", "w") as file:
            for number in range(20):
                file.create_dataset(f"d{number}", data=np.arange(1000), chunks=(100,))
        connector: StorageConnector = fill({"a.h5": (tmp_path / "a.h5").read_bytes()})
        assert in_child("spawn", _read_h5_with_garbage, pickle.dumps(connector)) == 20 * 499_500


def _read_h5_with_garbage(pickled: bytes) -> int:
    import gc
    import threading

    import h5py

    connector: StorageConnector = pickle.loads(pickled)
    totals = []

    def read() -> None:
        with connector.get_resource("a.h5") as resource, h5py.File(resource) as file:
            total = 0
            for name in file:
                dataset = file[name]
                cycle: list[Any] = [dataset]
                cycle.append(cycle)
                total += int(dataset[...].sum())
            totals.append(total)

    gc.set_threshold(50, 2, 2)
    for _ in range(5):
        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(totals)) == 1
    assert len(totals) == 10
    return int(totals[0])
