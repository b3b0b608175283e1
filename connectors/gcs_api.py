"""Requests to the JSON API of Google Cloud Storage, with the event loop and credentials of a gcsfs filesystem."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import IO, Any, Final
from urllib.parse import quote, urlencode

from datastack_fs.connectors.fsspec_ import run_on_loop
from datastack_fs.connectors.gcs_errors import StatusError
from datastack_fs.connectors.obstore_ranges import ObstoreRanges
from datastack_fs.credentials import expand
from datastack_fs.errors import ConfigError

# gcsfs reads this at its import, and by default asks every bucket over gRPC what kind it is: an emulator doesn't
# answer, which takes a minute each time, and a forked child dies of it. (Hence also the class from gcsfs.core below:
# it is the plain one, even where gcsfs was imported before us.)
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

import aiohttp
import google.auth
from gcsfs.core import GCSFileSystem
from google.oauth2.credentials import Credentials
from yarl import URL

LONGEST_STALL: Final = 15.0
"""Most seconds that a request waits for a byte to move."""

STALLS_PER_DEADLINE: Final = 4
"""A stalled request takes no more than this part of the deadline, so that there is time to try again."""

FRESH_SECONDS: Final = 60.0
"""So long credentials are taken for valid once they were looked at; gcsfs renews them 300 s before they expire."""

PIECE_BYTES: Final = 256 << 10

_GCSFS_METHODS = {"anon", "cloud", "cache"}


@dataclass(frozen=True)
class Answer:
    """What the API answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> dict[str, Any]:
        """The resource in the body."""
        resource: dict[str, Any] = json.loads(self.content)
        return resource

    def error(self) -> StatusError:
        """The refusal that this answer is."""
        try:
            detail = json.loads(self.content)["error"]
            return StatusError(self.status, str(detail["message"])[:500], str(detail["errors"][0]["reason"]))
        except (ValueError, LookupError, TypeError):
            return StatusError(self.status, self.content[:200].decode(errors="replace").strip())


class BucketAPI:
    """One bucket's part of the API, for one process.

    Only the loop, the HTTP session and the credentials of ``filesystem`` are used: not its retries, which know no
    deadline, nor its caches, nor its names, which are interpreted (``#``).

    Args:
        bucket: its name.
        filesystem: a ``GCSFileSystem`` of this process.
        deadline: of the operations that the requests belong to. A request in which no byte moves, in either
            direction, ends sooner, with ``TimeoutError``.
    """

    def __init__(self, bucket: str, filesystem: Any, deadline: float) -> None:
        self.loop: asyncio.AbstractEventLoop = filesystem.loop
        self._filesystem = filesystem
        self._path = f"storage/v1/b/{quote(bucket, safe='')}/o"
        self._host = filesystem.base.removesuffix("storage/v1/")
        self._common = {"userProject": filesystem.project} if filesystem.requester_pays else {}
        self._stall = stall = min(LONGEST_STALL, max(deadline, 1.0) / STALLS_PER_DEADLINE)
        self._timeout = aiohttp.ClientTimeout(total=None, connect=stall, sock_connect=stall, sock_read=stall)
        self._fresh_until = 0.0
        self._bucket = bucket
        self.fast = ObstoreRanges(self._make_store, pin="version")

    def url(self, key: str | None = None, *, service: str = "", **parameters: str) -> str:
        """The address of an object, or of all of them; ``service`` is ``""``, ``"download/"`` or ``"upload/"``."""
        path = self._path if key is None else f"{self._path}/{quote(key, safe='')}"
        query = urlencode({**parameters, **self._common}, quote_via=quote, safe="")
        return f"{self._host}{service}{path}?{query}"

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: IO[bytes] | None = None,
        accept: int = 200,
    ) -> Answer:
        """What the API answers, for a caller that waits; see ``answer``."""
        return run_on_loop(self.loop, self.answer(method, url, headers=headers, body=body, accept=accept))

    async def answer(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: IO[bytes] | None = None,
        accept: int = 200,
    ) -> Answer:
        """What the API answers.

        Args:
            method: of HTTP.
            url: percent-encoded already.
            headers: besides the usual ones.
            body: a file of memory or of the local disk, sent from its start.
            accept: a status that is no refusal, besides 2xx.

        Raises:
            StatusError: it refused.
        """
        await self._refresh_credentials()
        usual = {"User-Agent": "datastack-fs", "Accept-Encoding": "identity"}
        self._filesystem.credentials.apply(usual)
        if body is None:
            return await self._exchange(method, url, {**usual, **(headers or {})}, None, accept)
        length = {"Content-Length": str(body.seek(0, os.SEEK_END))}
        exchange = self._exchange(method, url, {**usual, **length, **(headers or {})}, _Pieces(body), accept)
        try:
            return await _while_it_moves(exchange, body.tell, self._stall)
        except aiohttp.ClientConnectorError:
            raise
        except aiohttp.ClientError as error:
            # aiohttp's message may have the whole address in it: that of an upload session is as good as a password.
            raise ConnectionError(f"{type(error).__name__} while the request was sent") from None

    def close(self) -> None:
        """Ends the connections."""
        self.fast.close()
        if self._filesystem.session is not None:
            run_on_loop(self.loop, self._filesystem.session.close())

    def _make_store(self) -> Any:
        """A store of obstore's with the address and the credentials of this one."""
        from obstore.store import GCSStore

        is_anonymous = self._filesystem.credentials.credentials is None
        stall = f"{self._stall} s"
        return GCSStore(
            self._bucket,
            base_url=self._host.rstrip("/"),
            skip_signature=is_anonymous,
            credential_provider=None if is_anonymous else self._bearer,
            client_options={
                "allow_http": self._host.startswith("http:"),
                "timeout": "1 day",
                "connect_timeout": stall,
                "read_timeout": stall,
                "default_headers": {"Accept-Encoding": "gzip"},  # bytes as they are stored
            },
            retry_config={"max_retries": 0},
        )

    def _bearer(self) -> dict[str, Any]:
        """The present access token; obstore asks again before it can have expired."""
        credentials = self._filesystem.credentials
        credentials.maybe_refresh()
        expires = datetime.now(timezone.utc) + timedelta(seconds=2 * FRESH_SECONDS)
        return {"token": credentials.credentials.token, "expires_at": expires}

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], data: _Pieces | None, accept: int
    ) -> Answer:
        session: aiohttp.ClientSession = await self._filesystem._set_session()
        # encoded=True: no character of an object's name is interpreted on the way. Redirects are never right here: 308
        # is the protocol's word for an unfinished upload.
        async with session.request(
            method, URL(url, encoded=True), headers=headers, data=data, allow_redirects=False, timeout=self._timeout
        ) as response:
            answer = Answer(response.status, response.headers, await response.read())
        if answer.status >= 300 and answer.status != accept:
            raise answer.error()
        return answer

    async def _refresh_credentials(self) -> None:
        """Renews credentials on a thread: google.auth blocks, and this loop serves every fsspec filesystem."""
        credentials = self._filesystem.credentials
        if credentials.credentials is None or self.loop.time() < self._fresh_until:
            return
        await asyncio.wait_for(asyncio.to_thread(credentials.maybe_refresh), self._stall)
        self._fresh_until = self.loop.time() + FRESH_SECONDS


def connect(bucket: str, access: str, deadline: float, options: Mapping[str, Any]) -> BucketAPI:
    """A new client, which shares nothing with any other process.

    Args:
        bucket: its name.
        access: ``read_only`` or ``read_write``.
        deadline: see ``BucketAPI``.
        options: ``project``, ``token``, ``endpoint_url`` and ``requester_pays`` of the connector.
    """
    options = expand(options)
    endpoint, emulated = _endpoint(options["endpoint_url"])
    token, project = options["token"] or ("anon" if emulated else "google_default"), options["project"]
    if token == "google_default":
        token, default_project = google.auth.default(scopes=[f"https://www.googleapis.com/auth/devstorage.{access}"])
        project = project or default_project
    token = _usable(token)
    try:
        filesystem = GCSFileSystem(
            project=project or "",
            access=access,
            token=token,
            endpoint_url=endpoint,
            requester_pays=options["requester_pays"],
            # An object stored with Content-Encoding: gzip is read as the bytes that are stored.
            session_kwargs={"auto_decompress": False},
            use_listings_cache=False,
            skip_instance_cache=True,
        )
    except (KeyError, ValueError) as error:
        raise ConfigError(f"gs://{bucket}: the token is no Google credential ({type(error).__name__})") from error
    return BucketAPI(bucket, filesystem, deadline)


def _endpoint(url: str | None) -> tuple[str | None, bool]:
    """Where the API is (None: Google's own address), and whether it is an emulator, which wants no credentials."""
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    if url is None and emulator in ("", "default"):
        return None, False
    text = (emulator if url is None else url).rstrip("/")
    if "://" not in text:
        text = f"http://{text}"
    # Nor are Google credentials ever sent, unasked, where anybody on the way could read them.
    return text, url is None or text.startswith("http://")


def _usable(token: Any) -> Any:
    """A token in a form that gcsfs takes without asking Google about it."""
    if not isinstance(token, str):
        return dict(token) if isinstance(token, Mapping) else token
    if token in _GCSFS_METHODS or os.path.isfile(token):
        return token
    if token.endswith(".json"):
        raise ConfigError(f"token: there is no credentials file {token}")
    return Credentials(token)  # type: ignore[no-untyped-call]


class _Pieces:
    """A file as the body of a request, for one use.

    Where a connection that was kept turns out to be closed, aiohttp sends a PUT again by itself. What became of the
    first is not known then, and it is for the writer to find out.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._used = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._used:
            raise ConnectionError("the connection was closed while the request was sent")
        self._used = True
        self._file.seek(0)
        while piece := self._file.read(PIECE_BYTES):
            yield piece


async def _while_it_moves(exchange: Coroutine[Any, Any, Answer], position: Callable[[], int], stall: float) -> Answer:
    """The answer to a request with a long body, or TimeoutError when the body has stopped moving.

    aiohttp's timeouts watch what is received, and a total time would not tell a slow line from a dead one.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(exchange)
    at, since = -1, loop.time()
    try:
        while not (await asyncio.wait({task}, timeout=stall / 4))[0]:
            if position() != at:
                at, since = position(), loop.time()
            elif loop.time() - since >= stall:
                raise TimeoutError(f"the request stood still for {stall:g} s")
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
