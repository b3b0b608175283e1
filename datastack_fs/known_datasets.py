"""Datasets by name: built-in ones, those of installed projects by entry point, those of the catalogue file.

Other projects add theirs with entry points in the group ``datastack_fs.datasets``: ``birds`` for the version that is
opened by default, ``birds@2`` for another one beside it. The built-in names come first, then entry points, then the
catalogue; a name that two of them claim is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Final

from datastack_fs.catalogue import CatalogueEntry
from datastack_fs.catalogue_factory import CatalogueFactory, factory_of
from datastack_fs.catalogue_file import Catalogue, load_catalogue
from datastack_fs.errors import ConfigError, DatasetNotFoundError, MissingDependencyError, UnknownPluginError
from datastack_fs.factory import DatasetFactory
from datastack_fs.plugins import Plugin, closest
from datastack_fs.registry import DATASETS

_SEPARATOR: Final = "@"


def dataset_names() -> list[str]:
    """The datasets that ``load_dataset`` and ``datastack-fs prepare`` know by name.

    Examples:
        >>> dataset_names()[:4]
        ['digits', 'mnist', 'fashion-mnist', 'iris']
    """
    return list(dict.fromkeys([*DATASETS.names(), *load_catalogue().entries]))


def dataset_factory(name: str) -> type[DatasetFactory]:
    """The factory class of a dataset.

    Args:
        name: its name, or ``name@version``.

    Raises:
        DatasetNotFoundError: no dataset of that name; the message lists the known ones.
        ConfigError: two projects, or a project and the catalogue, claim the name.
        UnknownPluginError: an entry point names something that isn't there, or is no factory of that version.
        MissingDependencyError: a package is not installed.

    Examples:
        >>> dataset_factory("iris").__name__, dataset_factory("iris@1").__name__
        ('IrisFactory', 'IrisFactory')
    """
    found = _find(name)
    base, separator, version = name.partition(_SEPARATOR)
    if found is None and separator:
        plain = _find(base)
        found = plain if plain is not None and plain.version == version else None
    if found is None:
        known = dataset_names()
        raise DatasetNotFoundError(f"no dataset {name!r}{closest(name, known)}; known datasets: {', '.join(known)}")
    return found


def known_factories() -> Iterator[tuple[str, type[DatasetFactory]]]:
    """Every known dataset by name; one that can't be loaded is left out, with a warning."""
    for name in dataset_names():
        try:
            yield name, dataset_factory(name)
        except (UnknownPluginError, MissingDependencyError, ConfigError) as error:
            warnings.warn(f"{error}; it is left out", stacklevel=2)


def opened_in_place(factory_class: type[DatasetFactory]) -> CatalogueEntry | None:
    """The entry of a dataset that is opened where it is, unless a store is given; None for one that is prepared."""
    if issubclass(factory_class, CatalogueFactory) and not factory_class.entry.copied:
        return factory_class.entry
    return None


def _find(name: str) -> type[DatasetFactory] | None:
    plugin = DATASETS.find(name)
    # A broken catalogue is in nobody's way who asks for a built-in dataset.
    catalogue = Catalogue() if DATASETS.is_built_in(name) else load_catalogue()
    entry = catalogue.entries.get(name)
    if plugin is not None and entry is not None:
        raise ConfigError(
            f"{name!r} is claimed by {plugin.distribution} ({plugin.target}) and by {catalogue.file}: take another "
            "name in the latter"
        )
    if entry is not None:
        return factory_of(entry)
    return None if plugin is None else _loaded(plugin)


def _loaded(plugin: Plugin) -> type[DatasetFactory]:
    found: Any = plugin.load(f"dataset {plugin.name}")
    promised = f"dataset {plugin.name} is promised as {plugin.target} by {plugin.distribution}"
    if not (isinstance(found, type) and issubclass(found, DatasetFactory)):
        raise UnknownPluginError(f"{promised}, which is no DatasetFactory")
    version = plugin.name.partition(_SEPARATOR)[2]
    if version and found.version != version:
        raise UnknownPluginError(f"{promised}, which is version {found.version}, not {version}")
    return found
