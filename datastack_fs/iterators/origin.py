"""Where the bytes of a leaf are stored, as far as an iterator may know: an address, and no way to read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Origin:
    """The resource that a leaf reads from, or the store, if it reads from many resources.

    Attributes:
        store: the URL of the store, without secrets.
        identifier: the name of the resource in the store, or of a folder of many; None if it is neither.
        size: its bytes.
        checksum: ``sha256:<hex>``, where the store knows it; of a folder ``names:<hex>``, of the names in it.
        is_local: whether the bytes are a file of this machine, or files in one of its folders.

    Examples:
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> from datastack_fs.formats.npy import NpyDatasetIterator
        >>> import io, numpy as np
        >>> connector, file = MemoryStorageConnector("origin-example"), io.BytesIO()
        >>> np.save(file, np.zeros(3))
        >>> info = connector.set_resource("zeros.npy", file.getvalue())
        >>> NpyDatasetIterator(connector.get_resource("zeros.npy"))[1:].underlying_iterators[0].origin.store
        'memory://origin-example'
    """

    store: str
    identifier: str | None = None
    size: int | None = None
    checksum: str | None = None
    is_local: bool = False


def origin_of(source: Any) -> Origin | None:
    """What a format's iterator reads from, by the first argument it is made with: a resource or a connector.

    They are known by their attributes only: iterators know nothing of storage.

    Examples:
        >>> origin_of([1, 2, 3]) is None
        True
    """
    info, connector = getattr(source, "info", None), getattr(source, "connector", source)
    if not hasattr(connector, "get_ranges") or not hasattr(connector, "url"):
        return None
    if info is None:
        return Origin(connector.url, is_local=connector.url.startswith("file:"))
    is_local = getattr(source, "local_path", None) is not None
    return Origin(connector.url, info.identifier, info.size, info.checksum, is_local)
