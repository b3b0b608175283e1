"""The errors of S3, botocore and aiohttp: what they mean here."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp
import botocore.exceptions as boto
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from datastack_fs.errors import (
    ConfigError,
    DatastackError,
    MalformedIdentifierError,
    ResourceExistsError,
    ResourceNotFoundError,
    StorageFullError,
    StoragePermissionError,
    StorageUnavailableError,
    UnsupportedStorageError,
)

ERRORS: Final = (
    ClientError,
    boto.BotoCoreError,
    ResponseParserError,
    aiohttp.ClientError,
    asyncio.TimeoutError,
    OSError,
    DatastackError,
)
"""All that a request may raise."""

_MISSING = {"NoSuchKey", "NoSuchVersion", "NotFound", "404"}
# A HEAD with an expired token answers a bare 400: there is no body to name the code in.
_DENIED = {"400", "ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307"}
_FULL = {"QuotaExceeded", "StorageQuotaExceeded", "XMinioStorageFull", "EntityTooLarge"}
_DAMAGED = {"BadDigest", "IncompleteBody", "InvalidDigest", "XAmzContentSHA256Mismatch"}
_LATER = {"RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded"}

_NO_CREDENTIALS = (
    "no credentials: give key and secret, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), or say "
    "anon=True for a public bucket"
)
_KINDS: Final[tuple[tuple[tuple[type[Exception], ...], type[DatastackError], str], ...]] = (
    (
        (
            boto.NoCredentialsError,
            boto.CredentialRetrievalError,
            boto.MetadataRetrievalError,
            boto.NoAuthTokenError,
            boto.TokenRetrievalError,
            boto.SSOError,
        ),
        StoragePermissionError,
        _NO_CREDENTIALS,
    ),
    (
        (
            boto.HTTPClientError,
            boto.ConnectionError,
            boto.IncompleteReadError,
            boto.ChecksumError,
            boto.FlexibleChecksumError,
            ResponseParserError,
            aiohttp.ClientError,
            asyncio.TimeoutError,
        ),
        StorageUnavailableError,
        "no answer",
    ),
    ((boto.BotoCoreError,), ConfigError, "the S3 client can't work with these settings"),
)


def translate(error: Exception, bucket: str) -> tuple[type[DatastackError], str] | None:
    """The class and the reason for an error of botocore or aiohttp; None for any other."""
    if isinstance(error, ClientError):
        return _translate_answer(error, bucket)
    for kinds, ours, reason in _KINDS:
        if isinstance(error, kinds):
            return ours, reason
    return None


def _translate_answer(error: ClientError, bucket: str) -> tuple[type[DatastackError], str]:
    code, status = code_of(error), status_of(error)
    if code == "NoSuchBucket":
        return ConfigError, no_bucket(bucket)
    if code in _MISSING:
        return ResourceNotFoundError, "not found"
    if code in _ELSEWHERE:
        return ConfigError, "the bucket is in another region: give region=…"
    if code in _DENIED or status in (401, 403):
        return StoragePermissionError, "the store refuses these credentials: wrong, expired, or without this right"
    if code in _FULL or status == 507:
        return StorageFullError, "no room, or over the quota"
    if code in _DAMAGED:
        return StorageUnavailableError, "the bytes were damaged on the way"
    if code in _LATER or status in (408, 409, 429) or (status >= 500 and status != 501):
        return StorageUnavailableError, "the store asks to try again later"
    if status == 412:
        return ResourceExistsError, "it is there"
    if status == 501:
        return UnsupportedStorageError, "this store can't do that"
    if code == "NoSuchUpload":
        return DatastackError, "its unfinished upload was removed meanwhile, by a sweep or a lifecycle rule"
    if code == "KeyTooLongError":
        return MalformedIdentifierError, "too long for this store"
    return DatastackError, "the store refused it"


def no_bucket(bucket: str) -> str:
    """What to say of a bucket that is not there."""
    return f"there is no bucket {bucket!r}; make it (aws s3 mb s3://{bucket}) or mend its name"


def status_of(error: ClientError) -> int:
    """The HTTP status of an answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code_of(error: ClientError) -> str:
    """The code in an answer; the status where there is no room for one, as in that to a HEAD."""
    return str(error.response.get("Error", {}).get("Code", status_of(error)))
