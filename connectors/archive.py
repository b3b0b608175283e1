"""The members of a zip or tar archive that lies in any other store, as a read-only storage connector."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from datastack_fs.connectors.archive_index import (
    MAGIC_BYTES,
    Index,
    codec_of,
    kind_of,
    read_compressed_tar,
    read_tar,
    read_zip,
)
from datastack_fs.connectors.archive_members import IndexingError, Member
from datastack_fs.connectors.archive_reading import ArchiveReader
from datastack_fs.connectors.archive_urls import KINDS, resource_url, split_archive_url
from datastack_fs.decompression import MOST_RATIO, StreamError
from datastack_fs.errors import (
    ConfigError,
    DatasetFileCorruptError,
    DatastackError,
    ResourceChangedError,
    ResourceNotFoundError,
    UnsupportedStorageError,
)
from datastack_fs.identifiers import check_identifier
from datastack_fs.processes import PerProcess
from datastack_fs.resource import Range, ResourceInfo, StreamedResource
from datastack_fs.resource_columns import ResourceColumns
from datastack_fs.resources_plan import ResourcesPlan
from datastack_fs.storage import StorageConnector

if TYPE_CHECKING:
    from typing_extensions import Self

    from datastack_fs.cache.settings import CacheSettings

_INDEX_TRIES = 3


class ArchiveStorageConnector(StorageConnector):
    """The members of an archive, read in place: nothing is unpacked, nothing is written.

    What reading costs: the directory of a zip is read once, the headers of a tar from one to the next, and a compressed
    tar is decompressed once from its beginning to its end. Members that are stored as they are (all those of an
    uncompressed tar) are read by ranges of the archive. Compressed ones are decompressed from front to back; to read
    before the place where a reader stands is to begin anew, at the beginning of the member, or of a compressed tar.
    A zip's CRC-32 is checked when a member is decompressed to its end, or read in one range.

    Folders, links, devices, names outside the grammar of identifiers and names that are there more than once can't be
    reached. A leading ``./`` is left out. When the archive is replaced, its directory is read anew, and readers of the
    old one raise ``ResourceChangedError``.

    Args:
        connector: the store that holds the archive.
        identifier: the archive's name there.
        kind: ``"zip"`` or ``"tar"`` (also .tar.gz, .tar.bz2, .tar.xz); by default its ending tells, or its first bytes.
        prefix: a folder of the archive that identifiers start from.
        max_ratio: a member that is said to become so many times larger is refused, as a decompression bomb is.
        keep_directory: a pickle holds the directory, so that workers need not read it anew; it grows with the members.
        info: the archive's version, where it is known already; whether there is a newer one is asked from the second
            time on.

    Examples:
        >>> import io, zipfile
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> with zipfile.ZipFile(stream := io.BytesIO(), "w") as file:
        ...     file.writestr("birds/owl.txt", "hoo")
        >>> store = MemoryStorageConnector("archive-example")
        >>> info = store.set_resource("birds.zip", stream.getvalue())
        >>> connector = ArchiveStorageConnector(store, "birds.zip")
        >>> list(connector.list_resources()), connector.get_resource("birds/owl.txt").read()
        (['birds/owl.txt'], b'hoo')
    """

    def __init__(
        self,
        connector: StorageConnector,
        identifier: str,
        *,
        kind: str | None = None,
        prefix: str = "",
        max_ratio: float = MOST_RATIO,
        keep_directory: bool = False,
        info: ResourceInfo | None = None,
    ) -> None:
        self._keep_directory = keep_directory
        self._identifier = check_identifier(identifier)
        self._prefix = check_identifier(prefix.rstrip("/")) if prefix else ""
        self._kind = kind or kind_of(identifier)
        if self._kind not in (None, *KINDS):
            raise ConfigError(f"kind={kind!r}: an archive is of kind {' or '.join(map(repr, KINDS))}")
        super().__init__("", read_only=True, deadline=connector.deadline)
        self._connector = connector
        self._reader = ArchiveReader(connector, identifier, max_ratio)
        self._index: Index | None = None
        self._known = info
        self._indexing = PerProcess(threading.Lock)

    @classmethod
    def from_url(cls, url: str, *, max_ratio: float = MOST_RATIO, **options: Any) -> Self:
        """``zip::s3://lab/birds.zip``, ``tar::file:///birds.tar.gz``; ``zip://folder::…`` starts from a folder of it.

        Args:
            url: the kind, and the URL of the archive.
            max_ratio: as for the class.
            **options: those of the store that holds the archive.
        """
        from datastack_fs import registry

        kind, prefix, archive_url = split_archive_url(url)
        store_url, identifier = registry.split_resource_url(archive_url)
        store = registry.connector_for(store_url, **options)
        return cls(store, identifier, kind=kind, prefix=prefix, max_ratio=max_ratio)

    @classmethod
    def split_url(cls, url: str) -> tuple[str, str]:
        """Splits a member's URL.

        Examples:
            >>> ArchiveStorageConnector.split_url("zip://birds/owl.txt::s3://lab/birds.zip")
            ('zip::s3://lab/birds.zip', 'birds/owl.txt')
        """
        kind, member, archive_url = split_archive_url(url)
        return type(url)(f"{kind}::{archive_url}"), member

    @property
    def url(self) -> str:
        """The address of the archive, without secrets."""
        return self._url_of(self._prefix)

    def use_cache(self, settings: CacheSettings) -> None:
        """Reads the archive through a cache: that of the store which holds it."""
        self._connector.use_cache(settings)

    def locate(self, identifiers: Iterable[str]) -> tuple[ResourceInfo, list[Range | None]]:
        """Where members lie in the archive, so that a batch of them is one ``get_ranges`` of the archive itself.

        Returns:
            the version of the archive, and the range of each member in it; None for one that is compressed. The local
            headers that this takes are read at once.
        """
        names = [check_identifier(identifier) for identifier in identifiers]
        return self._retry("locate", f"{len(names)} members", lambda: self._locate(names))

    def close(self) -> None:
        """Ends the connections of the store that holds the archive. The connector stays usable."""
        self._reader.close()
        self._connector.close()

    # Hooks.

    def _stat(self, identifier: str) -> ResourceInfo:
        index = self._current()
        self._find(index, identifier)
        return index.describe(identifier)

    def _open(self, identifier: str, info: ResourceInfo | None) -> tuple[io.RawIOBase, ResourceInfo]:
        raw, info = super()._open(identifier, info)
        with self._reading(identifier):
            self._reader.check(self._pinned(info)[1])
        return raw, info

    def _read_ranges(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[bytes | Exception]:
        with self._reading(info.identifier):
            return self._reader.read(*self._pinned(info), ranges)

    def _list(self, prefix: str) -> Iterator[str]:
        return iter(self._current().listed(prefix))

    def _scan(self, prefix: str) -> Iterator[tuple[str, ResourceInfo]]:
        index = self._current()
        return ((name, index.describe(name)) for name in index.listed(prefix))

    def _list_versions(self, prefix: str) -> ResourceColumns:
        return self._current().scanned(prefix)

    def _offsets(self, wanted: ResourceColumns) -> list[int] | None:
        index, places = self._pinned_all(wanted)
        return None if index.codec else index.members.column("offset", places).tolist()

    def _read_whole(self, wanted: Sequence[str | ResourceInfo]) -> list[bytes]:
        infos = [each if isinstance(each, ResourceInfo) else self.get_info(each) for each in wanted]
        return self._retry("read", f"{len(infos)} members", lambda: self._read_members(infos))

    def _plan_whole(self, wanted: Sequence[ResourceInfo]) -> ResourcesPlan | None:
        index, places = self._pinned_all(wanted)
        spans = self._reader.spans(index, places)
        if spans is None:
            return None

        def contents(answers: Sequence[Sequence[bytes | memoryview]]) -> list[bytes]:
            return self._checked(wanted, self._reader.unpack(index, places, spans, answers[0]))

        return ResourcesPlan([(self._connector, index.archive, spans)], contents)

    def _read_members(self, infos: Sequence[ResourceInfo]) -> list[bytes]:
        """One request for them all, or one pass through a compressed tar."""
        if not infos:
            return []
        index, places = self._pinned_all(infos)
        with self._reading(infos[0].identifier):  # the archive, and so every member, may have changed
            answers = self._reader.read_whole(index, places)
        return self._checked(infos, answers)

    def _pinned_all(self, wanted: Sequence[ResourceInfo]) -> tuple[Index, list[int]]:
        """The index that versions of members belong to, and the places of these members in it."""
        index, _ = self._pinned(wanted[0])
        if len(wanted) == 1:
            return index, [index.members.places[wanted[0].identifier]]
        columns = ResourceColumns.of_versions(wanted)
        places = [index.members.places.get(name) for name in columns.identifiers]
        found = [place for place in places if place is not None]
        if len(found) < len(places) or index.versions(found) != columns.versions:
            raise self._changed(next(info.identifier for info in wanted if not index.holds(info)))
        return index, found

    def _checked(self, infos: Sequence[ResourceInfo], answers: Sequence[bytes | Exception]) -> list[bytes]:
        contents = [answer for answer in answers if isinstance(answer, bytes)]
        if len(contents) < len(answers):
            for info, answer in zip(infos, answers, strict=True):
                if isinstance(answer, Exception):
                    with self._reading(info.identifier):
                        raise answer
        return contents

    def _locate(self, names: Sequence[str]) -> tuple[ResourceInfo, list[Range | None]]:
        index = self._current()
        with self._reading(", ".join(names[:3])):
            return index.archive, self._reader.locate(index, [self._find(index, name) for name in names])

    @contextmanager
    def _reading(self, identifier: str) -> Iterator[None]:
        """Names the member in what goes wrong with it."""
        try:
            yield
        except ResourceChangedError as error:
            raise self._changed(identifier) from error
        except UnsupportedStorageError as error:
            raise UnsupportedStorageError(self._sentence("read", identifier, str(error))) from error
        except (StreamError, IndexingError) as error:
            raise DatasetFileCorruptError(self._sentence("read", identifier, str(error))) from error

    def _url_of(self, member: str) -> str:
        if isinstance(self._connector, ArchiveStorageConnector):
            archive = self._connector._url_of("/".join(filter(None, [self._connector._prefix, self._identifier])))
        else:
            archive = resource_url(self._connector.url, self._identifier)
        return f"{self._kind or 'archive'}{'://' if member else ''}{member}::{archive}"

    # The index.

    def _current(self) -> Index:
        """The index of the archive as it is now."""
        tries_left = _INDEX_TRIES
        while True:
            archive, self._known = self._known or self._connector.get_info(self._identifier), None
            with self._indexing.get():
                if self._index is None or self._index.archive.version != archive.version:
                    tries_left -= 1
                    try:
                        self._index = self._read_index(archive)
                    except ResourceChangedError:
                        if not tries_left:
                            raise
                        continue
                return self._index

    def _pinned(self, info: ResourceInfo) -> tuple[Index, Member]:
        """The index and the member that a version belongs to."""
        index = self._index
        if index is None or not index.holds(info):
            try:
                index = self._current()
            except ResourceNotFoundError as error:
                raise self._changed(info.identifier) from error
            if not index.holds(info):
                raise self._changed(info.identifier)
        return index, index.members[info.identifier]

    def _find(self, index: Index, identifier: str) -> Member:
        member = index.members.get(identifier)
        if member is not None:
            return member
        if identifier in index.ambiguous:
            raise ResourceNotFoundError(f"{identifier} is in {self.url} more than once: it is not known which is meant")
        raise ResourceNotFoundError(f"{identifier} is not in {self.url}")

    def _read_index(self, archive: ResourceInfo) -> Index:
        try:
            with self._connector.get_resource(self._identifier, info=archive) as file:
                return self._read_index_of(file, archive)
        except DatastackError:
            raise
        except Exception as error:  # the translating edge: tarfile raises anything on a damaged archive
            hidden = error.__context__  # tarfile takes an OSError, as ours may be, for a damaged archive
            if isinstance(hidden, DatastackError):
                raise hidden from error
            reason = f"it is damaged, or no {self._kind or 'archive'} ({type(error).__name__}: {error})"
            raise DatasetFileCorruptError(f"can't read {self.url}: {reason}") from error

    def _read_index_of(self, file: StreamedResource, archive: ResourceInfo) -> Index:
        head = b"" if self._kind == "zip" else file.read(MAGIC_BYTES)
        file.seek(0)
        self._kind = self._kind or kind_of(self._identifier, head)
        if self._kind is None:
            raise IndexingError("it is neither a zip nor a tar")
        if self._kind == "zip":
            return read_zip(file, self._prefix, archive)
        codec = codec_of(head)
        if codec is None:
            return read_tar(file, self._prefix, archive, file.prefetch)
        return read_compressed_tar(self._reader.open_tar(archive, codec), self._prefix, archive, codec)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ if self._keep_directory else {**self.__dict__, "_index": None}
