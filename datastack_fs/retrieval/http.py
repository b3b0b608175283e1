"""Files over HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.retrieval.definition import ResourceDefinition
from datastack_fs.retrieval.progress import FileProgress
from datastack_fs.retrieval.retriever import Retriever

if TYPE_CHECKING:
    from datastack_fs.resource import ResourceInfo
    from datastack_fs.retrieval.keeping import Kept
    from datastack_fs.storage import StorageConnector

DEADLINE: Final = 60.0
CONNECTIONS: Final = 8


class HTTPRetriever(Retriever):
    """Fetches files over HTTP, streamed into the store and checked on the way.

    Transient faults are tried again until nothing new has come for ``deadline`` seconds; a server that asks for a pause
    (``Retry-After``) gets it, if there is time. An interrupted transfer goes on where it stopped, if the server names
    its version by a strong ETag and takes ranges; else it begins anew. Files of 32 MiB and more come by several
    connections, 8 MiB each at a time, if the server says that it takes ranges of such a version.

    At most five redirects are followed, none of them away from http(s), from https to http, or from a public host to
    an address that is not public. A host that the user named may be anywhere.

    Where a server says neither how long a file is nor sends it in chunks, only a checksum tells a part from the whole.

    Args:
        connector: the store to fetch into.
        headers: more headers; like ``auth``, they go to the scheme, host and port of the source, and never to another
            one that it redirects to.
        auth: user and password of Basic authentication; by default those in the URL, else those of ``~/.netrc``.
        deadline: seconds without progress after which it gives up.
        connections: how many fetch parts of one large file at the same time.
        keep_parts: a folder of this machine where what came of a file is kept until it is in the store, so that a
            process that was killed is succeeded by one that goes on there. It serves definitions with a checksum, on
            servers that an interrupted transfer goes on with.
        **options: those of ``Retriever``.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> retriever = HTTPRetriever(MemoryStorageConnector("http-retriever-example"), deadline=10)
        >>> retriever.retrieve([ResourceDefinition("owl.txt", "https://birds.example/owl.txt")])  # doctest: +SKIP
    """

    def __init__(
        self,
        connector: StorageConnector,
        *,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        deadline: float = DEADLINE,
        connections: int = CONNECTIONS,
        keep_parts: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(connector, **options)
        if connections < 1:
            raise ValueError(f"connections={connections}: at least one must fetch")
        self._headers = dict(headers or {})
        self._auth = auth
        self._deadline = deadline
        self._connections = connections
        self._keep_parts = keep_parts

    def _fetch(self, definition: ResourceDefinition, bar: FileProgress) -> ResourceInfo:
        from datastack_fs.retrieval.keeping import Kept

        if self._keep_parts is None or definition.checksum is None:  # what lay on a disk must be checked
            return self._download(definition, bar, None)
        with Kept(self._keep_parts, definition.source) as kept:
            try:
                info = self._download(definition, bar, kept)
            except DatasetFileCorruptError:
                kept.clear()
                if not kept.used:
                    raise
                info = self._download(definition, bar, kept)
            kept.remove()
            return info

    def _download(self, definition: ResourceDefinition, bar: FileProgress, kept: Kept | None) -> ResourceInfo:
        from datastack_fs.retrieval.download import BeginAnew, Download
        from datastack_fs.retrieval.web import Web

        web = Web(
            definition.source,
            headers=self._headers,
            auth=self._auth,
            seconds=self._deadline,
            connections=self._connections,
        )
        download = Download(
            web,
            self._deadline,
            bar,
            check_size=lambda size: self._check_size(definition, size),
            connections=self._connections,
            kept=kept,
        )
        with download, bar.calling(web.cut):
            while True:
                try:
                    return self._publish(definition, download.blocks())
                except BeginAnew:
                    if kept is not None:
                        kept.clear()
