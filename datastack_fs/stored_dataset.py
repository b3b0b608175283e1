"""Datasets that were written to a store without a factory: their manifest says how each split is opened."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError
from datastack_fs.manifest import Manifest, read_manifest
from datastack_fs.threads import map_in_threads

if TYPE_CHECKING:
    from datastack_fs.iterators.base import DatasetIterator
    from datastack_fs.iterators.meta import DatasetMeta
    from datastack_fs.manifest import ManifestSplit
    from datastack_fs.resource import ResourceInfo
    from datastack_fs.storage import StorageConnector

MANIFEST: Final = "manifest.json"

_AT_ONCE: Final = 8


def stored_manifest(connector: StorageConnector, name: str) -> Manifest | None:
    """The manifest of a dataset that was written to this store without a factory; None if there is none of that name.

    Args:
        connector: the store.
        name: the name of the dataset, with ``@version`` if it has one.
    """
    found = read_manifest(connector, f"{name}/{MANIFEST}")
    return found if found is not None and found.splits else None


def open_stored(connector: StorageConnector, manifest: Manifest, split: str | None = None) -> DatasetIterator[Any]:
    """Opens a split of such a dataset: its parts, one after the other, as one iterator.

    Args:
        connector: the store.
        manifest: of the dataset, as ``stored_manifest`` finds it.
        split: its name; by default the first.

    Raises:
        DatasetNotFoundError: it has no such split.
        DatasetFileCorruptError: a part is gone, or is not what was written.
    """
    from datastack_fs.iterators.combined import CombinedDatasetIterator
    from datastack_fs.iterators.meta import DatasetMeta

    chosen = next(iter(manifest.splits)) if split is None else split
    if chosen not in manifest.splits:
        raise DatasetNotFoundError(f"{manifest.dataset} has no split {chosen!r}; it has {', '.join(manifest.splits)}")
    wanted = manifest.splits[chosen]
    entries = {entry.identifier: entry for entry in manifest.resources}
    infos = replace(manifest, resources=tuple(entries[part] for part in wanted.parts)).stored(connector)
    if infos is None:
        raise DatasetFileCorruptError(f"{manifest.dataset} in {connector.url} is not whole: write it anew")
    meta = DatasetMeta(wanted.parts[0].rpartition("/")[0], manifest.dataset, tag=chosen)
    parts = map_in_threads(partial(_open, connector, wanted, meta), infos, _AT_ONCE)
    return parts[0] if len(parts) == 1 else CombinedDatasetIterator(parts, parts[0].meta)


def _open(
    connector: StorageConnector, split: ManifestSplit, meta: DatasetMeta, info: ResourceInfo
) -> DatasetIterator[Any]:
    from datastack_fs.formats.hdf5 import HDF5DatasetIterator

    with connector.get_resource(info.identifier, info=info) as resource:
        return HDF5DatasetIterator(resource, sample=split.sample, target=split.target, tag=split.tag, meta=meta)
