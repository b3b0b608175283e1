"""What the base refuses and guards, and what it says of itself."""

import pickle

import numpy as np
import pytest

from datastack_fs.iterators import DatasetIterator, DatasetIteratorView, DatasetMeta, SequenceDatasetIterator
from harness.leaves import OneByOneLeaf, RecordingLeaf

META = DatasetMeta("birds", "Birds")


class Ten(DatasetIterator):
    """Ten samples that a subclass reads."""

    def __len__(self):
        return 10


def test_a_class_that_can_not_read_is_refused_with_the_way_out():
    with pytest.raises(TypeError, match=r"Ten can't read: write _sample\(self, index\) or _samples"):
        Ten(META)


def test_a_class_without_a_length_is_refused():
    class NoLength(DatasetIterator):
        def _sample(self, index):
            return index, None, None

    with pytest.raises(TypeError, match="__len__"):
        NoLength(META)


def test_a_class_that_forgets_its_meta_is_told():
    class Forgetful(Ten):
        def __init__(self):
            pass

        def _sample(self, index):
            return index, None, None

    with pytest.raises(TypeError, match=r"Forgetful.__init__ must call super\(\).__init__\(meta\)"):
        Forgetful()[:3]


def test_a_class_whose_two_ways_to_read_could_differ_is_refused():
    with pytest.raises(TypeError, match="_sample from Doubled but _samples from RecordingLeaf"):

        class Doubled(RecordingLeaf):
            def _sample(self, index):
                return index * 2, 0, None

    with pytest.raises(TypeError, match="_sample from OneByOneLeaf but _samples from Halved"):

        class Halved(OneByOneLeaf):
            def _samples(self, indices):
                return [(index // 2, 0, None) for index in indices]


def test_a_class_may_say_that_its_two_ways_to_read_agree():
    class Faster(OneByOneLeaf):
        _sample = OneByOneLeaf._sample

        def _samples(self, indices):
            return [self._sample(index) for index in indices.tolist()]

    assert Faster(3)[1][0] == "class 1"


@pytest.mark.parametrize("hook", ["_sample", "_samples"])
def test_stop_iteration_of_a_leaf_does_not_end_the_callers_loop(hook):
    def stop(self, _):
        raise StopIteration("no more")

    leaf = type("Stops", (Ten,), {hook: stop})(META)
    stack = (leaf.view([1, 2]) + RecordingLeaf(3)).shuffle(1)
    for read in (
        lambda: leaf[0],
        lambda: leaf.__getitems__([0, 1]),
        lambda: list(leaf),
        lambda: leaf.in_memory(),
        lambda: leaf.targets(),
        lambda: stack.__getitems__(range(5)),
        lambda: list(stack),
        lambda: [stack[index] for index in range(5)],
    ):
        with pytest.raises(RuntimeError):
            read()


def test_a_batch_of_the_wrong_length_is_an_error():
    class Short(Ten):
        def _samples(self, indices):
            return [(0, 0, None)] * (len(indices) - 1)

        def _targets(self, indices):
            return np.zeros(len(indices) - 1)

    short = Short(META)
    for read in (lambda: short.__getitems__([1, 2]), lambda: list(short), lambda: list(short[::2] + short)):
        with pytest.raises(RuntimeError, match=r"Short\._samples gave"):
            read()
    with pytest.raises(RuntimeError, match="gave 9 labels for 10 samples"):
        short.targets()


def test_errors_of_a_leaf_come_through_as_they_are():
    class Broken(Ten):
        def _samples(self, indices):
            raise OSError("row 3 of birds.h5")

    for read in (lambda: Broken(META)[0], lambda: list(Broken(META)[3:]), lambda: Broken(META).shuffle(1)[2]):
        with pytest.raises(OSError, match=r"row 3 of birds\.h5"):
            read()


def test_adding_what_is_no_iterator_is_a_type_error():
    with pytest.raises(TypeError):
        RecordingLeaf(1) + "x"
    with pytest.raises(TypeError):
        1 + RecordingLeaf(1)


def test_reversed_and_in_work_as_on_a_list():
    leaf = RecordingLeaf(5)
    assert list(reversed(leaf)) == leaf.expected()[::-1]
    assert (2, 2, "raw") in leaf
    assert (9, 0, "raw") not in leaf


def test_repr_is_one_line_for_a_leaf_and_a_tree_for_a_stack():
    leaf = RecordingLeaf(10, name="birds")
    assert repr(leaf) == "<RecordingLeaf birds [raw]: 10 samples>"
    assert repr(leaf.view([1, 2], "few")).splitlines() == [
        "DatasetIteratorView birds [raw/few]: 2 samples",
        "└─ RecordingLeaf birds [raw]: 10 samples",
    ]
    assert repr(leaf.shuffle(3, 4)).startswith("ShuffledDatasetIterator birds [raw]: 10 samples, seed 3, epoch 4\n")
    assert leaf.sample_batches == []


def test_meta_is_frozen_and_says_what_is_wrong():
    meta = DatasetMeta("birds/train.h5", "birds", class_names=["owl", "wren"])
    assert meta.class_names == ("owl", "wren")
    assert hash(meta) == hash(pickle.loads(pickle.dumps(meta)))
    assert meta.replace(tag="train", name="b") == DatasetMeta(
        "birds/train.h5", "b", "train", class_names=("owl", "wren")
    )
    with pytest.raises(AttributeError):
        meta.tag = "test"
    with pytest.raises(TypeError, match="no label_pos; its fields are identifier, name"):
        meta.replace(label_pos=3)
    with pytest.raises(TypeError, match="class_names"):
        DatasetMeta("a", "a", class_names="owl")
    for positions in ((0, 0, 1), (-1, 0, 1)):
        with pytest.raises(ValueError, match="must differ"):
            DatasetMeta("a", "a", None, *positions)


def test_a_stack_of_a_subclass_keeps_its_way_to_read():
    class Marked(DatasetIteratorView):
        def _sample(self, index):
            return (*super()._sample(index)[:2], "marked")

        def _samples(self, indices):
            return [(*sample[:2], "marked") for sample in super()._samples(indices)]

    marked = Marked(SequenceDatasetIterator(["a", "b", "c"]), [2, 1])
    wanted = [("b", None, "marked"), ("c", None, "marked")]
    assert list(marked) == wanted[::-1]
    assert list(marked[::-1]) == wanted
    assert list(marked[::-1] + marked[:1]) == [*wanted, wanted[1]]
    assert marked.shuffle(1)[:].underlying_iterators == (marked,)
