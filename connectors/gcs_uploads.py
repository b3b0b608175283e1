"""Writing one object to Google Cloud Storage, all or nothing: in one request, or through a resumable session."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import IO, Any, Final, Protocol, TypeAlias, TypeVar

from datastack_fs.connectors.gcs_api import Answer, BucketAPI
from datastack_fs.connectors.gcs_errors import StatusError
from datastack_fs.writing import Staged

SHA256: Final = "datastack-sha256"
"""Metadata: the sha256 of the object, in hexadecimal."""

WRITER: Final = "datastack-writer"
"""Metadata: a random name of the write, by which a writer knows its own object after a lost answer."""

SESSIONS: Final = 3
"""So often a large object is sent from its beginning when the server forgets its session."""

Resource: TypeAlias = "dict[str, Any]"
T = TypeVar("T")

_CONTENT_TYPE = "application/octet-stream"
_MD5_DIGITS = 24
_GONE = (404, 410)
_INCOMPLETE = 308


class Retry(Protocol):
    """Calls a function until it succeeds or the deadline has passed."""

    def __call__(self, call: Callable[[], T]) -> T: ...  # noqa: D102


class ObjectWriter:
    """One write of one object.

    Up to ``chunk_size`` bytes go in one request, whose metadata hold the md5 that Google checks before it publishes.
    More go through a resumable session, which publishes with its last chunk, on whose md5 Google checks the whole.

    A server that gives no ``X-GUploader-UploadID`` is not Google's, and gets one request whatever the size: the
    sessions of fake-gcs-server (1.54 to 1.56, its issue 2354) take the question "how much have you got?" for the end
    and publish what they have, append twice what was sent twice, and ignore ``ifGenerationMatch``. (It checks no md5
    either, hence the comparison afterwards.)

    Args:
        api: the bucket.
        key: the object's name.
        staged: its bytes.
        overwrite: False makes it a condition that no such object exists.
        chunk_size: a multiple of 256 KiB.
        retry: for what is worth trying again.
    """

    def __init__(
        self, api: BucketAPI, key: str, staged: Staged, *, overwrite: bool, chunk_size: int, retry: Retry
    ) -> None:
        self._api = api
        self._key = key
        self._staged = staged
        self._conditions = {} if overwrite else {"ifGenerationMatch": "0"}
        self._chunk_size = chunk_size
        self._is_large = staged.size > chunk_size
        self._retry = retry
        self._name = secrets.token_hex(16)

    def write(self) -> Resource:
        """Publishes, and returns what the API says of the new object."""
        if not self._is_large:
            return self._insert()
        lost: list[str] = []
        while len(lost) < SESSIONS:
            session = self._begin()
            if session is None:
                return self._insert()
            stored = self._send(session)
            if stored is not None:
                return stored
            lost.append(session.lost)
        raise ConnectionError(f"{SESSIONS} upload sessions were lost, one after the other: {'; '.join(lost)}")

    def _metadata(self, **more: str) -> bytes:
        own = {SHA256: self._staged.checksum.partition(":")[2], WRITER: self._name}
        return json.dumps({"name": self._key, "contentType": _CONTENT_TYPE, "metadata": own, **more}).encode()

    # One request.

    def _insert(self) -> Resource:
        url = self._api.url(service="upload/", uploadType="multipart", **self._conditions)
        headers = {"Content-Type": f"multipart/related; boundary={self._name}"}
        with tempfile.TemporaryFile(prefix="datastack-") if self._is_large else io.BytesIO() as body:
            md5 = self._fill(body)
            tried = False

            def attempt() -> Resource:
                nonlocal tried
                if tried and (stored := self._stored(md5)):
                    return stored
                tried = True
                try:
                    answer = self._api.request("POST", url, headers=headers, body=body)
                except StatusError as error:
                    # An earlier try may have been stored after all, just too late for the look above.
                    if error.is_unmet and (stored := self._stored(md5)):
                        return stored
                    if error.is_mismatch:
                        raise ConnectionError(f"the bytes were changed on the way: {error}") from error
                    raise
                return self._verified(answer.json(), md5)

            return self._retry(attempt)

    def _fill(self, body: IO[bytes]) -> str:
        """Writes the request's body, and returns the md5 of the content."""
        md5 = hashlib.md5(usedforsecurity=False)
        body.write(self._head("=" * _MD5_DIGITS))  # keeps the place
        for part in self._staged.parts(self._chunk_size):
            md5.update(part)
            body.write(part)
        body.write(f"\r\n--{self._name}--\r\n".encode())
        body.seek(0)
        body.write(self._head(_base64(md5.digest())))
        return _base64(md5.digest())

    def _head(self, md5: str) -> bytes:
        types = ["application/json; charset=UTF-8", _CONTENT_TYPE]
        first, second = (f"--{self._name}\r\nContent-Type: {kind}\r\n\r\n".encode() for kind in types)
        return first + self._metadata(md5Hash=md5) + b"\r\n" + second

    # A session of many requests.

    def _begin(self) -> ResumableSession | None:
        """A session, or None where the server's can't be relied on."""
        url = self._api.url(service="upload/", uploadType="resumable", name=self._key, **self._conditions)
        headers = {
            "Content-Type": "application/json; charset=UTF-8",
            "X-Upload-Content-Type": _CONTENT_TYPE,
            "X-Upload-Content-Length": str(self._staged.size),
        }
        request = partial(self._api.request, "POST", url, headers=headers, body=io.BytesIO(self._metadata()))
        answer = self._retry(request)
        if "X-GUploader-UploadID" not in answer.headers:
            return None
        return ResumableSession(self._api, answer.headers["Location"], self._staged.size)

    def _send(self, session: ResumableSession) -> Resource | None:
        """Sends everything; None if the session was lost and nothing is stored."""
        md5 = hashlib.md5(usedforsecurity=False)
        offset = 0
        answer: Answer | None = None
        is_last = False
        try:
            # The last part is sent only when the staged bytes are known to have been the right ones.
            for part, is_last in _with_last(self._staged.parts(self._chunk_size)):
                md5.update(part)
                checksum = _base64(md5.digest()) if is_last else None
                answer = self._retry(partial(session.put, part, offset, checksum))
                offset += len(part)
                if session.lost or answer is not None:
                    break
        except BaseException:
            session.cancel()
            raise
        if answer is None:
            session.cancel()
            # Lost at its last part, it may have been lost because it was done.
            return self._retry(partial(self._stored, _base64(md5.digest()))) if is_last else None
        return self._verified(answer.json(), _base64(md5.digest()))

    # What came of it.

    def _stored(self, md5: str) -> Resource | None:
        """The object, if it is there and this very write made it."""
        try:
            resource = self._api.request("GET", self._api.url(self._key)).json()
        except StatusError as error:
            if error.is_not_found:
                return None
            raise
        is_ours = resource.get("metadata", {}).get(WRITER) == self._name
        return self._verified(resource, md5) if is_ours else None

    def _verified(self, resource: Resource, md5: str) -> Resource:
        """The resource, if it is what was sent; else it is removed, and written again (ConnectionError)."""
        if int(resource["size"]) == self._staged.size and resource.get("md5Hash", md5) == md5:
            return resource
        with suppress(StatusError):
            self._api.request("DELETE", self._api.url(self._key, generation=resource["generation"]))
        raise ConnectionError(
            f"{resource['size']} bytes with md5 {resource.get('md5Hash')} were stored, not those sent"
        )


class ResumableSession:
    """An upload that the server keeps to itself until its last byte has come; it forgets it after a week.

    Attributes:
        lost: why it is of no use any more, if so.
    """

    def __init__(self, api: BucketAPI, url: str, total: int) -> None:
        self._api = api
        self._url = url  # whoever has it can write: it appears in no message
        self._total = total
        self._received = 0
        self._certain = True
        self.lost = ""

    def put(self, part: bytes, offset: int, checksum: str | None) -> Answer | None:
        """Sends what the server has not yet got of one part; the object's answer after the last.

        After any failure the server is asked what it has got before more is sent, so that this can be called again.

        Args:
            part: the bytes; all but the last are a multiple of 256 KiB long.
            offset: where they belong.
            checksum: md5 of the whole object, with the last part.
        """
        end = offset + len(part)
        headers = {"X-Goog-Hash": f"md5={checksum}"} if checksum else {}
        try:
            while not self._certain or self._received < end or end == self._total:
                if self._certain and offset <= self._received < end:
                    span = f"{self._received}-{end - 1}"
                    answer = self._exchange(part[self._received - offset :], span, headers)
                else:
                    answer = self._exchange(b"", "*", {})
                if answer.status != _INCOMPLETE:
                    return answer
                if self._received < offset:
                    self.lost = f"of {offset} bytes that it had, {self._received} are left"
                    return None
        except StatusError as error:
            if error.status not in _GONE and not error.is_mismatch:
                raise
            self.lost = str(error)
        return None

    def cancel(self) -> None:
        """Tells the server to forget it; if that fails it will by itself, in a week."""
        with suppress(Exception):  # what made us give up is the error to be told
            self._api.request("DELETE", self._url)

    def _exchange(self, data: bytes, span: str, headers: dict[str, str]) -> Answer:
        self._certain = False
        answer = self._api.request(
            "PUT",
            self._url,
            headers={"Content-Range": f"bytes {span}/{self._total}", **headers},
            body=io.BytesIO(data) if data else None,
            accept=_INCOMPLETE,
        )
        if answer.status == _INCOMPLETE:
            before, self._received = self._received, _received(answer)
            self._certain = True
            if (data and self._received <= before) or self._received == self._total:
                raise ConnectionError(f"the upload stands still at byte {self._received}")
        return answer


def _received(answer: Answer) -> int:
    """How many bytes the server has: ``Range: bytes=0-41`` are 42, no Range is none."""
    last = answer.headers.get("Range", "").rpartition("-")[2]
    return int(last) + 1 if last else 0


def _with_last(parts: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each part, and whether it is the last; none is given before the one after it was got."""
    previous = next(parts)
    for part in parts:
        yield previous, False
        previous = part
    yield previous, True


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
