"""A table of 10 million rows: the pass that makes its index, opening from the index, and random rows from S3.

    python -m benchmarks.csv_index [rows]

Needs the test servers (``pip install 'datastack-fs[test]'``) and some GB in the temporary folder, for about a minute.
Nothing is written to the user's cache.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import datastack_fs as ds
from harness.proxy import FaultProxy
from harness.seaweed import SeaweedS3

ROWS = 10_000_000
BLOCK = 100_000
PICKED = 1000
BUCKET = "benchmark"


def blocks(rows: int) -> Iterator[bytes]:
    """A table with numbers, text, quoted text and some missing values."""
    yield b"id,weight,species,note,label\n"
    rng = np.random.default_rng(1)
    for start in range(0, rows, BLOCK):
        weights = rng.random(BLOCK).tolist()
        lines = [
            f'{i},{weight:.6f},species {i % 977},"seen, {i % 31} times",{i % 10}\n'
            for i, weight in enumerate(weights[: rows - start], start)
        ]
        yield "".join(lines).encode()


def now() -> tuple[float, float]:
    """The clock, and this process's own, which other work on the machine does not slow down."""
    return time.perf_counter(), time.process_time()


def timed(name: str, began: tuple[float, float], bytes_read: int = 0) -> None:
    """Prints seconds since then, and the rate."""
    seconds, busy = time.perf_counter() - began[0], time.process_time() - began[1]
    rate = (
        f"; {bytes_read / seconds / 1e6:,.0f} MB/s, {bytes_read / busy / 1e6:,.0f} per CPU second" if bytes_read else ""
    )
    print(f"{name:40} {seconds:8.3f} s, {busy:7.3f} of this process's CPU{rate}", flush=True)


def from_folder(folder: Path, rows: int) -> int:
    """The file in a folder: made, indexed, and opened again."""
    store = ds.connect(folder / "store")
    began = now()
    size = store.set_resource("birds.csv", blocks(rows)).size
    timed(f"write {rows:,} rows, {size / 1e6:,.0f} MB", began)
    for name, read in (("open the first time (the pass)", size), ("open from the index", 0)):
        began = now()
        birds = ds.open_dataset("birds.csv", storage=store)
        timed(name, began, read)
    index_bytes = sum(path.stat().st_size for path in Path(os.environ["DATASTACK_CACHE"]).iterdir())
    print(f"{'the index on disk':40} {index_bytes / 1e6:8.1f} MB")
    began = now()
    for _, _ in zip(birds, range(200_000), strict=False):
        pass
    timed("the first 200,000 rows in order", began)
    return size


def from_s3(folder: Path, size: int) -> None:
    """The same from S3: what goes over the line is counted at a proxy before the server."""
    with SeaweedS3() as server, FaultProxy.before(server.endpoint_url) as proxy:
        server.make_bucket(BUCKET)
        url, options = f"s3://{BUCKET}", server.options()
        with ds.connect(folder / "store").get_resource("birds.csv") as resource:
            ds.connect(url, **options).set_resource("birds.csv", resource)
        began = now()
        ds.open_dataset(f"{url}/birds.csv", **options)
        timed("S3: open the first time (the pass)", began, size)
        store = ds.connect(url, **{**options, "endpoint_url": proxy.url})
        began = now()
        birds = ds.open_dataset("birds.csv", storage=store)
        timed("S3: open from the index", began)
        print(f"{'':40} {proxy.requests:8,} requests, {proxy.bytes_down:,} bytes")
        picked = np.random.default_rng(2).integers(0, len(birds), PICKED)
        requests, bytes_down = proxy.requests, proxy.bytes_down
        began = now()
        samples = birds.__getitems__(picked)
        timed(f"S3: {PICKED:,} random rows", began)
        print(f"{'':40} {proxy.requests - requests:8,} requests, {proxy.bytes_down - bytes_down:,} bytes")
        assert [int(sample["id"]) for sample, _, _ in samples] == picked.tolist()
        store.close()


def main() -> None:
    """Runs both in a temporary folder."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory(prefix="datastack-csv-") as name:
        folder = Path(name)
        (folder / "store").mkdir()
        os.environ["DATASTACK_CACHE"] = str(folder / "cache")
        from_s3(folder, from_folder(folder, rows))


if __name__ == "__main__":
    main()
