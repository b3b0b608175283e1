"""Requests to a web server: redirects that keep secrets, bodies as they were sent, errors that name no secret."""

from __future__ import annotations

import http.client
import logging
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlencode, urljoin, urlsplit, urlunsplit

import requests
import urllib3
from requests import exceptions
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth

from datastack_fs.credentials import hide_queries
from datastack_fs.errors import ConfigError

T = TypeVar("T")

CONCURRENCY: Final = 16
MOST_REDIRECTS: Final = 5
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 15.0
BLOCK_BYTES: Final = 1 << 20

_PORTS = {"http": 80, "https": 443}
_SMALL_BODY = 64 << 10
_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException)
_UNUSABLE = (
    exceptions.InvalidURL,
    exceptions.MissingSchema,
    exceptions.InvalidSchema,
    urllib3.exceptions.LocationParseError,
)
_HARMLESS = (http.client.RemoteDisconnected, http.client.IncompleteRead, urllib3.exceptions.IncompleteRead)


class RedirectError(Exception):
    """A redirect that is not followed; the text says why."""


class Address:
    """The parts of a base URL: what may be shown, and what may not.

    Examples:
        >>> address = Address("https://ann:pw@host/birds?token=abc")
        >>> address.base, address.auth, address.query
        ('https://host/birds/', ('ann', 'pw'), 'token=abc')
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        user_info, _, host = parts.netloc.rpartition("@")
        if parts.scheme not in {"http", "https"} or not host:
            raise ConfigError("the address of a web server is http://host/path/ or https://host/path/")
        user, _, password = user_info.partition(":")
        path = parts.path if parts.path.endswith("/") else f"{parts.path}/"
        self.base = urlunsplit((parts.scheme, host, path, "", ""))
        self.auth = (unquote(user), unquote(password)) if user_info else None
        self.query = parts.query


class Answer:
    """The head of an answer, and its body as it comes off the wire.

    Attributes:
        status: the status code.
        headers: by name, in any case.
    """

    def __init__(self, response: requests.Response) -> None:
        self._raw = response.raw
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers

    @property
    def length(self) -> int | None:
        """The length of the body, where the answer tells it."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    def read(self, expected: int) -> bytes:
        """The body: as much of it as there is, and one byte more than expected at the most."""
        body: bytes = _without_secrets(lambda: self._raw.read(expected + 1, decode_content=False))
        return body

    def blocks(self) -> Iterator[bytes]:
        """The body in blocks of at most 1 MiB."""
        while block := self.read(BLOCK_BYTES - 1):
            yield block


class Client:
    """A session for the threads of one process.

    Args:
        url: the base URL; user, password and query in it count where those arguments are not given.
        headers: more headers for every request.
        auth: user and password of Basic authentication.
        query: what follows the ``?`` of every request.
        deadline: seconds in which several tries should find room.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None,
        auth: Sequence[str] | None,
        query: str | Mapping[str, str] | None,
        deadline: float,
    ) -> None:
        address = Address(url)
        self._base = address.base
        self._headers = dict(headers or {})
        self._auth = _authentication(auth or address.auth, self._headers)
        query = query if isinstance(query, str) else urlencode(query or {}) or address.query
        self._query = f"?{query}" if query else ""
        patience = max(deadline / 4, 1.0)
        self._timeout = min(CONNECT_SECONDS, patience), min(READ_SECONDS, patience)
        self._session = _Session()
        adapter = HTTPAdapter(pool_maxsize=CONCURRENCY, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        logging.getLogger("urllib3.connectionpool").addFilter(hide_queries)

    def close(self) -> None:
        """Ends the connections that nobody uses."""
        self._session.close()

    @contextmanager
    def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
        """The answer to a request, after redirects; its body can be read within the block.

        Raises:
            ConnectionError: no answer, or it broke off.
            TimeoutError: it did not come in time.
            RedirectError: a redirect that is not followed.
        """
        url = f"{self._base}{path}{self._query}"
        response = _without_secrets(lambda: self._follow(method, url, headers or {}))
        try:
            yield Answer(response)
        finally:
            response.close()

    def _follow(self, method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        own, auth = self._headers, self._auth
        for _ in range(MOST_REDIRECTS + 1):
            response = self._session.request(
                method,
                url,
                headers={**own, **headers, "Accept-Encoding": "identity"},
                auth=auth,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            )
            _finish_small(method, response)
            location = self._session.get_redirect_target(response)
            if location is None:
                return response
            response.close()
            target = _redirected(url, location)
            if _is_elsewhere(url, target):
                own, auth = {}, None
            url = target
        raise RedirectError(f"more than {MOST_REDIRECTS} redirects")


class _Session(requests.Session):
    """A session that leaves redirects to its user: requests' own forward custom headers to other hosts."""

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        return iter(())


class _KeepHeaders(AuthBase):
    """Leaves a request as it is: without it, requests lets ``~/.netrc`` replace a given Authorization header."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def _authentication(auth: Sequence[str] | None, headers: Mapping[str, str]) -> AuthBase | None:
    if auth is not None:
        user, password = auth
        return HTTPBasicAuth(user.encode(), password.encode())  # text would be sent in Latin-1
    return _KeepHeaders() if any(name.lower() == "authorization" for name in headers) else None


def _redirected(url: str, location: str) -> str:
    try:
        target = urljoin(url, location)
        after = urlsplit(target)
        usable = after.scheme in {"http", "https"} and bool(after.hostname) and after.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise RedirectError("a redirect to something else than an http or https address")
    if urlsplit(url).scheme == "https" and after.scheme == "http":
        raise RedirectError("a redirect from https to http")
    return target


def _is_elsewhere(url: str, target: str) -> bool:
    """Whether a redirect leads to another server; http to https on the usual ports of one host does not."""
    before, after = urlsplit(url), urlsplit(target)
    ports = before.port or _PORTS[before.scheme], after.port or _PORTS[after.scheme]
    return before.hostname != after.hostname or (ports[0] != ports[1] and ports != (80, 443))


def _finish_small(method: str, response: requests.Response) -> None:
    """Reads what has no body to speak of, so that the connection can be used again."""
    length = response.headers.get("Content-Length", "")
    small = length.isascii() and length.isdigit() and int(length) <= _SMALL_BODY
    if method == "HEAD" or (small and response.status_code >= 300):
        response.raw.read(_SMALL_BODY, decode_content=False)


def _without_secrets(call: Callable[[], T]) -> T:
    """Calls into requests. What it raises is the innermost error: the outer ones carry the URL with its query."""
    try:
        return call()
    except _ERRORS as error:
        plain = _plain_error(error)
    raise plain  # outside the block above: it must not become the context


def _plain_error(error: Exception) -> Exception:
    cause = _innermost(error)
    if isinstance(error, exceptions.InvalidHeader) and cause is error:
        return ConfigError("a value of headers= can't be sent as a header: is there a line break in it?")
    if isinstance(error, _UNUSABLE):
        return ConfigError(f"the address of the web server can't be used ({type(error).__name__})")
    if isinstance(cause, (ConnectionError, TimeoutError, ssl.SSLCertVerificationError)):
        return cause
    if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException):
        return ConnectionError(f"{type(cause).__name__}: {cause}")
    return ConnectionError(str(cause) if isinstance(cause, _HARMLESS) else type(cause).__name__)


def _innermost(error: Exception) -> Exception:
    while True:
        within = (error.__cause__, getattr(error, "reason", None), *reversed(error.args))
        inner = next((each for each in within if isinstance(each, Exception)), None)
        if inner is None:
            return error
        error = inner
