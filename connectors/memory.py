"""The memory of this process, as a storage connector: for tests, notebooks and small caches."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from datastack_fs.resource import Range, ResourceInfo
from datastack_fs.storage import StorageConnector
from datastack_fs.writing import Upload

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class _Stored:
    info: ResourceInfo
    content: bytes


_stores: dict[str, dict[str, _Stored]] = {}
_lock = threading.Lock()
_versions = itertools.count(1)


class MemoryStorageConnector(StorageConnector):
    """A named store in memory: connectors of one name in one process share it.

    It pickles with its contents, so that a spawned worker has them; where the name is in use already, as in a forked
    child, the store there is kept.

    Args:
        name: which store, ``memory://name`` as a URL.

    Examples:
        >>> connector = MemoryStorageConnector("scratch")
        >>> info = connector.set_resource("a", b"1")
        >>> MemoryStorageConnector("scratch").get_resource("a").read()
        b'1'
    """

    not_cached = "it is in memory already"

    def __init__(self, name: str = "default", *, read_only: bool = False) -> None:
        super().__init__(f"memory://{name}", read_only=read_only)
        self._name = name
        self._store = _stores.setdefault(name, {})

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """``memory://name``."""
        return cls(url.partition("://")[2].strip("/") or "default", **options)

    def _stat(self, identifier: str) -> ResourceInfo:
        return self._stored(identifier).info

    def _read_ranges(self, info: ResourceInfo, ranges: Sequence[Range]) -> Sequence[bytes | Exception]:
        stored = self._store.get(info.identifier)
        if stored is None or stored.info.version != info.version:
            raise self._changed(info.identifier)
        return [stored.content[start:stop] for start, stop in ranges]

    def _list(self, prefix: str) -> Iterator[str]:
        return iter(sorted(name for name in list(self._store) if name.startswith(prefix)))

    def _scan(self, prefix: str) -> Iterator[tuple[str, ResourceInfo]]:
        found = ((name, self._store.get(name)) for name in self._list(prefix))
        return ((name, stored.info) for name, stored in found if stored is not None)

    def _read_whole(self, wanted: Sequence[str | ResourceInfo]) -> list[bytes]:
        return [self._read_one(each) for each in wanted]  # there is nothing to wait for

    def _publish(self, identifier: str, upload: Upload, overwrite: bool) -> ResourceInfo:
        if not overwrite and identifier in self._store:
            raise FileExistsError(identifier)
        content = b"".join(upload.blocks())
        info = ResourceInfo(identifier, len(content), str(next(_versions)), datetime.now(timezone.utc), upload.checksum)
        with _lock:
            if not overwrite and identifier in self._store:
                raise FileExistsError(identifier)
            self._store[identifier] = _Stored(info, content)
        return info

    def _delete(self, identifier: str) -> None:
        with _lock:
            del self._store[self._stored(identifier).info.identifier]

    def _stored(self, identifier: str) -> _Stored:
        stored = self._store.get(identifier)
        if stored is None:
            raise FileNotFoundError(identifier)
        return stored

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_store": dict(self._store)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._store = _stores.setdefault(self._name, state["_store"])
