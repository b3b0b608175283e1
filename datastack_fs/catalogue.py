"""The catalogue file: datasets by name, without code, that are opened where they are.

``datastack-datasets.yaml`` (``.yml``, ``.toml``) is looked for as ``datastack.yaml`` is: in the working folder and
those above it, then in ``~/.config/datastack-fs/``; ``$DATASTACK_CATALOGUE`` names one outright.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from datastack_fs import registry
from datastack_fs.checksums import parse_checksum
from datastack_fs.config import absolute_url, connector_options, open_described, open_resource
from datastack_fs.config_file import Document, read_document
from datastack_fs.credentials import expand, redact
from datastack_fs.errors import ConfigError, DatasetFileCorruptError, DatasetNotFoundError
from datastack_fs.factory import FIRST_VERSION
from datastack_fs.profiles import Profile, find_file, make_profile

if TYPE_CHECKING:
    from datastack_fs.catalogue_schema import DatasetSchema
    from datastack_fs.iterators.base import DatasetIterator
    from datastack_fs.resource import StreamedResource
    from datastack_fs.storage import StorageConnector

CATALOGUE_VARIABLE: Final = "DATASTACK_CATALOGUE"
CATALOGUE_STEM: Final = "datastack-datasets"
ONLY_SPLIT: Final = "all"
"""What the one split is called of a dataset that has a ``url`` alone."""


@dataclass(frozen=True)
class CatalogueSplit:
    """A file of a dataset.

    Attributes:
        profile: its URL, or its identifier in the dataset's store, with the options of the dataset.
        checksum: ``sha256:<hex>`` or ``md5:<hex>``, if it is known.
    """

    profile: Profile
    checksum: str | None = None


@dataclass(frozen=True)
class CatalogueEntry:
    """A dataset as a catalogue describes it; nothing of it is copied to open it.

    Attributes:
        name: its name, without the version.
        version: its version.
        splits: by name, the usual one first.
        format: the name of the format; by default it is told by the file.
        storage: the profile of the store that the splits are in; without, each has a URL.
        copied: it is copied into the user's store before it is opened.
        class_names: the names of the classes, where the file doesn't give them.
        description: what it is, in a line.
        licence: under which terms it is published.
        homepage: where it is described.
    """

    name: str
    version: str
    splits: Mapping[str, CatalogueSplit]
    format: str | None = None
    storage: str | None = None
    copied: bool = False
    class_names: tuple[str, ...] | None = None
    description: str = ""
    licence: str | None = None
    homepage: str | None = None

    @property
    def full_name(self) -> str:
        """The name, with the version if that is not the first."""
        return self.name if self.version == FIRST_VERSION else f"{self.name}@{self.version}"

    def open(self, split: str | None = None) -> DatasetIterator[Any]:
        """Opens a split where it is, lazily; its checksum is compared with the store's, if the store keeps one.

        Args:
            split: its name; by default the first.

        Raises:
            DatasetNotFoundError: there is no such split.
            ConfigError: an option that neither connector nor format knows, or a variable that is not set.
            DatasetFileCorruptError: it was stored with another checksum than the catalogue's.
        """
        wanted = next(iter(self.splits)) if split is None else split
        return self._open(wanted, self.source(wanted), self.storage, self._profile(wanted).options)

    def open_copy(self, connector: StorageConnector, identifier: str, split: str) -> DatasetIterator[Any]:
        """Opens a copy of a split in another store, with the options of the format alone."""
        options = self._profile(split).options
        of_store = connector_options(self.source(split), self.storage, self.format, options)
        of_format = {name: value for name, value in options.items() if name not in of_store}
        return self._open(split, identifier, connector, of_format)

    def _open(
        self, split: str, url: str, storage: str | StorageConnector | None, options: Mapping[str, Any]
    ) -> DatasetIterator[Any]:
        from datastack_fs.iterators.base import DatasetMeta

        def describe(identifier: str) -> DatasetMeta:
            return DatasetMeta(identifier, self.name, tag=split, class_names=self.class_names)

        profile = self._profile(split)
        try:
            iterator = open_described(url, storage, self.format, options, describe)
        except ConfigError as error:
            raise ConfigError(f"{profile.place(('options',))}{profile.label}: {error}") from None
        known, stored = self.splits[split].checksum, iterator.origin and iterator.origin.checksum
        if known and stored and known != stored and known.partition(":")[0] == stored.partition(":")[0]:
            raise DatasetFileCorruptError(
                f"{redact(url)} was stored with {stored}, and {profile.label} promises {known}"
            )
        return iterator

    def open_file(self, split: str) -> StreamedResource:
        """The bytes of a split, where it is."""
        url = self.source(split)
        options = connector_options(url, self.storage, self.format, self._profile(split).options)
        return open_resource(url, storage=self.storage, **options)

    def source(self, split: str) -> str:
        """Where a split is: its URL, or its identifier in ``storage``.

        Raises:
            DatasetNotFoundError: there is no such split.
            ConfigError: a variable that it refers to is not set.
        """
        profile = self._profile(split)
        profile.check_environment()
        if self.storage is not None:
            return str(expand(profile.url))
        # A bare word is a file beside the catalogue.
        bare = registry.url_scheme(expand(profile.url)) is None and os.sep not in expand(profile.url)
        url = absolute_url(replace(profile, url=f"./{expand(profile.url)}") if bare else profile)
        return url if registry.url_scheme(url) else str(PurePosixPath(url))

    def file_name(self, split: str) -> str:
        """The last part of a split's identifier."""
        source = self.source(split)
        identifier = source if self.storage is not None else registry.split_resource_url(source)[1]
        return identifier.rpartition("/")[2]

    def _profile(self, split: str) -> Profile:
        if split not in self.splits:
            raise DatasetNotFoundError(f"{self.full_name} has no split {split!r}; it has {', '.join(self.splits)}")
        return self.splits[split].profile


@dataclass(frozen=True)
class Catalogue:
    """What the catalogue file says.

    Attributes:
        entries: by full name (``birds``, ``birds@2``).
        file: the file; None if there is none.
    """

    entries: Mapping[str, CatalogueEntry] = field(default_factory=dict)
    file: Path | None = None


def load_catalogue() -> Catalogue:
    """Finds and reads the catalogue; an empty one where there is no file.

    Raises:
        ConfigError: the file is broken, or names a dataset that is built in; the message names file, line and key.
    """
    file = find_file(CATALOGUE_STEM, CATALOGUE_VARIABLE)
    if file is None:
        return Catalogue()
    document = read_document(file)
    from datastack_fs.catalogue_schema import validate

    entries: dict[str, CatalogueEntry] = {}
    for name, schema in validate(document).datasets.items():
        reading = _Reading(document, name)
        entry = reading.entry(schema)
        if registry.DATASETS.is_built_in(entry.full_name):
            raise reading.refused((), f"{entry.full_name} is built in: take another name, or a version ({name}@lab)")
        if entry.full_name in entries:
            raise reading.refused((), f"{entry.full_name} is there already")
        entries[entry.full_name] = entry
    return Catalogue(entries, file)


class _Reading:
    """Makes an entry of what stands under one name of a checked catalogue."""

    def __init__(self, document: Document, name: str) -> None:
        self._document = document
        self._name = name

    def entry(self, schema: DatasetSchema) -> CatalogueEntry:
        """The entry, or an error that says what doesn't fit together."""
        name, _, version = self._name.partition("@")
        return CatalogueEntry(
            name,
            version or FIRST_VERSION,
            self._splits(schema),
            schema.format,
            self._store(schema.storage),
            schema.copied,
            None if schema.class_names is None else tuple(schema.class_names),
            schema.description,
            schema.licence,
            schema.homepage,
        )

    def _splits(self, schema: DatasetSchema) -> dict[str, CatalogueSplit]:
        if (schema.url is None) == (schema.splits is None):
            raise self.refused((), "it has either a url, or splits that have one each")
        if schema.splits is None:
            assert schema.url is not None
            return {ONLY_SPLIT: self._split((), schema.url, schema.checksum, schema.options)}
        if not schema.splits:
            raise self.refused(("splits",), "there is none")
        if schema.checksum is not None:
            raise self.refused(("checksum",), "each split has its own: splits: {train: {url: …, checksum: …}}")
        return {
            name: self._split(("splits", name), split.url, split.checksum, schema.options)
            for name, split in schema.splits.items()
        }

    def _split(
        self, path: tuple[str, ...], url: str, checksum: str | None, options: Mapping[str, Any]
    ) -> CatalogueSplit:
        above = ("datasets", self._name)
        try:
            known = None if checksum is None else ":".join(parse_checksum(checksum))
        except ValueError as error:
            raise self.refused((*path, "checksum"), str(error)) from None
        places = {found[2:]: place for found, place in self._document.places.items() if found[:2] == above}
        places |= {("url",): self._document.place((*above, *path, "url"))}
        profile = make_profile(
            ".".join((*above, *path)),
            url,
            options,
            folder=places[("url",)].file.parent,
            places=places,
        )
        return CatalogueSplit(profile, known)

    def _store(self, storage: str | None) -> str | None:
        """A profile's name or a URL as it is; a path from the folder of the file on."""
        if storage is None or registry.url_scheme(storage) is not None or os.sep not in storage:
            return storage
        folder = self._document.place(("datasets", self._name, "storage")).file.parent
        return os.path.join(folder, os.path.expanduser(storage))

    def refused(self, path: tuple[str, ...], reason: str) -> ConfigError:
        """An error that names the file, the line and the key."""
        full = ("datasets", self._name, *path)
        return ConfigError(f"{self._document.place(full)}: {'.'.join(full)}: {reason}")
