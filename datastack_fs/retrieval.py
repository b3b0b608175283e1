"""Fetching the files of a dataset from where they are published into a store."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import unquote, urlsplit

from datastack_fs.checksums import Hashing, parse_checksum
from datastack_fs.credentials import redact
from datastack_fs.errors import DatasetFileCorruptError, MissingDependencyError, ResourceNotFoundError, RetrievalError
from datastack_fs.identifiers import check_identifier
from datastack_fs.promises import as_promised

if TYPE_CHECKING:
    from tqdm import tqdm

    from datastack_fs.resource import ResourceInfo
    from datastack_fs.storage import StorageConnector

    Bar = tqdm[Any]

BLOCK_BYTES: Final = 1 << 20
PACKAGE: Final = "package://"
_EXTRAS = {"sklearn": "sklearn"}


@dataclass(frozen=True, repr=False)
class ResourceDefinition:
    """Where a file is published, what it must be, and what it is called in the store.

    Attributes:
        identifier: its name within the store.
        source: a URL, the path of a file, or ``package://package/file`` for a file of an installed package.
        checksum: ``sha256:<hex>`` or ``md5:<hex>``, in lower case; without, whatever comes is taken.
        md5_sum: the hex digits alone, another way to say ``checksum``; None if that is no md5.

    Examples:
        >>> ResourceDefinition("a.gz", "https://host/a.gz", md5_sum="D41D8CD98F00B204E9800998ECF8427E").checksum
        'md5:d41d8cd98f00b204e9800998ecf8427e'
    """

    identifier: str
    source: str
    checksum: str | None = None
    md5_sum: str | None = None

    def __post_init__(self) -> None:
        check_identifier(self.identifier)
        object.__setattr__(self, "source", os.fspath(self.source))
        given = [self.checksum, f"md5:{self.md5_sum}" if self.md5_sum else None]
        checksums = {":".join(parse_checksum(text)) for text in given if text is not None}
        if len(checksums) > 1:
            raise ValueError(
                f"{self.identifier}: checksum {self.checksum} and md5_sum {self.md5_sum}: give one of them"
            )
        checksum = next(iter(checksums), None)
        object.__setattr__(self, "checksum", checksum)
        md5 = checksum.removeprefix("md5:") if checksum is not None and checksum.startswith("md5:") else None
        object.__setattr__(self, "md5_sum", md5)

    def __repr__(self) -> str:
        return f"ResourceDefinition({self.identifier!r}, {redact(self.source)!r}, {self.checksum!r})"


class Retriever(ABC):
    """Fetches files into a store, each all or nothing, and only those that are not there yet.

    Kinds of source write ``_fetch``.

    Args:
        connector: the store to fetch into.
        progress: show bars; by default only on a terminal.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> class WordRetriever(Retriever):
        ...     def _fetch(self, definition, bar):
        ...         return self._publish(definition, iter([definition.source.encode()]))
        >>> connector = MemoryStorageConnector("retriever-example")
        >>> [info.size for info in WordRetriever(connector).retrieve([ResourceDefinition("owl.txt", "hoo")])]
        [3]
    """

    def __init__(self, connector: StorageConnector, *, progress: bool | None = None) -> None:
        self.connector = connector
        self._progress = progress

    def retrieve(self, definitions: Iterable[ResourceDefinition], *, overwrite: bool = False) -> list[ResourceInfo]:
        """Fetches what is not there, or is there with another checksum; what has none to compare stays.

        Args:
            definitions: what to fetch.
            overwrite: fetch also what is there.

        Raises:
            RetrievalError: a source can't be fetched; what was stored before stays.
            DatasetFileCorruptError: it has another checksum than promised; what was stored before stays.
        """
        from tqdm import tqdm

        wanted = list(definitions)
        infos = []
        # tqdm takes None for "disabled unless this is a terminal".
        hidden = None if self._progress is None else not self._progress
        with tqdm(total=len(wanted), desc="retrieving", unit="file", disable=hidden) as files:
            for definition in wanted:
                info = None if overwrite else self._stored(definition)
                if info is None:
                    style: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "leave": False}
                    with tqdm(desc=definition.identifier, disable=hidden, **style) as bar:
                        info = self._fetch(definition, bar)
                infos.append(info)
                files.update()
        return infos

    @abstractmethod
    def _fetch(self, definition: ResourceDefinition, bar: Bar) -> ResourceInfo:
        """Stores one source by ``_publish``, and moves the bar on."""

    def _publish(self, definition: ResourceDefinition, blocks: Iterator[bytes]) -> ResourceInfo:
        """Stores blocks if they begin as the identifier's ending promises, and have the checksum at the end."""
        source = redact(definition.source)
        checked = as_promised(blocks, definition.identifier, source)
        with closing(checked):
            try:
                return self.connector.set_resource(definition.identifier, checked, checksum=definition.checksum)
            except DatasetFileCorruptError as error:
                raise DatasetFileCorruptError(f"{error}; it came from {source}") from error

    def _stored(self, definition: ResourceDefinition) -> ResourceInfo | None:
        """The resource, if it is there and what it should be."""
        try:
            info = self.connector.get_info(definition.identifier)
            if definition.checksum is None or info.checksum == definition.checksum:
                return info
            if info.checksum is not None and definition.checksum.startswith("sha256:"):
                return None
            algorithm, _ = parse_checksum(definition.checksum)
            hashing = Hashing(algorithm)
            with self.connector.get_resource(definition.identifier, info=info) as resource:
                hashing.drain(resource.chunks())
        except ResourceNotFoundError:
            return None
        return info if hashing.checksum() == definition.checksum else None


class FileRetriever(Retriever):
    """Fetches files of this machine: by path, by ``file:`` URL, or out of an installed package.

    Examples:
        >>> import tempfile
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("file-retriever-example")
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     _ = file.write(b"hoo"), file.flush()
        ...     infos = FileRetriever(connector).retrieve([ResourceDefinition("owl.txt", file.name)])
        >>> connector.get_resource("owl.txt").read()
        b'hoo'
    """

    def _fetch(self, definition: ResourceDefinition, bar: Bar) -> ResourceInfo:
        path = _path_of(definition.source)
        try:
            file = open(path, "rb")  # noqa: SIM115 (closed below; this catches only what opening raises)
        except OSError as error:
            raise RetrievalError(f"can't fetch {definition.source}: {error.strerror or error}") from error
        with file:
            bar.reset(total=os.fstat(file.fileno()).st_size)
            return self._publish(definition, _blocks(file, definition.source, bar))


class HTTPRetriever(Retriever):
    """Fetches files over HTTP, streamed into the store and checked on the way.

    Transient faults are tried again until nothing new has come for ``deadline`` seconds. An interrupted transfer goes
    on where it stopped, if the server names its version by a strong ETag and takes ranges; else it begins anew. At
    most five redirects are followed, none of them away from http(s) or from https to http.

    Where a server says neither how long a file is nor sends it in chunks, only a checksum tells a part from the whole.

    Args:
        connector: the store to fetch into.
        deadline: seconds without progress after which it gives up.
        progress: show bars; by default only on a terminal.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> retriever = HTTPRetriever(MemoryStorageConnector("http-retriever-example"), deadline=10)
        >>> retriever.retrieve([ResourceDefinition("owl.txt", "https://birds.example/owl.txt")])  # doctest: +SKIP
    """

    def __init__(self, connector: StorageConnector, *, deadline: float = 60.0, progress: bool | None = None) -> None:
        super().__init__(connector, progress=progress)
        self._deadline = deadline

    def _fetch(self, definition: ResourceDefinition, bar: Bar) -> ResourceInfo:
        from datastack_fs.downloads import BeginAnew, Download

        with Download(definition.source, self._deadline) as download:
            while True:
                try:
                    return self._publish(definition, download.blocks(bar))
                except BeginAnew:
                    continue


def _path_of(source: str) -> str:
    if source.startswith(PACKAGE):
        return _path_in_package(source)
    if not source.startswith("file:"):
        return source
    parts = urlsplit(source)
    if parts.netloc not in {"", "localhost"}:
        raise RetrievalError(f"{source}: a file URL has three slashes and an absolute path, file:///folder/file")
    return unquote(parts.path)


def _path_in_package(source: str) -> str:
    """The file of an installed package, which is not imported: that could take seconds."""
    from importlib.util import find_spec

    package, _, name = source.removeprefix(PACKAGE).partition("/")
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        extra = _EXTRAS.get(package)
        install = f"pip install 'datastack-fs[{extra}]'" if extra else f"install {package}"
        raise MissingDependencyError(f"{source} needs the package {package}: {install}", name=package)
    return os.path.join(folders[0], *name.split("/"))


def _blocks(file: BinaryIO, source: str, bar: Bar) -> Iterator[bytes]:
    while True:
        try:
            block = file.read(BLOCK_BYTES)
        except OSError as error:
            raise RetrievalError(f"can't fetch {source}: {error.strerror or error}") from error
        if not block:
            return
        bar.update(len(block))
        yield block
