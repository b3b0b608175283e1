"""Views, shuffles, joined and in-memory iterators: what each of them adds to the contract."""

import pickle

import numpy as np
import pytest

from datastack_fs.iterators import (
    CombinedDatasetIterator,
    DatasetIteratorView,
    DatasetMeta,
    InMemoryDatasetIterator,
    SequenceDatasetIterator,
    ShuffledDatasetIterator,
)
from datastack_fs.iterators.labels import join_labels, label_array
from datastack_fs.iterators.orders import permutation
from harness.leaves import OneByOneLeaf, RecordingLeaf

LETTERS = SequenceDatasetIterator(["a", "b", "c", "d"], [0, 1, 0, 1], meta=DatasetMeta("letters", "letters"))


def letters_of(iterator):
    return "".join(sample[0] for sample in iterator)


# Views


@pytest.mark.parametrize(
    "indices",
    [
        [3, -4, 1],
        (3, 0, -3),
        np.array([3, 0, 1], dtype=np.uint8),
        np.array([-1, 0, 1], dtype=object),
        np.array([9, 3, 9, 0, 9, 1])[1::2],
        [np.uint64(3), np.int8(-4), 1],
        [np.array(3), 0, np.int16(1)],
    ],
    ids=repr,
)
def test_a_view_takes_any_row_of_integers(indices):
    assert letters_of(DatasetIteratorView(LETTERS, indices)) == "dab"


def test_a_view_takes_ranges_and_masks():
    assert letters_of(LETTERS.view(range(3, -1, -2))) == "db"
    assert letters_of(LETTERS.view(range(-1, -4, -1))) == "dcb"
    for mask in ([True, False, True, True], np.array([1, 0, 1, 1], dtype=bool)):
        assert letters_of(LETTERS.view(mask)) == "acd"
    assert letters_of(LETTERS.view(LETTERS.targets() == 1)) == "bd"


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ([0, 4], IndexError, "index 4 is out of range: the iterator has 4 samples"),
        ([0, -5], IndexError, "index -5 "),
        (range(2, 9), IndexError, "index 8 "),
        (np.array([2**64 - 1], dtype=np.uint64), IndexError, "index 18446744073709551615 "),
        ([2**70], IndexError, f"index {2**70} "),
        ([1.0], TypeError, "'float' object"),
        (np.array([1.0]), TypeError, "not an array of float64"),
        ([True, 2], TypeError, "bool"),
        ([2, True], TypeError, "bool"),
        (["0"], TypeError, "integer"),
        ([[0, 1]], TypeError, r"shape \(1, 2\)"),
        (np.eye(4, dtype=bool), ValueError, r"shape \(4, 4\)"),
        ([True], ValueError, "one bool for each of the 4 samples"),
        ({0, 1}, TypeError, r"not set .* give list"),
        (3, TypeError, "int"),
        (None, TypeError, "NoneType"),
        ("01", TypeError, "str"),
    ],
    ids=repr,
)
def test_a_view_refuses_other_indices_at_once(indices, error, message):
    with pytest.raises(error, match=message):
        LETTERS.view(indices)


def test_a_generator_of_indices_is_refused():
    with pytest.raises(TypeError, match=r"not generator .* give list"):
        LETTERS.view(index for index in (0, 1))


def test_a_view_is_made_of_an_iterator():
    with pytest.raises(TypeError, match="SequenceDatasetIterator wraps a sequence"):
        DatasetIteratorView([1, 2, 3], [0])


def test_indices_of_a_view_are_its_own_and_closed():
    given = np.array([0, 1, 2])
    view = LETTERS.view(given)
    given[:] = 3
    assert letters_of(view) == "abc"
    for one in (view, view[:2], LETTERS.shuffle(1), pickle.loads(pickle.dumps(view))):
        with pytest.raises(ValueError, match="read-only"):
            one._indices[0] = 1


def test_views_and_shuffles_collapse_into_one_array():
    leaf = RecordingLeaf(50)
    stack = leaf[5:].shuffle(1)[::-1].view([5, 1, 2, 4]).shuffle(2).shuffle(3).view([0, 2])
    assert stack.underlying_iterators == (leaf,)
    assert stack._indices.shape == (2,)


def test_tags_of_views_go_to_meta_and_not_to_samples():
    view = LETTERS.view([0, 1], "train")
    assert view.meta == LETTERS.meta.replace(tag="train")
    assert dict(view.view_tags) == {"view": "train"}
    assert view[0] == ("a", 0, None)
    fold = view.shuffle(1).view([0], {"fold": 3, "split": "val"})
    assert fold.meta.tag == "train/3/val"
    assert dict(fold.view_tags) == {"view": "train", "fold": "3", "split": "val"}
    inner = fold[:].view([0], {"fold": 1})
    assert inner.meta.tag == "train/3/val/1"
    assert dict(pickle.loads(pickle.dumps(inner)).view_tags) == {"view": "train", "fold": "3/1", "split": "val"}
    assert LETTERS.view([0]).meta is LETTERS.meta
    with pytest.raises(TypeError):
        view.view_tags["view"] = "test"
    with pytest.raises(TypeError, match="word or a mapping"):
        LETTERS.view([0], 5)


# Shuffles


def test_the_order_of_a_seed_and_an_epoch_is_for_ever():
    assert permutation(8, 1, 0).tolist() == [2, 4, 7, 5, 0, 6, 3, 1]
    assert permutation(8, 1, 1).tolist() == [5, 6, 3, 0, 7, 2, 1, 4]
    assert permutation(8, 2**80 + 1, 2**40).tolist() == [1, 2, 4, 6, 5, 3, 7, 0]
    assert permutation(100_000, 42, 7)[[0, 1, 50_000, 99_999]].tolist() == [2205, 76311, 11810, 10366]


@pytest.mark.parametrize("length", [0, 1, 2, 3, 1000])
def test_an_order_is_a_permutation(length):
    order = permutation(length, 3, 4)
    assert order.dtype == np.int32
    assert sorted(order.tolist()) == list(range(length))


def test_orders_are_uniform():
    # 6 permutations of 3, 6,000 times: a chi-squared of 5 degrees is above 25.7 once in 10,000.
    counts = np.unique([permutation(3, 11, epoch) for epoch in range(6000)], axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert ((counts - 1000) ** 2 / 1000).sum() < 25.7


def test_equal_keys_are_ranked_the_same_everywhere(monkeypatch):
    class FewKeys:
        def __init__(self, _):
            pass

        def random_raw(self, length):
            return (np.arange(length) * 7 % 3).astype(np.uint64)

    monkeypatch.setattr(np.random, "PCG64", FewKeys)
    keys = np.arange(1000) * 7 % 3
    assert permutation(1000, 1, 0).tolist() == sorted(range(1000), key=lambda index: (keys[index], index))


def test_epochs_differ_and_come_again():
    shuffled = SequenceDatasetIterator(range(100)).shuffle(seed=5)
    first = list(shuffled)
    second = shuffled.at_epoch(1)
    assert (shuffled.seed, shuffled.epoch, second.seed, second.epoch) == (5, 0, 5, 1)
    assert list(second) != first == list(shuffled)
    assert list(shuffled.at_epoch(1).at_epoch(0)) == first
    shuffled.set_epoch(1)
    assert list(shuffled) == list(second) == list(SequenceDatasetIterator(range(100)).shuffle(5, epoch=1))
    assert list(SequenceDatasetIterator(range(100)).shuffle(6)) != first


def test_epochs_of_a_shuffled_view_stay_within_the_view():
    train = SequenceDatasetIterator(range(100))[::-1].view(range(30), "train").shuffle(1)
    for shuffled in (train, train.at_epoch(3), pickle.loads(pickle.dumps(train.at_epoch(3)))):
        assert sorted(sample for sample, _, _ in shuffled) == list(range(70, 100))
        assert shuffled.meta.tag == "train"
        assert dict(shuffled.view_tags) == {"view": "train"}
    assert list(pickle.loads(pickle.dumps(train.at_epoch(3)))) == list(train.at_epoch(3)) != list(train)


def test_a_new_epoch_does_not_reach_loops_and_views_under_way():
    shuffled = SequenceDatasetIterator(range(500)).shuffle(1)
    view, order, running = shuffled[:], list(shuffled), iter(shuffled)
    seen = [next(running) for _ in range(10)]
    shuffled.set_epoch(1)
    assert [*seen, *running] == order == list(view)


def test_a_pickled_shuffle_is_small():
    assert len(pickle.dumps(SequenceDatasetIterator(range(1_000_000)).shuffle(1))) < 2000


@pytest.mark.parametrize(
    ("seed", "error"), [(None, TypeError), (True, TypeError), (1.5, TypeError), ("1", TypeError), (-1, ValueError)]
)
def test_seed_and_epoch_are_explicit_whole_numbers(seed, error):
    with pytest.raises(error, match="seed must"):
        LETTERS.shuffle(seed)
    with pytest.raises(error, match="epoch must"):
        LETTERS.shuffle(1, seed)
    with pytest.raises(error, match="epoch must"):
        LETTERS.shuffle(1).set_epoch(seed)
    assert list(LETTERS.shuffle(np.uint8(1))) == list(LETTERS.shuffle(1))


def test_a_shuffle_without_a_seed_is_refused():
    with pytest.raises(TypeError, match="seed"):
        ShuffledDatasetIterator(LETTERS)


# Joined


def test_joined_iterators_are_flat():
    one, two, three, four = (RecordingLeaf(number) for number in range(4))
    joined = CombinedDatasetIterator([one + two, CombinedDatasetIterator([three + four])])
    assert joined.underlying_iterators == (one, two, three, four)
    assert (joined[1:] + one).underlying_iterators[1] is one


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(12, 2),
        np.arange(48).reshape(12, 4)[:, ::2],
        np.arange(12, dtype=">i4")[::-1],
        np.array([(i, i / 2) for i in range(12)], dtype=[("n", "<i2"), ("x", "<f8")]),
        np.array([[i, str(i)] for i in range(12)], dtype=object),
        np.zeros((12, 0)),
    ],
    ids=["rows", "strided rows", "byte order, backwards", "records", "objects", "empty rows"],
)
def test_rows_of_joined_arrays_are_those_of_one(array):
    whole = SequenceDatasetIterator(array, array, tags="all")
    parts = [SequenceDatasetIterator(part, part, tags="all") for part in np.split(array, [1, 7])]
    order = np.random.default_rng(1).integers(0, 12, 50)
    for joined in (CombinedDatasetIterator(parts), pickle.loads(pickle.dumps(CombinedDatasetIterator(parts)))):
        for found, expected in zip(joined.take(order), whole.take(order), strict=True):
            assert found.dtype == expected.dtype
            assert found.tolist() == expected.tolist()
            assert not np.shares_memory(found, array)


def test_meta_of_joined_iterators():
    train = DatasetMeta("birds/train.h5", "birds", "train", class_names=("owl", "wren"))
    test = train.replace(identifier="birds/test.h5", tag="test")

    def leaf(meta):
        return SequenceDatasetIterator(["x"], [0], meta=meta)

    assert (leaf(train) + leaf(train)).meta == train
    assert (leaf(train) + leaf(test) + leaf(train)).meta == train.replace(
        identifier="birds/train.h5+birds/test.h5", tag="train+test"
    )
    assert (leaf(train) + leaf(test.replace(tag=None))).meta.tag == "train"
    assert (leaf(train) + leaf(test.replace(class_names=None))).meta.class_names is None
    assert CombinedDatasetIterator([leaf(train), leaf(test)], meta=train).meta == train


def test_iterators_that_do_not_go_together_are_refused():
    one = SequenceDatasetIterator(["x"], [0], meta=DatasetMeta("one", "one", class_names=("owl",)))
    other = SequenceDatasetIterator(["x"], [0], meta=DatasetMeta("other", "other", target_pos=0, sample_pos=1))
    with pytest.raises(ValueError, match=r"positions \(0, 1, 2\) in 'one' and at \(1, 0, 2\) in 'other'"):
        one + other
    with pytest.raises(ValueError, match="positions"):
        CombinedDatasetIterator([one, one], meta=other.meta)
    renamed = SequenceDatasetIterator(["x"], [0], meta=DatasetMeta("r", "renamed", class_names=("kite",)))
    with pytest.raises(ValueError, match="'one' and 'renamed' name their classes differently"):
        one + LETTERS + renamed
    whole = CombinedDatasetIterator([one, renamed], meta=DatasetMeta("both", "both"))
    assert (whole + LETTERS).meta.name == "both+letters"  # what was decided for the inner one holds
    with pytest.raises(ValueError, match="at least one"):
        CombinedDatasetIterator([])
    with pytest.raises(TypeError, match="not list"):
        CombinedDatasetIterator([one, [1, 2]])


# Sequences


def test_sequences_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="3 samples but 2 targets"):
        SequenceDatasetIterator([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="3 samples but 1 tags"):
        SequenceDatasetIterator([1, 2, 3], [1, 2, 3], ["a"])


@pytest.mark.parametrize(
    "samples",
    [{"a": 1}, {1, 2}, "abc", b"abc", 5, None, np.array(5), iter([1])],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_sequence_is_refused(samples):
    with pytest.raises(TypeError, match="samples must"):
        SequenceDatasetIterator(samples)


def test_one_tag_for_all_and_the_tag_of_the_meta():
    assert SequenceDatasetIterator([1, 2], tags="test")[1] == (1 + 1, None, "test")
    assert SequenceDatasetIterator([1], meta=DatasetMeta("a", "a", "train"))[0] == (1, None, "train")
    assert SequenceDatasetIterator([1, 2], tags=["p", "q"])[1] == (2, None, "q")


def test_a_pandas_series_is_taken_by_position():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1.5, 2.5, 3.5], "y": ["a", "b", "c"]}, index=[2, 0, 1])
    iterator = SequenceDatasetIterator(frame[["x"]], frame["y"])
    assert [(float(row[0]), label) for row, label, _ in iterator] == [(1.5, "a"), (2.5, "b"), (3.5, "c")]


def test_labels_of_what_knows_to_be_an_array_are_taken_as_one():
    class Tensor:  # like torch's: its elements are tensors too
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return object()

        def __array__(self, dtype=None, copy=None):
            return np.array([5, 6, 7], dtype=dtype)

    assert SequenceDatasetIterator(["a", "b", "c"], Tensor())[::-1].targets().tolist() == [7, 6, 5]


def test_a_sequence_of_ones_own_is_read_only_where_asked():
    class Squares:
        def __len__(self):
            return 10**9

        def __getitem__(self, index):
            return index * index

    assert SequenceDatasetIterator(Squares())[-1] == ((10**9 - 1) ** 2, None, None)


def test_positions_beyond_three_are_refused():
    with pytest.raises(ValueError, match="positions"):
        SequenceDatasetIterator([1], meta=DatasetMeta("a", "a", tag_pos=3))


# In memory


def test_in_memory_reads_once_and_lets_go():
    leaf = RecordingLeaf(100)
    kept = leaf[::-1].in_memory()
    assert sum(map(len, leaf.sample_batches)) == 100
    leaf.sample_batches.clear()
    assert kept.underlying_iterators == ()
    assert list(kept.shuffle(1)[5:]) == [kept[index] for index in permutation(100, 1, 0)[5:]]
    assert kept.targets().tolist() == [target for _, target, _ in kept]
    assert not leaf.sample_batches


def test_in_memory_keeps_alike_arrays_as_one():
    images = SequenceDatasetIterator([np.full((2, 2), n, np.uint8) for n in range(100)], [np.int8(1)] * 100).in_memory()
    assert [type(column).__name__ for column in images._columns] == ["ArrayColumn", "ArrayColumn", "SequenceColumn"]
    assert type(images[0][1]) is np.int8


def test_in_memory_stays_within_its_limit():
    images = SequenceDatasetIterator(np.zeros((100, 1000), dtype=np.uint8), meta=DatasetMeta("zeros", "zeros"))
    assert len(images.in_memory(max_bytes=110_000)) == 100
    with pytest.raises(ValueError, match=r"'zeros' needs more than max_bytes=90,000: .* of 100 samples; allow more"):
        images.in_memory(max_bytes=90_000)
    with pytest.raises(ValueError, match=r"at 1 of 100 samples"):  # noticed early, not after reading all
        images.in_memory(max_bytes=2000)


def test_in_memory_is_cut_from_the_file_beneath(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(12).reshape(4, 3))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r+")
    kept = SequenceDatasetIterator(mapped).in_memory()
    mapped[...] = 0
    assert [sample.tolist() for sample, _, _ in kept] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert type(kept[0][0]) is np.ndarray


@pytest.mark.parametrize("samples", [[(1, 2, 3), (1, 2)], [[1, 2, 3]], [(1, 2, 3), "abc"]], ids=repr)
def test_in_memory_refuses_what_are_no_samples(samples):
    class Odd(RecordingLeaf):
        def _samples(self, indices):
            return [samples[index] for index in indices]

    with pytest.raises(TypeError, match="samples must be tuples"):
        InMemoryDatasetIterator(Odd(len(samples)))


def test_in_memory_of_arrays_that_change_their_kind_on_the_way():
    values = [np.int64(1), np.int64(2), np.int32(3), np.float64(4), 5, "six", None, np.zeros(2), np.zeros((2, 1))]
    kept = SequenceDatasetIterator(values).in_memory()
    for index, value in enumerate(values):
        assert type(kept[index][0]) is type(value)
        assert np.array_equal(kept[index][0], value)


# Labels


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        ([1, 2], "int64"),
        ([1, 2.5], "float64"),
        ([np.uint8(1), np.uint8(2)], "uint8"),
        ([True, False], "bool"),
        ([1, "1"], "object"),
        (["a\0", "b"], "object"),
        ([b"a\0", b"b"], "object"),
        ([None, 1], "object"),
        ([[1, 2], [3, 4]], "object"),
        ([(1,), (2, 3)], "object"),
        ([2**70, 1], "object"),
        ([], "object"),
    ],
    ids=repr,
)
def test_labels_are_not_changed_on_the_way_into_an_array(labels, dtype):
    array = label_array(labels)
    assert array.dtype == dtype
    assert array.shape == (len(labels),)
    assert array.tolist() == labels


def test_labels_that_are_arrays_are_stacked_when_alike():
    assert label_array([np.zeros(2), np.ones(2)]).tolist() == [[0, 0], [1, 1]]
    for odd in (np.zeros(3), np.zeros(2, np.int8), 5):
        array = label_array([np.zeros(2), odd])
        assert array.dtype == object
        assert array.shape == (2,)
        assert array[1] is odd


def test_labels_of_several_parts_are_joined_without_change():
    assert join_labels([np.array([1], np.int8), np.array([2.5])]).tolist() == [1, 2.5]
    assert join_labels([np.array([1]), np.array(["1"])]).tolist() == [1, "1"]
    assert join_labels([np.array([1]), np.eye(2)])[1].tolist() == [1, 0]
    assert join_labels([np.array(["a"]), np.array(["bcd"])]).dtype == object
    assert join_labels([np.array(["a"]), np.array(["b"])]).dtype == "<U1"


def test_targets_of_a_leaf_without_a_label_column_come_from_its_samples():
    leaf = OneByOneLeaf(5)
    assert leaf[1:].targets().tolist() == ["class 1", "class 0", "class 1", "class 0"]
