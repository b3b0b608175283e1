"""A place where resources are kept: the base of all connectors.

Public methods are written once, here: they check identifiers before any I/O, refuse writes to read-only stores,
retry what is worth retrying, and translate every error of the layer below. A connector's author writes the hooks at
the end of the class. ``datastack_fs.testing.StorageConnectorTests`` tests the promises that all connectors keep.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from datastack_fs.credentials import redact
from datastack_fs.errors import (
    DatastackError,
    ReadOnlyStorageError,
    ResourceNotFoundError,
)
from datastack_fs.identifiers import are_usual, check_identifier, check_prefix, is_identifier
from datastack_fs.metrics import Meter, Metrics
from datastack_fs.reading import RemoteReader
from datastack_fs.resource import Content, Range, ResourceInfo, StreamedResource
from datastack_fs.resource_columns import ResourceColumns
from datastack_fs.resources_plan import ResourcesPlan
from datastack_fs.storage_cache import Request, StorageCache
from datastack_fs.threads import map_in_threads
from datastack_fs.translation import translate_built_in
from datastack_fs.writing import Source, Upload

if TYPE_CHECKING:
    import io
    from types import TracebackType

    from typing_extensions import Self

DEADLINE: Final = 60.0


class StorageConnector(StorageCache):
    """A store of named binary resources, the same to use whatever is behind it.

    Connectors are safe to share between threads, pickle without sockets and go on working in forked, spawned and
    forkserver children.

    Args:
        read_only: refuse every write with ``ReadOnlyStorageError``.
        deadline: seconds without progress after which an operation gives up with ``StorageUnavailableError``.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> with MemoryStorageConnector("storage-example") as connector:
        ...     info = connector.set_resource("birds/owl.txt", b"hoo")
        ...     list(connector.list_resources("birds/")), connector.get_info("birds/owl.txt").size
        (['birds/owl.txt'], 3)
        >>> connector.delete_resource("birds/owl.txt")
        >>> connector.has_resource("birds/owl.txt"), connector.sweep(), connector.url
        (False, 0, 'memory://storage-example')
    """

    def __init__(self, url: str, *, read_only: bool = False, deadline: float = DEADLINE) -> None:
        self._url = url
        self.read_only = read_only
        self.deadline = deadline
        self.meter = Meter()

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """The connector of a store's URL; ``options`` are the constructor's keyword arguments."""
        return cls(url, **options)

    @classmethod
    def split_url(cls, url: str) -> tuple[str, str]:
        """Splits a resource's URL into the store's URL and the identifier.

        Examples:
            >>> StorageConnector.split_url("s3://lab/birds/train.h5")
            ('s3://lab', 'birds/train.h5')
        """
        scheme, separator, rest = url.partition("://")
        authority, _, identifier = rest.partition("/")
        return f"{scheme}{separator}{authority}", identifier

    # The public verbs.

    @property
    def url(self) -> str:
        """The address of the store, without secrets."""
        return redact(self._url)

    def get_resource(self, identifier: str, *, info: ResourceInfo | None = None) -> StreamedResource:
        """Opens a resource lazily: only its metadata is read.

        Args:
            identifier: its name within the store.
            info: opens that very version instead of the present one.

        Raises:
            ResourceNotFoundError: there is none of that name.
            ResourceChangedError: the version of ``info`` is gone (some stores say so at the first read).
        """
        check_identifier(identifier)
        raw, info = self._retry("open", identifier, lambda: self._open(identifier, info))
        return StreamedResource(raw, info, self)

    def set_resource(
        self, identifier: str, source: Source, *, checksum: str | None = None, overwrite: bool = True
    ) -> ResourceInfo:
        """Stores a resource, all or nothing: on any error the previous one stays, or none.

        Args:
            identifier: its name within the store.
            source: a binary file (a ``StreamedResource``, too) from where it stands, bytes, or an iterable of bytes.
            checksum: ``sha256:<hex>`` (or ``sha512:``, ``sha1:``, ``md5:``) that the bytes must have to be stored.
            overwrite: False refuses, atomically, if the resource is there.

        Raises:
            DatasetFileCorruptError: the checksum differs.
            ResourceExistsError: with ``overwrite=False``.
            ReadOnlyStorageError: before the source is touched.
        """
        check_identifier(identifier)
        self._check_writable("store", identifier)
        upload = Upload(source, identifier, checksum)
        with self._translating("store", identifier, upload):
            return self._publish(identifier, upload, overwrite)

    def has_resource(self, identifier: str) -> bool:
        """Whether the resource is there. Denied or unreachable raises: False means that it was looked for."""
        check_identifier(identifier)
        try:
            self._retry("look up", identifier, lambda: self._stat(identifier))
        except ResourceNotFoundError:
            return False
        return True

    def get_info(self, identifier: str) -> ResourceInfo:
        """Size, version, time and checksum of the present version.

        Raises:
            ResourceNotFoundError: there is none of that name.
        """
        check_identifier(identifier)
        return self._retry("look up", identifier, lambda: self._stat(identifier))

    def list_resources(self, prefix: str = "") -> Iterator[str]:
        """Yields the identifiers that begin with ``prefix``, sorted; ``"a/"`` never matches ``"ab/"``.

        What the store holds under names outside the grammar, and left-overs of killed writers, is not listed.
        """
        check_prefix(prefix)
        return self._list_checked(prefix)

    def scan_resources(self, prefix: str = "") -> Iterator[tuple[str, ResourceInfo | None]]:
        """Yields what ``list_resources`` does, each with its present version, or None where a listing has names only.

        No resource is asked for by itself; a checksum may be left out.

        Examples:
            >>> from datastack_fs.connectors.memory import MemoryStorageConnector
            >>> connector = MemoryStorageConnector("scan-example")
            >>> info = connector.set_resource("birds/owl.txt", b"hoo")
            >>> [(name, info.size) for name, info in connector.scan_resources("birds/")]
            [('birds/owl.txt', 3)]
        """
        check_prefix(prefix)
        return self._scan_checked(prefix)

    def list_versions(self, prefix: str = "") -> ResourceColumns:
        """All that ``scan_resources`` yields, as columns: in an archive, far quicker.

        Examples:
            >>> from datastack_fs.connectors.memory import MemoryStorageConnector
            >>> connector = MemoryStorageConnector("list-versions-example")
            >>> info = connector.set_resource("birds/owl.txt", b"hoo")
            >>> columns = connector.list_versions("birds/")
            >>> columns.identifiers, columns.sizes, columns[0].version == info.version
            (['birds/owl.txt'], [3], True)
        """
        check_prefix(prefix)
        with self._translating("list", prefix):
            columns = self._list_versions(prefix)
        if are_usual(columns.identifiers):
            return columns
        return columns.taken([place for place, name in enumerate(columns.identifiers) if is_identifier(name)])

    def delete_resource(self, identifier: str) -> None:
        """Deletes a resource.

        Raises:
            ResourceNotFoundError: there is none of that name.
        """
        check_identifier(identifier)
        self._check_writable("delete", identifier)
        self._retry("delete", identifier, lambda: self._delete(identifier))

    @overload
    def get_ranges(
        self, identifier: str, ranges: Sequence[Range], *, info: ResourceInfo | None = None, copy: Literal[True] = True
    ) -> list[bytes]: ...
    @overload
    def get_ranges(
        self, identifier: str, ranges: Sequence[Range], *, info: ResourceInfo | None = None, copy: bool
    ) -> Sequence[Content]: ...
    def get_ranges(
        self, identifier: str, ranges: Sequence[Range], *, info: ResourceInfo | None = None, copy: bool = True
    ) -> Sequence[Content]:
        """Reads many half-open byte ranges at once, concurrently, all of one version.

        Args:
            identifier: the name of the resource.
            ranges: ``(start, stop)`` pairs within the resource, in any order; they may overlap.
            info: the version to read, as ``get_info`` or ``StreamedResource.info`` gave it; default the present one.
            copy: False gives views where that saves copies: each keeps all in memory that was fetched with it.

        Returns:
            the bytes of each range, in the order asked for.

        Raises:
            ResourceChangedError: the version is gone.

        Examples:
            >>> from datastack_fs.connectors.memory import MemoryStorageConnector
            >>> connector = MemoryStorageConnector("ranges-example")
            >>> info = connector.set_resource("abc", b"abcdef")
            >>> connector.get_ranges("abc", [(4, 6), (0, 1)])
            [b'ef', b'a']
        """
        check_identifier(identifier)
        if info is None:
            info = self.get_info(identifier)
        for start, stop in ranges:
            if not 0 <= start <= stop <= info.size:
                raise ValueError(f"range ({start}, {stop}) of {identifier}, which has {info.size} bytes")
        (answers,) = self._read_all([(info, ranges)])
        return [bytes(answer) for answer in answers] if copy else answers

    def get_many_ranges(self, wanted: Sequence[Request]) -> list[Sequence[Content]]:
        """Reads ranges of many resources at once: for each what ``get_ranges`` gives with ``copy=False``.

        Examples:
            >>> from datastack_fs.connectors.memory import MemoryStorageConnector
            >>> connector = MemoryStorageConnector("many-ranges-example")
            >>> a, b = (connector.set_resource(name, b"abcdef") for name in "ab")
            >>> [[bytes(part) for part in parts] for parts in connector.get_many_ranges([(a, [(4, 6)]), (b, [(0, 1)])])]
            [[b'ef'], [b'a']]
        """
        return self._read_all(wanted)

    def read_resources(self, wanted: Iterable[str | ResourceInfo]) -> list[bytes]:
        """Reads many whole resources at once, concurrently, each of one version.

        Args:
            wanted: identifiers, or versions, as ``scan_resources`` gives them: those are read without a look-up.

        Returns:
            the bytes of each, in the order asked for.

        Raises:
            ResourceNotFoundError: one of the identifiers is not there.
            ResourceChangedError: one of the versions is gone.

        Examples:
            >>> from datastack_fs.connectors.memory import MemoryStorageConnector
            >>> connector = MemoryStorageConnector("many-example")
            >>> info = connector.set_resource("owl.txt", b"hoo")
            >>> connector.read_resources([info, "owl.txt"])
            [b'hoo', b'hoo']
        """
        resources = list(wanted)
        for each in resources:
            check_identifier(each.identifier if isinstance(each, ResourceInfo) else each)
        if not self.is_cached:
            return self._read_whole(resources)
        infos = map_in_threads(self._described, resources, self.concurrency)
        return [bytes(content) for (content,) in self._read_all([(info, [(0, info.size)]) for info in infos])]

    def plan_resources(self, wanted: Sequence[ResourceInfo]) -> ResourcesPlan | None:
        """What ``read_resources`` would fetch for these versions; None where that can't be told, as in a ``.tar.gz``.

        Nothing is fetched. Members of an archive are ranges of it.

        Examples:
            >>> from datastack_fs.connectors.memory import MemoryStorageConnector
            >>> connector = MemoryStorageConnector("plan-example")
            >>> plan = connector.plan_resources([connector.set_resource("owl.txt", b"hoo")])
            >>> [ranges for _, _, ranges in plan.requests], plan.contents([[b"hoo"]])
            ([[(0, 3)]], [b'hoo'])
        """
        return self._plan_whole(wanted) if wanted else ResourcesPlan((), lambda _: [])

    def offsets(self, wanted: ResourceColumns) -> list[int] | None:
        """Where these versions begin in the one file that holds them all, an archive; else None.

        Examples:
            >>> from datastack_fs.connectors.memory import MemoryStorageConnector
            >>> connector = MemoryStorageConnector("offsets-example")
            >>> connector.offsets(connector.list_versions()) is None
            True
        """
        return self._offsets(wanted) if len(wanted) else None

    def sweep(self, older_than: float = 86400) -> int:
        """Removes what killed writers left behind more than ``older_than`` seconds ago, and nothing else.

        Returns:
            how many left-overs were removed.
        """
        self._check_writable("sweep", self.url)
        return self._retry("sweep", self.url, lambda: self._sweep(older_than))

    @property
    def metrics(self) -> Metrics:
        """What reading from this store cost so far in this process, by this connector."""
        return self.meter.total

    def close(self) -> None:
        """Ends connections. The connector stays usable: it connects anew when it is asked for something."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r}{', read_only=True' if self.read_only else ''})"

    # Hooks for authors. They may raise whatever the layer below raises: ``_translate`` makes it ours.

    @abstractmethod
    def _stat(self, identifier: str) -> ResourceInfo:
        """Metadata of the present version; FileNotFoundError where there is none."""

    @abstractmethod
    def _read_ranges(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[Content | Exception]:
        """The bytes of each range of that very version, or the exception that this one range met.

        A version that is gone gives ``ResourceChangedError``. The caller retries single ranges, and checks lengths.
        """

    @abstractmethod
    def _list(self, prefix: str) -> Iterable[str]:
        """Names that begin with ``prefix``, in the order of ``sorted``; temporary ones may be among them."""

    def _scan(self, prefix: str) -> Iterable[tuple[str, ResourceInfo | None]]:
        """Names as ``_list`` gives them, with their versions where the store's listing tells these."""
        return ((name, None) for name in self._list(prefix))

    def _list_versions(self, prefix: str) -> ResourceColumns:
        """The same as columns."""
        return ResourceColumns.of_scan(self._scan(prefix))

    def _offsets(self, wanted: ResourceColumns) -> list[int] | None:
        """Where these versions begin in the one file that holds them all; None where there is no such file."""
        return None

    def _read_whole(self, wanted: Sequence[str | ResourceInfo]) -> list[bytes]:
        """Whole resources of checked identifiers: each retried, checked and translated as ``get_ranges`` does it."""
        return map_in_threads(self._read_one, wanted, self.concurrency)

    def _plan_whole(self, wanted: Sequence[ResourceInfo]) -> ResourcesPlan | None:
        """What ``_read_whole`` would fetch for these versions, of which there is one at least."""
        return ResourcesPlan.of_wholes(self, wanted)

    def _open(self, identifier: str, info: ResourceInfo | None) -> tuple[io.RawIOBase, ResourceInfo]:
        """A raw reader and the version that it reads: that of ``info``, else the present one."""
        info = info or self._stat(identifier)
        return RemoteReader(self, info), info

    def _publish(self, identifier: str, upload: Upload, overwrite: bool) -> ResourceInfo:
        """Stores ``upload`` so that nobody ever sees a part of it; FileExistsError if it must not overwrite."""
        raise ReadOnlyStorageError(self._sentence("store", identifier, "this kind of store is read-only"))

    def _delete(self, identifier: str) -> None:
        """Deletes; FileNotFoundError where there is none."""
        raise ReadOnlyStorageError(self._sentence("delete", identifier, "this kind of store is read-only"))

    def _sweep(self, older_than: float) -> int:
        """Removes left-overs and counts them."""
        return 0

    def _translate(self, error: Exception) -> tuple[type[DatastackError], str] | None:
        """The class and the reason for an error of the layer below; None for one it does not know.

        Authors put their library's errors before ``super()._translate(error)``, which knows the built-in ones.
        ``StorageUnavailableError`` means that trying again may help.
        """
        return translate_built_in(error)

    # What the verbs share.

    def _check_writable(self, verb: str, identifier: str) -> None:
        if self.read_only:
            raise ReadOnlyStorageError(self._sentence(verb, identifier, "this store is read-only"))

    def _list_checked(self, prefix: str) -> Iterator[str]:
        with self._translating("list", prefix):
            yield from (name for name in self._list(prefix) if is_identifier(name))

    def _scan_checked(self, prefix: str) -> Iterator[tuple[str, ResourceInfo | None]]:
        with self._translating("list", prefix):
            yield from (found for found in self._scan(prefix) if is_identifier(found[0]))

    def _read_one(self, wanted: str | ResourceInfo) -> bytes:
        info = self._described(wanted)
        return self.get_ranges(info.identifier, [(0, info.size)], info=info)[0]

    def _described(self, wanted: str | ResourceInfo) -> ResourceInfo:
        return wanted if isinstance(wanted, ResourceInfo) else self.get_info(wanted)
