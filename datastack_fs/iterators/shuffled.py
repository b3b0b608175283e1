"""All samples of an iterator, in an order that a seed and an epoch decide."""

from __future__ import annotations

from datastack_fs.iterators.orders import permutation
from datastack_fs.iterators.seeded import SeededDatasetIterator
from datastack_fs.iterators.selections import Selection
from datastack_fs.iterators.stacking import SampleT_co


class ShuffledDatasetIterator(SeededDatasetIterator[SampleT_co]):
    """All samples of an iterator, in an order that (seed, epoch) decides, the same on every machine.

    A view of it keeps the order of the moment at which it was made. A pickle holds seed and epoch, not the order.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> shuffled = ShuffledDatasetIterator(SequenceDatasetIterator(["a", "b", "c", "d"]), seed=1)
        >>> [letter for letter, _, _ in shuffled], [letter for letter, _, _ in shuffled.at_epoch(1)]
        (['c', 'a', 'd', 'b'], ['d', 'a', 'c', 'b'])
    """

    def _order(self) -> Selection:
        return permutation(self._length, self._seed, self._epoch)
