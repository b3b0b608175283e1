"""What a prepared dataset consists of: a small JSON resource, written last, that says it is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from datastack_fs.credentials import redact
from datastack_fs.errors import ResourceChangedError, ResourceNotFoundError

if TYPE_CHECKING:
    from typing_extensions import Self

    from datastack_fs.resource import ResourceInfo
    from datastack_fs.retrieval import ResourceDefinition
    from datastack_fs.storage import StorageConnector

_FORMAT: Final = 1


@dataclass(frozen=True)
class ManifestEntry:
    """One resource of a dataset; where it came from, if it was retrieved."""

    identifier: str
    size: int
    checksum: str | None = None
    source: str | None = None
    source_checksum: str | None = None


@dataclass(frozen=True)
class ManifestSplit:
    """How a split that no factory knows is opened.

    Attributes:
        parts: the identifiers of its HDF5 files, whose samples come one after the other.
        sample: which datasets of a file are the samples: a name, a list of names, or a mapping to names.
        target: the same for the targets; None if there are none.
        tag: the same for the tags.
    """

    parts: tuple[str, ...]
    sample: Any
    target: Any = None
    tag: Any = None


@dataclass(frozen=True)
class Manifest:
    """The resources of a prepared dataset.

    Attributes:
        dataset: its name.
        version: that of the dataset's preparation.
        library: the version of this library that prepared it.
        resources: all but the manifest itself.
        splits: by name, of a dataset that was written without a factory; empty where a factory opens them.

    Examples:
        >>> manifest = Manifest("birds", "1", "0.1.0", (ManifestEntry("birds/train.h5", 4),))
        >>> Manifest.from_json(manifest.to_json()) == manifest
        True
    """

    dataset: str
    version: str
    library: str
    resources: tuple[ManifestEntry, ...]
    splits: Mapping[str, ManifestSplit] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        dataset: str,
        version: str,
        infos: Sequence[ResourceInfo],
        definitions: Sequence[ResourceDefinition] = (),
        splits: Mapping[str, ManifestSplit] | None = None,
    ) -> Self:
        """The manifest of resources as they were stored, and where some of them came from."""
        sources: Mapping[str, ResourceDefinition] = {each.identifier: each for each in definitions}

        def entry(info: ResourceInfo) -> ManifestEntry:
            source = sources.get(info.identifier)
            known = (redact(source.source), source.checksum) if source else (None, None)
            return ManifestEntry(info.identifier, info.size, info.checksum, *known)

        return cls(dataset, version, _library_version(), tuple(map(entry, infos)), splits or {})

    @classmethod
    def from_json(cls, content: bytes) -> Self | None:
        """The manifest that JSON holds; None if that is none, or one of another format."""
        try:
            facts = json.loads(content)
            if facts["format"] != _FORMAT:
                return None
            entries = tuple(ManifestEntry(**each) for each in facts["resources"])
            splits = {
                name: ManifestSplit(**{**split, "parts": tuple(split["parts"])})
                for name, split in facts.get("splits", {}).items()
            }
            return cls(str(facts["dataset"]), str(facts["version"]), str(facts["library"]), entries, splits)
        except (ValueError, KeyError, TypeError):
            return None

    def to_json(self) -> bytes:
        """The manifest as JSON, for people too."""
        facts: dict[str, Any] = {
            "format": _FORMAT,
            "dataset": self.dataset,
            "version": self.version,
            "library": self.library,
            "resources": [{key: each for key, each in vars(entry).items() if each} for entry in self.resources],
        }
        if self.splits:
            facts["splits"] = {name: asdict(split) for name, split in self.splits.items()}
        return json.dumps(facts, indent=2).encode() + b"\n"

    def stored(self, connector: StorageConnector) -> list[ResourceInfo] | None:
        """The resources, if all of them are in the store as they were; else None."""
        infos = []
        for entry in self.resources:
            try:
                info = connector.get_info(entry.identifier)
            except ResourceNotFoundError:
                return None
            same = entry.checksum is None or info.checksum in {None, entry.checksum}
            if info.size != entry.size or not same:
                return None
            infos.append(info)
        return infos


def read_manifest(connector: StorageConnector, identifier: str) -> Manifest | None:
    """The manifest in a store; None if there is none, or it is being replaced just now."""
    try:
        with connector.get_resource(identifier) as resource:
            return Manifest.from_json(resource.read())
    except (ResourceNotFoundError, ResourceChangedError):
        return None


def _library_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("datastack-fs")
    except PackageNotFoundError:
        return "unknown"
