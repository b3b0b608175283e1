"""The S3 client under the S3 connector: one for each process, on fsspec's I/O thread."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Any, Final, TypeVar

import fsspec.asyn
import s3fs
from aiobotocore.session import AioSession
from botocore.exceptions import ClientError
from botocore.loaders import create_loader

from datastack_fs.connectors.fsspec_loop import CONCURRENCY, run_on_loop
from datastack_fs.connectors.obstore_ranges import ObstoreRanges
from datastack_fs.connectors.s3_errors import no_bucket, status_of
from datastack_fs.credentials import expand
from datastack_fs.errors import ConfigError

T = TypeVar("T")

CONNECT_TIMEOUT: Final = 5.0
STALL_TIMEOUT: Final = 15.0
"""Seconds without a byte after which a request counts as lost."""

AWS: Final = "AmazonS3"
_CREDENTIALS_LAST: Final = timedelta(minutes=10)
"""botocore renews those that expire a quarter of an hour before."""
DIRECTORY_BUCKET: Final = "--x-s3"
"""Ending of the names of S3 Express buckets."""

# The clients that a child inherited, kept for ever: to collect one would take its sockets out of the epoll set that
# the child shares with its parent, and the parent would wait in vain.
_inherited: list[Any] = []


class S3Client:
    """An S3 client for the use of other threads than its own; it belongs to one process.

    ``s3fs`` makes the client (session, credentials, settings). Its retries, caches, paths and translated errors stay
    out of the way: those no longer tell a missing bucket from a missing key, nor 412 from 400.

    Args:
        bucket: its name.
        deadline: a single request waits at most a third of this for a byte.
        options: ``key secret token anon endpoint_url region profile``; references to the environment are read here.

    Attributes:
        loop: the I/O thread's.
        creates: whether the store was seen to heed ``If-None-Match``.
        takes_crc32: whether the store has not yet refused uploads whose parts come with a CRC32.
        fast: reads ranges through obstore.
    """

    def __init__(self, bucket: str, deadline: float, options: Mapping[str, Any]) -> None:
        given = {name: value for name, value in expand(options).items() if value is not None}
        region, profile = given.pop("region", None), given.pop("profile", None)
        self.loop = fsspec.asyn.get_loop()
        self.creates = False
        self.takes_crc32 = True
        self.fast = ObstoreRanges(self._make_store)
        self._given = given
        self._bucket = bucket
        self._server = ""
        # A stalled request must leave time for another one.
        stall_timeout = min(STALL_TIMEOUT, deadline / 3)
        connect_timeout = min(CONNECT_TIMEOUT, deadline / 3)
        self._request_timeout = connect_timeout + stall_timeout
        self._timeouts = {"connect_timeout": f"{connect_timeout} s", "read_timeout": f"{stall_timeout} s"}
        self._bucket_found = False
        # More requests would wait for a free connection, and that waiting must not count as a stall.
        self._slots = asyncio.Semaphore(CONCURRENCY)
        filesystem = s3fs.S3FileSystem(
            **given,
            session=_session(profile),
            client_kwargs={"region_name": region} if region else None,
            config_kwargs={
                "connect_timeout": connect_timeout,
                "read_timeout": stall_timeout,
                "retries": {"mode": "standard", "total_max_attempts": 1},
                "max_pool_connections": 2 * CONCURRENCY,
                # The writer sends checksums of its own: not every S3-compatible store takes the trailing ones that
                # botocore adds, and hashing the body once more for its signature would hold up the I/O thread.
                "s3": {"payload_signing_enabled": False},
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            },
            asynchronous=True,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        try:
            self._client = run_on_loop(self.loop, filesystem.set_session())
            self._session = filesystem.session
        except ValueError as error:  # botocore's, for a malformed endpoint
            raise ConfigError(f"s3://{bucket} can't be reached like this: {error}") from error
        self._end = weakref.finalize(self, _end, os.getpid(), self.loop, self._client)

    @property
    def is_aws(self) -> bool:
        """Whether this is a general purpose bucket of Amazon's own, whose documented behaviour needs no trying out."""
        return self._server == AWS and not self._bucket.endswith(DIRECTORY_BUCKET)

    def close(self) -> None:
        """Ends the connections."""
        self.fast.close()
        self._end()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls an S3 operation, under botocore's name for it, and waits for its answer."""
        return run_on_loop(self.loop, self._request(method, **parameters))

    def begin(self, method: str, **parameters: Any) -> Future[dict[str, Any]]:
        """The same without waiting; a future that is cancelled ends the request."""
        return asyncio.run_coroutine_threadsafe(self._request(method, **parameters), self.loop)

    async def read(self, key: str, start: int, stop: int, etag: str) -> tuple[dict[str, Any], bytes]:
        """The answer to a GET of one range of one version, and its bytes; a coroutine for ``loop``."""
        async with self._slots:
            answer = await self._request("get_object", Key=key, Range=f"bytes={start}-{stop - 1}", IfMatch=etag)
            async with answer["Body"] as body:
                return answer, await body.read()

    @property
    def endpoint(self) -> str:
        """The address of the server."""
        found: str = self._client.meta.endpoint_url
        return found

    def _make_store(self) -> Any:
        """A store of obstore's with the address and the credentials of this client; only the timeouts are its own."""
        from obstore.store import S3Store

        endpoint = self.endpoint
        is_anonymous = bool(self._given.get("anon"))
        return S3Store(
            self._bucket,
            endpoint=endpoint,
            region=self._client.meta.region_name,
            virtual_hosted_style_request=False,
            skip_signature=is_anonymous,
            credential_provider=None if is_anonymous else self._credentials,
            client_options={"allow_http": endpoint.startswith("http:"), "timeout": "1 day", **self._timeouts},
            retry_config={"max_retries": 0},
        )

    def _credentials(self) -> dict[str, Any]:
        """Those that s3fs was given, else what the session finds now; obstore asks again when they may have changed."""
        if self._given.get("key"):
            key, secret, token = (self._given.get(name) for name in ("key", "secret", "token"))
            return {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": None}
        found = run_on_loop(self.loop, self._find_credentials())
        expires = datetime.now(timezone.utc) + _CREDENTIALS_LAST
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            "expires_at": expires,
        }

    async def _find_credentials(self) -> Any:
        found = await self._session.get_credentials()
        if found is None:
            raise LookupError("no credentials")
        return await found.get_frozen_credentials()

    def check_bucket(self) -> None:
        """Makes sure, once, that the bucket is there.

        The 404 of a HEAD doesn't say whether key or bucket is missing, and some stores make a missing bucket when
        they are asked to write into it.

        Raises:
            ConfigError: it is not.
        """
        if self._bucket_found:
            return
        try:
            answer = self.call("head_bucket")
        except ClientError as error:
            if status_of(error) == 404:
                raise ConfigError(no_bucket(self._bucket)) from error
            if status_of(error) != 403:
                raise
            answer = error.response  # it is there; or else the operation itself will be denied, and say so
        self._server = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("server", "")
        self._bucket_found = True

    async def _request(self, method: str, *, patience: float | None = None, **parameters: Any) -> dict[str, Any]:
        answer: Awaitable[dict[str, Any]] = getattr(self._client, method)(Bucket=self._bucket, **parameters)
        position = getattr(parameters.get("Body"), "tell", lambda: 0)
        return await _while_it_moves(answer, position, patience or self._request_timeout)


async def _while_it_moves(answer: Awaitable[T], position: Callable[[], int], patience: float) -> T:
    """The answer to a request, awaited as long as its body moves on: aiohttp times nothing before all of it is sent."""
    task = asyncio.ensure_future(answer)
    try:
        while True:
            before = position()
            await asyncio.wait({task}, timeout=patience)
            if task.done():
                return task.result()
            if position() == before:
                raise TimeoutError(f"nothing moved for {patience:g} s")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _session(profile: str | None) -> AioSession:
    """A session with the descriptions of S3 that earlier ones have read: nine tenths of what making a client takes."""
    session = AioSession(profile=profile)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return session


@cache
def _loader(data_path: str | None) -> Any:
    return create_loader(data_path)


def _end(pid: int, loop: asyncio.AbstractEventLoop, client: Any) -> None:
    if os.getpid() != pid:
        _inherited.append(client)
    elif loop.is_running():
        closing = asyncio.run_coroutine_threadsafe(client.close(), loop)
        if not _is_current(loop):
            wait_for_futures([closing], timeout=1)


def _is_current(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
