"""Blocks of what is stored together, through all stacks, and orders that use each of them up before long."""

import io
import pickle
import tarfile
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs.connectors import ArchiveStorageConnector, FileStorageConnector, MemoryStorageConnector
from datastack_fs.formats import hdf5_decoded
from datastack_fs.formats.csv_ import CSVDatasetIterator
from datastack_fs.formats.files import FilesDatasetIterator
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from datastack_fs.formats.npy import NpyDatasetIterator
from datastack_fs.formats.parquet import ParquetDatasetIterator
from datastack_fs.iterators import SequenceDatasetIterator
from datastack_fs.iterators.blocks import BLOCK_BYTES, Blocks
from datastack_fs.iterators.windowed import WindowedOrder
from datastack_fs.training import ResumableBatchSampler, shuffle_quality
from harness.counting import CountingStore
from harness.leaves import RecordingLeaf
from harness.stores import unique


class BlockLeaf(RecordingLeaf):
    """A leaf whose blocks have seven samples each."""

    def _blocks(self):
        return Blocks.of_rows(len(self), 7)


def block_sets(iterator):
    """The blocks of an iterator, each as the set of its samples' first values."""
    blocks = iterator._blocks()
    numbers = [blocks.samples(np.array([number])).tolist() for number in range(len(blocks))]
    assert sorted(place for places in numbers for place in places) == list(range(len(iterator)))
    assert blocks.sizes(np.arange(len(blocks))).tolist() == [len(places) for places in numbers]
    return [[iterator[place][0] for place in places] for places in numbers]


def in_sevens(values):
    return {value // 7 for value in values}


STACKS = {
    "leaf": lambda leaf: leaf,
    "slice": lambda leaf: leaf[5:30],
    "steps": lambda leaf: leaf[::-3],
    "repeats": lambda leaf: leaf.view([3, 40, 3, 0, 41, 9]),
    "mask": lambda leaf: leaf.view(np.arange(50) % 3 == 0),
    "shuffled": lambda leaf: leaf.shuffle(seed=1),
    "view of a shuffle": lambda leaf: leaf.shuffle(seed=1)[4:44],
    "blocks of blocks": lambda leaf: leaf.shuffle_blocks(seed=1, window=2)[3:],
    "mapped": lambda leaf: leaf.map(lambda value: value),
    "repeated": lambda leaf: leaf[:20].repeat(2),
    "joined": lambda leaf: leaf[10:30] + leaf.view([1, 0]) + leaf[::-1],
    "joined with another kind": lambda leaf: leaf[:49] + SequenceDatasetIterator(range(70, 91)),
    "empty": lambda leaf: leaf[7:7],
}


@pytest.mark.parametrize("name", STACKS)
def test_blocks_reach_through_stacks(name):
    stack = STACKS[name](BlockLeaf(50))
    for values in block_sets(stack):
        assert len(in_sevens(values)) == 1, name


def test_a_stack_on_a_shuffle_has_as_many_blocks_as_its_leaf():
    assert len(BlockLeaf(50).shuffle(seed=3)._blocks()) == len(BlockLeaf(50)._blocks()) == 8
    assert len((BlockLeaf(50) + BlockLeaf(50))[::-1]._blocks()) == 16
    assert SequenceDatasetIterator(range(9))._blocks() is None
    assert len(SequenceDatasetIterator(range(9)).zip(BlockLeaf(9))._blocks()) == 2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.integers(1, 40), st.integers(1, 12), st.integers(0, 5), st.data())
def test_a_window_holds_whole_blocks(length, rows, window, epoch, data):
    starts = data.draw(st.lists(st.integers(1, max(1, length - 1)), unique=True, max_size=20)) if length > 1 else []
    irregular = Blocks(np.array(sorted({0, *starts}))[: max(1, length)], length) if length else Blocks.of_rows(0, 1)
    for blocks in (Blocks.of_rows(length, rows), irregular):
        order = WindowedOrder(blocks, seed=4, epoch=epoch, window=window)
        numbers = order.at(np.arange(length))
        assert sorted(numbers.tolist()) == list(range(length))
        assert list(pickle.loads(pickle.dumps(order))) == numbers.tolist()
        if not length:
            continue
        ids = np.searchsorted(np.asarray(blocks.starts), numbers, side="right") - 1
        spans = [np.flatnonzero(ids == number) for number in range(len(blocks))]
        largest = np.sort(blocks.sizes(np.arange(len(blocks))))[::-1]
        assert all(span.max() - span.min() < largest[:window].sum() for span in spans)


def test_epochs_and_seeds_differ():
    shuffled = BlockLeaf(500).shuffle_blocks(seed=1, window=4)
    orders = {tuple(value for value, *_ in each) for each in (shuffled, shuffled.at_epoch(1), shuffled.at_epoch(2))}
    orders.add(tuple(value for value, *_ in BlockLeaf(500).shuffle_blocks(seed=2, window=4)))
    assert len(orders) == 4
    assert list(pickle.loads(pickle.dumps(shuffled))) == list(shuffled)
    assert "windows of 4 of 72 blocks" in repr(shuffled)
    with pytest.raises(ValueError, match="one block at least"):
        BlockLeaf(5).shuffle_blocks(seed=1, window=0)


def stored_table(store, kind):
    frame = pd.DataFrame({"x": np.arange(60_000), "text": ["x" * 90] * 60_000})
    file = io.BytesIO()
    if kind == "parquet":
        frame.to_parquet(file, row_group_size=7000)
    else:
        file.write(frame.to_csv(index=False).encode())
    store.set_resource(f"t.{kind}", file.getvalue())
    kinds = {"parquet": ParquetDatasetIterator, "csv": CSVDatasetIterator}
    return kinds[kind](store.get_resource(f"t.{kind}"), sample="x")


@pytest.fixture
def store():
    return CountingStore(unique("blocks"))


class TestFormats:
    def test_chunks_of_hdf5(self, store):
        iterator = stored_hdf5(store, rows=1000, chunk=48)
        assert iterator._blocks() == Blocks.of_rows(1000, 48)

    def test_rows_of_arrays(self, store):
        file = io.BytesIO()
        np.save(file, np.zeros((1000, BLOCK_BYTES // 100), np.uint8))
        store.set_resource("a.npy", file.getvalue())
        assert NpyDatasetIterator(store.get_resource("a.npy"))._blocks() == Blocks.of_rows(1000, 100)

    def test_groups_of_parquet(self, store):
        assert stored_table(store, "parquet")._blocks().starts.tolist() == list(range(0, 60_000, 7000))

    def test_megabytes_of_text(self, store):
        blocks = stored_table(store, "csv")._blocks()
        assert len(blocks) == 6
        assert blocks.sizes(np.arange(5)).min() > 9000


def stored_hdf5(store, rows, chunk):
    file = io.BytesIO()
    with h5py.File(file, "w") as written:
        noise = np.random.default_rng(1).integers(0, 9, (rows, 512), dtype=np.uint8)
        written.create_dataset("images", data=noise, chunks=(chunk, 512), compression="gzip")
    store.set_resource("a.h5", file.getvalue())
    return HDF5DatasetIterator(store.get_resource("a.h5"), sample="images")


def test_each_chunk_is_fetched_once_an_epoch(store, monkeypatch):
    """Of a file that is too large to be kept; an exact shuffle fetches most chunks for each batch anew."""
    monkeypatch.setattr(hdf5_decoded, "_RECENT_BYTES", 0)  # more than this file
    iterator = stored_hdf5(store, rows=16_000, chunk=16)
    size = store.get_info("a.h5").size

    def fetched(order):
        store.requests.clear()
        for _ in order.batches(64, prefetch=2, max_bytes=1 << 20):
            pass
        return store.fetched / size

    assert fetched(iterator.shuffle_blocks(seed=1, window=64)) <= 1.1
    assert fetched(iterator.shuffle(seed=1)) > 2


def test_quality_grows_with_the_window():
    leaf = SequenceDatasetIterator(np.arange(64_000))
    leaf._blocks = lambda: Blocks.of_rows(64_000, 16)
    found = [shuffle_quality(leaf.shuffle_blocks(seed=1, window=window)).batch_variance for window in (1, 16, 256)]
    assert found[0] > 12 > 3 > found[2] > 1.3
    assert shuffle_quality(leaf.shuffle(seed=1)).batch_variance < 1.3


def test_a_sampler_takes_the_same_order():
    leaf = BlockLeaf(500)
    sampler = ResumableBatchSampler(leaf, 10, seed=3, window=4)
    for epoch in (0, 1):
        shuffled = leaf.shuffle_blocks(seed=3, epoch=epoch, window=4)
        assert [index for batch in sampler for index in batch] == [value for value, *_ in shuffled]
    state = sampler.state_after(7, epoch=1)
    assert (state["order"], state["window"], state["blocks"]) == ("blocks", 4, 72)
    with pytest.raises(ValueError, match="window"):
        ResumableBatchSampler(leaf, 10, seed=3, window=8).load_state_dict(state)


def archived(kind, contents):
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w") as file:
            for name, content in contents.items():
                file.writestr(name, content)
    else:
        with tarfile.open(fileobj=stream, mode=f"w:{kind.partition('.')[2]}") as file:
            for name, content in contents.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_blocks_of_an_archive_are_runs_of_it(kind, group, tmp_path):
    contents = {f"{number * 7 % 30:02}.{end}": bytes(90_000) for number in range(30) for end in ("a", "b")}
    content = archived(kind, contents)
    found = []
    for store in (MemoryStorageConnector(unique("blocks")), FileStorageConnector(tmp_path)):
        store.set_resource(f"a.{kind}", content)
        archive = ArchiveStorageConnector(store, f"a.{kind}")
        iterator = FilesDatasetIterator(archive, group=group)
        before = iterator._blocks()
        iterator.take(np.arange(20))
        for blocks in (before, iterator._blocks()):  # local headers that are known by now change nothing
            found.append(blocks and [blocks.samples(np.array([each])).tolist() for each in range(len(blocks))])
    assert found == found[:1] * 4
    if kind == "tar.gz":
        assert found[0] is None
        return
    names = list(contents)[:: 2 if group else 1]
    in_archive = [int(name[:2]) if group else 2 * int(name[:2]) + (name[-1] == "b") for name in names]
    assert [sample for block in found[0] for sample in block] == in_archive
    each = len(content) // len(iterator)
    assert all(BLOCK_BYTES - each <= len(block) * each <= BLOCK_BYTES + each for block in found[0][:-1])


def test_a_folder_has_no_blocks():
    store = MemoryStorageConnector(unique("blocks"))
    store.set_resource("a/1.bin", b"1")
    assert FilesDatasetIterator(store, "a")._blocks() is None
