"""256 MiB up to S3 (SeaweedFS)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import digests, s3
from benchmarks.case import Case, Run
from benchmarks.setting import Setting
from benchmarks.workloads.sequential_s3 import MIB, stream

BUCKET = "uploads"


def cases(setting: Setting) -> Iterator[Case]:
    """The best uploader is the limit; the server works on the same cores."""
    made = stream(setting)
    setting.seaweed.make_bucket(BUCKET)
    case = Case("from a local file", unit="file")
    case.limit("boto3 upload_file", partial(uploaded, setting, made, by_boto3))
    case.limit("obstore.put", partial(uploaded, setting, made, by_obstore))
    case.limit("obstore.open_writer", partial(uploaded, setting, made, by_obstore_writer))
    case.ours("fast, set_resource", partial(uploaded, setting, made, partial(by_this_library, True)), 1.2)
    case.ours("s3fs alone, set_resource", partial(uploaded, setting, made, partial(by_this_library, False)))
    case.peer("s3fs.put_file", partial(uploaded, setting, made, by_s3fs))
    case.peer("s3fs.open('wb'), 1 MiB writes", partial(uploaded, setting, made, by_s3fs_file))
    case.peer("smart_open 'wb', 1 MiB writes", partial(uploaded, setting, made, by_smart_open))
    yield case


def uploaded(setting: Setting, made: Path, uploader: Any, _: int) -> Run:
    """Uploads, and reads back what is there: that is not timed."""
    upload = uploader(setting.seaweed, made)
    yield
    upload()
    yield
    filesystem = s3.s3fs_filesystem(setting.seaweed)
    read = digests.of_blocks([filesystem.cat_file(f"{BUCKET}/{made.name}")])
    filesystem.rm_file(f"{BUCKET}/{made.name}")
    return read


def by_boto3(server: s3.Endpoint, made: Path) -> Any:
    """Parts of 8 MiB in ten threads."""
    client = s3.boto3_client(server)
    return lambda: client.upload_file(str(made), BUCKET, made.name)


def by_obstore(server: s3.Endpoint, made: Path) -> Any:
    """Parts of 5 MiB, 12 at a time."""
    store = s3.obstore_store(server, BUCKET)
    return lambda: store.put(made.name, made)


def by_obstore_writer(server: s3.Endpoint, made: Path) -> Any:
    """Parts of 10 MiB behind a file."""
    import obstore

    store = s3.obstore_store(server, BUCKET)
    return lambda: _copied(made, obstore.open_writer(store, made.name))


def by_s3fs(server: s3.Endpoint, made: Path) -> Any:
    """Its own parts of 50 MiB."""
    filesystem = s3.s3fs_filesystem(server)
    return lambda: filesystem.put_file(str(made), f"{BUCKET}/{made.name}")


def by_s3fs_file(server: s3.Endpoint, made: Path) -> Any:
    """By its file object."""
    filesystem = s3.s3fs_filesystem(server)
    return lambda: _copied(made, filesystem.open(f"{BUCKET}/{made.name}", "wb"))


def by_smart_open(server: s3.Endpoint, made: Path) -> Any:
    """By its file object."""
    import smart_open

    parameters = {"client": s3.boto3_client(server)}
    return lambda: _copied(made, smart_open.open(f"s3://{BUCKET}/{made.name}", "wb", transport_params=parameters))


def by_this_library(fast: bool, server: s3.Endpoint, made: Path) -> Any:
    """By a file object, with the sha256 taken on the way."""
    store = s3.connect(server, BUCKET, fast=fast)
    store.has_resource(made.name)

    def upload() -> None:
        with closing(store), made.open("rb") as file:
            store.set_resource(made.name, file)

    return upload


def _copied(made: Path, writer: Any) -> None:
    with made.open("rb") as file, writer:
        while block := file.read(MIB):
            writer.write(block)
