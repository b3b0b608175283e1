"""What goes wrong with Google Cloud Storage, and what it is called here."""

from __future__ import annotations

import asyncio

import aiohttp
from google.auth.exceptions import GoogleAuthError, TransportError

from datastack_fs.errors import (
    ConfigError,
    DatastackError,
    ResourceExistsError,
    StoragePermissionError,
    StorageUnavailableError,
)

_BAD_REQUEST = 400
_DENIED = {401, 403}
_NOT_FOUND = 404
_PRECONDITION_FAILED = 412
_TRANSIENT = {408, 429, 500, 502, 503, 504}
_RATE_LIMITS = {"rateLimitExceeded", "userRateLimitExceeded"}  # some come as 403


class StatusError(Exception):
    """The API refused a request.

    Attributes:
        status: the HTTP status.
        reason: the API's own short word for it, where it gives one ("rateLimitExceeded").
    """

    def __init__(self, status: int, message: str = "", reason: str = "") -> None:
        super().__init__(status, message, reason)
        self.status = status
        self.message = message
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.status} {self.message}".rstrip()

    @property
    def is_not_found(self) -> bool:
        """Whether the object, or the bucket, is not there."""
        return self.status == _NOT_FOUND

    @property
    def is_denied(self) -> bool:
        """Whether the credentials don't do."""
        return self.status in _DENIED and self.reason not in _RATE_LIMITS

    @property
    def is_mismatch(self) -> bool:
        """Whether other bytes came than promised: "Provided MD5 hash … doesn't match calculated MD5 hash …"."""
        return self.status == _BAD_REQUEST and "match calculated" in self.message

    @property
    def is_unmet(self) -> bool:
        """Whether a precondition (``ifGenerationMatch``) was not met."""
        return self.status == _PRECONDITION_FAILED


def translate(error: Exception, bucket: str) -> tuple[type[DatastackError], str] | None:
    """The class and the reason for an error of the API, of the network or of Google's credentials; None for others."""
    if isinstance(error, StatusError):
        return _translate_status(error, bucket)
    if isinstance(error, (aiohttp.ClientError, asyncio.TimeoutError)):
        return StorageUnavailableError, "no answer"
    # gcsfs wraps what google.auth raises while it renews a token.
    refusal = error if isinstance(error, GoogleAuthError) else error.__cause__
    if isinstance(refusal, GoogleAuthError):
        if isinstance(refusal, TransportError) or refusal.retryable:
            return StorageUnavailableError, "Google can't renew these credentials now"
        return StoragePermissionError, (
            "no usable Google credentials; `gcloud auth application-default login` makes some, token= takes others, "
            "token='anon' goes without"
        )
    return None


def _translate_status(error: StatusError, bucket: str) -> tuple[type[DatastackError], str] | None:
    if error.status in _TRANSIENT or error.reason in _RATE_LIMITS:
        return StorageUnavailableError, "Google Cloud Storage can't answer now"
    if error.is_denied:
        return StoragePermissionError, "these credentials (with token='anon', nobody's) don't allow it"
    if error.is_unmet:
        return ResourceExistsError, "it is there"
    if error.is_not_found:  # of an object, that is judged where it is asked for
        return ConfigError, f"there is no bucket {bucket}; `gcloud storage buckets create gs://{bucket}` makes it"
    return None
