"""Samples drawn at random by weight: which, how often, and the same everywhere."""

import math
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs.iterators import SampledDatasetIterator, SequenceDatasetIterator, draws, orders
from datastack_fs.iterators.draws import _log, drawn_again, drawn_once
from datastack_fs.iterators.weights import Weights
from datastack_fs.testing import DatasetIteratorTests
from harness.leaves import RecordingLeaf

WEIGHTS = [1, 0, 4, 2.5, 0, 0.5]


class TestSampled(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        return RecordingLeaf(9)[::-1].sample(12, seed=1, weights=range(9))

    @pytest.fixture
    def expected(self):
        leaf = RecordingLeaf(9).expected()[::-1]
        return [leaf[place] for place in drawn_again(12, 9, Weights.of(range(9)), 1, 0)]


class TestSampledOnce(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        return RecordingLeaf(9).sample(6, seed=1, weights="balanced", replace=False, epoch=2)

    @pytest.fixture
    def expected(self):
        leaf = RecordingLeaf(9).expected()
        return [leaf[place] for place in drawn_once(6, 9, Weights.of(np.ones(9)), 1, 2)]


def places(iterator):
    return [number for number, _, _ in iterator]


def test_the_draw_of_a_seed_and_an_epoch_is_for_ever():
    leaf = RecordingLeaf(100)
    assert places(leaf.sample(8, seed=1)) == [51, 95, 14, 94, 31, 42, 82, 40]
    assert places(leaf.sample(8, seed=1, weights=np.arange(100))) == [71, 97, 38, 97, 56, 65, 91, 64]
    assert places(leaf.sample(8, seed=1, weights=np.arange(100), replace=False)) == [69, 23, 29, 77, 79, 72, 24, 84]
    assert places(leaf.sample(8, seed=1, replace=False)) == orders.permutation(100, 1, 0)[:8].tolist()


@pytest.mark.parametrize("replace", [True, False])
def test_samples_are_drawn_as_often_as_they_weigh(replace):
    # The first of each draw: 20,000 epochs; a chi-squared of 3 degrees is above 21 once in 10,000.
    leaf, weights = RecordingLeaf(6), Weights.of(WEIGHTS)
    draw = drawn_again if replace else drawn_once
    counts = Counter(int(draw(1, len(leaf), weights, 7, epoch)[0]) for epoch in range(5000))
    assert set(counts) == {0, 2, 3, 5}
    expected = {place: 5000 * weight / 8 for place, weight in enumerate(WEIGHTS)}
    assert sum((counts[place] - expected[place]) ** 2 / expected[place] for place in counts) < 21


def test_the_second_is_drawn_from_those_that_are_left():
    pairs = Counter(tuple(drawn_once(2, 3, Weights.of([1, 2, 3]), 5, epoch).tolist()) for epoch in range(6000))
    chances = {
        (a, b): wa / 6 * wb / (6 - wa) for a, wa in enumerate((1, 2, 3)) for b, wb in enumerate((1, 2, 3)) if a != b
    }
    assert sum((pairs[pair] - 6000 * chance) ** 2 / (6000 * chance) for pair, chance in chances.items()) < 26


def test_a_large_draw_has_the_weights_shares():
    drawn = drawn_again(200_000, 6, Weights.of(WEIGHTS), 3, 0)
    assert np.abs(np.bincount(drawn, minlength=6) / 200_000 - np.array(WEIGHTS) / 8).max() < 0.005


def test_balanced_draws_every_class_alike():
    rare = SequenceDatasetIterator(range(1000), ["wren" if number % 100 else "owl" for number in range(1000)])
    counts = Counter(rare.sample(4000, seed=2, weights="balanced").targets().tolist())
    assert abs(counts["owl"] - 2000) < 200


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.just(0.0), st.floats(1e-300, 1e300), st.integers(0, 9)), min_size=1, max_size=40),
    st.integers(0, 2**70),
    st.data(),
)
def test_draws_do_not_depend_on_how_much_is_looked_at_at_once(weights, seed, data):
    positive = sum(weight > 0 for weight in weights)
    if not positive or not math.isfinite(sum(weights)):
        return
    count = data.draw(st.integers(0, 50))
    once = min(count, positive)
    length = len(weights)
    again = drawn_again(count, length, Weights.of(weights), seed, 0).tolist()
    first = drawn_once(once, length, Weights.of(weights), seed, 0).tolist()
    assert all(weights[place] > 0 for place in (*again, *first))
    assert len(set(first)) == once
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orders, "_MOST_SORTED", 5)
        patch.setattr(draws, "_POINTS_AT_ONCE", 2)
        assert drawn_again(count, length, Weights.of(weights), seed, 0).tolist() == again
        assert drawn_once(once, length, Weights.of(weights), seed, 0).tolist() == first


def test_weights_of_many_blocks_are_summed_one_by_one():
    values = np.random.default_rng(0).random(200_000)
    weights = Weights.of(values)
    sums = np.cumsum(values)
    assert weights.total == sums[-1]
    points = np.sort(np.random.default_rng(1).random(5000)) * sums[-1]
    assert weights.places(points).tolist() == np.searchsorted(sums, points, side="right").tolist()
    assert weights.places(np.array([0.0, sums[-1]])).tolist() == [0, 199_999]


def test_the_logarithm_is_right_to_the_last_bits():
    numbers = np.concatenate([np.random.default_rng(0).random(10_000), 2.0 ** -np.arange(1, 53), [1 - 2.0**-53]])
    assert np.abs(_log(numbers.copy()) / np.log(numbers) - 1).max() < 1e-15


def test_epochs_differ_and_come_again():
    sampled = RecordingLeaf(100)[::2].sample(30, seed=5, weights="balanced")
    first = places(sampled)
    assert places(sampled.at_epoch(1)) != first == places(sampled) == places(sampled.at_epoch(1).at_epoch(0))
    assert places(pickle.loads(pickle.dumps(sampled.at_epoch(3)))) == places(sampled.at_epoch(3))
    assert type(sampled.at_epoch(1)) is SampledDatasetIterator


def test_a_draw_is_a_map_like_any_other():
    leaf = RecordingLeaf(50)
    stack = leaf[5:].sample(20, seed=1)[::-1].shuffle(2).sample(5, seed=1, replace=False)
    assert stack.underlying_iterators == (leaf,)
    stack.targets()
    assert not leaf.sample_batches
    assert places(leaf.sample(0, seed=1)) == []


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ([1, -1, 1], ValueError, "that of sample 1 is -1.0"),
        ([1, 1, math.nan], ValueError, "that of sample 2 is nan"),
        ([1, math.inf, 1], ValueError, "that of sample 1 is inf"),
        ([1e308, 1e308, 1e308], ValueError, "finite; it is inf"),
        ([0, 0, 0], ValueError, "above 0"),
        ([1, 1], ValueError, "3 samples but 2 weights"),
        ([[1, 1, 1]], TypeError, r"shape \(1, 3\)"),
        (["a", "b", "c"], TypeError, "numbers"),
        ("even", ValueError, "'balanced'; not 'even'"),
        ("balanced", ValueError, "target"),
    ],
    ids=repr,
)
def test_weights_that_mean_nothing_are_refused(weights, error, message):
    with pytest.raises(error, match=message):
        SequenceDatasetIterator(["a", "b", "c"]).sample(2, seed=1, weights=weights)


def test_more_than_there_are_can_not_be_drawn():
    leaf = RecordingLeaf(3)
    with pytest.raises(ValueError, match="4 samples can't be drawn from 3 samples with replace=False"):
        leaf.sample(4, seed=1, replace=False)
    with pytest.raises(ValueError, match="3 samples can't be drawn from 2 samples of a weight above 0"):
        leaf.sample(3, seed=1, replace=False, weights=[0, 1, 1])
    with pytest.raises(ValueError, match="1 samples can't be drawn from 0 samples"):
        leaf[:0].sample(1, seed=1)
    with pytest.raises(TypeError, match="seed"):
        leaf.sample(1)
    with pytest.raises(ValueError, match="count must not be negative"):
        leaf.sample(-1, seed=1)
