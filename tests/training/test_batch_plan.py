"""The batch of a step and a rank is a function of numbers alone, and all ranks together see what one would."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datastack_fs.iterators import SequenceDatasetIterator
from datastack_fs.training import (
    BatchPlan,
    DataFingerprint,
    ResumableBatchSampler,
    ResumableLoader,
    ShuffledOrder,
    StoredOrder,
)

NUMBERS = SequenceDatasetIterator(np.arange(103))


class EagerLoader:
    """Draws batches some steps before they are used, as a DataLoader with workers does."""

    def __init__(self, iterator, batch_sampler, ahead=3):
        self.iterator, self.batch_sampler, self.ahead = iterator, batch_sampler, ahead

    def __iter__(self):
        waiting, drawn = [], iter(self.batch_sampler)
        for batch in drawn:
            waiting.append(batch)
            if len(waiting) > self.ahead:
                yield self.iterator.take(waiting.pop(0))[0].tolist()
        yield from (self.iterator.take(batch)[0].tolist() for batch in waiting)


def loader_of(iterator=NUMBERS, batch_size=8, *, ahead=3, **options):
    options = {"seed": 5, **options}
    return ResumableLoader(EagerLoader(iterator, ResumableBatchSampler(iterator, batch_size, **options), ahead))


@given(st.integers(1, 300), st.integers(1, 12), st.integers(1, 8), st.integers(0, 3), st.sampled_from(["drop", "pad"]))
def test_ranks_share_each_batch(length, share, world_size, epoch, last):
    order = ShuffledOrder(length, seed=3)
    alone = BatchPlan(order, length, share * world_size, last=last)
    shared = BatchPlan(order, length, share * world_size, world_size, last)
    assert (
        alone.steps
        == shared.steps
        == len(range(0, length, share * world_size)) - (last == "drop" and length % (share * world_size) > 0)
    )
    for step in range(alone.steps):
        ranks = [shared.batch(epoch, step, rank) for rank in range(world_size)]
        assert all(len(indices) == share for indices in ranks)
        assert np.concatenate(ranks).tolist() == alone.batch(epoch, step).tolist()


@given(st.integers(1, 300), st.integers(1, 12), st.integers(1, 8), st.booleans())
def test_padded_batches_count_each_sample_once(length, share, world_size, shuffled):
    order = ShuffledOrder(length, seed=3) if shuffled else StoredOrder(length)
    plan = BatchPlan(order, length, share * world_size, world_size, "pad")
    counted = [
        plan.batch(0, step, rank)[plan.mask(step, rank)] for step in range(plan.steps) for rank in range(world_size)
    ]
    assert sorted(np.concatenate(counted).tolist()) == list(range(length))


def test_epochs_differ_and_any_of_them_is_known_at_once():
    plan = BatchPlan(ShuffledOrder(10**10, seed=1), 10**10, 256, 8)
    batch = plan.batch(epoch=7, step=39_062_499, rank=7)
    assert len(batch) == 32
    assert batch.tolist() != plan.batch(8, 39_062_499, 7).tolist()
    assert batch.tolist() == pickle.loads(pickle.dumps(plan)).batch(7, 39_062_499, 7).tolist()
    assert len(pickle.dumps(plan)) < 500


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchPlan(StoredOrder(9), 9, 6, 4), "multiple of world_size"),
        (lambda: BatchPlan(StoredOrder(9), 9, 0), "can't be shared"),
        (lambda: BatchPlan(StoredOrder(9), 9, 3, last="keep"), "'drop', 'pad'"),
        (lambda: BatchPlan(StoredOrder(0), 0, 3, last="pad"), "without any sample"),
        (lambda: BatchPlan(StoredOrder(9), 9, 3).batch(0, 3), "no step 3: an epoch has 3"),
        (lambda: BatchPlan(StoredOrder(9), 9, 4, 2).batch(0, 0, 2), "no rank 2 among 2"),
        (lambda: ResumableBatchSampler(NUMBERS, 8, seed=1, rank=2, world_size=2), "no rank 2 among 2"),
        (lambda: ResumableBatchSampler(NUMBERS, 8), "needs seed="),
        (lambda: ResumableBatchSampler(NUMBERS, 8, seed=1).state_after(13), "12 steps"),
        (lambda: ResumableLoader([1, 2]), "ResumableBatchSampler"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises((ValueError, IndexError, TypeError), match=message):
        make()


def test_a_pass_after_a_pass_is_the_next_epoch():
    loader, sampler = loader_of(), ResumableBatchSampler(NUMBERS, 8, seed=5)
    epochs = [list(loader) for _ in range(3)]
    assert epochs == [[NUMBERS.take(batch)[0].tolist() for batch in sampler] for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert [len(epoch) for epoch in epochs] == [len(loader)] * 3 == [12] * 3
    sampler.set_epoch(1)
    assert [NUMBERS.take(batch)[0].tolist() for batch in sampler] == epochs[1]
    loader.set_epoch(0)
    assert list(loader) == epochs[0]


def test_a_pass_that_was_left_begins_again():
    loader = loader_of(batch_size=40, ahead=9)
    first = next(iter(loader))
    assert loader.step == 1
    again = list(loader)
    assert again[0] == first
    assert next(iter(loader)) != first


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
@pytest.mark.parametrize("ahead", [0, 2, 100])
def test_a_killed_job_goes_on_with_the_next_batch(world_size, ahead):
    loader, state, seen = loader_of(), None, []
    unbroken = [batch for loader in [loader_of(ahead=0)] for _ in range(2) for batch in loader]
    for done, batch in enumerate(loader, 1):
        seen.append(batch)
        if done == 7:
            state = json.loads(json.dumps(loader.state_dict()))
            break
    assert state["step"] == 7
    ranks = [loader_of(ahead=ahead, rank=rank, world_size=world_size) for rank in range(world_size)]
    for rank in ranks:
        rank.load_state_dict(state)
        assert (rank.epoch, rank.step) == (0, 7)
    for _ in range(2):  # what is left of this epoch, and the next one
        for shares in zip(*ranks, strict=True):
            seen.append([number for share in shares for number in share])
            states = [rank.state_dict() for rank in ranks]
            assert states == [states[0]] * world_size
    assert seen == unbroken


def test_a_state_of_a_whole_epoch_goes_on_with_the_next():
    loader = loader_of()
    list(loader)
    state = loader.state_dict()
    assert (state["epoch"], state["step"]) == (0, 12)
    expected = list(loader)
    again = loader_of()
    again.load_state_dict(state)
    assert (again.epoch, again.step) == (1, 0)
    assert list(again) == expected


def test_the_mask_is_of_the_batch_in_use():
    loader = loader_of(SequenceDatasetIterator(np.arange(10)), 4, last="pad", shuffle=False)
    assert [(batch, loader.mask.tolist()) for batch in loader] == [
        ([0, 1, 2, 3], [True] * 4),
        ([4, 5, 6, 7], [True] * 4),
        ([8, 9, 0, 1], [True, True, False, False]),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 6}, r"it has \{'seed': 5\}, and this sampler \{'seed': 6\}"),
        ({"batch_size": 16}, "batch_size"),
        ({"last": "pad"}, "last"),
        ({"shuffle": False}, "order"),
        ({"iterator": NUMBERS[::-1]}, "of other data: of .*103 samples.*, and this is .*103 samples"),
        ({"iterator": SequenceDatasetIterator(np.arange(103) * 2)}, "of other data"),
        ({"iterator": NUMBERS[1:]}, "of other data: of .103 samples.*, and this is .102 samples"),
    ],
)
def test_a_state_of_other_batches_is_refused(options, message):
    state = loader_of().state_dict()
    other = loader_of(**options)
    with pytest.raises(ValueError, match=message):
        other.load_state_dict(state)


def test_rank_and_world_size_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    sampler = ResumableBatchSampler(NUMBERS, 8, seed=1)
    assert (sampler.rank, sampler.plan.world_size) == (3, 4)
    assert ResumableBatchSampler(NUMBERS, 8, seed=1, rank=0, world_size=1).plan.share == 8


class TestFingerprint:
    def test_the_same_stack_over_the_same_samples_is_the_same(self):
        ranges, arrays = NUMBERS[10:50], NUMBERS.view(np.arange(10, 50))
        assert DataFingerprint.of(ranges).matches(DataFingerprint.of(arrays))
        again = DataFingerprint.from_dict(json.loads(json.dumps(DataFingerprint.of(ranges).as_dict())))
        assert again == DataFingerprint.of(ranges)

    @pytest.mark.parametrize(
        "other",
        [
            NUMBERS[::-1],
            NUMBERS.map(str),
            NUMBERS.repeat(2)[:103],
            SequenceDatasetIterator(np.arange(103), np.arange(103)),
            SequenceDatasetIterator(np.arange(1, 104)),
            NUMBERS.shuffle(seed=1),
        ],
        ids=["order", "map", "repeat", "targets", "samples", "shuffle"],
    )
    def test_another_stack_or_other_samples_are_not(self, other):
        assert not DataFingerprint.of(NUMBERS).matches(DataFingerprint.of(other))

    def test_functions_with_chance_in_them_do_not_count(self):
        noisy = NUMBERS.map(lambda row: np.random.default_rng().random())
        assert DataFingerprint.of(noisy) == DataFingerprint.of(noisy)
