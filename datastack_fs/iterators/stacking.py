"""The methods that put another iterator on one: what it does is said where the class of that iterator is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, SupportsIndex, TypeVar, cast

import numpy.typing as npt

from datastack_fs.iterators.indices import Indices

if TYPE_CHECKING:
    from datastack_fs.iterators.base import DatasetIterator
    from datastack_fs.iterators.block_shuffled import BlockShuffledDatasetIterator
    from datastack_fs.iterators.combined import CombinedDatasetIterator
    from datastack_fs.iterators.encoded import FeatureEncodedDatasetIterator, Transformer
    from datastack_fs.iterators.encoders import Encoder
    from datastack_fs.iterators.encoding import Encoding
    from datastack_fs.iterators.filtered import FilteredDatasetIterator
    from datastack_fs.iterators.in_memory import InMemoryDatasetIterator
    from datastack_fs.iterators.mapped import MappedDatasetIterator
    from datastack_fs.iterators.repeated import RepeatedDatasetIterator
    from datastack_fs.iterators.sampled import SampledDatasetIterator
    from datastack_fs.iterators.shuffled import ShuffledDatasetIterator
    from datastack_fs.iterators.target_mapped import TargetMappedDatasetIterator
    from datastack_fs.iterators.view import DatasetIteratorView
    from datastack_fs.iterators.zipped import ZippedDatasetIterator

SampleT_co = TypeVar("SampleT_co", bound=tuple[Any, ...], covariant=True)
_OtherT = TypeVar("_OtherT", bound=tuple[Any, ...])


class Stacking(Generic[SampleT_co]):
    """How iterators stack by method; ``DatasetIterator`` has these from here, and nothing else does."""

    def _iterator(self) -> DatasetIterator[SampleT_co]:
        return cast("DatasetIterator[SampleT_co]", self)

    def view(
        self, indices: Indices, tag: str | Mapping[str, str | int] | None = None
    ) -> DatasetIteratorView[SampleT_co]:
        """Some of the samples, in the order of the indices (or where a mask is true); nothing is read or copied.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> list(SequenceDatasetIterator(["a", "b", "c"]).view([2, -3], tag="few"))
            [('c', None, None), ('a', None, None)]
        """
        from datastack_fs.iterators.view import DatasetIteratorView

        return DatasetIteratorView(self._iterator(), indices, tag)

    def shuffle(self, seed: int, epoch: int = 0) -> ShuffledDatasetIterator[SampleT_co]:
        """All samples in an order that seed and epoch decide, the same on every machine.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> [letter for letter, _, _ in SequenceDatasetIterator(["a", "b", "c", "d"]).shuffle(seed=1)]
            ['c', 'a', 'd', 'b']
        """
        from datastack_fs.iterators.shuffled import ShuffledDatasetIterator

        return ShuffledDatasetIterator(self._iterator(), seed, epoch)

    def shuffle_blocks(
        self, seed: int, epoch: int = 0, *, window: SupportsIndex = 64
    ) -> BlockShuffledDatasetIterator[SampleT_co]:
        """All samples in an order that uses up what is fetched together: blocks at random, mixed in windows of some.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> len(SequenceDatasetIterator(["a", "b", "c", "d"]).shuffle_blocks(seed=1, window=8))
            4
        """
        from datastack_fs.iterators.block_shuffled import BlockShuffledDatasetIterator

        return BlockShuffledDatasetIterator(self._iterator(), seed, epoch, window=window)

    def sample(
        self,
        count: int,
        *,
        seed: int,
        weights: Sequence[float] | npt.NDArray[Any] | str | None = None,
        epoch: int = 0,
        replace: bool = True,
    ) -> SampledDatasetIterator[SampleT_co]:
        """Samples drawn at random as seed and epoch decide, by weight; ``"balanced"`` draws every class alike.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> letters = SequenceDatasetIterator(["a", "b", "c", "d"], [0, 0, 0, 1])
            >>> sorted(letters.sample(1000, seed=1, weights="balanced").targets().tolist()).index(1)
            507
        """
        from datastack_fs.iterators.sampled import SampledDatasetIterator

        return SampledDatasetIterator(self._iterator(), count, seed=seed, weights=weights, epoch=epoch, replace=replace)

    def map(self, function: Callable[[Any], Any], *, columns: bool = False) -> MappedDatasetIterator:
        """The samples after a function; with ``columns`` it gets a whole batch, as ``take`` gives it.

        Examples:
            >>> import numpy as np
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> halves = SequenceDatasetIterator(np.arange(4)).map(lambda column: column / 2, columns=True)
            >>> halves.take([3, 1])[0].tolist()
            [1.5, 0.5]
        """
        from datastack_fs.iterators.mapped import MappedDatasetIterator

        return MappedDatasetIterator(self._iterator(), function, columns=columns)

    def map_targets(self, mapping: Mapping[Any, Any]) -> TargetMappedDatasetIterator:
        """The samples with other targets: from targets, or names of classes, to new ones.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> numbers = SequenceDatasetIterator(["a", "b", "c"], [1, 2, 3])
            >>> parity = numbers.map_targets({1: "odd", 2: "even", 3: "odd"})
            >>> parity.targets().tolist(), parity.meta.class_names
            ([0, 1, 0], ('odd', 'even'))
        """
        from datastack_fs.iterators.target_mapped import TargetMappedDatasetIterator

        return TargetMappedDatasetIterator(self._iterator(), mapping)

    def encode(self, encoding: Encoding | Encoder | Transformer) -> FeatureEncodedDatasetIterator:
        """The samples and targets as an encoding makes them, which was fitted on the training split.

        Examples:
            >>> import numpy as np
            >>> from datastack_fs import fit_encoding
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> numbers = SequenceDatasetIterator(np.array([1.0, 2.0, 3.0, 9.0]))
            >>> train, test = numbers[:3], numbers[3:]
            >>> test.encode(fit_encoding(train, "min-max")).take([0])[0].tolist()
            [4.0]
        """
        from datastack_fs.iterators.encoded import FeatureEncodedDatasetIterator

        return FeatureEncodedDatasetIterator(self._iterator(), encoding)

    def filter(self, predicate: Callable[[Any], Any], *, on: str = "target") -> FilteredDatasetIterator[SampleT_co]:
        """The samples whose target (or sample, with ``on="sample"``) a predicate lets pass.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> len(SequenceDatasetIterator(["a", "b", "c"], [0, 1, 0]).filter(lambda target: target == 0))
            2
        """
        from datastack_fs.iterators.filtered import FilteredDatasetIterator

        return FilteredDatasetIterator(self._iterator(), predicate, on=on)

    def zip(self, *others: DatasetIterator[Any]) -> ZippedDatasetIterator:
        """This iterator and others side by side: a sample is the tuple of theirs, targets and tags are of this one.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> SequenceDatasetIterator(["a", "b"], [0, 1]).zip(SequenceDatasetIterator(["c", "d"]))[0]
            (('a', 'c'), 0, None)
        """
        from datastack_fs.iterators.zipped import ZippedDatasetIterator

        return ZippedDatasetIterator([self._iterator(), *others])

    def repeat(self, times: SupportsIndex) -> RepeatedDatasetIterator[SampleT_co]:
        """All samples, several times over.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> len(SequenceDatasetIterator(["a", "b", "c"]).repeat(3))
            9
        """
        from datastack_fs.iterators.repeated import RepeatedDatasetIterator

        return RepeatedDatasetIterator(self._iterator(), times)

    def in_memory(
        self, max_bytes: int | None = None, progress: bool | None = None
    ) -> InMemoryDatasetIterator[SampleT_co]:
        """All samples, read now (with a bar on a terminal) and kept; refused when they need more than ``max_bytes``.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> SequenceDatasetIterator(["a", "b"]).in_memory(max_bytes=1_000_000)[1]
            ('b', None, None)
        """
        from datastack_fs.iterators.in_memory import InMemoryDatasetIterator

        return InMemoryDatasetIterator(self._iterator(), max_bytes, progress)

    def __add__(self, other: DatasetIterator[_OtherT]) -> CombinedDatasetIterator[SampleT_co | _OtherT]:
        """The samples of this one, then those of the other.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> len(SequenceDatasetIterator(["a", "b"]) + SequenceDatasetIterator(["c"]))
            3
        """
        from datastack_fs.iterators.base import DatasetIterator
        from datastack_fs.iterators.combined import CombinedDatasetIterator

        if not isinstance(other, DatasetIterator):
            return NotImplemented
        return CombinedDatasetIterator([self._iterator(), other])
