"""Samples that can't be read: told with where they come from, left out or replaced, and kept in the state."""

import io
import json

import h5py
import numpy as np
import pytest

from datastack_fs import (
    DatasetFileCorruptError,
    ResumableBatchSampler,
    ResumableLoader,
    SequenceDatasetIterator,
    TolerantBatches,
)
from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import StorageUnavailableError
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from harness.stores import unique

CHUNK = 8


class Loader:
    """What torch's DataLoader does with ``batch_size=None``, in this process."""

    def __init__(self, dataset, sampler):
        self.dataset, self.sampler = dataset, sampler

    def __iter__(self):
        return (self.dataset[batch] for batch in self.sampler)


@pytest.fixture
def damaged():
    """100 rows in chunks of eight, of which the third is damaged: rows 16 to 23."""
    file, connector = io.BytesIO(), MemoryStorageConnector(unique("bad"))
    rows = np.arange(100, dtype=np.int64).repeat(300).reshape(100, 300)
    with h5py.File(file, "w") as written:
        dataset = written.create_dataset("rows", data=rows, chunks=(CHUNK, 300), compression="gzip")
        place = dataset.id.get_chunk_info(2).byte_offset
    content = bytearray(file.getvalue())
    content[place : place + 20] = bytes(20)
    connector.set_resource("rows.h5", bytes(content))
    return HDF5DatasetIterator(connector.get_resource("rows.h5"), sample="rows")


def loader_of(iterator, on_bad, **options):
    sampler = ResumableBatchSampler(iterator, 10, seed=1, **options)
    return ResumableLoader(Loader(TolerantBatches(iterator, on_bad), sampler))


def numbers(batch):
    return batch[0][:, 0].tolist()


def test_an_error_says_where_the_sample_comes_from(damaged):
    stack = (damaged[50:] + damaged[10:30].shuffle(seed=1)).map(lambda rows: rows, columns=True)
    with pytest.raises(DatasetFileCorruptError) as caught:
        for _ in loader_of(stack, "raise", shuffle=False):
            pass
    message = str(caught.value)
    assert "MappedDatasetIterator[" in message
    assert " > CombinedDatasetIterator[" in message
    assert "HDF5DatasetIterator[" in message
    assert "rows.h5 in memory://" in message
    assert ", bytes " in message
    assert "damaged" in message


def test_bad_samples_are_left_out_and_batches_keep_their_number(damaged):
    loader = loader_of(damaged, "skip", shuffle=False)
    batches = [numbers(batch) for batch in loader]
    assert batches[:3] == [list(range(10)), list(range(10, 16)), list(range(24, 30))]
    assert len(batches) == 10
    assert [each["index"] for each in loader.quarantine] == list(range(16, 24))


def test_a_batch_of_bad_samples_alone_has_one_that_does_not_count(damaged):
    loader = loader_of(damaged[16:24] + damaged[:20], "skip", shuffle=False, world_size=5, rank=0)
    first = next(iter(loader))
    assert numbers(first) == [0]
    assert loader.mask.tolist() == [False]


def test_bad_samples_are_replaced_by_the_next(damaged):
    loader = loader_of(damaged, "replace", shuffle=False)
    batches = [(numbers(batch), loader.mask.tolist()) for batch in loader]
    assert batches[1] == ([*range(10, 16), 24, 24, 24, 24], [True] * 6 + [False] * 4)
    assert all(len(rows) == 10 for rows, _ in batches)
    with pytest.raises(DatasetFileCorruptError, match="nor can any"):
        TolerantBatches(damaged[16:24], "replace")[[0]]


@pytest.mark.parametrize("on_bad", ["skip", "replace"])
def test_a_killed_job_knows_its_quarantine(damaged, on_bad):
    unbroken = loader_of(damaged, on_bad)
    expected = [numbers(batch) for batch in unbroken]
    loader, seen, state = loader_of(damaged, on_bad), [], None
    for batch in loader:
        seen.append(numbers(batch))
        if loader.step == 6:
            state = json.loads(json.dumps(loader.state_dict()))
            break
    again = loader_of(damaged, on_bad)
    again.load_state_dict(state)
    assert again.quarantine == state["quarantine"] != []
    assert seen + [numbers(batch) for batch in again] == expected
    assert again.quarantine == json.loads(json.dumps(unbroken.quarantine))
    found = again.quarantine[0]
    assert (found["index"], found["identifier"]) == (16, "rows.h5")
    assert found["path"] == [["HDF5DatasetIterator", 16]]
    assert len(found["ranges"]) == 1


def test_a_store_in_trouble_is_no_bad_sample():
    def lost(rows):
        raise StorageUnavailableError("the server is gone")

    iterator = SequenceDatasetIterator(np.zeros((20, 2))).map(lost, columns=True)
    with pytest.raises(StorageUnavailableError):
        next(iter(loader_of(iterator, "skip")))
    with pytest.raises(ValueError, match="'raise', 'skip', 'replace'"):
        TolerantBatches(iterator, "ignore")
