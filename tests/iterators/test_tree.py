"""The drawing of a stack: what it says, that it reads one sample at most, and that nothing makes it raise or hang."""

import io
import threading
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datastack_fs
from datastack_fs.errors import StorageUnavailableError
from datastack_fs.iterators import CombinedDatasetIterator, DatasetIterator, DatasetMeta, SequenceDatasetIterator
from datastack_fs.iterators import tree as tree_module
from harness.counting import CountingStore
from harness.leaves import OneByOneLeaf, RecordingLeaf

HOSTILE = "<script>alert(1)</script>\"'&\n\x1b[2J\u202e\ud800"


def digits():
    return datastack_fs.load_dataset("digits", storage="memory://tree-digits")


def test_a_tree_says_what_each_iterator_is_and_does():
    leaf = digits()
    stack = (leaf.shuffle(1)[:50] + leaf.map(np.sqrt)).repeat(3)
    lines = stack.tree().splitlines()
    assert lines[0] == (
        "RepeatedDatasetIterator digits [train]: 4,461 samples, 3 times over; "
        "sample uint8 (8, 8), target int64, tag text"
    )
    assert lines[1:3] == [
        "└─ CombinedDatasetIterator digits [train]: 1,487 samples",
        "   ├─ DatasetIteratorView digits [train]: 50 samples",
    ]
    assert lines[3] == (
        "   │  └─ HDF5DatasetIterator digits [train]: 1,437 samples; sample uint8 (8, 8), target int64; "
        f"hdf5 digits/preprocessed/train.h5 in memory://tree-digits, {leaf.origin.size:,} bytes"
    )
    assert lines[4:] == [
        "   └─ MappedDatasetIterator digits [train]: 1,437 samples, by sqrt",
        "      └─ HDF5DatasetIterator digits [train]: as above",
    ]
    assert repr(stack).splitlines()[1:] == lines[1:]


@pytest.mark.parametrize(
    ("stack", "words"),
    [
        (lambda leaf: leaf.view([1], {"fold": 3, "split": "train"}), "1 samples, fold 3, split train"),
        (lambda leaf: leaf.shuffle(7, 2), "9 samples, seed 7, epoch 2"),
        (lambda leaf: leaf.repeat(4), "36 samples, 4 times over"),
        (lambda leaf: leaf.map(np.add, columns=True), "9 samples, by add on columns"),
        (lambda leaf: leaf.map_targets({0: "a", 1: "b", 2: "a"}), "9 samples, 3 targets mapped"),
    ],
)
def test_a_stack_says_what_it_does(stack, words):
    assert words in repr(stack(RecordingLeaf(9))).splitlines()[0]


def test_repr_reads_nothing_and_a_drawing_reads_one_sample(request):
    store = CountingStore(request.node.nodeid)
    np_file = io.BytesIO()
    np.save(np_file, np.zeros((100, 4, 4), dtype=np.float32))
    store.set_resource("zeros.npy", np_file.getvalue())
    stack = datastack_fs.open_dataset("zeros.npy", storage=store).shuffle(1).map(np.mean)
    before = store.fetched
    assert "sample float32 (4, 4)" in repr(stack)
    assert store.fetched == before
    assert "; sample float32, target None" in stack.tree().splitlines()[0]
    assert store.fetched - before == 4 * 4 * 4
    stack._repr_html_()
    assert store.fetched - before == 2 * 4 * 4 * 4


def test_one_sample_is_read_of_a_leaf_that_knows_nothing():
    leaf = RecordingLeaf(10)
    assert leaf.shuffle(1).tree().splitlines()[0].endswith("; sample int, target int, tag text")
    assert [len(batch) for batch in leaf.sample_batches] == [1]
    assert leaf.target_batches == []
    assert OneByOneLeaf(3).tree().endswith("3 samples; target text, sample float32 (2, 3), tag {row: int}")


def test_an_empty_iterator_is_drawn_without_reading():
    leaf = RecordingLeaf(0)
    assert leaf.tree() == "RecordingLeaf recording [raw]: 0 samples"
    assert leaf.sample_batches == []


def test_of_many_parts_the_first_ones_are_drawn():
    many = CombinedDatasetIterator([RecordingLeaf(1, name=f"part-{number}") for number in range(100)])
    lines = repr(many).splitlines()
    assert lines[1:4] == [f"├─ RecordingLeaf part-{number} [raw]: 1 samples" for number in range(3)]
    assert lines[4:] == ["└─ … 97 more"]
    four = CombinedDatasetIterator([RecordingLeaf(1, name=f"part-{number}") for number in range(4)])
    assert "more" not in repr(four).partition("\n")[2]


def test_a_deep_stack_is_drawn_down_to_a_bound():
    stack = RecordingLeaf(3)
    for _ in range(100):
        stack = stack.map(str)
    lines = repr(stack).splitlines()
    assert len(lines) == 14
    assert lines[-1].strip() == "└─ … 1 more"


def test_a_wide_and_deep_stack_is_drawn_up_to_a_bound():
    def grown(depth):
        if not depth:
            return RecordingLeaf(1)
        return grown(depth - 1).zip(*[grown(depth - 1) for _ in range(3)])

    assert len(repr(grown(4)).splitlines()) < 120


class Failing(DatasetIterator):
    """Nothing of it can be read."""

    def __init__(self, error):
        super().__init__(DatasetMeta("failing", "failing"))
        self._error = error

    def __len__(self):
        return 10

    def _sample(self, index):
        raise self._error


@pytest.mark.parametrize("error", [StorageUnavailableError("no\nanswer"), KeyError("x"), StopIteration()])
def test_what_cannot_be_read_is_said(error):
    shown = Failing(error).tree()
    assert shown.startswith("Failing failing: 10 samples; unreadable: ")
    assert "\n" not in shown
    assert "unreadable" in Failing(error)._repr_html_()


def test_a_store_that_does_not_answer_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(tree_module, "FIRST_SAMPLE_SECONDS", 0.05)
    answer = threading.Event()

    class Silent(Failing):
        def _sample(self, index):
            answer.wait(60)
            return 1, 2, 3

    try:
        assert Silent(None).tree().endswith("unreadable: no sample came within 0.05 s")
        assert repr(Silent(None)) == "<Silent failing: 10 samples>"
    finally:
        answer.set()


def test_a_half_made_iterator_can_be_shown():
    class NoMeta(Failing):
        def __init__(self):
            pass

    assert repr(NoMeta()) == "<NoMeta, not usable: TypeError: NoMeta.__init__ must call super().__init__(meta)>"


def test_hostile_names_stay_text():
    kind = type(HOSTILE.replace("\ud800", ""), (RecordingLeaf,), {})
    leaf = kind(3, name=HOSTILE)
    stack = leaf.view([0, 1], {HOSTILE: HOSTILE}).map(kind)
    for drawing in (repr(stack), stack.tree()):
        assert len(drawing.splitlines()) == 3
        assert all(line.isprintable() for line in drawing.splitlines())
    found = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append(tag)

    Parser().feed(stack._repr_html_())
    assert set(found) == {"div", "ul", "li", "b", "small", "br"}
    stack._repr_html_().encode()


VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5) | st.just(np.zeros((2, 0))),
    lambda below: st.lists(below, max_size=8) | st.dictionaries(st.text(max_size=3), below) | st.tuples(below, below),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, max_size=4), st.text(max_size=20))
def test_whatever_samples_are_a_drawing_is_printable_lines(samples, name):
    iterator = SequenceDatasetIterator(samples, meta=DatasetMeta(name, name))
    for drawing in (repr(iterator), iterator.tree(), repr(iterator.repeat(2))):
        assert all(line.isprintable() for line in drawing.split("\n"))
        assert len(drawing) < 3000
