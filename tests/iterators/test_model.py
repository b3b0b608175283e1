"""Random stacks against a plain list: whatever is put on whatever, every way to read gives what the list gives."""

import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs.iterators import CombinedDatasetIterator, SequenceDatasetIterator
from datastack_fs.iterators.draws import drawn_again, drawn_once
from datastack_fs.iterators.encoding import fit_encoding
from datastack_fs.iterators.orders import permutation
from datastack_fs.iterators.weights import Weights
from harness.leaves import RecordingLeaf

KINDS = [
    *("view", "mask", "slice", "shuffle", "epoch", "sample", "filter", "repeat", "map", "map targets", "encode"),
    *("memory", "pickle", "add", "combine"),
]
SAME = {0: 0, 1: 1, 2: 2}
NEXT = {0: 1, 1: 2, 2: 0}


def is_even(target):
    return target % 2 == 0


def plus_one(sample):
    return sample + 1


def indices_into(length):
    return st.lists(st.integers(-length, length - 1), max_size=12) if length else st.just([])


@st.composite
def leaves(draw):
    length, start = draw(st.integers(0, 12)), draw(st.integers(0, 1000))
    leaf = RecordingLeaf(length, start)
    if draw(st.booleans()):
        samples = leaf.expected()
        numbers, classes = [sample[0] for sample in samples], [sample[1] for sample in samples]
        return SequenceDatasetIterator(numbers, classes, "raw"), samples
    return leaf, leaf.expected()


@st.composite
def stacked(draw, below):
    iterator, samples = draw(below)
    length = len(samples)
    kind = draw(st.sampled_from(KINDS))
    if kind == "view":
        chosen = draw(indices_into(length))
        return iterator.view(chosen), [samples[index] for index in chosen]
    if kind == "mask":
        mask = draw(st.lists(st.booleans(), min_size=length, max_size=length))
        return iterator.view(mask), [sample for sample, chosen in zip(samples, mask, strict=True) if chosen]
    if kind == "slice":
        part = draw(st.slices(length))
        return iterator[part], samples[part]
    if kind in ("shuffle", "epoch"):
        seed, epoch = draw(st.integers(0, 2**70)), draw(st.integers(0, 5))
        order = permutation(length, seed, epoch).tolist()
        shuffled = iterator.shuffle(seed, epoch) if kind == "shuffle" else iterator.shuffle(seed, 9).at_epoch(epoch)
        return shuffled, [samples[index] for index in order]
    if kind == "sample":
        seed, replace = draw(st.integers(0, 2**70)), draw(st.booleans())
        weights = draw(st.lists(st.integers(0, 3), min_size=length, max_size=length))
        positive = sum(weight > 0 for weight in weights)
        count = draw(st.integers(0, (15 if replace else positive) if positive else 0))
        if not positive:
            return iterator.sample(0, seed=seed), []
        take = drawn_again if replace else drawn_once
        order = take(count, length, Weights.of(weights), seed, 4).tolist()
        drawn = iterator.sample(count, seed=seed, weights=weights, replace=replace).at_epoch(4)
        return drawn, [samples[index] for index in order]
    if kind == "filter":
        return iterator.filter(is_even), [sample for sample in samples if sample[1] % 2 == 0]
    if kind == "repeat":
        times = draw(st.integers(0, 3))
        return iterator.repeat(times), samples * times
    if kind == "map":
        mapped = iterator.map(plus_one, columns=draw(st.booleans()))
        return mapped, [(sample[0] + 1, *sample[1:]) for sample in samples]
    if kind == "map targets":
        return iterator.map_targets(NEXT), [(sample[0], NEXT[sample[1]], sample[2]) for sample in samples]
    if kind == "encode" and samples:
        classes = sorted({sample[1] for sample in samples})
        encoded = iterator.encode(fit_encoding(iterator, target="ordinal"))
        return encoded, [(sample[0], classes.index(sample[1]), sample[2]) for sample in samples]
    if kind in ("memory", "encode"):
        return iterator.in_memory(), samples
    if kind == "pickle":
        return pickle.loads(pickle.dumps(iterator)), samples
    other, more = draw(below)
    parts = [iterator, other] if kind == "add" else [other, iterator, other]
    joined_samples = samples + more if kind == "add" else more + samples + more
    try:
        joined = iterator + other if kind == "add" else CombinedDatasetIterator(parts)
    except ValueError:  # classes of other names: only a meta of one's own joins them
        joined = CombinedDatasetIterator([part.map_targets(SAME) for part in parts])
    return joined, joined_samples


STACKS = st.recursive(leaves(), stacked, max_leaves=12)


@settings(max_examples=400, deadline=None)
@given(STACKS, st.data())
def test_a_stack_equals_its_list(stack, data):
    iterator, samples = stack
    assert len(iterator) == len(samples)
    assert list(iterator) == samples
    assert iterator.targets().tolist() == [sample[1] for sample in samples]
    batch = data.draw(indices_into(len(samples)))
    assert iterator.__getitems__(batch) == [samples[index] for index in batch]
    assert [iterator[index] for index in batch] == [samples[index] for index in batch]
    assert list(pickle.loads(pickle.dumps(iterator))) == samples
