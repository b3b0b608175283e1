"""Versions of many resources, kept as columns: thousands of them cost next to nothing until one is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from datastack_fs.resource import ResourceInfo

_UNKNOWN: Final = -1


class ResourceColumns(Sequence[Any]):
    """Resources: the ``ResourceInfo`` of each where its version is known, else its identifier.

    Attributes:
        identifiers: of all.
        sizes: in bytes; negative where the version is not known.
        versions: as ``ResourceInfo`` has them; "" where not known.

    Examples:
        >>> found = [("owl.png", ResourceInfo("owl.png", 3, "v1")), ("wren.png", None)]
        >>> columns = ResourceColumns.of_scan(found)
        >>> columns[0].size, columns[1], columns.taken([1]).identifiers, columns.are_known()
        (3, 'wren.png', ['wren.png'], False)
    """

    def __init__(self, identifiers: Sequence[str], sizes: Sequence[int], versions: Sequence[str]) -> None:
        self.identifiers, self.sizes, self.versions = identifiers, sizes, versions

    @classmethod
    def of_scan(cls, found: Iterable[tuple[str, ResourceInfo | None]]) -> ResourceColumns:
        """Of what ``scan_resources`` yields."""
        names: list[str] = []
        sizes: list[int] = []
        versions: list[str] = []
        for name, info in found:
            names.append(name)
            sizes.append(_UNKNOWN if info is None else info.size)
            versions.append("" if info is None else info.version)
        return cls(names, sizes, versions)

    @classmethod
    def unknown(cls, identifiers: Iterable[str]) -> ResourceColumns:
        """Of resources whose versions are not known."""
        return cls.of_scan((identifier, None) for identifier in identifiers)

    @classmethod
    def of_versions(cls, infos: Sequence[Any]) -> ResourceColumns:
        """Of versions; columns stay as they are."""
        return infos if isinstance(infos, ResourceColumns) else cls.of_scan((info.identifier, info) for info in infos)

    def taken(self, places: Sequence[int]) -> ResourceColumns:
        """Some of them."""
        columns = (self.identifiers, self.sizes, self.versions)
        return ResourceColumns(*([column[place] for place in places] for column in columns))  # type: ignore[arg-type]

    def below(self, prefix: str) -> ResourceColumns:
        """The same without a prefix that all identifiers begin with."""
        if not prefix:
            return self
        return ResourceColumns([each[len(prefix) :] for each in self.identifiers], self.sizes, self.versions)

    def are_known(self) -> bool:
        """Whether the version of each is known."""
        return min(self.sizes, default=0) >= 0

    def __len__(self) -> int:
        return len(self.identifiers)

    def __getitem__(self, index: Any) -> Any:
        identifier, size = self.identifiers[index], self.sizes[index]
        return identifier if size < 0 else ResourceInfo(identifier, size, self.versions[index])

    def __iter__(self) -> Iterator[Any]:
        return map(self.__getitem__, range(len(self)))
