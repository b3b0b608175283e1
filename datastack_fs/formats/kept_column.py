"""A whole column of a text, such as its labels: read once, and kept in the user's cache by the version of the text."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.formats.kept_index import KEPT_FROM
from datastack_fs.index_cache import IndexCache, IndexKey

MOST_BYTES: Final = 256 << 20
"""A larger column is not kept."""

MOST_DISTINCT: Final = 1 << 16
"""Objects are kept as numbers of two bytes into a list of the distinct ones; a column with more of them is not."""

_FEW: Final = 100
_HEAD: Final = 16


class KeptColumn:
    """A column in memory once it is known, and in the user's cache, for a later process.

    It pickles without the values.

    Args:
        key: which column of which text.

    Examples:
        >>> from datastack_fs.resource import ResourceInfo
        >>> column = KeptColumn(IndexKey("s3://lab", ResourceInfo("a.csv", 9, "1"), "column-1", "label"))
        >>> column.find(3, 3) is None
        True
        >>> column.keep(np.array([0, 1, 0]))
        >>> column.find(3, 3)
        array([0, 1, 0])
    """

    def __init__(self, key: IndexKey) -> None:
        self._key = key
        self._values: npt.NDArray[Any] | None = None
        self._looked = key.info.size < KEPT_FROM

    def find(self, wanted: int, length: int) -> npt.NDArray[Any] | None:
        """The values of all rows, which are not to be changed; None if the wanted ones must be read.

        Where few are wanted, of so many rows, the cache is not asked: reading them is quicker.
        """
        if self._values is None and not self._looked and wanted * _FEW >= length:
            self._looked = True
            content = IndexCache().load(self._key)
            self._values = None if content is None else _unpacked(content)
        return self._values

    def keep(self, values: npt.NDArray[Any]) -> None:
        """Takes the values of all rows: numbers, or texts, numbers, bools and None as objects."""
        if values.nbytes > MOST_BYTES:
            return
        self._values = values
        parts = _packed(values) if self._key.info.size >= KEPT_FROM else None
        if parts is not None:
            IndexCache().store(self._key, parts)

    def __getstate__(self) -> dict[str, Any]:
        return {"_key": self._key, "_values": None, "_looked": self._key.info.size < KEPT_FROM}


def _packed(values: npt.NDArray[Any]) -> list[bytes | memoryview] | None:
    described: dict[str, Any] = {"dtype": values.dtype.str}
    if values.dtype.hasobject:
        distinct: dict[tuple[type, Any], int] = {}  # True, 1 and 1.0 are equal, and not the same
        codes = [distinct.setdefault((type(value), value), len(distinct)) for value in values]
        if len(distinct) > MOST_DISTINCT:
            return None
        described["distinct"] = [value for _, value in distinct]
        values = np.array(codes, dtype=np.uint16)
    text = json.dumps(described).encode()
    text = text.ljust(-(-len(text) // _HEAD) * _HEAD)
    return [len(text).to_bytes(_HEAD, "little"), text, values.tobytes()]


def _unpacked(content: memoryview) -> npt.NDArray[Any]:
    length = int.from_bytes(content[:_HEAD], "little")
    described = json.loads(bytes(content[_HEAD : _HEAD + length]))
    body = content[_HEAD + length :]
    if "distinct" not in described:
        return np.frombuffer(body, dtype=described["dtype"])
    distinct = np.empty(len(described["distinct"]), dtype=object)
    distinct[:] = described["distinct"]
    found: npt.NDArray[Any] = distinct[np.frombuffer(body, dtype=np.uint16)]
    return found
