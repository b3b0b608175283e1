"""Index maps stay small: ranges stay ranges, arrays are narrow, and maps over maps are one of either."""

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs.iterators import SequenceDatasetIterator, orders, selections
from datastack_fs.iterators.selections import as_selection, composed, looked_up, places_of
from harness.leaves import RecordingLeaf

HUNDRED_MILLION = 10**8


@st.composite
def selections_of(draw, length):
    """What a caller may give, and the list that it means."""
    kind = draw(st.sampled_from(["slice", "indices", "mask"]))
    if kind == "slice":
        given = range(length)[draw(st.slices(length))]
        return given, list(given)
    if kind == "indices" and length:
        given = draw(st.lists(st.integers(-length, length - 1), max_size=12))
        return given, [index % length for index in given]
    given = draw(st.lists(st.booleans(), min_size=length, max_size=length))
    return np.array(given, dtype=bool), [index for index, chosen in enumerate(given) if chosen]


@settings(max_examples=300, deadline=None)
@given(st.data(), st.integers(0, 20), st.integers(1, 5))
def test_selections_of_selections_equal_lists(data, length, depth):
    made, numbers = None, list(range(length))
    for _ in range(depth):
        given, meant = data.draw(selections_of(len(numbers)))
        made = composed(made, as_selection(given, len(numbers)))
        numbers = [numbers[index] for index in meant]
    assert list(made) == numbers
    assert looked_up(made, np.arange(len(numbers))).tolist() == numbers
    assert looked_up(made, np.arange(len(numbers))).dtype == np.int64


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 7))
def test_places_of_a_mask_come_block_by_block(mask, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selections, "_BLOCK", block)
        assert places_of(np.array(mask, dtype=bool)).tolist() == [place for place, true in enumerate(mask) if true]


def test_slices_of_slices_take_no_memory():
    leaf = RecordingLeaf(HUNDRED_MILLION)
    tracemalloc.start()
    try:
        part = leaf.view(range(HUNDRED_MILLION))[::-1][1:][::3][5:-5][::-1]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000
    assert part.underlying_iterators == (leaf,)
    numbers = range(HUNDRED_MILLION)[::-1][1:][::3][5:-5][::-1]
    assert [part[0][0], part[-1][0], len(part)] == [numbers[0], numbers[-1], len(numbers)]
    assert pickle.loads(pickle.dumps(part))[17] == part[17]


def test_indices_take_four_bytes():
    leaf = RecordingLeaf(1000)
    for map_ in (
        leaf.view([3, 1]),
        leaf.shuffle(1),
        leaf[5:].shuffle(2)[::2],
        leaf.filter(bool),
        leaf.sample(5, seed=1),
    ):
        assert map_._indices.dtype == np.int32
    assert [sample[0] for sample in leaf.view([3, 1]).__getitems__([0, 1])] == [3, 1]  # the leaf checks for int64


def test_beyond_two_billion_samples_they_take_eight():
    length = 1 << 40
    leaf = RecordingLeaf(length)
    assert leaf[::-1][5][0] == length - 6
    few = leaf.view([length - 1, -2, 0])
    assert [number for number, _, _ in few.shuffle(1)[::-1]] == [
        [length - 1, length - 2, 0][index] for index in orders.permutation(3, 1, 0)[::-1]
    ]
    assert [number for number, _, _ in leaf[length - 2 :].view([1, 0])] == [length - 1, length - 2]
    assert leaf[:: length - 1].view(np.array([1, 0], np.int8))[0][0] == length - 1
    with pytest.raises(IndexError, match=f"index {length} "):
        leaf.view(range(length - 1, length + 1))


def test_a_small_slice_does_not_keep_a_large_order():
    shuffled = RecordingLeaf(1000).shuffle(1)
    assert shuffled[::-1]._indices.base is not None
    assert shuffled[:5]._indices.base is None
    assert shuffled[3:3]._indices == range(0)


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 1000])
def test_an_order_does_not_depend_on_how_many_keys_are_sorted_at_once(monkeypatch, length):
    whole = orders.permutation(length, 3, 4)
    monkeypatch.setattr(orders, "_MOST_SORTED", 10)
    monkeypatch.setattr(orders, "CHUNK", 7)
    assert orders.permutation(length, 3, 4).tolist() == whole.tolist()


LENGTH = 5_000_000  # a twentieth of a hundred million, with a twentieth of what may be sorted and looked up at once

MADE = {
    "mask": lambda leaf: leaf.view(np.arange(LENGTH, dtype=np.int8) < 100),
    "shuffle of a mask": lambda leaf: leaf.view(np.broadcast_to(np.True_, LENGTH)).shuffle(1),
    "view of a shuffle": lambda leaf: leaf.shuffle(1)[::-1].view(range(1, LENGTH)),
    "joined": lambda leaf: (leaf + leaf)[:LENGTH].shuffle(1),
    "repeated": lambda leaf: leaf.repeat(3)[LENGTH:].sample(LENGTH, seed=1),
    "drawn once": lambda leaf: leaf.sample(LENGTH, seed=1, replace=False),
    "drawn by weight": lambda leaf: leaf.sample(LENGTH, seed=1, weights=np.broadcast_to(np.float32(2), LENGTH)),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_the_index_of_a_hundred_million_samples_stays_under_a_gigabyte(monkeypatch, make):
    scale = HUNDRED_MILLION // LENGTH
    for module, name in ((orders, "_MOST_SORTED"), (selections, "_BLOCK")):
        monkeypatch.setattr(module, name, getattr(module, name) // scale)
    leaf = RecordingLeaf(LENGTH)
    tracemalloc.start()
    try:
        made = make(leaf)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(made) > 0
    assert kept <= 2.2 * 4 * LENGTH  # the order, and for the next epoch what it is an order of
    assert peak < 1_000_000_000 / scale


@pytest.mark.parametrize("step", [2**63, -(2**63) - 1, 2**70])
def test_a_slice_of_one_or_none_takes_any_step(step):
    letters = SequenceDatasetIterator(["a", "b", "c"], [0, 1, 2])
    for chosen in (letters[1:1:step], letters[0:2:step], letters[::step]):
        assert len(chosen) <= 1
        assert chosen.targets().tolist() == [target for _, target, _ in chosen]
