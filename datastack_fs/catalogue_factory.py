"""Datasets of a catalogue as factories, which copy them into a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from datastack_fs.catalogue import CatalogueEntry
from datastack_fs.factory import DatasetFactory
from datastack_fs.registry import url_scheme
from datastack_fs.retrieval import HTTPRetriever, ResourceDefinition, Retriever

if TYPE_CHECKING:
    from datastack_fs.iterators.base import DatasetIterator
    from datastack_fs.manifest import Manifest
    from datastack_fs.resource import ResourceInfo
    from datastack_fs.storage import StorageConnector


class CatalogueFactory(DatasetFactory):
    """A dataset of a catalogue in a store of the user's: its files are copied there as they are, and opened there.

    ``factory_of`` makes one for each entry.
    """

    entry: ClassVar[CatalogueEntry]

    def __init__(self, storage_connector: StorageConnector, **options: Any) -> None:
        super().__init__(storage_connector, retriever=CatalogueRetriever(storage_connector, self.entry), **options)

    @classmethod
    def definitions(cls) -> Sequence[ResourceDefinition]:
        """The files, where they are."""
        return [
            ResourceDefinition(cls._copy(split), cls.entry.source(split), known.checksum)
            for split, known in cls.entry.splits.items()
        ]

    def manifest(self) -> Manifest | None:
        """What was copied, if that is what the catalogue names now, with these checksums."""
        found = super().manifest()
        copied = {each.identifier: each.source_checksum for each in found.resources} if found else {}
        named = {each.identifier: each.checksum for each in self.definitions()}
        return found if named.items() <= copied.items() else None

    @classmethod
    def _copy(cls, split: str) -> str:
        return cls.identifier(f"raw/{split}/{cls.entry.file_name(split)}")

    def _open(self, split: str) -> DatasetIterator[Any]:
        return self.entry.open_copy(self.storage_connector, self._copy(split), split)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _remade, (self.entry, self.storage_connector)


def factory_of(entry: CatalogueEntry) -> type[CatalogueFactory]:
    """The factory of an entry."""
    facts = {
        name: getattr(entry, name) for name in ("name", "version", "class_names", "description", "licence", "homepage")
    }
    return type("CatalogueFactory", (CatalogueFactory,), {**facts, "splits": tuple(entry.splits), "entry": entry})


def _remade(entry: CatalogueEntry, connector: StorageConnector) -> CatalogueFactory:
    return factory_of(entry)(connector)


class CatalogueRetriever(Retriever):
    """Copies the files of an entry, from whatever store they are in."""

    def __init__(self, connector: StorageConnector, entry: CatalogueEntry) -> None:
        super().__init__(connector)
        self._entry = entry

    def _is_local(self, definition: ResourceDefinition) -> bool:
        return self._entry.storage is None and url_scheme(definition.source) in {None, "file"}

    def _fetch(self, definition: ResourceDefinition, bar: Any) -> ResourceInfo:
        if self._entry.storage is None and url_scheme(definition.source) in {"http", "https"}:
            # Web servers that know no ranges can be copied from, too.
            return HTTPRetriever(self.connector)._fetch(definition, bar)
        split = definition.identifier.split("/")[2]
        with self._entry.open_file(split) as file:
            return self._publish(definition, _counted(file.chunks(), bar))


def _counted(blocks: Iterator[bytes], bar: Any) -> Iterator[bytes]:
    for block in blocks:
        bar.update(len(block))
        yield block
