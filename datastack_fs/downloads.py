"""One HTTP source, read to its end whatever happens on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from datastack_fs.credentials import redact
from datastack_fs.deadline import Deadline
from datastack_fs.errors import RetrievalError

if TYPE_CHECKING:
    from types import TracebackType

    from tqdm import tqdm
    from typing_extensions import Self

BLOCK_BYTES: Final = 128 << 10
MOST_REDIRECTS: Final = 5
CONNECT_SECONDS: Final = 5.0
STALL_SECONDS: Final = 15.0

_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_PERMANENT_ERRORS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.SSLError,
)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class BeginAnew(Exception):
    """What came so far is of no use: the file changed, or the transfer can't go on in its middle."""


class Download:
    """An HTTP source. ``blocks`` may be called again after ``BeginAnew``; the deadline runs on meanwhile."""

    def __init__(self, url: str, deadline: float) -> None:
        self._url = url
        self._session = _Session()
        self._timeout = (min(CONNECT_SECONDS, deadline), min(STALL_SECONDS, deadline))
        self._deadline = Deadline(deadline)
        self._furthest = 0

    def blocks(self, bar: tqdm[Any]) -> Iterator[bytes]:
        """Yields the whole body, from one version of the file.

        Raises:
            RetrievalError: it can't be had, now or at all.
            BeginAnew: it must be read from its start once more.
        """
        came = 0
        version = _Version()
        while True:
            try:
                with self._answer(came, version) as response:
                    if came == 0:
                        version = _Version.of(response)
                        bar.reset(total=version.size)
                    while block := response.raw.read(BLOCK_BYTES, decode_content=False):
                        came += len(block)
                        bar.update(len(block))
                        yield block  # may take long, which is not the server's time
                        if came > self._furthest:  # what came before already is no progress
                            self._furthest = came
                            self._deadline.progress()
                if version.size is None or came == version.size:
                    return
                failure = self._failure(f"{came:,} of {version.size:,} bytes came")
            except urllib3.exceptions.HTTPError as error:
                failure = self._failure(f"the transfer broke off after {came:,} bytes", error)
            except _TransientError as error:
                failure = error.failure
            self._deadline.wait(failure)
            if came and version.etag is None:
                raise BeginAnew

    @contextmanager
    def _answer(self, came: int, version: _Version) -> Iterator[requests.Response]:
        """The response that begins, or goes on, with the body."""
        headers = {"Accept-Encoding": "identity"}
        if came and version.etag:
            headers |= {"Range": f"bytes={came}-", "If-Range": version.etag}
        with self._follow(headers) as response:
            status = response.status_code
            goes_on = status == 206 and version.continues_in(response, came)
            if came and not goes_on and status in {200, 206, 412, 416}:
                self._deadline.wait(self._failure("the file changed, or its server knows no ranges"))
                raise BeginAnew
            if status in _TRANSIENT:
                raise _TransientError(self._failure(_status(status)))
            if status != 200 and not goes_on:
                raise self._failure(_status(status))
            encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
            if encoding not in {"identity", ""}:
                raise self._failure(
                    f"it came as Content-Encoding {encoding!r}, and not as the bytes that are published"
                )
            yield response

    @contextmanager
    def _follow(self, headers: dict[str, str]) -> Iterator[requests.Response]:
        url = self._url
        self._check_scheme(url)
        for _ in range(MOST_REDIRECTS + 1):
            with self._get(url, headers) as response:
                target = requests.Session.get_redirect_target(self._session, response)
                if target is None:
                    yield response
                    return
            with suppress(ValueError):  # refused below
                target = urljoin(url, target)
            self._check_scheme(target)
            if url.lower().startswith("https:") and not target.lower().startswith("https:"):
                raise self._failure(f"it redirects from https to {redact(target)}")
            url = target
        raise self._failure(f"more than {MOST_REDIRECTS} redirects, the last to {redact(url)}")

    def _get(self, url: str, headers: dict[str, str]) -> requests.Response:
        try:
            return self._session.get(url, headers=headers, stream=True, timeout=self._timeout, allow_redirects=False)
        except _PERMANENT_ERRORS as error:
            failure: Exception = self._failure(_reason(error), error)
        except requests.RequestException as error:
            failure = _TransientError(self._failure(_reason(error), error))
        raise failure

    def _check_scheme(self, url: str) -> None:
        try:
            scheme = urlsplit(url).scheme
        except ValueError:
            scheme = ""
        if scheme not in {"http", "https"}:
            where = "" if url == self._url else f"it redirects to {redact(url)}, and "
            raise self._failure(f"{where}only http and https are fetched from")

    def _failure(self, reason: str, error: Exception | None = None) -> RetrievalError:
        failure = RetrievalError(f"can't fetch {redact(self._url)}: {reason}")
        root = _root(error)
        if not isinstance(root, requests.RequestException):  # whose text holds the URL with its secrets
            failure.__cause__ = root
        return failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()


class _Session(requests.Session):
    """Looks at no redirect itself: it would read the whole body of each first, even when told not to follow."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


@dataclass(frozen=True)
class _Version:
    """What a server says of a file when it is first asked."""

    size: int | None = None
    etag: str | None = None

    @classmethod
    def of(cls, response: requests.Response) -> _Version:
        size = response.headers.get("Content-Length", "")
        etag = response.headers.get("ETag", "")
        return cls(int(size) if size.isdecimal() else None, etag if etag.startswith('"') else None)

    def continues_in(self, response: requests.Response, came: int) -> bool:
        """Whether a 206 is the rest of this very file."""
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if found is None or self.etag is None or response.headers.get("ETag", self.etag) != self.etag:
            return False
        last, total = int(found[2]), found[3]
        whole = self.size is None or (last + 1 == self.size and total in {"*", str(self.size)})
        return int(found[1]) == came and whole


class _TransientError(Exception):
    """Trying again may help."""

    def __init__(self, failure: RetrievalError) -> None:
        self.failure = failure


def _status(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _reason(error: requests.RequestException) -> str:
    root = _root(error)
    return redact(f"{type(root).__name__}: {root}")


def _root(error: Exception | None) -> BaseException | None:
    """The innermost reason: the outer ones repeat it, and the URL."""
    found: BaseException | None = error
    while found is not None:
        inner = getattr(found, "reason", None) or next(iter(found.args), None)
        if not isinstance(inner, BaseException):
            return found
        found = inner
    return None
