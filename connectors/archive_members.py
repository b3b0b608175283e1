"""The members of an archive, kept as columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.decompression import STORED

NO_CRC: Final = -1
"""Stands in the column of checksums where there is none."""

_COLUMNS: Final = ("offset", "size", "stored_size", "end", "method", "crc", "encrypted")


class IndexingError(ValueError):
    """The directory of an archive is not what it should be; the text says how."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive.

    Attributes:
        offset: where it begins: a zip member's local header; a tar member's bytes, in the tar as it is uncompressed.
        size: of its bytes.
        stored_size: of its bytes as they are in the archive.
        end: where the next thing begins.
        method: a zip member's method of compression.
        crc: CRC-32 of its bytes, where the archive has one.
        encrypted: whether it needs a password.
    """

    offset: int
    size: int
    stored_size: int
    end: int
    method: int = STORED
    crc: int | None = None
    encrypted: bool = False


class Members(Mapping[str, Member]):
    """Members by their names, which are sorted; a member is made when it is asked for.

    Args:
        names: of all, sorted, each once.
        columns: a row of numbers for each attribute of a member.

    Examples:
        >>> members = Members.of_rows(["b", "a"], [Member(0, 3, 3, 5), Member(5, 1, 1, 6)])
        >>> members.names, members["b"].size, members.column("offset", [1, 0]).tolist()
        (['a', 'b'], 3, [0, 5])
    """

    def __init__(self, names: list[str], columns: npt.NDArray[np.int64]) -> None:
        self.names = names
        self.places = dict(zip(names, range(len(names)), strict=True))
        self._columns = columns

    @classmethod
    def of_rows(cls, names: Sequence[str], rows: Iterable[Member]) -> Members:
        """Of members, each with its name."""
        numbers = [[NO_CRC if value is None else int(value) for value in astuple(row)] for row in rows]
        return cls.of_columns(names, np.array(numbers, np.int64).reshape(-1, len(_COLUMNS)).T)

    @classmethod
    def of_columns(cls, names: Sequence[str], columns: npt.NDArray[np.int64]) -> Members:
        """Of names in any order, each once, and their columns."""
        places = dict(zip(names, range(len(names)), strict=True))
        in_order = sorted(names)
        return cls(in_order, columns[:, [places[name] for name in in_order]])

    def column(self, name: str, places: Sequence[int] | slice) -> npt.NDArray[np.int64]:
        """One attribute of the members at some places among the names."""
        found: npt.NDArray[np.int64] = self._columns[_COLUMNS.index(name)][places]
        return found

    def at(self, place: int) -> Member:
        """The member at one place."""
        offset, size, stored_size, end, method, crc, encrypted = self._columns[:, place].tolist()
        return Member(offset, size, stored_size, end, method, None if crc == NO_CRC else crc, bool(encrypted))

    def __getitem__(self, name: str) -> Member:
        return self.at(self.places[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self) -> tuple[Any, ...]:
        return Members, (self.names, self._columns)
