"""An S3 bucket (Amazon's or any compatible store's), as a storage connector."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from datastack_fs.connectors.fsspec_loop import gather_ranges
from datastack_fs.connectors.obstore_ranges import ObstoreRanges, wants_obstore
from datastack_fs.connectors.obstore_reading import ObstoreReading
from datastack_fs.credentials import expand
from datastack_fs.errors import ConfigError, DatastackError, MissingDependencyError, UnsupportedStorageError
from datastack_fs.identifiers import RESERVED, is_identifier, key_prefix
from datastack_fs.processes import PerProcess
from datastack_fs.resource import Range, ResourceInfo
from datastack_fs.storage import DEADLINE

try:
    from botocore.exceptions import ClientError

    from datastack_fs.connectors.s3_client import DIRECTORY_BUCKET, S3Client
    from datastack_fs.connectors.s3_errors import code_of, status_of, translate
    from datastack_fs.connectors.s3_writing import SHA256, S3Writer, heeds_if_none_match
except ModuleNotFoundError as error:
    raise MissingDependencyError("s3:// needs s3fs: pip install 'datastack-fs[s3]'", name=error.name) from error

if TYPE_CHECKING:
    from typing_extensions import Self

    from datastack_fs.writing import Upload

KEY_BYTES: Final = 1024
PART_BYTES: Final = 8 << 20
SMALLEST_PART: Final = 5 << 20
"""S3's own lower bound for all parts but the last."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_PROBE = f"{RESERVED}-probe-"


class S3StorageConnector(ObstoreReading):
    """A bucket, or what is below a prefix in one, of Amazon S3 or a compatible store (MinIO, SeaweedFS, Ceph, R2).

    Without explicit arguments the SDK's own environment counts: ``AWS_ACCESS_KEY_ID``, ``AWS_PROFILE``,
    ``AWS_ENDPOINT_URL``, ``AWS_REGION``, the files of ``~/.aws``, the role of the machine. Reads name the ETag of
    their version in every request; writes are one PUT or a multipart upload that is completed last, with the sha256
    in the object's metadata. The bucket is never made: a missing one is a ``ConfigError``.

    Args:
        bucket: its name.
        prefix: the folder in it that is the store; "" for all of it.
        key: access key id.
        secret: secret access key.
        token: session token.
        anon: ask without credentials, for public buckets.
        endpoint_url: of another store than Amazon's.
        region: of the bucket.
        profile: of the AWS configuration files.
        read_only: refuse every write.
        deadline: seconds without progress after which an operation gives up.
        part_size: longer resources are written in parts of this size, four at a time.
        engine: what many ranges are read through: ``"obstore"``, ``"s3fs"``, or ``"auto"`` for obstore where it is
            installed (``pip install 'datastack-fs[fast]'``). A process that was forked off one that reads through
            obstore reads through s3fs; one that was spawned does not have to.

    Examples:
        >>> connector = S3StorageConnector("lab", "datasets", endpoint_url="http://127.0.0.1:8333", key="a", secret="b")
        >>> connector
        S3StorageConnector('s3://lab/datasets')
    """

    other_engine = "s3fs"

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        key: str | None = None,
        secret: str | None = None,
        token: str | None = None,
        anon: bool = False,
        endpoint_url: str | None = None,
        region: str | None = None,
        profile: str | None = None,
        read_only: bool = False,
        deadline: float = DEADLINE,
        part_size: int = PART_BYTES,
        engine: str = "auto",
    ) -> None:
        if "@" in bucket:
            raise ConfigError(
                "an S3 URL holds no credentials: give key=… and secret=… (as ${NAME} from the environment), or set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if not bucket or "/" in bucket:
            raise ConfigError(f"{bucket!r} is no bucket's name; a store is s3://bucket or s3://bucket/prefix")
        if part_size < SMALLEST_PART:
            raise ConfigError(f"part_size is {part_size:,}, and S3 wants at least {SMALLEST_PART:,} bytes")
        self._is_fast = wants_obstore(engine, self.other_engine) and not bucket.endswith(DIRECTORY_BUCKET)
        self._folder = key_prefix(prefix, KEY_BYTES)
        super().__init__(f"s3://{bucket}/{self._folder}".rstrip("/"), read_only=read_only, deadline=deadline)
        self._bucket = bucket
        self._part_size = part_size
        options = {"key": key, "secret": secret, "token": token, "anon": anon, "endpoint_url": endpoint_url}
        options |= {"region": region, "profile": profile}
        self._clients = PerProcess(partial(S3Client, bucket, deadline, options), S3Client.close)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """``s3://bucket/prefix`` (or ``s3a://``), taken literally: percent sequences are not decoded."""
        bucket, _, prefix = expand(url).partition("://")[2].partition("/")
        return cls(bucket, prefix, **options)

    def close(self) -> None:  # noqa: D102
        self._clients.close()

    # Reading.

    def _cache_identity(self) -> str:
        return f"{self._clients.get().endpoint} {self.url}"

    def _stat(self, identifier: str) -> ResourceInfo:
        client = self._clients.get()
        try:
            return _describe(identifier, client.call("head_object", Key=self._key(identifier)))
        except ClientError as error:
            if status_of(error) != 404:
                raise
            client.check_bucket()
            raise FileNotFoundError(identifier) from error

    def _fast(self) -> ObstoreRanges:
        return self._clients.get().fast

    def _read_otherwise(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[bytes | Exception]:
        client = self._clients.get()
        key = self._key(info.identifier)

        async def read_one(start: int, stop: int) -> bytes:
            try:
                answer, content = await client.read(key, start, stop, info.version)
            except ClientError as error:
                # 416: a store that ignores If-Match has a shorter version by now.
                if status_of(error) in (404, 412, 416) and code_of(error) != "NoSuchBucket":
                    raise self._changed(info.identifier) from error
                raise
            if answer["ETag"].strip('"') != info.version.strip('"'):
                raise self._changed(info.identifier)
            if not _is_range(answer, start, stop, info.size):
                reason = "this store does not answer requests for ranges as HTTP has it"
                raise UnsupportedStorageError(self._sentence("read", info.identifier, reason))
            return content

        return gather_ranges(client.loop, read_one, ranges)

    def _list(self, prefix: str) -> Iterator[str]:
        return (name for name, _ in self._scan(prefix))

    def _scan(self, prefix: str) -> Iterator[tuple[str, ResourceInfo]]:
        client = self._clients.get()
        self._retry("list", prefix, client.check_bucket)
        pages = self._pages("list_objects_v2", "ContinuationToken", Prefix=self._folder + prefix)
        found = (self._listed(entry) for page in pages for entry in page.get("Contents", ()))
        # Amazon lists in the order of UTF-8, page by page. SeaweedFS has "a/b" before "a b"; others are not known.
        return found if client.is_aws else iter(sorted(found, key=itemgetter(0)))

    def _listed(self, entry: Mapping[str, Any]) -> tuple[str, ResourceInfo]:
        name = entry["Key"][len(self._folder) :]
        return name, ResourceInfo(name, entry["Size"], entry["ETag"], entry.get("LastModified"))

    def _pages(self, method: str, *markers: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        client = self._clients.get()
        following: dict[str, str] = {}
        while True:
            page = self._retry("list", "", partial(client.call, method, **parameters, **following))
            yield page
            following = {marker: page[f"Next{marker}"] for marker in markers if page.get(f"Next{marker}")}
            if not page.get("IsTruncated") or not following:
                return

    # Writing.

    def _publish(self, identifier: str, upload: Upload, overwrite: bool) -> ResourceInfo:
        client = self._clients.get()
        self._retry("store", identifier, client.check_bucket)
        if not overwrite and self.has_resource(identifier):
            raise FileExistsError(identifier)
        with upload.staged() as staged:
            if not overwrite:
                self._check_creates(client)
            writer = S3Writer(
                client,
                self._key(identifier),
                staged,
                overwrite=overwrite,
                part_size=self._part_size,
                deadline=self.deadline,
                translate=lambda error: self._translated(error, "store", identifier),
            )
            etag = writer.write()
            stored = ResourceInfo(identifier, staged.size, etag, None, staged.checksum)
        head = partial(client.call, "head_object", Key=self._key(identifier), IfMatch=etag)
        try:
            return _describe(identifier, self._retry("look up", identifier, head))
        except DatastackError:
            # It is stored; only the time isn't known, as when another writer has replaced it already.
            return stored

    def _check_creates(self, client: S3Client) -> None:
        if client.is_aws or client.creates:
            return
        probe = f"{self._folder}{_PROBE}{secrets.token_hex(8)}"
        if not self._retry("store", "", lambda: heeds_if_none_match(client, probe)):
            reason = "it ignores If-None-Match, so that overwrite=False can't be atomic"
            raise UnsupportedStorageError(self._sentence("store", "", reason))
        client.creates = True

    def _delete(self, identifier: str) -> None:
        self._stat(identifier)
        client = self._clients.get()
        # Retried here, too: the whole tried again would not find what a delete without answer has deleted.
        self._retry("delete", identifier, lambda: client.call("delete_object", Key=self._key(identifier)))

    def _sweep(self, older_than: float) -> int:
        client = self._clients.get()
        client.check_bucket()
        before = datetime.now(timezone.utc) - timedelta(seconds=older_than)
        swept = 0
        for page in self._pages("list_multipart_uploads", "KeyMarker", "UploadIdMarker", Prefix=self._folder):
            for upload in page.get("Uploads", ()):
                if upload["Initiated"] < before and self._is_ours(upload["Key"]):
                    swept += _abort(client, upload)
        for page in self._pages("list_objects_v2", "ContinuationToken", Prefix=self._folder + _PROBE):
            for entry in page.get("Contents", ()):
                if entry["LastModified"] < before:
                    client.call("delete_object", Key=entry["Key"])
                    swept += 1
        return swept

    def _is_ours(self, key: str) -> bool:
        name = key[len(self._folder) :]
        return is_identifier(name) or name.startswith(_PROBE)

    def _translate(self, error: Exception) -> tuple[type[DatastackError], str] | None:
        return translate(error, self._bucket) or super()._translate(error)

    def _key(self, identifier: str) -> str:
        return self._folder + identifier


def _abort(client: S3Client, upload: Mapping[str, str]) -> bool:
    try:
        client.call("abort_multipart_upload", Key=upload["Key"], UploadId=upload["UploadId"])
    except ClientError as error:
        if code_of(error) == "NoSuchUpload":  # completed or aborted since it was listed
            return False
        raise
    return True


def _describe(identifier: str, answer: Mapping[str, Any]) -> ResourceInfo:
    digest = answer.get("Metadata", {}).get(SHA256, "")
    return ResourceInfo(
        identifier,
        answer["ContentLength"],
        answer["ETag"],
        answer.get("LastModified"),
        f"sha256:{digest}" if _SHA256.fullmatch(digest) else None,
    )


def _is_range(answer: Mapping[str, Any], start: int, stop: int, size: int) -> bool:
    match = _CONTENT_RANGE.fullmatch(answer.get("ContentRange", ""))
    if match is None:
        return (start, stop) == (0, size)
    return (int(match[1]), int(match[2]) + 1) == (start, stop) and match[3] in (str(size), "*")
