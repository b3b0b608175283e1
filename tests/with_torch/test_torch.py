"""What needs torch: its files from every store, and its DataLoader over every store."""

import io

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from datastack_fs import ColumnBatches, SequenceDatasetIterator
from datastack_fs.datasets import DigitsFactory


def test_torch_loads_from_every_store(store):
    stream = io.BytesIO()
    torch.save({"weights": torch.arange(500_000), "names": ["a", "b"]}, stream)
    store.set_resource("model/weights.pt", stream.getvalue())
    with store.get_resource("model/weights.pt") as resource:
        found = torch.load(resource, weights_only=True)
    assert torch.equal(found["weights"], torch.arange(500_000))
    assert found["names"] == ["a", "b"]


@pytest.mark.parametrize("method", [None, "fork", "spawn", "forkserver"])
def test_a_data_loader_reads_from_every_store(store, method):
    iterator, _ = DigitsFactory(store).get_dataset_iterator(config={"split": "test"})
    epoch = iterator.shuffle(seed=5)
    expected = [(image, target) for image, target, _ in epoch]
    workers = {"num_workers": 2, "multiprocessing_context": method} if method else {}
    loader = DataLoader(epoch, batch_size=32, **workers)
    images, targets = zip(*((images, targets) for images, targets, _ in loader), strict=True)
    assert np.array_equal(torch.cat(images).numpy(), np.stack([image for image, _ in expected]))
    assert torch.cat(targets).tolist() == [int(target) for _, target in expected]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_reads_columns(workers):
    epoch = SequenceDatasetIterator(np.arange(40).reshape(20, 2), range(20)).shuffle(seed=5)
    batches = BatchSampler(SequentialSampler(epoch), 8, drop_last=False)
    loader = DataLoader(ColumnBatches(epoch), batch_size=None, sampler=batches, num_workers=workers)
    samples, targets = zip(*((samples, targets) for samples, targets, _ in loader), strict=True)
    assert [len(batch) for batch in samples] == [8, 8, 4] == [len(batch) for batch in targets]
    assert torch.equal(torch.cat(samples), torch.from_numpy(epoch.take(range(20))[0]))
    assert torch.cat(targets).tolist() == epoch.targets().tolist()
