"""Writing one S3 object: whole or not at all, and with a known outcome."""

from __future__ import annotations

import hashlib
import logging
import secrets
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

from botocore.exceptions import ClientError

from datastack_fs.connectors.s3_body import Answer, Body
from datastack_fs.connectors.s3_client import S3Client
from datastack_fs.connectors.s3_errors import ERRORS, code_of, status_of
from datastack_fs.deadline import Deadline
from datastack_fs.errors import StorageUnavailableError, UnsupportedStorageError
from datastack_fs.writing import Staged

logger = logging.getLogger(__name__)

T = TypeVar("T")

SHA256: Final = "datastack-sha256"
"""User metadata: the sha256 of the object, in hexadecimal."""

WRITER: Final = "datastack-writer"
"""User metadata: a random name of the write, by which a writer knows its own object after a lost answer."""

LARGEST_PUT: Final = 5 << 30
MOST_PARTS: Final = 10_000
PARTS_IN_FLIGHT: Final = 4
BYTES_IN_FLIGHT: Final = 32 << 20
ABORT_SECONDS: Final = 5.0
ABORTS: Final = 3

_MIB = 1 << 20
_CRC32: Final = "CRC32"


class S3Writer:
    """Stores a staged source under a key: with one PUT, or as a multipart upload that is completed last.

    A source that must not overwrite goes with one PUT whatever its size, except on Amazon's own: of eight concurrent
    completions with ``If-None-Match``, SeaweedFS let up to eight through (7 of 30 races), of eight PUTs always one.

    Args:
        client: this process's.
        key: where in the bucket.
        staged: the source.
        overwrite: False has the store refuse if the key is taken.
        part_size: a longer source goes in parts of at least so many bytes.
        deadline: seconds for which a failing request is tried again.
        translate: makes any error one of ours.
    """

    def __init__(
        self,
        client: S3Client,
        key: str,
        staged: Staged,
        *,
        overwrite: bool,
        part_size: int,
        deadline: float,
        translate: Callable[[Exception], Exception],
    ) -> None:
        self._client = client
        self._key = key
        self._staged = staged
        self._condition = {} if overwrite else {"IfNoneMatch": "*"}
        self._part_size = max(part_size, -(-staged.size // MOST_PARTS))
        self._deadline = deadline
        self._translate = translate
        self._name = secrets.token_hex(8)
        self._metadata = {SHA256: staged.checksum.partition(":")[2], WRITER: self._name}

    def write(self) -> str:
        """Stores the source and returns its ETag.

        Raises:
            ResourceExistsError: the key is taken, and must not be overwritten.
            StorageUnavailableError: it was not stored, or the store can no longer be asked whether it was.
        """
        try:
            if self._staged.size <= self._part_size:
                return self._put(Body(b"".join(self._staged.parts(self._part_size))))
            if self._condition and not self._client.is_aws:
                return self._put_file()
            return self._upload()
        except StorageUnavailableError:
            with suppress(*ERRORS):
                if etag := self._etag_if_ours():
                    return etag
            raise

    def _put_file(self) -> str:
        if self._staged.size > LARGEST_PUT:
            raise UnsupportedStorageError(
                f"{self._key} has {self._staged.size:,} bytes: over {LARGEST_PUT:,}, overwrite=False is atomic only on "
                "Amazon S3"
            )
        # A copy, for the I/O thread reads it: the source itself may be an S3 resource, which it could not wait for.
        with tempfile.TemporaryFile(prefix="datastack-") as file:
            md5 = hashlib.md5(usedforsecurity=False)
            for part in self._staged.parts(_MIB):
                md5.update(part)
                file.write(part)
            return self._put(Body(file, md5))

    def _put(self, body: Body) -> str:
        def put() -> str:
            answer = self._client.call(
                "put_object", Key=self._key, Metadata=self._metadata, **body.parameters(), **self._condition
            )
            return body.etag_in(answer)

        return self._publish(put)

    def _upload(self) -> str:
        created = self._again(self._create)
        upload = {"Key": self._key, "UploadId": created["UploadId"]}
        try:
            parts = {"Parts": self._send_parts(upload, created.get("ChecksumAlgorithm") == _CRC32)}

            def complete() -> str:
                answer = self._client.call(
                    "complete_multipart_upload",
                    MultipartUpload=parts,
                    patience=self._deadline,
                    **upload,
                    **self._condition,
                )
                return str(answer["ETag"])

            return self._publish(complete)
        except BaseException:
            self._abort(upload)
            raise

    def _create(self) -> Answer:
        create = partial(self._client.call, "create_multipart_upload", Key=self._key, Metadata=self._metadata)
        if self._client.takes_crc32:
            try:
                return create(ChecksumAlgorithm=_CRC32)
            except ClientError as error:
                if status_of(error) not in (400, 501):
                    raise
            answer = create()
            self._client.takes_crc32 = False
            return answer
        return create()

    def _send_parts(self, upload: Mapping[str, str], with_crc32: bool) -> list[dict[str, Any]]:
        """Uploads the parts, some at once.

        The source is read in the calling thread: it may be an S3 resource itself, which the I/O thread could not wait
        for.
        """
        most = max(1, min(PARTS_IN_FLIGHT, BYTES_IN_FLIGHT // self._part_size))
        flying: dict[Future[Answer], tuple[int, Body]] = {}
        sent: dict[int, dict[str, Any]] = {}
        deadline: Deadline | None = None

        def send(number: int, body: Body) -> None:
            flying[self._client.begin("upload_part", PartNumber=number, **body.parameters(), **upload)] = number, body

        def land() -> None:
            nonlocal deadline
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                number, body = flying.pop(future)
                try:
                    answer = future.result()
                    sent[number] = {"PartNumber": number, "ETag": body.etag_in(answer), **body.crc32_in(answer)}
                    deadline = None
                except ERRORS as error:
                    deadline = self._pause(error, deadline)
                    send(number, body)

        try:
            for number, part in enumerate(self._staged.parts(self._part_size), 1):
                send(number, Body(part, with_crc32=with_crc32))
                while len(flying) >= most:
                    land()
            while flying:
                land()
        finally:
            for future in flying:
                future.cancel()
        return [sent[number] for number in sorted(sent)]

    def _publish(self, call: Callable[[], str]) -> str:
        """Makes the call that publishes, again while its answer is lost, and returns the ETag."""

        def attempt() -> str:
            try:
                return call()
            except ClientError as error:
                # An earlier try may have stored it, ours or aiohttp's: that repeats a PUT if the connection breaks.
                if status_of(error) == 412 or code_of(error) == "NoSuchUpload":
                    etag = self._etag_if_ours()
                    if etag is not None:
                        return etag
                raise

        return self._again(attempt)

    def _etag_if_ours(self) -> str | None:
        try:
            found = self._client.call("head_object", Key=self._key)
        except ClientError as error:
            if status_of(error) == 404:
                return None
            raise
        return str(found["ETag"]) if found["Metadata"].get(WRITER) == self._name else None

    def _abort(self, upload: Mapping[str, str]) -> None:
        """Removes the parts; what can't be removed now is left to a sweep."""

        def abort() -> None:
            try:
                for _ in range(ABORTS):
                    self._client.call("abort_multipart_upload", **upload)
                    # A part that was on its way may arrive after the abort: S3's documentation asks to look.
                    self._client.call("list_parts", MaxParts=1, **upload)
            except ClientError as error:
                if code_of(error) != "NoSuchUpload":
                    raise

        try:
            self._again(abort, min(ABORT_SECONDS, self._deadline))
        except ERRORS as error:
            logger.warning("an unfinished upload of %s is left to sweep(): %s", self._key, type(error).__name__)

    def _again(self, call: Callable[[], T], seconds: float | None = None) -> T:
        """Calls until it works, or fails for another reason than a fault that may pass, or the time is up."""
        deadline: Deadline | None = None
        while True:
            try:
                return call()
            except ERRORS as error:
                deadline = self._pause(error, deadline, seconds)

    def _pause(self, error: Exception, deadline: Deadline | None, seconds: float | None = None) -> Deadline:
        """Waits before another try, or raises. The clock begins at the first failure: a part may take long to send."""
        ours = self._translate(error)
        if not isinstance(ours, StorageUnavailableError):
            raise ours
        if deadline is None:
            deadline = Deadline(self._deadline if seconds is None else seconds)
        deadline.wait(ours)
        return deadline


def heeds_if_none_match(client: S3Client, key: str) -> bool:
    """Whether the store refuses to overwrite when it is told not to: some take ``If-None-Match`` and ignore it.

    Tried out on a key of our own, which is deleted again.
    """
    client.call("put_object", Key=key, Body=b"")
    try:
        client.call("put_object", Key=key, Body=b"", IfNoneMatch="*")
    except ClientError as error:
        if status_of(error) != 412:
            raise
        return True
    finally:
        with suppress(*ERRORS):
            client.call("delete_object", Key=key)
    return False
