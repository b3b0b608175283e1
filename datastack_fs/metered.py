"""A store whose requests are counted."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from datastack_fs.resource import Content, Range, ResourceInfo
from datastack_fs.storage import StorageConnector


class MeteredStore(StorageConnector):
    """Another store, for reading, that counts what it is asked for; what is local is read as if it were not.

    Args:
        connector: the store.

    Attributes:
        requests: ranges that were fetched, and look-ups of a resource.
        fetched_bytes: of these ranges.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("metered-example")
        >>> info = connector.set_resource("abc", b"abcdef")
        >>> metered = MeteredStore(connector)
        >>> metered.get_ranges("abc", [(4, 6), (0, 1)]), metered.requests, metered.fetched_bytes
        ([b'ef', b'a'], 2, 6)
    """

    def __init__(self, connector: StorageConnector) -> None:
        super().__init__(connector.url, read_only=True, deadline=connector.deadline)
        self._connector = connector
        self._lock = threading.Lock()
        self.gap_bytes, self.part_bytes = connector.gap_bytes, connector.part_bytes
        self.requests = self.fetched_bytes = 0

    def _stat(self, identifier: str) -> ResourceInfo:
        self._count(1, 0)
        return self._connector.get_info(identifier)

    def _read_ranges(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[Content | Exception]:
        self._count(len(ranges), sum(stop - start for start, stop in ranges))
        return self._connector.get_ranges(info.identifier, ranges, info=info, copy=False)

    def _list(self, prefix: str) -> Iterable[str]:
        self._count(1, 0)
        return self._connector.list_resources(prefix)

    def _count(self, requests: int, fetched: int) -> None:
        with self._lock:
            self.requests += requests
            self.fetched_bytes += fetched
