"""A Ray dataset written to any store as a prepared dataset: parts by the tasks, the manifest last."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy.typing as npt

from datastack_fs.bridges.named_columns import is_empty
from datastack_fs.bridges.ray_ import check_ray
from datastack_fs.errors import ResourceExistsError, ResourceNotFoundError
from datastack_fs.factory import FIRST_VERSION
from datastack_fs.formats.hdf5 import CLASS_NAMES, FEATURE_NAMES
from datastack_fs.formats.hdf5_writing import store_columns
from datastack_fs.lease import Lease
from datastack_fs.manifest import Manifest, ManifestSplit, read_manifest
from datastack_fs.resource import ResourceInfo
from datastack_fs.stored_dataset import MANIFEST

if TYPE_CHECKING:
    import ray.data

    from datastack_fs.storage import StorageConnector

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(@[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_IN_ORDER: Final = re.compile(r"\w+\.(\d+)")
_REPORTED: Final = ("identifier", "size", "version", "checksum", "columns")


def write_to(
    datasets: ray.data.Dataset | Mapping[str, ray.data.Dataset],
    connector: StorageConnector,
    name: str,
    *,
    class_names: Sequence[str] | None = None,
    feature_names: Sequence[str] | None = None,
    rows_per_part: int | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Writes datasets of Ray to a store as the splits of a prepared dataset, which ``load_dataset(name)`` opens.

    Each task stores what it has as an HDF5 file, ``<name>/preprocessed/<split>/…``, all or nothing and from its own
    node. The manifest ``<name>/manifest.json`` is written last: until then there is no such dataset, or the one
    before. A run that fails removes its files; what one that was killed has left, the next run of that name does.
    Processes that write the same dataset wait for each other.

    The column ``target`` (or ``target.0``, …) becomes the targets, ``tag`` the tags, all others the samples: ``sample``
    alone is the sample itself, ``sample.0``, … make a tuple, and other names a mapping. Rows keep the order that Ray
    has them in, which is that of ``to_ray``.

    Args:
        datasets: one, which becomes the split ``train``, or several by the names of their splits.
        connector: the store.
        name: letters, digits, ``_``, ``-`` and ``.``; ``birds@2`` is a version.
        class_names: the names of the classes that the targets number.
        feature_names: what the values of a sample are called, if it is a vector.
        rows_per_part: rows in a file, but for the last ones; by default those of a block of Ray's, which are many small
            files where there are many tasks.
        overwrite: replace a dataset of that name.

    Returns:
        the manifest.

    Raises:
        ResourceExistsError: there is a dataset of that name.
        MissingDependencyError: Ray is not installed.
        ValueError: there are no rows, or not the same columns in all of them.
    """
    check_ray("write_to()")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a dataset: letters, digits, '_', '-', '.', and '@' before a version")
    splits = dict(datasets) if isinstance(datasets, Mapping) else {"train": datasets}
    for split in splits:
        if not _NAME.fullmatch(split) or "@" in split:
            raise ValueError(f"{split!r} is no name of a split: letters, digits, '_', '-' and '.'")
    words = {CLASS_NAMES: class_names, FEATURE_NAMES: feature_names}
    with Lease(connector, f"{name}/prepare.lock"):
        before = read_manifest(connector, f"{name}/{MANIFEST}")
        if before is not None and not overwrite:
            raise ResourceExistsError(f"{name} is in {connector.url} already; overwrite=True replaces it")
        kept = {entry.identifier for entry in before.resources} if before else set[str]()
        _remove_others(connector, name, kept)  # what a run that was killed has left
        written: dict[str, list[dict[str, Any]]] = {}
        try:
            for split, dataset in splits.items():
                given = {"connector": connector, "folder": f"{name}/preprocessed/{split}", "words": words}
                if rows_per_part is not None:
                    dataset = dataset.repartition(target_num_rows_per_block=rows_per_part, strict=True)
                parts = dataset.map_batches(_store_part, batch_size=None, zero_copy_batch=True, fn_kwargs=given)
                written[split] = parts.take_all()
            manifest = _manifest(name, written)
            connector.set_resource(f"{name}/{MANIFEST}", manifest.to_json())
        except BaseException:
            _remove_others(connector, name, kept)
            raise
        _remove_others(connector, name, {entry.identifier for entry in manifest.resources})
    return manifest


def _store_part(
    batch: dict[str, npt.NDArray[Any]],
    connector: StorageConnector,
    folder: str,
    words: Mapping[str, Sequence[str] | None],
) -> dict[str, Any]:
    """Stores a batch of rows as a file, in the task that has them, and gives a row that tells of it."""
    columns = {name: column for name, column in batch.items() if not is_empty(column)}
    if not columns:
        return {name: [] for name in _REPORTED}
    of_columns = (("target", CLASS_NAMES), ("sample", FEATURE_NAMES))
    named = {(column, attribute): words[attribute] for column, attribute in of_columns if column in columns}
    identifier = f"{folder}/{secrets.token_hex(8)}.h5"  # a name that no earlier try of this task had
    info = store_columns(connector, identifier, [columns], len(next(iter(columns.values()))), words=named)
    row = [info.identifier, info.size, info.version, info.checksum or "", "\n".join(columns)]
    return {name: [value] for name, value in zip(_REPORTED, row, strict=True)}


def _manifest(name: str, written: Mapping[str, list[dict[str, Any]]]) -> Manifest:
    infos: list[ResourceInfo] = []
    splits: dict[str, ManifestSplit] = {}
    for split, parts in written.items():
        if not parts:
            raise ValueError(f"{name}: the split {split!r} has no rows")
        kinds = {tuple(part["columns"].split("\n")) for part in parts}
        if len(kinds) > 1:
            shown = " and ".join(", ".join(kind) for kind in sorted(kinds)[:2])
            raise ValueError(f"{name}: some rows of {split!r} have other columns than others: {shown}")
        infos += [_info(part) for part in parts]
        splits[split] = _split([part["identifier"] for part in parts], *kinds)
    base, _, version = name.partition("@")
    return Manifest.of(base, version or FIRST_VERSION, infos, splits=splits)


def _info(part: Mapping[str, Any]) -> ResourceInfo:
    return ResourceInfo(part["identifier"], part["size"], part["version"], checksum=part["checksum"] or None)


def _split(parts: Iterable[str], columns: Sequence[str]) -> ManifestSplit:
    """Which columns are the samples, the targets, the tags.

    Examples:
        >>> _split(["a.h5"], ["width", "height", "target"])
        ManifestSplit(parts=('a.h5',), sample={'width': 'width', 'height': 'height'}, target='target', tag=None)
        >>> _split(["a.h5"], ["sample.0", "sample.1"]).sample
        ['sample.0', 'sample.1']
    """
    by_kind: dict[str, list[str]] = {"sample": [], "target": [], "tag": []}
    for column in columns:
        kind = column.partition(".")[0]
        by_kind[kind if kind in ("target", "tag") else "sample"].append(column)
    if not by_kind["sample"]:
        raise ValueError(f"no column is left for the samples beside {', '.join(columns)}")
    sample, target, tag = (_names(kind, of_kind) for kind, of_kind in by_kind.items())
    return ManifestSplit(tuple(parts), sample, target, tag)


def _names(kind: str, columns: list[str]) -> str | list[str] | dict[str, str] | None:
    if columns in ([], [kind]):
        return kind if columns else None
    if all(column.startswith(f"{kind}.") and _IN_ORDER.fullmatch(column) for column in columns):
        return columns
    return {column.removeprefix(f"{kind}."): column for column in columns}


def _remove_others(connector: StorageConnector, name: str, kept: set[str]) -> None:
    for identifier in list(connector.list_resources(f"{name}/preprocessed/")):
        if identifier not in kept:
            with suppress(ResourceNotFoundError):
                connector.delete_resource(identifier)
