"""All samples of an iterator, in an order that a seed and an epoch decide."""

from __future__ import annotations

from datastack_fs.iterators.keyed import order_of
from datastack_fs.iterators.seeded import SeededDatasetIterator
from datastack_fs.iterators.selections import Selection
from datastack_fs.iterators.stacking import SampleT_co


class ShuffledDatasetIterator(SeededDatasetIterator[SampleT_co]):
    """All samples of an iterator, in an order that (seed, epoch) decides, the same on every machine.

    The order of more than 65,536 samples is computed where it is asked for: it takes no memory, and any place of it is
    had at once, also of 10^10 samples. A view of it keeps the order of the moment at which it was made. A pickle holds
    seed and epoch, not the order.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> shuffled = ShuffledDatasetIterator(SequenceDatasetIterator(["a", "b", "c", "d"]), seed=1)
        >>> [letter for letter, _, _ in shuffled], [letter for letter, _, _ in shuffled.at_epoch(1)]
        (['c', 'a', 'd', 'b'], ['d', 'a', 'c', 'b'])
    """

    def _order(self) -> Selection:
        return order_of(self._length, self._seed, self._epoch)
