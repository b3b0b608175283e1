"""Orders without a list: permutations of any length, as random as they look."""

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs.iterators.keyed import MOST_SAMPLES, KeyedPermutation, order_of
from harness.leaves import RecordingLeaf

LENGTH = 100_003


def listed(length, seed=1, epoch=0):
    return KeyedPermutation(length, seed, epoch).at(np.arange(length))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3000), st.integers(0, 2**70), st.integers(0, 9))
def test_every_number_comes_once(length, seed, epoch):
    order = KeyedPermutation(length, seed, epoch)
    numbers = order.at(np.arange(length))
    assert np.array_equal(np.sort(numbers), np.arange(length))
    assert list(order) == numbers.tolist()
    assert list(order[::-3]) == numbers[::-3].tolist()


@given(st.integers(1, MOST_SAMPLES), st.data())
def test_places_are_computed_one_by_one_as_in_batches(length, data):
    order = KeyedPermutation(length, seed=3, epoch=1)
    places = data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=20, unique=True))
    numbers = order.at(np.array(places))
    assert numbers.tolist() == [order[place] for place in places]
    assert len(set(numbers.tolist())) == len(places)
    assert all(0 <= number < length for number in numbers.tolist())


def test_the_order_is_the_same_for_ever():
    assert listed(10).tolist() == [6, 0, 3, 7, 2, 8, 9, 1, 5, 4]
    assert [KeyedPermutation(10**10, seed=7, epoch=2)[place] for place in (0, 1, 10**10 - 1)] == [
        6127455518,
        8985075845,
        9203293104,
    ]
    assert order_of(8, seed=1, epoch=0).tolist() == [2, 4, 7, 5, 0, 6, 3, 1]


def test_it_takes_neither_memory_nor_a_large_pickle():
    tracemalloc.start()
    try:
        shuffled = RecordingLeaf(10**10).shuffle(seed=1)
        part = shuffled[::-1][5:].shuffle(seed=2)[1:]
        few = [shuffled[10**9][0], *(sample for sample, *_ in part.__getitems__([0, 10**9]))]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    again = pickle.loads(pickle.dumps(part))
    assert peak < 100_000
    assert len(pickle.dumps(part)) < 3000
    assert again[0] == part[0] != part[1]
    assert len(set(few)) == 3


@pytest.mark.parametrize("length", [-1, MOST_SAMPLES + 1])
def test_lengths_beyond_are_refused(length):
    with pytest.raises(ValueError, match="2\\^62"):
        KeyedPermutation(length, 1, 0)


# The bounds below are wide (5 standard deviations and more), and seeds are fixed: none of them fails by chance.


def test_numbers_stand_at_any_place_alike():
    """Chi-square of places against numbers, over many seeds, for a domain that is no square."""
    firsts = np.concatenate([KeyedPermutation(LENGTH, seed, 0).at(np.arange(50)) for seed in range(2000)])
    table = np.zeros((10, 20))
    np.add.at(table, (np.tile(np.arange(50) // 5, 2000), firsts * 20 // LENGTH), 1)
    expected = firsts.size / table.size
    chi_square = ((table - expected) ** 2 / expected).sum()
    freedom = 10 * 19
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("length", [65_537, LENGTH, 1_000_000, 1 << 20])
def test_places_tell_nothing_of_numbers(length):
    numbers = listed(length) / length
    places = np.arange(length) / length
    bound = 5 / np.sqrt(length)
    for lag in (1, 2, 16, 256, 317, 1000):
        assert abs(np.corrcoef(numbers[:-lag], numbers[lag:])[0, 1]) < bound
    assert abs(np.corrcoef(places, numbers)[0, 1]) < bound
    assert abs(np.corrcoef(listed(length, epoch=1), numbers)[0, 1]) < bound
    assert abs(np.corrcoef(listed(length, seed=2), numbers)[0, 1]) < bound
    ascents = np.count_nonzero(np.diff(numbers) > 0)
    assert abs(ascents - length / 2) < 5 * np.sqrt(length / 12)


def test_neighbours_are_as_far_apart_as_by_chance():
    """Distances of neighbours follow the triangle's law: chi-square over 20 bins of equal probability."""
    distances = np.abs(np.diff(listed(1_000_000))) / 1_000_000
    shares = 1 - (1 - distances) ** 2  # uniform, if numbers are
    counts = np.bincount((shares * 20).astype(int), minlength=20)
    assert ((counts - 50_000) ** 2 / 50_000).sum() < 19 + 5 * np.sqrt(38)


def test_as_many_numbers_stay_in_place_as_by_chance():
    """One on average; the number over many seeds is Poisson's."""
    stays = [np.count_nonzero(listed(1009, seed) == np.arange(1009)) for seed in range(1000)]
    assert abs(np.mean(stays) - 1) < 5 / np.sqrt(1000)
    assert abs(np.var(stays) - 1) < 0.3
