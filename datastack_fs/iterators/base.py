"""DatasetIterator, a random-access sequence of samples."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.blocks import Blocks
from datastack_fs.iterators.chunks import read_in_chunks
from datastack_fs.iterators.contents import one_line
from datastack_fs.iterators.indices import IndexArray, Indices, as_index, as_indices
from datastack_fs.iterators.labels import columns_of, label_array, pick, samples_of
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.metering import LeafMeter, meter_of
from datastack_fs.iterators.origin import Origin, origin_of
from datastack_fs.iterators.planning import ByteRanges, Plan, merged
from datastack_fs.iterators.stacking import SampleT_co, Stacking
from datastack_fs.iterators.tree import html_list, text_lines, tree_of
from datastack_fs.iterators.unshared import note_batch, note_loop
from datastack_fs.metrics import Metrics

if TYPE_CHECKING:
    from typing_extensions import Self

    from datastack_fs.iterators.view import DatasetIteratorView


class DatasetIterator(Stacking[SampleT_co], ABC):
    """A random-access sequence of samples, each a tuple (sample, target, tag): a torch map-style dataset.

    A kind of dataset writes ``__len__`` and one of two ways to read:

    - ``_sample(i)``: the sample at an index, or better
    - ``_samples(indices)``: those of a whole batch, so that a remote dataset can fetch them in one go,

    and, where the labels can be had alone, ``_targets(indices)``. Whatever stands on such an iterator (a view, a
    shuffle, several joined) hands the mapped indices of a whole batch down to it. All three get indices that are
    checked. An iterator keeps no open handle that a pickle or a forked child couldn't use.

    Examples:
        >>> class Squares(DatasetIterator[tuple[int, int, None]]):
        ...     def __len__(self):
        ...         return 10
        ...     def _sample(self, i):
        ...         return i, i * i, None
        >>> squares = Squares(DatasetMeta("squares", "squares"))
        >>> squares[-1]
        (9, 81, None)
        >>> [target for _, target, _ in squares[2:5]]
        [4, 9, 16]
    """

    labels_apart: ClassVar[bool | None] = None
    """Whether labels can be had without the bytes of samples; None: yes, if the class writes ``_targets``."""

    _origin: Origin | None = None
    _meter: LeafMeter | None = None

    def __init__(self, meta: DatasetMeta) -> None:
        self._meta = meta

    # What authors write

    @abstractmethod
    def __len__(self) -> int:
        """How many samples there are; known without reading them."""

    def _sample(self, index: int) -> SampleT_co:
        """Reads one sample; the index is checked and not negative."""
        (sample,) = self._samples(np.array([index], dtype=np.int64))
        return sample

    def _samples(self, indices: IndexArray) -> list[SampleT_co]:
        """Reads a batch: as many samples as indices, in their order.

        The indices are checked: none negative, at least one, in any order, with repeats. Don't change the array.
        """
        return [self._sample(index) for index in indices.tolist()]

    def _take(self, indices: IndexArray) -> tuple[Any, ...]:
        """Reads a batch as columns, one for each position of a sample; indices as for ``_samples``.

        This default makes them of samples: write it wherever data is columns already (see ``ColumnarDatasetIterator``).
        """
        return columns_of(self._read(indices))

    def _is_columnar(self) -> bool:
        """Whether samples are nothing but the rows of what ``_take`` gives, with the same types in every batch."""
        return False

    def _plan(self, indices: IndexArray) -> Plan[tuple[Any, ...]]:
        """What ``_take`` would fetch for these indices, and its columns made of that; nothing is read yet.

        This default knows nothing, and calls ``_take`` when the columns are wanted. A class that writes ``_take``
        writes this as well, or has the default.
        """
        return Plan.unfetched(lambda: self._take(indices), is_known=False)

    def _is_planned(self) -> bool:
        """Whether ``_plan`` has something to fetch: if not, ``_take`` is called without one."""
        return False

    def _below(self, index: int) -> tuple[DatasetIterator[Any], int] | None:
        """The iterator that a sample is read from, and its index there; None for a leaf, or for one made of several."""
        return None

    def _blocks(self) -> Blocks | None:
        """Which samples are fetched and unpacked together, the same in every store; None if each is by itself."""
        return None

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        """Reads labels; indices as for ``_samples``, but there may be none.

        This default **reads whole samples** to get them: write it wherever labels stand apart.
        """
        return self._values_at(self.meta.target_pos, indices)

    def _tags(self, indices: IndexArray) -> npt.NDArray[Any]:
        """Reads tags; indices as for ``_targets``. This default reads whole samples, too."""
        return self._values_at(self.meta.tag_pos, indices)

    def _values_at(self, position: int, indices: IndexArray) -> npt.NDArray[Any]:
        chunks = read_in_chunks(self._read, indices)
        return label_array([sample[position] for samples in chunks for sample in samples])

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "_take" in vars(cls) and "_plan" not in vars(cls):  # what an inherited plan makes is not what this one reads
            cls._plan, cls._is_planned = DatasetIterator._plan, DatasetIterator._is_planned  # type: ignore[method-assign]
        one, many = _definer(cls, "_sample"), _definer(cls, "_samples")
        if DatasetIterator not in (one, many) and one is not many:
            raise TypeError(
                f"{cls.__name__} has _sample from {one.__name__} but _samples from {many.__name__}, so indexing and "
                f"batches could differ: write both in one class (_sample = {one.__name__}._sample keeps one as it is)"
            )

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Refuses a class that has no way to read, and notes which resource the iterator is made on."""
        if _definer(cls, "_sample") is _definer(cls, "_samples") is DatasetIterator:
            raise TypeError(f"{cls.__name__} can't read: write _sample(self, index) or _samples(self, indices)")
        made = super().__new__(cls)
        source = args[0] if args else options.get("resource")
        made._origin, made._meter = origin_of(source), meter_of(source)
        return made

    # Reading, the same for all

    @overload
    def __getitem__(self, index: SupportsIndex) -> SampleT_co: ...
    @overload
    def __getitem__(self, index: slice) -> DatasetIteratorView[SampleT_co]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> SampleT_co | DatasetIteratorView[SampleT_co]:
        """The sample at an index, negative ones from the end; a slice gives a view and reads nothing."""
        length = len(self)
        if type(index) is not int or not 0 <= index < length:  # as_index for all would cost a step down a stack
            if isinstance(index, slice):
                return self.view(range(length)[index])
            index = as_index(index, length)
        try:
            return self._sample(index)
        except StopIteration as error:
            raise _leaked(self, error) from error

    def __getitems__(self, indices: Indices) -> list[SampleT_co]:
        """The samples at many indices, read as one batch: what torch's DataLoader calls.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> iterator = SequenceDatasetIterator(["a", "b", "c"], [0, 1, 2])
            >>> iterator.__getitems__([2, 0])
            [('c', 2, None), ('a', 0, None)]
        """
        note_batch(self)
        checked = as_indices(indices, len(self))
        return self._read(checked) if len(checked) else []

    def take(self, indices: Indices) -> tuple[Any, ...]:
        """The samples at many indices as columns, one for each position: new arrays with a row for each index.

        Values of one type and shape are stacked; others, and text, make a column of objects. Samples that are mappings
        or tuples make a mapping or a tuple of columns. Far quicker than tuples that are collated afterwards.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> images, labels, tags = SequenceDatasetIterator(np.zeros((9, 8, 8)), range(9)).take([3, 1])
            >>> images.shape, labels.tolist(), tags.tolist()
            ((2, 8, 8), [3, 1], [None, None])
        """
        checked = as_indices(indices, len(self))
        if not len(checked):
            return self._no_rows()
        columns = self._columns_at(checked)
        for column in columns:
            if isinstance(column, np.ndarray) and len(column) != len(checked):
                raise RuntimeError(f"{type(self).__name__}._take gave {len(column)} rows for {len(checked)} indices")
        return columns

    def batches(
        self,
        size: SupportsIndex,
        indices: Indices | None = None,
        *,
        prefetch: int = 4,
        max_bytes: int = 256 << 20,
        drop_last: bool = False,
    ) -> Iterator[tuple[Any, ...]]:
        """Batches as ``take`` gives them, in order, of which the next are fetched while one is used.

        What the bytes of a stack's leaves are is planned beforehand, so a shuffled order is fetched as early as any
        other. Where all batches together want most of a resource, it is fetched in large blocks and kept until the
        end. What can't be planned, is local or in memory, is read when its turn comes. Threads fetch and decode;
        functions given to ``map`` and the like are called in the caller's thread, batch after batch. The threads end
        with the loop, or when the generator is closed.

        Args:
            size: samples in a batch.
            indices: which samples, and in which order; all of them by default.
            prefetch: most batches under way besides the one in use; 0 reads each when its turn comes.
            max_bytes: most memory for what is under way or kept; a batch that needs more comes alone.
            drop_last: leave out a last batch that is smaller than the others.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> numbers = SequenceDatasetIterator(np.arange(7)).shuffle(seed=1)
            >>> [samples.tolist() for samples, _, _ in numbers.batches(3)]
            [[2, 4, 5], [0, 6, 3], [1]]
        """
        from datastack_fs.iterators.look_ahead import Batches, batches_ahead
        from datastack_fs.iterators.selections import as_selection

        each, ahead = operator.index(size), operator.index(prefetch)
        if each < 1 or ahead < 0:
            raise ValueError(f"a batch needs one sample at least, and prefetch can't be negative: {each}, {ahead}")
        if indices is None:
            note_loop(self)
        selection = range(len(self)) if indices is None else as_selection(indices, len(self))
        length = len(selection) - len(selection) % each if drop_last else len(selection)
        return batches_ahead(self, Batches(selection[:length], each), ahead, max_bytes)

    def byte_ranges(self, indices: Indices) -> list[ByteRanges] | None:
        """The bytes of the stores that a batch needs: for each resource one request; none for what is in memory.

        Returns:
            None where they can't be told before they are read.

        Examples:
            >>> import io
            >>> from datastack_fs.connectors.memory import MemoryStorageConnector
            >>> from datastack_fs.formats.npy import NpyDatasetIterator
            >>> connector, file = MemoryStorageConnector("byte-ranges-example"), io.BytesIO()
            >>> np.save(file, np.zeros((100, 8)))
            >>> info = connector.set_resource("zeros.npy", file.getvalue())
            >>> iterator = NpyDatasetIterator(connector.get_resource("zeros.npy"))
            >>> [(request.identifier, request.ranges) for request in iterator.byte_ranges([7, 3, 4])]
            [('zeros.npy', [(320, 448), (576, 640)])]
        """
        checked = as_indices(indices, len(self))
        if not len(checked):
            return []
        plan = self._plan(checked)
        return merged(plan.requests) if plan.is_known else None

    def __iter__(self) -> Iterator[SampleT_co]:
        """All samples in order, read in batches of bounded size."""
        note_loop(self)
        return chain.from_iterable(self._chunks())

    def targets(self) -> npt.NDArray[Any]:
        """All labels as one array of the caller's own.

        Samples are not read, unless this kind of dataset has its labels nowhere else (``_targets`` says so).

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> SequenceDatasetIterator(["a", "b", "c"], [0, 1, 2])[1:].targets().tolist()
            [1, 2]
        """
        targets = self._targets(np.arange(len(self), dtype=np.int64))
        if len(targets) != len(self):
            raise RuntimeError(f"{type(self).__name__}._targets gave {len(targets)} labels for {len(self)} samples")
        return targets

    def tags(self) -> npt.NDArray[Any]:
        """All tags as one array of the caller's own; like ``targets``, without the samples where that can be.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> SequenceDatasetIterator(["a", "b", "c"], tags=["x", "y", "x"])[1:].tags().tolist()
            ['y', 'x']
        """
        tags = self._tags(np.arange(len(self), dtype=np.int64))
        if len(tags) != len(self):
            raise RuntimeError(f"{type(self).__name__}._tags gave {len(tags)} tags for {len(self)} samples")
        return tags

    def _no_rows(self) -> tuple[Any, ...]:
        """Columns without rows, of the types that the first sample says where all have the same."""
        if not len(self) or not self._is_columnar():
            return tuple(np.empty(0, dtype=object) for _ in self.meta.positions)
        return tuple(pick(column, slice(0)) for column in self._columns_at(np.zeros(1, np.int64)))

    def _columns_at(self, indices: IndexArray) -> tuple[Any, ...]:
        """``_take``, with all that the stack needs fetched at once where it can be planned."""
        return self._plan(indices).read() if self._is_planned() else self._take(indices)

    def _chunks(self) -> Iterator[list[SampleT_co]]:
        """All samples in order, in lists of bounded size."""
        return read_in_chunks(self._read, range(len(self)))

    def _read(self, indices: IndexArray) -> list[SampleT_co]:
        """``_samples``, checked: a list too short would shift or lose samples without a word."""
        try:
            if self._is_planned() and self._is_columnar():
                return samples_of(self._plan(indices).read())
            samples = self._samples(indices)
        except StopIteration as error:
            raise _leaked(self, error) from error
        if len(samples) != len(indices):
            raise RuntimeError(f"{type(self).__name__}._samples gave {len(samples)} samples for {len(indices)} indices")
        return samples

    # What it is

    @property
    def meta(self) -> DatasetMeta:
        """What is known about it without reading."""
        try:
            return self._meta
        except AttributeError:
            raise TypeError(f"{type(self).__name__}.__init__ must call super().__init__(meta)") from None

    @property
    def origin(self) -> Origin | None:
        """Where a leaf's bytes are stored; None for what is in memory, or stands on other iterators."""
        return self._origin

    @property
    def metrics(self) -> Metrics:
        """What reading from the resources of all its leaves cost in this process: the same for all who read them.

        Each resource counts once. What lies in memory, or in a local file that is mapped, costs nothing.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> SequenceDatasetIterator(["a", "b"])[1:].metrics.requests
            0
        """
        leaves = leaves_of(self)
        meters = {(id(leaf._meter.connector), leaf._meter.identifier): leaf._meter for leaf in leaves if leaf._meter}
        return Metrics.sum(meter.read() for meter in meters.values())

    @property
    def underlying_iterators(self) -> tuple[DatasetIterator[Any], ...]:
        """The iterators that this one reads from; none for a leaf."""
        return ()

    def __repr__(self) -> str:
        """A leaf in one line, a stack as a tree; nothing is read."""
        try:
            lines = text_lines(tree_of(self))
        except Exception as error:  # noqa: BLE001 (also a half-made or broken iterator can be shown)
            return f"<{type(self).__name__}, not usable: {one_line(f'{type(error).__name__}: {error}', 200)}>"
        return f"<{lines[0]}>" if len(lines) == 1 else "\n".join(lines)

    def _repr_html_(self) -> str:
        """For notebooks: the tree as nested lists; reads what ``tree`` reads."""
        return f'<div class="datastack-tree">{html_list(tree_of(self, read=True))}</div>'

    def tree(self) -> str:
        """The stack as a tree: what each iterator is and does, where leaves are stored, and what samples are made of.

        At most one sample is read, the first, for at most 5 seconds; if it can't be, the tree says so. ``repr`` is the
        same drawing with nothing read.

        Examples:
            >>> from datastack_fs.iterators import SequenceDatasetIterator
            >>> print(SequenceDatasetIterator(np.zeros((9, 8, 8)), range(9)).shuffle(seed=1).tree())
            ShuffledDatasetIterator in-memory: 9 samples, seed 1, epoch 0; sample float64 (8, 8), target int, tag None
            └─ SequenceDatasetIterator in-memory: 9 samples; sample float64 (8, 8), target int
        """
        return "\n".join(text_lines(tree_of(self, read=True)))

    def _details(self) -> str:
        """Its length and what it does, in a few words; nothing may be read for it."""
        return f"{len(self):,} samples"

    def _contents(self) -> tuple[str | None, ...] | None:
        """What stands at each position, in words, as far as that is known without reading (see ``described``)."""
        return None


def leaves_of(iterator: DatasetIterator[Any]) -> list[DatasetIterator[Any]]:
    """What a stack stands on at last, in order."""
    below = iterator.underlying_iterators
    return [leaf for part in below for leaf in leaves_of(part)] if below else [iterator]


def check_iterator(iterator: object) -> None:
    """Refuses what is no DatasetIterator, with the way to make it one."""
    if not isinstance(iterator, DatasetIterator):
        raise TypeError(
            f"expected a DatasetIterator, not {type(iterator).__name__}; SequenceDatasetIterator wraps a sequence"
        )


def _definer(cls: type, method: str) -> type:
    return next(base for base in cls.__mro__ if method in vars(base))


def _leaked(iterator: object, error: StopIteration) -> RuntimeError:
    # Out of __getitem__ it would end the caller's loop, or torch's epoch, early and without a word.
    return RuntimeError(f"{type(iterator).__name__} raised {error!r} while it read a sample")
