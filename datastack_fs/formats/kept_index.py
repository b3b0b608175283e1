"""The index of a text, found or made: in the user's cache, beside the data, else by a pass over all bytes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Literal, TypeAlias

from datastack_fs.errors import DatastackError, ResourceNotFoundError
from datastack_fs.formats.row_index import RowIndex
from datastack_fs.index_cache import IndexCache, IndexKey, sealed, unsealed
from datastack_fs.resource import StreamedResource
from datastack_fs.storage import StorageConnector

logger = logging.getLogger(__name__)

IndexPlace: TypeAlias = Literal["cache", "beside"]
"""Where an index is kept: in the user's cache folder, or also as ``<identifier>.dsindex`` in the store of the data."""

ENDING: Final = ".dsindex"
KEPT_FROM: Final = 1 << 20
"""Bytes from which on the index of a text is kept: that of a smaller one is made as soon as it is read."""

_BROKEN: Final = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError)


def kept_index(
    resource: StreamedResource,
    kind: str,
    parameters: Any,
    make: Callable[[], RowIndex],
    check: Callable[[RowIndex], object],
    *,
    place: IndexPlace = "cache",
    least: int = KEPT_FROM,
) -> tuple[RowIndex, bool]:
    """The index of one version of a resource.

    One beside the data is used where it is of the same version, or of the same checksum and size.

    Args:
        resource: the text.
        kind: of the index, and the version of its layout.
        parameters: what else it depends on; values that JSON has.
        make: makes it.
        check: raises ValueError and the like for an index that ``make`` can't have made.
        place: where it is kept.
        least: how many bytes a text has whose index is kept in the cache.

    Returns:
        the index, and whether another process would find it without a pass over all bytes.
    """
    if place not in ("cache", "beside"):
        raise ValueError(f"index={place!r}: an index is kept in the 'cache', or also 'beside' the data")
    if place == "cache" and resource.size < least:
        return make(), False
    key, cache = IndexKey.of(resource, kind, parameters), IndexCache()
    index = _read(cache.load(key), key, check)
    if index is not None and place == "cache":
        return index, True
    beside = _beside(resource, key, check)
    known = index if beside is None else beside
    made = make() if known is None else known
    described = replace(made, summary={"of": _identity(key), "text": made.summary})
    if beside is None and place == "beside":
        _put_beside(resource, described)
    cached = index is not None or cache.store(key, described.parts()) is not None
    return made, cached or beside is not None or place == "beside"


def _beside(resource: StreamedResource, key: IndexKey, check: Callable[[RowIndex], object]) -> RowIndex | None:
    name = f"{resource.identifier}{ENDING}"
    try:
        with resource.connector.get_resource(name) as found:
            content = unsealed(found.read())
    except ResourceNotFoundError:
        return None
    except DatastackError as error:  # a store that tells nobody what is not there, a name that is too long
        logger.info("no index is looked for beside the data: %s", error)
        return None
    index = _read(content, key, check)
    if index is None or not index.ascends():
        logger.warning("%s in %s is of other data, or damaged: it is not used", name, resource.connector.url)
        return None
    return index


def _put_beside(resource: StreamedResource, index: RowIndex) -> None:
    connector = resource.connector
    if not isinstance(connector, StorageConnector):
        raise TypeError(f"index='beside': {connector!r} is no StorageConnector that could be written to")
    connector.set_resource(f"{resource.identifier}{ENDING}", (bytes(part) for part in sealed(index.parts())))


def _read(content: memoryview | None, key: IndexKey, check: Callable[[RowIndex], object]) -> RowIndex | None:
    if content is None:
        return None
    try:
        index = RowIndex.from_bytes(content)
        found, index = index.summary["of"], replace(index, summary=index.summary["text"])
        version, checksum = found.pop("version"), found.pop("checksum")
        check(index)
    except _BROKEN:  # whatever a file leads to that is sealed, and of another making
        return None
    wanted, info = _identity(key), key.info
    del wanted["version"], wanted["checksum"]
    same_bytes = version == info.version or (checksum is not None and checksum == info.checksum)
    return index if same_bytes and found == wanted else None


def _identity(key: IndexKey) -> dict[str, Any]:
    info = key.info
    of_bytes = {"version": info.version, "checksum": info.checksum, "size": info.size}
    parameters = json.loads(json.dumps(key.parameters))  # as they come back: tuples are lists
    return {**of_bytes, "kind": key.kind, "parameters": parameters}
