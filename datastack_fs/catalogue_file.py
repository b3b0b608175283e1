"""The catalogue file, ``datastack-datasets.yaml``: where it is found, and the datasets that it gives.

It (or ``.yml``, ``.toml``) is looked for as ``datastack.yaml`` is: in the working folder and those above it, then in
``~/.config/datastack-fs/``; ``$DATASTACK_CATALOGUE`` names one outright.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from datastack_fs import registry
from datastack_fs.catalogue import CatalogueEntry, CatalogueSplit
from datastack_fs.checksums import parse_checksum
from datastack_fs.config_file import Document, read_document
from datastack_fs.errors import ConfigError
from datastack_fs.factory import FIRST_VERSION
from datastack_fs.profiles import find_file, make_profile

if TYPE_CHECKING:
    from datastack_fs.catalogue_schema import DatasetSchema

CATALOGUE_VARIABLE: Final = "DATASTACK_CATALOGUE"
CATALOGUE_STEM: Final = "datastack-datasets"
ONLY_SPLIT: Final = "all"
"""What the one split is called of a dataset that has a ``url`` alone."""


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
