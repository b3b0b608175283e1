"""safetensors files: the header is checked, and rows are read by exact byte ranges."""

import json

import numpy as np
import pytest

from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError
from datastack_fs.formats.safetensors import SafetensorsDatasetIterator
from datastack_fs.testing import DatasetIteratorTests
from harness.cases.safetensors import saved
from harness.counting import CountingStore

IMAGES = np.arange(60, dtype=np.int16).reshape(10, 3, 2)
LABELS = np.arange(10) % 3


def opened(content, connector=None, **options):
    connector = connector or MemoryStorageConnector("safetensors-own")
    connector.set_resource("a.safetensors", content)
    return SafetensorsDatasetIterator(connector.get_resource("a.safetensors"), **options)


class TestSafetensors(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, local_store):
        return opened(saved({"images": IMAGES, "labels": LABELS}), local_store)

    @pytest.fixture
    def expected(self):
        return [(image, label, None) for image, label in zip(IMAGES, LABELS, strict=True)]


def test_a_batch_is_one_request_for_its_rows():
    store = CountingStore("safetensors-counting")
    images = np.arange(3_000_000, dtype=np.int16).reshape(10, -1)  # far enough apart not to be joined
    iterator = opened(saved({"images": images, "labels": LABELS}), store)
    store.requests.clear()
    iterator.take([3, 8, 4])
    assert len(store.requests) == 1
    assert store.fetched <= 3 * images[0].nbytes + LABELS.nbytes


def test_a_local_file_is_mapped(tmp_path):
    iterator = opened(saved({"images": IMAGES}), FileStorageConnector(tmp_path))
    assert np.array_equal(iterator.take([9, 0])[0], IMAGES[[9, 0]])


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ({"dtype": "I16", "shape": [2], "data_offsets": [0, 3]}, "3 bytes for a tensor of I16"),
        ({"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}, "don't fill the 8 bytes"),
        ({"dtype": "U8", "shape": [-8], "data_offsets": [0, 8]}, "shape"),
        ({"dtype": "U8", "shape": [8], "data_offsets": [0, 8, 9]}, "header"),
        ({"dtype": "U8", "shape": [16], "data_offsets": [0, 16]}, "don't fill"),
        ({"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}, "BF16, which numpy has not"),
        ({"dtype": "U64", "shape": [], "data_offsets": [0, 8]}, "single value"),
        ([], "header"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tensor, message):
    header = json.dumps({"x": tensor}).encode()
    with pytest.raises(DatasetFileCorruptError, match=message):
        opened(len(header).to_bytes(8, "little") + header + bytes(8))


def test_tensors_are_said_by_name():
    content = saved({"left": IMAGES, "right": IMAGES, "labels": LABELS})
    with pytest.raises(DatasetNotFoundError, match=r"which array holds the samples\? Say sample=…, one of: 'left'"):
        opened(content)
    with pytest.raises(
        DatasetNotFoundError, match=r"no array 'up' in a\.safetensors; it has 'labels', 'left', 'right'"
    ):
        opened(content, sample="up")
    with pytest.raises(DatasetFileCorruptError, match="as many rows are needed"):
        opened(saved({"images": IMAGES, "labels": LABELS[:9]}))
    with pytest.raises(TypeError, match="mapping to names"):
        opened(content, sample=[3])
