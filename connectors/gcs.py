"""A bucket of Google Cloud Storage, as a storage connector."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from datastack_fs.connectors.fsspec_ import gather_ranges
from datastack_fs.connectors.obstore_ranges import ObstoreRanges, wants_obstore
from datastack_fs.connectors.obstore_reading import ObstoreReading
from datastack_fs.credentials import expand
from datastack_fs.errors import ConfigError, DatastackError, MissingDependencyError, UnsupportedStorageError
from datastack_fs.identifiers import key_prefix
from datastack_fs.processes import PerProcess
from datastack_fs.resource import Range, ResourceInfo
from datastack_fs.storage import DEADLINE

try:
    from datastack_fs.connectors.gcs_api import BucketAPI, connect
    from datastack_fs.connectors.gcs_errors import StatusError, translate
    from datastack_fs.connectors.gcs_uploads import SHA256, ObjectWriter
except ModuleNotFoundError as error:
    raise MissingDependencyError("gs:// needs gcsfs: pip install 'datastack-fs[gcs]'", name=error.name) from error

if TYPE_CHECKING:
    from typing_extensions import Self

    from datastack_fs.writing import Upload

KEY_BYTES: Final = 1024
PAGE: Final = 1000
CHUNK_BYTES: Final = 8 << 20
CHUNK_UNIT: Final = 256 << 10
"""The API takes chunks of a multiple of this."""

_FIELDS = "size,generation,timeCreated,metadata"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class GCSStorageConnector(ObstoreReading):
    """A bucket of Google Cloud Storage, or the part of it below a prefix, through gcsfs.

    Reads are pinned to the object's generation: an object replaced or deleted meanwhile raises
    ``ResourceChangedError`` (in a bucket with object versioning, the old bytes can still be read). Ranges are not
    verified by a checksum. A write is one object that appears whole; the sha256 is kept in its metadata. The bucket
    must exist: it is never made.

    Args:
        bucket: its name.
        prefix: names of resources are relative to it.
        project: the Google Cloud project that pays with ``requester_pays``; default that of the credentials.
        token: a path to a credentials file, its content as a mapping, an access token, a ``google.auth`` credentials
            object, ``"anon"``, ``"cloud"`` (the machine's own) or ``"google_default"``. Default: "anon" for an
            emulator or any plain ``http://`` endpoint, else Google's default credentials.
        endpoint_url: default ``$STORAGE_EMULATOR_HOST`` (``host:port`` or a URL), else Google's address.
        requester_pays: requests are billed to ``project``.
        read_only: refuse every write with ``ReadOnlyStorageError``.
        deadline: seconds without progress after which an operation gives up with ``StorageUnavailableError``.
        chunk_size: larger resources are written in chunks of so many bytes, a multiple of 256 KiB.
        engine: what many ranges are read through: ``"obstore"``, ``"gcsfs"``, or ``"auto"`` for obstore where it is
            installed (``pip install 'datastack-fs[fast]'``); ``requester_pays`` takes gcsfs.

    Examples:
        Nothing is asked of Google before the first resource is:

        >>> GCSStorageConnector("lab", "datasets")
        GCSStorageConnector('gs://lab/datasets')
    """

    other_engine = "gcsfs"

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        project: str | None = None,
        token: Any = None,
        endpoint_url: str | None = None,
        requester_pays: bool = False,
        read_only: bool = False,
        deadline: float = DEADLINE,
        chunk_size: int = CHUNK_BYTES,
        engine: str = "auto",
    ) -> None:
        if "@" in bucket:
            raise ConfigError("a gs:// URL holds no credentials: give token=…, or set GOOGLE_APPLICATION_CREDENTIALS")
        if not bucket or "/" in bucket:
            raise ConfigError(f"{bucket!r} is no bucket's name; a store is gs://bucket or gs://bucket/prefix")
        if chunk_size < CHUNK_UNIT or chunk_size % CHUNK_UNIT:
            raise ConfigError(f"chunk_size is {chunk_size:,}, and Google wants a multiple of {CHUNK_UNIT:,} bytes")
        # What a request costs is charged to a project by a parameter that obstore does not send.
        self._is_fast = wants_obstore(engine, self.other_engine) and not requester_pays
        self._folder = key_prefix(prefix, KEY_BYTES)
        super().__init__(f"gs://{bucket}/{self._folder}".rstrip("/"), read_only=read_only, deadline=deadline)
        self._bucket = bucket
        self._chunk_size = chunk_size
        self._bucket_seen = False
        options = {"project": project, "token": token, "endpoint_url": endpoint_url, "requester_pays": requester_pays}
        access = "read_only" if read_only else "read_write"
        make = partial(connect, bucket, access, deadline, options)
        self._clients: PerProcess[BucketAPI] = PerProcess(make, BucketAPI.close)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """``gs://bucket/prefix`` (or ``gcs://``), taken literally: percent sequences are not decoded."""
        bucket, _, prefix = expand(url).partition("://")[2].partition("/")
        return cls(bucket, prefix, **options)

    def close(self) -> None:  # noqa: D102
        self._clients.close()

    # Reading.

    def _cache_identity(self) -> str:
        return self._clients.get().url()

    def _stat(self, identifier: str) -> ResourceInfo:
        api = self._clients.get()
        try:
            answer = api.request("GET", api.url(self._key(identifier), fields=_FIELDS))
        except StatusError as error:
            if not error.is_not_found:
                raise
            self._check_bucket(api)
            raise FileNotFoundError(identifier) from error
        self._bucket_seen = True
        return _info(identifier, answer.json())

    def _fast(self) -> ObstoreRanges:
        return self._clients.get().fast

    def _read_otherwise(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[bytes | Exception]:
        api = self._clients.get()
        url = api.url(self._key(info.identifier), service="download/", alt="media", generation=info.version)

        async def read_one(start: int, stop: int) -> bytes:
            # Accept-Encoding: gzip keeps Google from decompressing an object that is stored with that encoding: its
            # size, its checksum and all offsets are those of the stored bytes.
            headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "gzip"}
            try:
                answer = await api.answer("GET", url, headers=headers)
            except StatusError as error:
                if error.is_not_found:
                    raise self._changed(info.identifier) from error
                raise
            if answer.headers.get("X-Goog-Generation", info.version) != info.version:
                raise self._changed(info.identifier)
            span = answer.headers.get("Content-Range", f"bytes 0-{len(answer.content) - 1}/{len(answer.content)}")
            if span != f"bytes {start}-{stop - 1}/{info.size}":
                reason = f"asked for bytes {start}-{stop - 1} of {info.size:,}, this store answered with {span}"
                raise UnsupportedStorageError(self._sentence("read", info.identifier, reason))
            return answer.content

        return gather_ranges(api.loop, read_one, ranges)

    def _list(self, prefix: str) -> Iterator[str]:
        return (item["name"][len(self._folder) :] for item in self._items(prefix, "name"))

    def _scan(self, prefix: str) -> Iterator[tuple[str, ResourceInfo]]:
        for item in self._items(prefix, f"name,{_FIELDS}"):
            name = item["name"][len(self._folder) :]
            yield name, _info(name, item)

    def _items(self, prefix: str, fields: str) -> Iterator[dict[str, Any]]:
        page_token = ""
        while True:
            page = self._retry("list", prefix, partial(self._page, prefix, fields, page_token))
            yield from page.get("items", ())
            page_token = page.get("nextPageToken", "")
            if not page_token:
                return

    def _page(self, prefix: str, fields: str, page_token: str) -> dict[str, Any]:
        api = self._clients.get()
        following = {"pageToken": page_token} if page_token else {}
        fields = f"items({fields}),nextPageToken"
        url = api.url(prefix=self._folder + prefix, fields=fields, maxResults=str(PAGE), **following)
        return api.request("GET", url).json()

    # Writing.

    def _publish(self, identifier: str, upload: Upload, overwrite: bool) -> ResourceInfo:
        if not overwrite:
            with suppress(FileNotFoundError):
                self._retry("look up", identifier, partial(self._stat, identifier))
                raise FileExistsError(identifier)
        with upload.staged() as staged:
            writer = ObjectWriter(
                self._clients.get(),
                self._key(identifier),
                staged,
                overwrite=overwrite,
                chunk_size=self._chunk_size,
                retry=partial(self._retry, "store", identifier),
            )
            return _info(identifier, writer.write())

    def _delete(self, identifier: str) -> None:
        self._retry("delete", identifier, partial(self._delete_version, self._stat(identifier)))

    def _delete_version(self, info: ResourceInfo) -> None:
        api = self._clients.get()
        try:
            api.request("DELETE", api.url(self._key(info.identifier), ifGenerationMatch=info.version))
        except StatusError as error:
            # It is gone: by an earlier try, maybe, whose answer was lost, or because another writer replaced it.
            if not (error.is_not_found or error.is_unmet):
                raise

    def _sweep(self, older_than: float) -> int:
        """Nothing to do: an unfinished upload is a session that no list shows and that Google ends after a week."""
        return 0

    # What they share.

    def _key(self, identifier: str) -> str:
        return self._folder + identifier

    def _check_bucket(self, api: BucketAPI) -> None:
        """Raises if there is no such bucket; 404 is the answer for a missing object and a missing bucket alike."""
        if self._bucket_seen:
            return
        try:
            api.request("GET", api.url(maxResults="1", fields="nextPageToken"))
        except StatusError as error:
            if not error.is_denied:  # who may not list can't be told
                raise
        self._bucket_seen = True

    def _translate(self, error: Exception) -> tuple[type[DatastackError], str] | None:
        return translate(error, self._bucket) or super()._translate(error)


def _info(identifier: str, resource: dict[str, Any]) -> ResourceInfo:
    digits = resource.get("metadata", {}).get(SHA256, "")
    return ResourceInfo(
        identifier,
        int(resource["size"]),
        resource["generation"],
        _time(resource["timeCreated"]),
        f"sha256:{digits}" if _SHA256.fullmatch(digits) else None,
    )


def _time(text: str) -> datetime:
    """A time as the API writes it, with any number of decimals: ``2026-11-22T21:16:14.83304Z``."""
    seconds, _, decimals = text.removesuffix("Z").partition(".")
    microsecond = int(decimals[:6].ljust(6, "0"))
    return datetime.fromisoformat(seconds).replace(microsecond=microsecond, tzinfo=timezone.utc)
