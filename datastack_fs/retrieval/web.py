"""Requests for one HTTP source: redirects looked at hop by hop, secrets for one host alone, errors that name none."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies, get_netrc_auth, select_proxy

from datastack_fs.credentials import expand, hide_queries, redact
from datastack_fs.errors import RetrievalError
from datastack_fs.retrieval import addresses
from datastack_fs.retrieval.connections import AddressRefusedError, Sessions, check_public

MOST_REDIRECTS: Final = 5
CONNECT_SECONDS: Final = 5.0
STALL_SECONDS: Final = 15.0
SHORTEST_SECONDS: Final = 0.1

_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_PERMANENT_ERRORS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
    requests.exceptions.SSLError,
)
_UNSENDABLE: Final = "a value of headers= can't be sent as a header: it takes Latin-1, and no line breaks"
_REDIRECTS: Final = requests.sessions.SessionRedirectMixin()
_PORTS = {"http": 80, "https": 443}


class TransientError(Exception):
    """Trying again may help.

    Attributes:
        failure: what to raise if it does not.
        after: seconds that the server asks to be left alone.
    """

    def __init__(self, failure: RetrievalError, after: float = 0.0) -> None:
        self.failure = failure
        self.after = after


class Web:
    """Asks for one source, from any number of threads.

    Args:
        url: the source, as the user named it; user and password in it are sent as Basic authentication.
        headers: more headers.
        auth: user and password, in place of those of the URL or of ``~/.netrc``.
        seconds: the longest wait for a connection or for bytes.
        connections: how many to keep open.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        seconds: float = STALL_SECONDS,
        connections: int = 1,
    ) -> None:
        self._named = url
        self._url = self._usable(url)
        self._headers = expand(dict(headers or {}))
        self._auth = _authentication(url, expand(auth), self._headers)
        seconds = max(seconds, SHORTEST_SECONDS)
        self._timeout = (min(CONNECT_SECONDS, seconds), min(STALL_SECONDS, seconds))
        self._sessions = Sessions(connections)
        self.cut = self._sessions.cut
        self.close = self._sessions.close
        logging.getLogger("urllib3.connectionpool").addFilter(hide_queries)

    @contextmanager
    def get(self, headers: Mapping[str, str]) -> Iterator[requests.Response]:
        """The answer after redirects, with status 200 or 206, and its body as it comes off the wire.

        Raises:
            TransientError: none came, or one that says to try again.
            RetrievalError: it can't be had.
        """
        with self._follow(headers) as response:
            status = response.status_code
            if status in _TRANSIENT:
                after = _retry_after(response.headers)
                asked = f", and asks to be left alone for {after:,.0f} s" if after else ""
                raise TransientError(self.failure(f"{_phrase(status)}{asked}"), after)
            if status not in {200, 206, 412, 416}:
                raise self.failure(_phrase(status))
            encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
            if encoding not in {"identity", ""}:
                raise self.failure(f"it came as Content-Encoding {encoding!r}, and not as the bytes that are published")
            yield response

    def failure(self, reason: str, error: BaseException | None = None) -> RetrievalError:
        """The error for a reason; what it was caused by is kept where that holds no secret."""
        failure = RetrievalError(f"can't fetch {redact(self._named)}: {reason}")
        root = _root(error)
        if not isinstance(root, requests.RequestException):  # whose text holds the URL with its secrets
            failure.__cause__ = root
        return failure

    def refused(self, response: requests.Response) -> RetrievalError:
        """The error for an answer that is of no use."""
        return self.failure(_phrase(response.status_code))

    @contextmanager
    def _follow(self, headers: Mapping[str, str]) -> Iterator[requests.Response]:
        url, public = self._url, False
        for _ in range(MOST_REDIRECTS + 1):
            with self._ask(url, headers, public_only=public) as response:
                location = _REDIRECTS.get_redirect_target(response)
                if location is None:
                    yield response
                    return
                public = public or _came_from_public(url, response)
            target = self._usable(_joined(url, location), redirected=True)
            if url.startswith("https:") and not target.startswith("https:"):
                raise self.failure(f"it redirects from https to {redact(target)}")
            url = target
        raise self.failure(f"more than {MOST_REDIRECTS} redirects, the last to {redact(url)}")

    def _ask(self, url: str, headers: Mapping[str, str], *, public_only: bool) -> requests.Response:
        ours = _origin(url) == _origin(self._url)
        sent = CaseInsensitiveDict({**(self._headers if ours else {}), "Accept-Encoding": "identity", **headers})
        auth = self._auth if ours and self._auth is not None else _NO_AUTHENTICATION
        session = self._sessions.public if public_only else self._sessions.anywhere
        try:
            if public_only and _proxy_for(url):
                check_public(str(urlsplit(url).hostname), _known_addresses(url))
            return session.get(url, headers=sent, auth=auth, stream=True, timeout=self._timeout, allow_redirects=False)
        except AddressRefusedError as error:
            failure: Exception = self.failure(
                f"it redirects to {redact(url)}, and {error}: a public host can't send us into a private network"
            )
        except UnicodeEncodeError:  # holds the value
            failure = self.failure(_UNSENDABLE)
        except _PERMANENT_ERRORS as error:
            failure = self.failure(_reason(error), error)
        except requests.RequestException as error:
            failure = TransientError(self.failure(_reason(error), error))
        raise failure

    def _usable(self, url: str, *, redirected: bool = False) -> str:
        """A URL as it is asked for, without user and password, if it is one of http or https."""
        prepared = requests.PreparedRequest()
        try:
            if urlsplit(url).scheme not in {"http", "https"}:
                raise ValueError
            prepared.prepare_url(url, None)
            parts = urlsplit(str(prepared.url))
            host = parts.netloc.rpartition("@")[2]
            _origin(str(prepared.url))
        except (ValueError, requests.RequestException):
            where = f"it redirects to {redact(url)}, and " if redirected else ""
            reason = f"{where}only http and https are fetched from"
        else:
            return urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
        raise self.failure(reason)


class _NoAuthentication(AuthBase):
    """Leaves a request as it is: without it, requests looks into the URL and ``~/.netrc`` at every hop."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


_NO_AUTHENTICATION: Final = _NoAuthentication()


def _authentication(url: str, auth: tuple[str, str] | None, headers: Mapping[str, str]) -> AuthBase | None:
    """What goes to the host that the user named, and to no other."""
    if auth is None:
        user_info = urlsplit(url).netloc.rpartition("@")[0]
        user, _, password = user_info.partition(":")
        if user_info:
            auth = unquote(user), unquote(password)
        elif not any(name.lower() == "authorization" for name in headers):
            auth = get_netrc_auth(url)
    if auth is None:
        return None
    user, password = auth
    return HTTPBasicAuth(user.encode(), password.encode())  # text would be sent in Latin-1


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("no host")
    return parts.scheme, parts.hostname.rstrip("."), parts.port or _PORTS[parts.scheme]


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:  # refused as it is
        return location


def _came_from_public(url: str, response: requests.Response) -> bool:
    """Whether the host that answered is a public one; through a proxy, whether its name could be one's."""
    raw: Any = response.raw
    peer = getattr(raw, "peer", None) or getattr(getattr(raw, "_original_response", None), "peer", None)
    if _proxy_for(url) is None and peer is not None:
        return addresses.is_public(peer)
    return all(map(addresses.is_public, _known_addresses(url)))


def _proxy_for(url: str) -> str | None:
    found: str | None = select_proxy(url, get_environ_proxies(url, no_proxy=None))
    return found


def _known_addresses(url: str) -> list[str]:
    """What a host is here; behind a proxy, names of the world outside may be nothing here."""
    _, host, port = _origin(url)
    try:
        return addresses.resolve(host, port)
    except OSError:
        return []


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds to wait, by the header Retry-After: a number, or a date, measured by the server's own clock."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    until = _date(text)
    if until is None:
        return 0.0
    now = _date(headers.get("Date", "")) or datetime.now(timezone.utc)
    return max((until - now).total_seconds(), 0.0)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def _phrase(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.exceptions.InvalidHeader):
        return _UNSENDABLE
    root = _root(error)
    return redact(f"{type(root).__name__}: {root}")


def _root(error: BaseException | None) -> BaseException | None:
    """The innermost reason: the outer ones repeat it, and the URL."""
    found = error
    while found is not None:
        inner = getattr(found, "reason", None) or next(iter(found.args), None)
        if not isinstance(inner, BaseException):
            return found
        found = inner
    return None
