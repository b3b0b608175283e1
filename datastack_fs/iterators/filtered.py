"""Those samples of an iterator that a predicate lets pass."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

import numpy as np

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.chunks import labels_in_blocks
from datastack_fs.iterators.index_map import IndexMapDatasetIterator, source_of
from datastack_fs.iterators.selections import composed, places_of, read_only
from datastack_fs.iterators.stacking import SampleT_co

_ON: Final = ("target", "sample")


class FilteredDatasetIterator(IndexMapDatasetIterator[SampleT_co]):
    """Those samples that a predicate lets pass, found when it is made; afterwards it is a view like any other.

    Args:
        iterator: what to choose from.
        predicate: gets a target, or a sample, and says whether it stays.
        on: ``"target"`` reads labels alone; ``"sample"`` reads every sample once, in batches.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> letters = SequenceDatasetIterator(["a", "b", "c"], [0, 1, 0])
        >>> [letter for letter, _, _ in FilteredDatasetIterator(letters, lambda target: target == 0)]
        ['a', 'c']
    """

    def __init__(
        self, iterator: DatasetIterator[SampleT_co], predicate: Callable[[Any], Any], *, on: str = "target"
    ) -> None:
        source, outer, tags = source_of(iterator)
        if on not in _ON:
            raise ValueError(f"a filter looks at {' or '.join(map(repr, _ON))}, not at {on!r}")
        super().__init__(source, iterator.meta, tags)
        labels = labels_in_blocks(iterator._targets, len(iterator))
        values = chain.from_iterable(labels) if on == "target" else _samples(iterator)
        passing = np.fromiter((bool(predicate(value)) for value in values), dtype=np.bool_, count=len(iterator))
        self._indices = read_only(composed(outer, places_of(passing)))


def _samples(iterator: DatasetIterator[Any]) -> Iterator[Any]:
    place = iterator.meta.sample_pos
    return (sample[place] for sample in iterator)
