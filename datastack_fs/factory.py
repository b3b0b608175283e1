"""Datasets that are retrieved, preprocessed and stored once, and opened many times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

from datastack_fs.errors import (
    ConfigError,
    DatasetNotFoundError,
    ReadOnlyStorageError,
    ResourceNotFoundError,
    UnknownPluginError,
)
from datastack_fs.lease import STALE_SECONDS, Lease
from datastack_fs.manifest import Manifest, read_manifest
from datastack_fs.registry import connector_class, url_scheme
from datastack_fs.retrieval import FileRetriever, HTTPRetriever, ResourceDefinition, Retriever, StorageRetriever

if TYPE_CHECKING:
    from datastack_fs.iterators.base import DatasetIterator, DatasetMeta
    from datastack_fs.resource import ResourceInfo
    from datastack_fs.storage import StorageConnector

_RETRIEVERS: Mapping[str | None, type[Retriever]] = {
    None: FileRetriever,
    "file": FileRetriever,
    "package": FileRetriever,
    "http": HTTPRetriever,
    "https": HTTPRetriever,
}


class DatasetFactory(ABC):
    """One dataset in one store: prepares it there on first use, and opens its splits.

    A kind of dataset says its ``name`` and ``splits``, what to retrieve (``definitions``), how to preprocess that
    (``_preprocess``) and how to open a split (``_open``). Its resources are called ``<name>/…``; the manifest
    ``<name>/manifest.json`` is written last, so that a preparation that was cut off never counts as whole.

    Processes that prepare the same dataset at the same time wait for each other (``<name>/prepare.lock``), to save
    work. They need not: every resource is stored all or nothing, and the same sources give the same bytes.

    Args:
        storage_connector: the store.
        resource_definitions: what to retrieve instead of what is published: a mirror, or files of your own.
        retriever: fetches all of it; by default one that suits each source.
        offline: retrieves nothing over the network; by default what ``$DATASTACK_OFFLINE`` says.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> from datastack_fs.datasets.digits import DigitsFactory
        >>> iterator, meta = DigitsFactory(MemoryStorageConnector("factory-example")).get_dataset_iterator()
        >>> len(iterator), meta.name, meta.tag
        (1437, 'digits', 'train')
    """

    name: ClassVar[str]
    """What it is called; the first segment of its identifiers."""

    version: ClassVar[str] = "1"
    """Changes when its resources change; what another version has prepared is prepared anew."""

    splits: ClassVar[tuple[str, ...]]
    """The parts that can be opened, the usual one first."""

    lease_seconds: ClassVar[float] = STALE_SECONDS
    """How long a process that prepares may give no sign of life."""

    def __init__(
        self,
        storage_connector: StorageConnector,
        *,
        resource_definitions: Iterable[ResourceDefinition] | None = None,
        retriever: Retriever | None = None,
        offline: bool | None = None,
    ) -> None:
        self.storage_connector = storage_connector
        self._definitions = None if resource_definitions is None else tuple(resource_definitions)
        self._retriever = retriever
        self._offline = offline
        if retriever is not None and retriever.connector.url != storage_connector.url:
            raise ValueError(f"the retriever writes to {retriever.connector.url}, not to {storage_connector.url}")

    # What authors write.

    @classmethod
    @abstractmethod
    def definitions(cls) -> Sequence[ResourceDefinition]:
        """What to retrieve, from where it is published."""

    @abstractmethod
    def _preprocess(self) -> Sequence[ResourceInfo]:
        """Makes the resources that splits are opened from, out of those retrieved; says what it stored.

        It may run again over its own work, and then must store the same.
        """

    @abstractmethod
    def _open(self, split: str) -> DatasetIterator[Any]:
        """The iterator over one of ``splits``; the dataset is prepared."""

    # What callers use.

    @property
    def resource_definitions(self) -> Sequence[ResourceDefinition]:
        """What is retrieved: what was given, else what is published."""
        return self.definitions() if self._definitions is None else self._definitions

    def get_dataset_iterator(self, config: Mapping[str, Any] | None = None) -> tuple[DatasetIterator[Any], DatasetMeta]:
        """Opens a split, after preparing the dataset if need be.

        Args:
            config: ``{"split": name}``; by default the first split.

        Raises:
            DatasetNotFoundError: it has no such split.
            ConfigError: an unknown key.
            ReadOnlyStorageError: it is not prepared, and can't be in a store that is read-only.
        """
        unknown = sorted(map(str, set(config or {}) - {"split"}))
        if unknown:
            raise ConfigError(f"{self.name}: unknown key {', '.join(unknown)}; the configuration takes: split")
        split = (config or {}).get("split", self.splits[0])
        if split not in self.splits:
            raise DatasetNotFoundError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")
        self.prepare()
        iterator = self._open(split)
        return iterator, iterator.meta

    def prepare(self, *, overwrite: bool = False, progress: bool | None = None) -> list[ResourceInfo]:
        """Retrieves, checks, preprocesses and stores the dataset, unless that is done.

        Args:
            overwrite: do it all anew.
            progress: show bars; by default only on a terminal.

        Returns:
            the resources.

        Raises:
            RetrievalError: a source can't be fetched, or must not be since it is offline.
            DatasetFileCorruptError: what was fetched is not what was promised.
            ReadOnlyStorageError: it is not prepared, and can't be in a store that is read-only.
        """
        found = None if overwrite else self._prepared()
        if found is not None:
            return found
        try:
            with Lease(self.storage_connector, f"{self.name}/prepare.lock", stale_after=self.lease_seconds):
                found = None if overwrite else self._prepared()  # by somebody else, while we waited
                return self._prepare(overwrite, progress) if found is None else found
        except ReadOnlyStorageError as error:
            raise ReadOnlyStorageError(
                f"{self.name} is not prepared in {self.storage_connector.url}, which is read-only: prepare it with "
                "access that may write, then open it here"
            ) from error

    def is_prepared(self) -> bool:
        """Whether the manifest is there, and all that it names is as it was."""
        return self._prepared() is not None

    def resources(self) -> list[ResourceInfo]:
        """The resources of the prepared dataset.

        Raises:
            DatasetNotFoundError: it is not prepared.
        """
        found = self._prepared()
        if found is None:
            raise DatasetNotFoundError(
                f"{self.name} is not prepared in {self.storage_connector.url}; prepare() does it"
            )
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.storage_connector!r})"

    @property
    def _manifest_identifier(self) -> str:
        return f"{self.name}/manifest.json"

    def _prepared(self) -> list[ResourceInfo] | None:
        manifest = read_manifest(self.storage_connector, self._manifest_identifier)
        if manifest is None or (manifest.dataset, manifest.version) != (self.name, self.version):
            return None
        return manifest.stored(self.storage_connector)

    def _prepare(self, overwrite: bool, progress: bool | None) -> list[ResourceInfo]:
        if overwrite:
            with suppress(ResourceNotFoundError):
                self.storage_connector.delete_resource(self._manifest_identifier)
        definitions = self.resource_definitions
        infos = [*self._retrieve(definitions, overwrite, progress), *self._preprocess()]
        manifest = Manifest.of(self.name, self.version, infos, definitions)
        self.storage_connector.set_resource(self._manifest_identifier, manifest.to_json())
        return infos

    def _retrieve(
        self, definitions: Sequence[ResourceDefinition], overwrite: bool, progress: bool | None
    ) -> list[ResourceInfo]:
        if self._retriever is not None:
            offline = {} if self._offline is None else {"offline": self._offline}
            return self._retriever.retrieve(definitions, overwrite=overwrite, **offline)
        infos: list[ResourceInfo] = []
        for retriever, group in groupby(definitions, key=lambda definition: retriever_for(definition.source)):
            fetching = retriever(self.storage_connector, offline=self._offline, progress=progress)
            infos += fetching.retrieve(group, overwrite=overwrite)
        return infos


def retriever_for(source: str) -> type[Retriever]:
    """The kind of retriever that fetches a source.

    Raises:
        UnknownPluginError: none does; the message lists the known schemes.

    Examples:
        >>> retriever_for("https://host/train.gz").__name__
        'HTTPRetriever'
    """
    scheme = url_scheme(source)
    if scheme in _RETRIEVERS:
        return _RETRIEVERS[scheme]
    try:
        connector_class(source)
    except UnknownPluginError as error:
        known = ", ".join(filter(None, _RETRIEVERS))
        raise UnknownPluginError(
            f"no retriever for {scheme}: sources; known are {known}, paths, and what connect() takes: {error}"
        ) from error
    return StorageRetriever
