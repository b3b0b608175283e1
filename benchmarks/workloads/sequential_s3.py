"""256 MiB sequential from S3 in 1 MiB reads, +20 ms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import digests, s3
from benchmarks.case import Case, Run
from benchmarks.s3 import Endpoint
from benchmarks.setting import Setting

MIB = 1 << 20
BUCKET = "streams"


def cases(setting: Setting) -> Iterator[Case]:
    """One connection is as fast as the client."""
    yield case_on(setting, setting.s3(), "no bound on a connection", (1.2, 2.0), (8, 16))


def case_on(
    setting: Setting, server: Endpoint, title: str, marks: tuple[float, float], in_flight: tuple[int, ...]
) -> Case:
    """The contenders on one server; the marks are with obstore, and with s3fs alone."""
    made = stream(setting)
    case = Case(title, unit="file")
    for count in in_flight:
        case.limit(f"obstore, {count} ranges of 8 MiB in flight", partial(ranges, server, made, count))
    for fast, mark in zip((True, False), marks, strict=True):
        case.ours("fast, read(1 MiB)" if fast else "s3fs alone, read(1 MiB)", partial(ours, server, made, fast), mark)
    for name, opened in READERS.items():
        case.peer(name, partial(by_reader, server, made, opened))
    case.peer("s3fs.get_file to the disk, then read", partial(downloaded, server, made, setting.folder))
    return case


@cache
def stream(setting: Setting) -> Path:
    """The file: 256 MiB that no compression shortens."""
    folder = setting.objects / BUCKET
    folder.mkdir(exist_ok=True)
    made = folder / "stream.bin"
    rng = np.random.default_rng(3)
    with made.open("wb") as file:
        for _ in range(setting.scaled(256)):
            file.write(rng.bytes(MIB))
    return made


def ranges(server: Endpoint, made: Path, in_flight: int, _: int) -> Run:
    """Ranges of 8 MiB in order."""
    store, size, part = s3.obstore_store(server, BUCKET), made.stat().st_size, 8 * MIB
    with ThreadPoolExecutor(in_flight) as pool:
        yield
        read = digests.Stream()

        def fetched(start: int) -> Any:
            return store.get_range(made.name, start=start, end=min(start + part, size))

        for block in s3.ahead(pool, fetched, range(0, size, part), in_flight - 1):
            read.add(memoryview(block))
        yield
    return read.digests()


def ours(server: Endpoint, made: Path, fast: bool, _: int) -> Run:
    """This library's file, from its opening on."""
    with closing(s3.connect(server, BUCKET, fast=fast)) as store:
        store.has_resource(made.name)
        yield
        with store.get_resource(made.name) as resource:
            read = digests.of_blocks(iter(partial(resource.read, MIB), b""))
        yield
    return read


def by_reader(server: Endpoint, made: Path, opened: Callable[[Endpoint, str], Any], _: int) -> Run:
    """A peer's file, from its opening on."""
    make = opened(server, made.name)
    yield
    file = make()
    read = digests.of_blocks(iter(lambda: bytes(file.read(MIB)), b""))
    file.close()
    yield
    return read


def downloaded(server: Endpoint, made: Path, folder: Path, _: int) -> Run:
    """By a file on the disk."""
    filesystem, copy = s3.s3fs_filesystem(server), folder / "downloaded.bin"
    yield
    filesystem.get_file(f"{BUCKET}/{made.name}", str(copy))
    with copy.open("rb") as file:
        read = digests.of_blocks(iter(partial(file.read, MIB), b""))
    yield
    copy.unlink()
    return read


def _s3fs(options: dict[str, Any], server: Endpoint, name: str) -> Callable[[], Any]:
    filesystem = s3.s3fs_filesystem(server)
    return lambda: filesystem.open(f"{BUCKET}/{name}", **options)


def _obstore_reader(server: Endpoint, name: str) -> Callable[[], Any]:
    import obstore

    store = s3.obstore_store(server, BUCKET)
    return lambda: obstore.open_reader(store, name, buffer_size=8 * MIB)


def _boto3(server: Endpoint, name: str) -> Callable[[], Any]:
    client = s3.boto3_client(server)
    return lambda: client.get_object(Bucket=BUCKET, Key=name)["Body"]


def _smart_open(server: Endpoint, name: str) -> Callable[[], Any]:
    import smart_open

    client = s3.boto3_client(server)
    return lambda: smart_open.open(f"s3://{BUCKET}/{name}", "rb", transport_params={"client": client})


def _s3torchconnector(server: Endpoint, name: str) -> Callable[[], Any]:
    from s3torchconnector import S3ClientConfig
    from s3torchconnector._s3client import S3Client

    with s3.environment(AWS_ACCESS_KEY_ID=server.key, AWS_SECRET_ACCESS_KEY=server.secret):
        config = S3ClientConfig(force_path_style=True)
        client = S3Client(s3.REGION, endpoint=server.endpoint_url, s3client_config=config)
        client.head_object(BUCKET, name)
    return lambda: client.get_object(BUCKET, name)


READERS: dict[str, Callable[[Endpoint, str], Callable[[], Any]]] = {
    "s3fs, default cache (readahead)": partial(_s3fs, {}),
    "s3fs, blockcache of 5 MiB": partial(_s3fs, {"cache_type": "blockcache"}),
    "s3fs, background cache of 16 MiB": partial(_s3fs, {"cache_type": "background", "block_size": 16 * MIB}),
    "s3torchconnector, sequential reader": _s3torchconnector,
    "boto3 get_object (one GET)": _boto3,
    "smart_open": _smart_open,
    "obstore.open_reader, 8 MiB": _obstore_reader,
}
