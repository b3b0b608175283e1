"""Splits: views of some samples each, made from labels alone, the same on every machine.

Each sample is in exactly one part; in a view, samples stand in the order of the iterator, so that they are read from
front to back (``.shuffle(seed)`` gives another order). The parts are views: nothing is read or copied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator, check_iterator
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.orders import natural, permutation
from datastack_fs.iterators.selections import places_of
from datastack_fs.iterators.splits_folds import (
    Fold,
    NestedFold,
    folds_by,
    group_k_fold,
    k_fold,
    nested_k_fold,
    stratified_k_fold,
)
from datastack_fs.iterators.splits_labels import Kinds, classes_of, given_or_tags, groups_of
from datastack_fs.iterators.splits_saved import load_split, save_split
from datastack_fs.iterators.splits_sizes import exact_fractions, part_sizes, part_tags
from datastack_fs.iterators.stacking import SampleT_co
from datastack_fs.iterators.view import DatasetIteratorView

__all__ = [
    "Fold",
    "NestedFold",
    "folds_by",
    "group_k_fold",
    "group_split",
    "hash_split",
    "k_fold",
    "load_split",
    "nested_k_fold",
    "random_split",
    "save_split",
    "stratified_k_fold",
    "stratified_split",
]

_HASH_BITS: Final = 64


def random_split(
    iterator: DatasetIterator[SampleT_co],
    parts: Sequence[float],
    *,
    seed: int,
    tags: Sequence[str] | None = None,
) -> list[DatasetIteratorView[SampleT_co]]:
    """Splits by chance alone; not even labels are read.

    Args:
        iterator: what to split.
        parts: fractions that sum to 1, or sizes that sum to the length. Samples left over by fractions go to the
            parts with the largest remainders.
        seed: decides which sample is in which part.
        tags: what to call the parts; by default ``train test`` or ``train validation test``, else numbers.

    Raises:
        ValueError: the parts don't add up, or one would be empty.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> train, test = random_split(SequenceDatasetIterator(range(10)), [0.8, 0.2], seed=1)
        >>> [number for number, _, _ in train], [number for number, _, _ in test], test.meta.tag
        ([0, 2, 4, 5, 6, 7, 8, 9], [1, 3], 'test')
    """
    check_iterator(iterator)
    seed = natural("seed", seed)
    sizes = part_sizes(parts, len(iterator))
    numbers = np.empty(len(iterator), np.min_scalar_type(len(sizes)))
    numbers[permutation(len(iterator), seed, 0)] = np.repeat(np.arange(len(sizes), dtype=numbers.dtype), sizes)
    return _views(iterator, numbers, len(sizes), tags)


def stratified_split(
    iterator: DatasetIterator[SampleT_co],
    parts: Sequence[float],
    *,
    seed: int,
    tags: Sequence[str] | None = None,
) -> list[DatasetIteratorView[SampleT_co]]:
    """Splits so that every part has its share of every class, and at least one member; only labels are read.

    The sizes of the parts are exact, as for ``random_split``; how many of a class a part gets differs from its share
    by rounding. Labels alone decide these numbers, the seed decides which members they are.

    Args:
        iterator: what to split; its targets are integers or text.
        parts: as for ``random_split``.
        seed: as for ``random_split``.
        tags: as for ``random_split``.

    Raises:
        ValueError: a class has fewer members than there are parts (the message names it), or a part would be smaller
            than the number of classes, or targets are no classes.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> birds = SequenceDatasetIterator(range(10), ["owl"] * 5 + ["wren"] * 5)
        >>> train, test = stratified_split(birds, [0.8, 0.2], seed=1)
        >>> test.targets().tolist()
        ['owl', 'wren']
    """
    check_iterator(iterator)
    seed = natural("seed", seed)
    sizes = part_sizes(parts, len(iterator))
    names = part_tags(len(sizes), tags)
    classes = classes_of(iterator)
    classes.check_counts(len(sizes), f"a stratified split into {len(sizes)} parts")
    for name, size in zip(names, sizes, strict=True):
        if size < len(classes.names):
            raise ValueError(
                f"part {name!r} would have {size} samples, fewer than the {len(classes.names)} classes: it can't have "
                "one of each"
            )
    shuffled = permutation(len(iterator), seed, 0)
    by_class = shuffled[np.argsort(classes.codes[shuffled], kind="stable")]
    table = _shares(classes.counts, sizes)
    numbers = np.empty(len(iterator), np.min_scalar_type(len(sizes)))
    numbers[by_class] = np.repeat(np.tile(np.arange(len(sizes), dtype=numbers.dtype), len(table)), table.ravel())
    return _views(iterator, numbers, len(sizes), names)


def group_split(
    iterator: DatasetIterator[SampleT_co],
    parts: Sequence[float],
    *,
    seed: int,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
    tags: Sequence[str] | None = None,
) -> list[DatasetIteratorView[SampleT_co]]:
    """Splits so that a group (a patient, a site, a day) is in one part only; no samples are read.

    Groups come in an order that the seed decides, each to the part that then lacks the most samples; so sizes are as
    near to those asked for as whole groups allow on the way (within the largest group, for two parts).

    Args:
        iterator: what to split.
        parts: as for ``random_split``.
        seed: as for ``random_split``.
        groups: the group of each sample, text or integers; by default its tag.
        tags: as for ``random_split``.

    Raises:
        ValueError: there are fewer groups than parts, or a sample has none.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> sites = ["marsh", "marsh", "wood", "wood", "wood", "lake"]
        >>> train, test = group_split(SequenceDatasetIterator(range(6), tags=sites), [0.5, 0.5], seed=1)
        >>> sorted(set(train.tags())), sorted(set(test.tags()))
        (['wood'], ['lake', 'marsh'])
    """
    check_iterator(iterator)
    seed = natural("seed", seed)
    sizes = part_sizes(parts, len(iterator))
    found = groups_of(iterator, groups)
    if len(found.names) < len(sizes):
        raise ValueError(f"there are {len(found.names)} groups, and {len(sizes)} parts need at least one each")
    part_of_group = _placed_groups(found, sizes, seed)
    return _views(iterator, part_of_group[found.codes], len(sizes), tags)


def hash_split(
    iterator: DatasetIterator[SampleT_co],
    fractions: Sequence[float],
    *,
    keys: Sequence[Any] | npt.NDArray[Any] | None = None,
    seed: int = 0,
    tags: Sequence[str] | None = None,
) -> list[DatasetIteratorView[SampleT_co]]:
    """Splits by a hash of each sample's key: when data grows, or changes its order, every sample stays in its part.

    A key says which sample it is (a file name, the number of a patient), whatever its index. The parts have about
    their fractions of the keys, not exactly; on little data a part may be empty. Samples with one key stay together.

    Args:
        iterator: what to split.
        fractions: as for ``random_split``; a part keeps its samples as long as fractions and their order stay.
        keys: one for each sample, text, bytes or integers; by default its tag.
        seed: another one gives another split.
        tags: as for ``random_split``.

    Raises:
        ValueError: a sample has no key.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> names = [f"owl-{number}.png" for number in range(100)]
        >>> train, test = hash_split(SequenceDatasetIterator(names), [0.8, 0.2], keys=names)
        >>> more = SequenceDatasetIterator([*reversed(names), "wren.png"])
        >>> _, later = hash_split(more, [0.8, 0.2], keys=[*reversed(names), "wren.png"])
        >>> len(test), {name for name, _, _ in test} <= {name for name, _, _ in later}
        (19, True)
    """
    check_iterator(iterator)
    seed = natural("seed", seed)
    values, what = given_or_tags(iterator, keys, "keys")
    # One integer for each end of a part: the same comparison everywhere.
    ends = [int(end * 2**_HASH_BITS) for end in accumulate(exact_fractions(fractions))]
    hashes = np.fromiter((_hashed(key, seed, what) for key in values), dtype=np.uint64, count=len(values))
    numbers = np.searchsorted(np.array(ends[:-1], dtype=np.uint64), hashes, side="right")
    return _views(iterator, numbers, len(ends), tags)


def _views(
    iterator: DatasetIterator[SampleT_co], numbers: IndexArray, count: int, tags: Sequence[str] | None
) -> list[DatasetIteratorView[SampleT_co]]:
    """A view for each part, by the number of the part that each sample is in."""
    return [
        iterator.view(places_of(numbers == part), {"split": tag}) for part, tag in enumerate(part_tags(count, tags))
    ]


def _shares(counts: IndexArray, sizes: Sequence[int]) -> IndexArray:
    """How many of each class (row) each part (column) gets: rows sum to the counts, columns to the sizes.

    Each cell is its exact share rounded down or up (Gale and Ryser: a row's left-overs go where most are lacking),
    except for what a class gives away so that a rare one is in every part.
    """
    columns = np.array(sizes, dtype=np.int64)
    table, remainders = np.divmod(np.outer(counts, columns), columns.sum())
    lacking = columns - table.sum(axis=0)
    for row, left_over in enumerate((counts - table.sum(axis=1)).tolist()):
        chosen = np.lexsort((-remainders[row], -lacking))[:left_over]
        table[row, chosen] += 1
        lacking[chosen] -= 1
    for row, column in np.argwhere(table == 0).tolist():
        if table[row, column]:  # filled on the way
            continue
        # A swap that keeps all sums: the class gives one from where it has most, and takes the place of another class.
        giver = int(np.argmax(table[row]))
        other = int(np.argmax(table[:, column]))
        table[[row, other], [column, giver]] += 1
        table[[row, other], [giver, column]] -= 1
    return table


def _placed_groups(groups: Kinds, sizes: Sequence[int], seed: int) -> IndexArray:
    """The part of each group."""
    order = permutation(len(groups.names), seed, 0)
    placed = np.empty(len(order), dtype=np.int64)
    lacking = list(sizes)
    empty = set(range(len(sizes)))
    for done, group in enumerate(order.tolist()):
        candidates = empty if len(order) - done == len(empty) else range(len(sizes))
        part = max(candidates, key=lambda number: (lacking[number], -number))
        placed[group] = part
        lacking[part] -= int(groups.counts[group])
        empty.discard(part)
    return placed


def _hashed(key: Any, seed: int, what: str) -> int:
    key = key.item() if isinstance(key, np.generic) else key
    if isinstance(key, str):
        data = b"s" + key.encode("utf-8", "surrogatepass")
    elif isinstance(key, bytes):
        data = b"b" + key
    elif isinstance(key, int) and not isinstance(key, bool):
        data = b"i%d" % key
    else:
        raise ValueError(f"a {what} is {key!r:.80}: a key is text, bytes or an integer; keys=… gives them")
    digest = hashlib.blake2b(b"%d:" % seed + data, digest_size=_HASH_BITS // 8)
    return int.from_bytes(digest.digest(), "big")
