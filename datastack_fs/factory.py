"""Datasets that are retrieved, preprocessed and stored once, and opened many times."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

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
    from datastack_fs.iterators.base import DatasetIterator
    from datastack_fs.iterators.meta import DatasetMeta
    from datastack_fs.preprocessing import Preprocessor
    from datastack_fs.resource import ResourceInfo
    from datastack_fs.storage import StorageConnector

FIRST_VERSION: Final = "1"
"""The version whose resources have the plain name of the dataset."""

Preprocessing: TypeAlias = "Callable[[Sequence[Preprocessor], StorageConnector], Sequence[ResourceInfo]]"
"""Runs preprocessors, and says what each has written."""

_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_RETRIEVERS: Mapping[str | None, type[Retriever]] = {
    None: FileRetriever,
    "file": FileRetriever,
    "package": FileRetriever,
    "http": HTTPRetriever,
    "https": HTTPRetriever,
}


class DatasetFactory(ABC):
    """One dataset in one store: prepares it there on first use, and opens its splits.

    A kind of dataset says its ``name``, what to retrieve (``definitions``) and how one HDF5 file for each split is made
    of that (``preprocessors``); if its splits are opened in another way, it writes ``_open``. Its resources are called
    ``<name>/…``, those of a later version ``<name>@<version>/…``, so that versions stand side by side. The manifest
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
    """What it is called: letters, digits, ``_``, ``-`` and ``.``."""

    version: ClassVar[str] = FIRST_VERSION
    """Changes when its resources change: what other versions have prepared stays as it is, beside."""

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    """The parts that can be opened, the usual one first."""

    class_names: ClassVar[tuple[str, ...] | None] = None
    """The names of the classes, when targets are their numbers."""

    feature_names: ClassVar[tuple[str, ...] | None] = None
    """What the values of a sample are called, when it is a vector."""

    description: ClassVar[str] = ""
    """What it is, in a line."""

    licence: ClassVar[str | None] = None
    """Under which terms it is published: ``CC BY 4.0``."""

    homepage: ClassVar[str | None] = None
    """Where its publisher describes it."""

    download_bytes: ClassVar[int | None] = None
    """How much there is to retrieve."""

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

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for kind in ("name", "version"):
            text = getattr(cls, kind, None)
            if isinstance(text, str) and not _WORD.fullmatch(text):
                raise ValueError(
                    f"{cls.__name__}.{kind} is {text!r}: it has letters, digits, '_', '-' and '.' only, and "
                    "begins with no dot or dash"
                )

    # What authors write.

    @classmethod
    @abstractmethod
    def definitions(cls) -> Sequence[ResourceDefinition]:
        """What to retrieve, from where it is published."""

    @classmethod
    def preprocessors(cls) -> Sequence[Preprocessor]:
        """What makes the resources that splits are opened from, out of those retrieved; nothing by default.

        They run one after the other, or on an engine all at once: none should read what another one writes.
        """
        return ()

    def _open(self, split: str) -> DatasetIterator[Any]:
        """The iterator over one of ``splits``; the dataset is prepared.

        By default the datasets ``samples`` and ``targets`` of ``<name>/preprocessed/<split>.h5``, as ``store_hdf5``
        writes them.
        """
        from datastack_fs.formats.hdf5 import HDF5DatasetIterator
        from datastack_fs.iterators.meta import DatasetMeta

        identifier = self.identifier(f"preprocessed/{split}.h5")
        meta = DatasetMeta(
            identifier, self.name, tag=split, class_names=self.class_names, feature_names=self.feature_names
        )
        resource = self.storage_connector.get_resource(identifier)
        return HDF5DatasetIterator(resource, sample="samples", target="targets", meta=meta)

    # What callers use.

    @classmethod
    def full_name(cls) -> str:
        """The name, with the version if that is not the first: what its identifiers begin with."""
        return cls.name if cls.version == FIRST_VERSION else f"{cls.name}@{cls.version}"

    @classmethod
    def identifier(cls, rest: str) -> str:
        """The identifier of a resource of this dataset, in this version.

        Examples:
            >>> from datastack_fs.datasets.digits import DigitsFactory
            >>> class NextDigits(DigitsFactory):
            ...     version = "2"
            >>> DigitsFactory.identifier("preprocessed/train.h5"), NextDigits.identifier("preprocessed/train.h5")
            ('digits/preprocessed/train.h5', 'digits@2/preprocessed/train.h5')
        """
        return f"{cls.full_name()}/{rest}"

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
        check_keys(self.full_name(), config or {})
        split = (config or {}).get("split", self.splits[0])
        if split not in self.splits:
            raise DatasetNotFoundError(f"{self.full_name()} has no split {split!r}; it has {', '.join(self.splits)}")
        self.prepare()
        iterator = self._open(split)
        return iterator, iterator.meta

    def prepare(
        self, *, overwrite: bool = False, progress: bool | None = None, preprocessing: Preprocessing | None = None
    ) -> list[ResourceInfo]:
        """Retrieves, checks, preprocesses and stores the dataset, unless that is done.

        Args:
            overwrite: do it all anew.
            progress: show bars; by default only on a terminal.
            preprocessing: runs the preprocessors, as ``bridges.preprocess_on_ray`` does on many nodes; by default they
                run here, one after the other. What is stored is the same.

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
            with Lease(self.storage_connector, self.identifier("prepare.lock"), stale_after=self.lease_seconds):
                found = None if overwrite else self._prepared()  # by somebody else, while we waited
                return self._prepare(overwrite, progress, preprocessing or _in_turn) if found is None else found
        except ReadOnlyStorageError as error:
            raise ReadOnlyStorageError(
                f"{self.full_name()} is not prepared in {self.storage_connector.url}, which is read-only: prepare it "
                "with access that may write, then open it here"
            ) from error

    def is_prepared(self) -> bool:
        """Whether the manifest is there, and all that it names is as it was."""
        return self._prepared() is not None

    def manifest(self) -> Manifest | None:
        """What a whole preparation has stored, whether that is still there or not; None if there was none."""
        found = read_manifest(self.storage_connector, self.identifier("manifest.json"))
        is_ours = found and not found.splits and (found.dataset, found.version) == (self.name, self.version)
        return found if is_ours else None

    def resources(self) -> list[ResourceInfo]:
        """The resources of the prepared dataset.

        Raises:
            DatasetNotFoundError: it is not prepared.
        """
        found = self._prepared()
        if found is None:
            raise DatasetNotFoundError(
                f"{self.full_name()} is not prepared in {self.storage_connector.url}; prepare() does it"
            )
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.storage_connector!r})"

    def _prepared(self) -> list[ResourceInfo] | None:
        manifest = self.manifest()
        return None if manifest is None else manifest.stored(self.storage_connector)

    def _prepare(self, overwrite: bool, progress: bool | None, preprocessing: Preprocessing) -> list[ResourceInfo]:
        definitions = self.resource_definitions
        self._check_own([definition.identifier for definition in definitions])
        if overwrite:
            with suppress(ResourceNotFoundError):
                self.storage_connector.delete_resource(self.identifier("manifest.json"))
        infos = self._retrieve(definitions, overwrite, progress)
        infos += preprocessing(self.preprocessors(), self.storage_connector)
        self._check_own([info.identifier for info in infos])
        manifest = Manifest.of(self.name, self.version, infos, definitions)
        self.storage_connector.set_resource(self.identifier("manifest.json"), manifest.to_json())
        return infos

    def _check_own(self, identifiers: Iterable[str]) -> None:
        """Refuses what another dataset, or another version, could have."""
        for identifier in identifiers:
            if not identifier.startswith(self.identifier("")):
                raise ValueError(
                    f"{identifier} is no resource of {self.full_name()}: its resources are called "
                    f"{self.identifier('…')}, as identifier(…) says"
                )

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


def _in_turn(preprocessors: Sequence[Preprocessor], connector: StorageConnector) -> list[ResourceInfo]:
    return [each.preprocess(connector) for each in preprocessors]


def check_keys(name: str, config: Mapping[str, Any]) -> None:
    """Refuses what is no key of a dataset's configuration."""
    unknown = sorted(map(str, set(config) - {"split"}))
    if unknown:
        raise ConfigError(f"{name}: unknown key {', '.join(unknown)}; the configuration takes: split")


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
