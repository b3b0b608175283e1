"""Resources of any store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from datastack_fs import registry
from datastack_fs.credentials import expand, redact
from datastack_fs.errors import DatastackError, RetrievalError
from datastack_fs.retrieval.definition import ResourceDefinition
from datastack_fs.retrieval.progress import FileProgress
from datastack_fs.retrieval.retriever import Retriever

if TYPE_CHECKING:
    from datastack_fs.resource import ResourceInfo, StreamedResource
    from datastack_fs.storage import StorageConnector

_LOCAL = {None, "file", "memory"}
_ARCHIVES = {"zip", "tar"}


class StorageRetriever(Retriever):
    """Fetches resources of any store: ``s3://lab/a.gz``, ``mongodb://host/db/a.gz``, ``zip://a.csv::s3://lab/all.zip``.

    Each is streamed, and of one version. If the store it comes from keeps its sha256 and the definition has no
    checksum, that one must be met.

    Args:
        connector: the store to fetch into.
        source: the store to fetch from, such as ``datastack_fs.connect("prod")``; sources are identifiers in it then.
        source_options: without ``source``, keyword arguments for the connectors of the sources' URLs.
        **options: those of ``Retriever``.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> info = MemoryStorageConnector("published").set_resource("birds/owl.txt", b"hoo")
        >>> retriever = StorageRetriever(MemoryStorageConnector("storage-retriever-example"))
        >>> [info] = retriever.retrieve([ResourceDefinition("owl.txt", "memory://published/birds/owl.txt")])
        >>> retriever.connector.get_resource("owl.txt").read()
        b'hoo'
    """

    def __init__(
        self,
        connector: StorageConnector,
        *,
        source: StorageConnector | None = None,
        source_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(connector, **options)
        if source is not None and source_options:
            raise ValueError("source_options are for the URLs of sources; a connector has its own already")
        self._source = source
        self._source_options = dict(source_options or {})

    def _is_local(self, definition: ResourceDefinition) -> bool:
        url = str(expand(definition.source)) if self._source is None else self._source.url
        while registry.url_scheme(url) in _ARCHIVES and "::" in url:
            url = url.partition("::")[2]
        return registry.url_scheme(url) in _LOCAL

    def _fetch(self, definition: ResourceDefinition, bar: FileProgress) -> ResourceInfo:
        with _translated(definition):
            connector, identifier = self._located(definition.source)
        try:
            with _translated(definition):
                resource = connector.get_resource(identifier)
            with resource:
                self._check_size(definition, resource.size)
                bar.reset(total=resource.size)
                return self._publish(definition, _blocks(resource, definition, bar), checksum=resource.info.checksum)
        finally:
            if connector is not self._source:
                connector.close()

    def _located(self, source: str) -> tuple[StorageConnector, str]:
        if self._source is not None:
            return self._source, source
        url = source if registry.keeps_references(source) else expand(source)
        store, identifier = registry.split_resource_url(url)
        return registry.connector_for(store, **self._source_options), identifier


def _blocks(resource: StreamedResource, definition: ResourceDefinition, bar: FileProgress) -> Iterator[bytes]:
    with _translated(definition):
        for block in resource.chunks():
            bar.update(len(block))
            yield block


@contextmanager
def _translated(definition: ResourceDefinition) -> Iterator[None]:
    """A source that can't be read is a retrieval that failed; a missing package or a wrong option stays what it is."""
    try:
        yield
    except DatastackError as error:
        if not isinstance(error, OSError):
            raise
        raise RetrievalError(f"can't fetch {redact(definition.source)}: {error}") from error
