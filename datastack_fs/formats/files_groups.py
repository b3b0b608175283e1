"""Which files make which sample: each its own, or those that share a name, as WebDataset lays them out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError
from datastack_fs.formats.files_listing import PackedTexts


class FileGroups:
    """Files that share the name up to the first dot of its last segment, each such group a sample.

    Args:
        names: of all files.
        what: names the dataset in messages.

    Attributes:
        order: the places of the files among the names, those of a sample after one another.
        keys: the names of the samples, sorted.

    Raises:
        DatasetFileCorruptError: two files of a sample differ in nothing but upper and lower case.

    Examples:
        >>> groups = FileGroups(["b.txt", "a.seg.PNG", "a.png", "c/a.png"], "birds")
        >>> list(groups.keys), groups.order, list(groups.files_of(0)), groups.ending("a.seg.PNG", 0)
        (['a', 'b', 'c/a'], [2, 1, 0, 3], [0, 1], '.seg.png')
    """

    def __init__(self, names: Sequence[str], what: str) -> None:
        keys = [_key(name) for name in names]
        self.order = sorted(range(len(names)), key=lambda file: (keys[file], names[file]))
        in_order = [keys[file] for file in self.order]
        first = [place for place, key in enumerate(in_order) if place == 0 or in_order[place - 1] != key]
        self.keys = PackedTexts([in_order[place] for place in first])
        self._starts = np.array([*first, len(names)], dtype=np.int64)
        for sample in range(len(first)):
            endings = self._endings(names, sample)
            if len(set(endings)) < len(endings):
                raise DatasetFileCorruptError(f"{what} has two files of one ending for {self.keys[sample]}: {endings}")

    def files_of(self, sample: int) -> range:
        """The places of a sample's files in the order."""
        return range(int(self._starts[sample]), int(self._starts[sample + 1]))

    def ending(self, name: str, sample: int) -> str:
        """What follows the sample's name in that of one of its files, in lower case."""
        return name[len(self.keys[sample]) :].lower()

    def check_part(self, names: Sequence[str], part: str, what: str) -> None:
        """Refuses a part that not every sample has; the names are those that the groups were made of."""
        for sample in range(len(self.keys)):
            endings = self._endings(names, sample)
            if part not in endings:
                raise DatasetNotFoundError(f"{what} has no {part} for {self.keys[sample]}, only {' '.join(endings)}")

    def _endings(self, names: Sequence[str], sample: int) -> list[str]:
        return [self.ending(names[self.order[place]], sample) for place in self.files_of(sample)]


def _key(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"
