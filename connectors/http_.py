"""The files of a web server, as a read-only storage connector."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from ssl import SSLCertVerificationError
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from datastack_fs.connectors.http_client import Address, Answer, RedirectError
from datastack_fs.connectors.http_worker import Copy, Read, Worker
from datastack_fs.credentials import EnvironmentText
from datastack_fs.errors import (
    ConfigError,
    DatastackError,
    MalformedIdentifierError,
    StoragePermissionError,
    StorageUnavailableError,
    UnsupportedStorageError,
)
from datastack_fs.processes import PerProcess
from datastack_fs.resource import Range, ResourceInfo
from datastack_fs.storage import DEADLINE, StorageConnector

_CONTENT_RANGE = re.compile(r"bytes\s+(\d+)-(\d+)/(\d+)", re.IGNORECASE)
_EMPTY_RANGE = re.compile(r"bytes\s+\*/0", re.IGNORECASE)
_GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_DENIED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}
_HEAD_REFUSED = {HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}
_CHANGED = {*_GONE, HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}
_TRY_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_NEVER_WILL = {HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED}


class HTTPStorageConnector(StorageConnector):
    """The files below an address of a web server; it can only be read, and has no listing.

    Ranges are read 16 at a time, each pinned to the version by its ETag (``If-Match``, and the answer's own ETag, range
    and total are compared). Where a server gives only a weak ETag, a date, or nothing, those and the size are compared
    instead: a file that was replaced within a second by one of the same size goes unnoticed, and the version says
    ``weak``. A server that sends no ranges has its file copied once, whole, to an unnamed temporary file, from which
    the ranges are cut: each process does so once for a version, and keeps the last four.

    Args:
        base_url: ``https://host/path/``. A user and a password in it, and a query (that of a signed URL), are sent with
            every request and never shown.
        headers: more headers for every request. They and the credentials are not sent on to another host that the
            server redirects to.
        auth: user and password of Basic authentication.
        query: what follows the ``?`` of every request, as text or as a mapping.
        read_only: for the sake of profiles; a web server is never written to.
        deadline: seconds without progress after which an operation gives up.

    Examples:
        >>> HTTPStorageConnector("https://ann:pw@example.org/birds?token=abc")
        HTTPStorageConnector('https://example.org/birds/', read_only=True)
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        auth: Sequence[str] | None = None,
        query: str | Mapping[str, str] | None = None,
        read_only: bool = True,
        deadline: float = DEADLINE,
    ) -> None:
        super().__init__(_shown(base_url), read_only=True, deadline=deadline)
        if auth is not None and (isinstance(auth, str) or len(auth) != 2):
            raise ConfigError("auth= takes a user and a password: ('ann', '${PASSWORD}')")
        self._client = PerProcess(partial(Worker, base_url, headers, auth, query, deadline), Worker.close)

    @classmethod
    def split_url(cls, url: str) -> tuple[str, str]:
        """The address of the folder, with its query, and the decoded name of the file.

        Examples:
            >>> HTTPStorageConnector.split_url("https://host/birds/great%20owl.h5?token=abc")
            ('https://host/birds/?token=abc', 'great owl.h5')
        """
        scheme, host, path, query, _ = urlsplit(url)
        folder, _, name = path.rpartition("/")
        try:
            identifier = unquote(name, errors="strict")
        except UnicodeDecodeError:
            raise MalformedIdentifierError(f"{name!r}: its percent sequences are not UTF-8") from None
        if "/" in identifier:
            raise MalformedIdentifierError(f"{name!r}: an encoded slash can't be part of a name")
        return type(url)(urlunsplit((scheme, host, f"{folder}/", query, ""))), identifier

    # Reading.

    def _block_bytes(self, info: ResourceInfo) -> int:
        return super()._block_bytes(info) if info.version.startswith('"') else 0  # weak: it may name other bytes, too

    def _stat(self, identifier: str) -> ResourceInfo:
        with self._ask("HEAD", identifier) as answer:
            if answer.status == HTTPStatus.OK and answer.length:
                return self._describe(identifier, answer, answer.length)
            if answer.status not in {HTTPStatus.OK, *_HEAD_REFUSED}:
                raise self._refused(identifier, answer.status)
        # No HEAD here, or one without a size (some frameworks say 0): the first byte comes with the same headers.
        with self._ask("GET", identifier, {"Range": "bytes=0-0"}) as answer:
            if answer.status == HTTPStatus.OK and answer.length is not None:
                return self._describe(identifier, answer, answer.length)
            content_range = answer.headers.get("Content-Range", "")
            if answer.status == HTTPStatus.PARTIAL_CONTENT and (found := _CONTENT_RANGE.fullmatch(content_range)):
                return self._describe(identifier, answer, int(found[3]))
            if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and _EMPTY_RANGE.fullmatch(content_range):
                return self._describe(identifier, answer, 0)
            if answer.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
                reason = "the server does not tell its size; fetch it with HTTPRetriever into another store"
                raise UnsupportedStorageError(self._sentence("open", identifier, reason))
            raise self._refused(identifier, answer.status)

    def _read_ranges(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[bytes | Exception]:
        client = self._client.get()
        copy = client.copies.get((info.identifier, info.version))
        if copy is None:
            answers = client.map(partial(self._read_range, info), ranges)
            if None not in answers:
                return [answer for answer in answers if answer is not None]
            with client.copying:  # one at a time: others of this version find it done
                copy = client.copies.get((info.identifier, info.version)) or self._copy_whole(info)
                client.keep(info, copy)
        return [copy.read(wanted) for wanted in ranges]

    def _read_range(self, info: ResourceInfo, wanted: Range) -> Read:
        """The bytes; None if the server sends no ranges."""
        try:
            asked = {"Range": f"bytes={wanted[0]}-{wanted[1] - 1}", **_pin(info)}
            with self._ask("GET", info.identifier, asked) as answer:
                if answer.status == HTTPStatus.PARTIAL_CONTENT:
                    self._check_part(info, wanted, answer)
                    return answer.read(wanted[1] - wanted[0])
                self._check_whole(info, answer)
                return answer.read(info.size) if wanted == (0, info.size) else None
        except Exception as error:  # noqa: BLE001 (the caller translates it: each range has an error of its own)
            return error

    def _copy_whole(self, info: ResourceInfo) -> Copy:
        with self._ask("GET", info.identifier, _pin(info)) as answer:
            self._check_whole(info, answer)
            copy = Copy(answer.blocks(), info.size)
        if copy.size != info.size:
            reason = f"{copy.size:,} bytes came, and {info.size:,} were promised"
            raise StorageUnavailableError(self._sentence("read", info.identifier, reason))
        return copy

    def _list(self, prefix: str) -> Iterable[str]:
        reason = "HTTP has no listing; name the resources, or keep a file with their names beside them"
        raise UnsupportedStorageError(self._sentence("list", prefix, reason))

    def close(self) -> None:
        """Ends connections and threads, and removes temporary files. The connector stays usable."""
        self._client.close()

    # Answers.

    @contextmanager
    def _ask(self, method: str, identifier: str, headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
        with self._client.get().ask(method, quote(identifier, safe="/"), headers) as answer:
            encoding = answer.headers.get("Content-Encoding", "identity").lower()
            if encoding != "identity" and answer.status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
                reason = f"the server sends it compressed ({encoding}), though it was asked not to"
                raise UnsupportedStorageError(self._sentence("read", identifier, reason))
            yield answer

    def _describe(self, identifier: str, answer: Answer, size: int) -> ResourceInfo:
        info = ResourceInfo(identifier, size, _version(answer, size), _modified(answer))
        if info.version == _version_of_size(size):
            self._client.get().copies.pop((identifier, info.version), None)  # it may be out of date: nobody can tell
        return info

    def _check_part(self, info: ResourceInfo, wanted: Range, answer: Answer) -> None:
        """Whether a 206 is that range of that version."""
        content_range = answer.headers.get("Content-Range", "")
        found = _CONTENT_RANGE.fullmatch(content_range)
        if found is None:
            reason = f"the answer to a range does not say what it is (Content-Range: {content_range!r})"
            raise UnsupportedStorageError(self._sentence("read", info.identifier, reason))
        first, last, total = map(int, found.groups())
        if total != info.size or _version(answer, total) != info.version:
            raise self._changed(info.identifier)
        if (first, last + 1) != wanted:
            reason = f"the server answered with the bytes {first}-{last}, not {wanted[0]}-{wanted[1] - 1}"
            raise UnsupportedStorageError(self._sentence("read", info.identifier, reason))

    def _check_whole(self, info: ResourceInfo, answer: Answer) -> None:
        """Whether an answer is the whole of that version."""
        if answer.status in _CHANGED:
            raise self._changed(info.identifier)
        if answer.status != HTTPStatus.OK:
            raise self._refused(info.identifier, answer.status)
        size = info.size if answer.length is None else answer.length
        if size != info.size or _version(answer, size) != info.version:
            raise self._changed(info.identifier)

    def _refused(self, identifier: str, status: int) -> Exception:
        if status in _GONE:
            return FileNotFoundError(identifier)
        kind: type[DatastackError] = DatastackError
        reason = f"the server answers {status} ({_phrase(status)})"
        if status in _DENIED:
            kind, reason = StoragePermissionError, f"{reason}; credentials go into auth= or headers="
        elif status in _TRY_AGAIN or (500 <= status < 600 and status not in _NEVER_WILL):
            kind = StorageUnavailableError
        return kind(self._sentence("read", identifier, reason))

    def _translate(self, error: Exception) -> tuple[type[DatastackError], str] | None:
        if isinstance(error, RedirectError):
            return UnsupportedStorageError, "its redirect is not followed"
        if isinstance(error, SSLCertVerificationError):
            return StoragePermissionError, "its certificate is not trusted"
        return super()._translate(error)


def _shown(base_url: str) -> str:
    if isinstance(base_url, EnvironmentText) and not base_url.lower().startswith(("http:", "https:")):
        return str(base_url)  # it is to come from the environment as a whole
    return Address(base_url).base


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "not a standard status"


def _pin(info: ResourceInfo) -> dict[str, str]:
    return {"If-Match": info.version} if info.version.startswith('"') else {}


def _version(answer: Answer, size: int) -> str:
    """A strong ETag as it is; else what there is to compare, marked as weak."""
    etag = answer.headers.get("ETag", "").strip()
    if etag.startswith('"'):
        return etag
    validator = etag or answer.headers.get("Last-Modified")
    return f"weak {validator} {size}" if validator else _version_of_size(size)


def _version_of_size(size: int) -> str:
    return f"weak - {size}"


def _modified(answer: Answer) -> datetime | None:
    try:
        return parsedate_to_datetime(answer.headers["Last-Modified"])
    except (KeyError, ValueError):
        return None
