"""Clients of S3, set up as their own documentation says."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import datastack_fs as ds

REGION = "us-east-1"
T = TypeVar("T")
R = TypeVar("R")


class Endpoint(Protocol):
    """What a server of S3 tells its clients."""

    key: Any
    secret: Any

    @property
    def endpoint_url(self) -> str:
        """Its address."""

    def options(self) -> dict[str, str]:
        """What ``connect`` wants."""


def obstore_store(server: Endpoint, bucket: str, prefix: str | None = None) -> Any:
    """A bucket for obstore, or what is below a prefix in one."""
    from obstore.store import S3Store

    return S3Store(
        bucket,
        prefix=prefix,
        endpoint=server.endpoint_url,
        access_key_id=server.key,
        secret_access_key=server.secret,
        region=REGION,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def s3fs_filesystem(server: Endpoint, **options: Any) -> Any:
    """A filesystem of its own, with nothing cached of others."""
    import s3fs

    return s3fs.S3FileSystem(
        key=server.key,
        secret=server.secret,
        client_kwargs={"endpoint_url": server.endpoint_url, "region_name": REGION},
        skip_instance_cache=True,
        **options,
    )


def boto3_client(server: Endpoint) -> Any:
    """A client of boto3."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.key,
        aws_secret_access_key=server.secret,
        region_name=REGION,
    )


def connect(server: Endpoint, bucket: str, *, fast: bool) -> Any:
    """This library's connector, over obstore (as the extra ``fast`` brings it) or over s3fs alone."""
    return ds.connect(f"s3://{bucket}", **server.options(), engine="obstore" if fast else "s3fs")


def ahead(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], window: int) -> Iterator[R]:
    """The results in order, with so many calls under way or waiting."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > window:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Sets variables for a time, for clients that take their credentials nowhere else."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
