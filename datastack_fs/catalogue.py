"""Datasets of a catalogue: known by name without code, and opened where they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from datastack_fs import registry
from datastack_fs.config import connector_options, open_described, open_resource
from datastack_fs.credentials import expand, redact
from datastack_fs.errors import ConfigError, DatasetFileCorruptError, DatasetNotFoundError
from datastack_fs.factory import FIRST_VERSION
from datastack_fs.profile_choice import absolute_url
from datastack_fs.profiles import Profile

if TYPE_CHECKING:
    from datastack_fs.iterators.base import DatasetIterator
    from datastack_fs.resource import StreamedResource
    from datastack_fs.storage import StorageConnector


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

    Examples:
        >>> from datastack_fs.profiles import make_profile
        >>> split = CatalogueSplit(make_profile("birds", "memory://catalogue-example/birds.npz", {}))
        >>> entry = CatalogueEntry("birds", "2", {"train": split})
        >>> entry.full_name, entry.source("train"), entry.file_name("train")
        ('birds@2', 'memory://catalogue-example/birds.npz', 'birds.npz')
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
        from datastack_fs.iterators.meta import DatasetMeta

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
        return url if registry.url_scheme(url) else url.replace("/./", "/")

    def file_name(self, split: str) -> str:
        """The last part of a split's identifier."""
        source = self.source(split)
        identifier = source if self.storage is not None else registry.split_resource_url(source)[1]
        return identifier.rpartition("/")[2]

    def _profile(self, split: str) -> Profile:
        if split not in self.splits:
            raise DatasetNotFoundError(f"{self.full_name} has no split {split!r}; it has {', '.join(self.splits)}")
        return self.splits[split].profile
