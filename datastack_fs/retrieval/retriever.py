"""The base of all retrievers: what is there and right stays, the rest is fetched, several files at once."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Final

from datastack_fs.checksums import Hashing, parse_checksum
from datastack_fs.credentials import redact
from datastack_fs.errors import ConfigError, DatasetFileCorruptError, ResourceNotFoundError, RetrievalError
from datastack_fs.promises import as_promised
from datastack_fs.retrieval.definition import ResourceDefinition
from datastack_fs.retrieval.progress import FileProgress, Progress

if TYPE_CHECKING:
    from datastack_fs.resource import ResourceInfo
    from datastack_fs.storage import StorageConnector

OFFLINE_VARIABLE: Final = "DATASTACK_OFFLINE"
WORKERS: Final = 4

_YES = {"1", "true", "yes", "on"}
_NO = {"", "0", "false", "no", "off"}


class Retriever(ABC):
    """Fetches files into a store, each all or nothing, and only those that are not there yet.

    Kinds of source write ``_fetch``; it is called from several threads, for a file each.

    Args:
        connector: the store to fetch into.
        workers: how many files are fetched at the same time.
        max_size: refuses files of more bytes, before they are stored.
        offline: fetches nothing over the network; by default what ``$DATASTACK_OFFLINE`` says (1 or 0). The store
            itself is asked, wherever it is.
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

    def __init__(
        self,
        connector: StorageConnector,
        *,
        workers: int = WORKERS,
        max_size: int | None = None,
        offline: bool | None = None,
        progress: bool | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers={workers}: at least one must fetch")
        self.connector = connector
        self._workers = workers
        self._max_size = max_size
        self._offline = offline
        self._progress = progress

    def retrieve(
        self, definitions: Iterable[ResourceDefinition], *, overwrite: bool = False, offline: bool | None = None
    ) -> list[ResourceInfo]:
        """Fetches what is not there, or is there with another checksum; what has none to compare stays.

        The first file that can't be fetched ends the retrieval; what has been stored before stays.

        Args:
            definitions: what to fetch.
            overwrite: fetch also what is there.
            offline: as for the class, for this once.

        Returns:
            the resources, in the order of the definitions.

        Raises:
            RetrievalError: a source can't be fetched, or must not be since it is offline; what was stored before stays.
            DatasetFileCorruptError: it has another checksum than promised; what was stored before stays.
        """
        wanted = list(definitions)
        _check_distinct(wanted)
        with Progress(len(wanted), self._progress) as progress:

            def fetch(definition: ResourceDefinition) -> ResourceInfo:
                with progress.file(definition.identifier) as bar:
                    info = self._fetch(definition, bar)
                progress.done()
                return info

            stored = [None] * len(wanted) if overwrite else progress.run(self._stored, wanted, self._workers)
            missing = [definition for definition, info in zip(wanted, stored, strict=True) if info is None]
            progress.done(len(wanted) - len(missing))
            if missing and _is_offline(self._offline if offline is None else offline):
                self._check_local(missing, overwrite)
            fetched = iter(progress.run(fetch, missing, self._workers))
            return [next(fetched) if info is None else info for info in stored]

    @abstractmethod
    def _fetch(self, definition: ResourceDefinition, bar: FileProgress) -> ResourceInfo:
        """Stores one source by ``_publish``, and moves the bar on."""

    def _is_local(self, definition: ResourceDefinition) -> bool:
        """Whether a source is on this machine, and can be fetched offline."""
        return False

    def _publish(
        self, definition: ResourceDefinition, blocks: Iterator[bytes], *, checksum: str | None = None
    ) -> ResourceInfo:
        """Stores blocks if they begin as the identifier's ending promises, and have the checksum at the end.

        Args:
            definition: what they are.
            blocks: the bytes.
            checksum: what the source says of itself, where the definition has none.
        """
        source = redact(definition.source)
        checked = as_promised(self._bounded(definition, blocks), definition.identifier, source)
        expected = definition.checksum or checksum
        with closing(checked):
            try:
                return self.connector.set_resource(definition.identifier, checked, checksum=expected)
            except DatasetFileCorruptError as error:
                raise DatasetFileCorruptError(f"{error}; it came from {source}") from error

    def _check_size(self, definition: ResourceDefinition, size: int) -> None:
        """Refuses a source that is larger than ``max_size``."""
        if self._max_size is not None and size > self._max_size:
            raise RetrievalError(
                f"can't fetch {redact(definition.source)}: it has {size:,} bytes or more, and max_size={self._max_size}"
            )

    def _bounded(self, definition: ResourceDefinition, blocks: Iterator[bytes]) -> Iterator[bytes]:
        size = 0
        for block in blocks:
            size += len(block)
            self._check_size(definition, size)
            yield block

    def _check_local(self, missing: Sequence[ResourceDefinition], overwrite: bool) -> None:
        away = [definition for definition in missing if not self._is_local(definition)]
        if away:
            named = "; ".join(f"{each.identifier} (from {redact(each.source)})" for each in away)
            what = "would be fetched anew" if overwrite else "not in the store, or not as it should be"
            raise RetrievalError(
                f"offline, and {what}: {named}. Retrieve once with access to the network (without offline, --offline "
                f"and ${OFFLINE_VARIABLE}), or copy the resources into {self.connector.url}"
            )

    def _stored(self, definition: ResourceDefinition) -> ResourceInfo | None:
        """The resource, if it is there and what it should be."""
        try:
            info = self.connector.get_info(definition.identifier)
            if definition.checksum is None or info.checksum == definition.checksum:
                return info
            if info.checksum is not None and definition.checksum.startswith("sha256:"):
                return None
            # The store knows another checksum, or none: its bytes are read once, which costs less than to fetch them.
            algorithm, _ = parse_checksum(definition.checksum)
            hashing = Hashing(algorithm)
            with self.connector.get_resource(definition.identifier, info=info) as resource:
                hashing.drain(resource.chunks())
        except ResourceNotFoundError:
            return None
        return info if hashing.checksum() == definition.checksum else None


def _is_offline(given: bool | None) -> bool:
    if given is not None:
        return given
    word = os.environ.get(OFFLINE_VARIABLE, "").strip().lower()
    if word not in _YES | _NO:
        raise ConfigError(f"${OFFLINE_VARIABLE} is 1 or 0, not {word!r}")
    return word in _YES


def _check_distinct(definitions: Sequence[ResourceDefinition]) -> None:
    counts = Counter(definition.identifier for definition in definitions)
    twice = [identifier for identifier, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)}: defined more than once, and each resource has one source")
