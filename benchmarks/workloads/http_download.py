"""HTTP download of 256 MiB, 20 MB/s a connection."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import datastack_fs as ds
from benchmarks import digests
from benchmarks.case import Case, Run, program
from benchmarks.setting import Setting
from benchmarks.workloads.sequential_s3 import BUCKET, MIB, stream
from datastack_fs.retrieval import HTTPRetriever, ResourceDefinition

RATE = 20e6


def cases(setting: Setting) -> Iterator[Case]:
    """To a file in a folder; the server takes ranges and names a strong ETag."""
    made = stream(setting)
    url = f"{setting.s3(rate=RATE).endpoint_url}/{BUCKET}/{made.name}"
    case = Case("to a local folder", unit="file")
    folder = setting.folder / "downloads"
    folder.mkdir(exist_ok=True)
    start = partial(downloaded, url, folder)
    case.limit("aria2c -x16 -s16", partial(start, by_aria2c))
    case.ours("HTTPRetriever, 16 connections", partial(start, partial(by_this_library, 16)), 1.2)
    case.ours("HTTPRetriever, default", partial(start, partial(by_this_library, None)))
    case.peer("curl", partial(start, by_curl))
    case.peer("requests, 1 MiB", partial(start, by_requests))
    case.peer("pooch, with its sha256", partial(start, by_pooch))
    yield case


def downloaded(url: str, folder: Path, download: Callable[[str, Path], None], _: int) -> Run:
    """Downloads, and reads what is there: that is not timed."""
    target = folder / "stream.bin"
    target.unlink(missing_ok=True)
    yield
    download(url, target)
    yield
    with target.open("rb") as file:
        read = digests.of_blocks(iter(partial(file.read, MIB), b""))
    target.unlink()
    return read


def by_aria2c(url: str, target: Path) -> None:
    """Sixteen connections."""
    options = ["-q", "-x16", "-s16", "-k1M", "--file-allocation=none", "--allow-overwrite=true"]
    subprocess.run([program("aria2c"), *options, f"--dir={target.parent}", f"--out={target.name}", url], check=True)


def by_curl(url: str, target: Path) -> None:
    """One connection."""
    subprocess.run([program("curl"), "-sf", "-o", str(target), url], check=True)


def by_requests(url: str, target: Path) -> None:
    """One connection."""
    import requests

    with requests.get(url, stream=True, timeout=60) as response, target.open("wb") as file:
        for block in response.iter_content(MIB):
            file.write(block)


def by_pooch(url: str, target: Path) -> None:
    """One connection, and a hash of the file afterwards."""
    import pooch

    pooch.get_logger().setLevel("ERROR")
    pooch.retrieve(url, known_hash=None, fname=target.name, path=target.parent)


def by_this_library(connections: int | None, url: str, target: Path) -> None:
    """With the sha256 taken on the way."""
    options = {} if connections is None else {"connections": connections}
    with closing(ds.connect(target.parent)) as store:
        HTTPRetriever(store, **options).retrieve([ResourceDefinition(target.name, url)], overwrite=True)
