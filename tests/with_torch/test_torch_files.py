"""Files that torch.save wrote, as datasets: the same from every store, lazily, and nothing of them is run."""

import doctest
import io
import warnings
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from datastack_fs import open_dataset
from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, DatasetNotFoundError, DatastackError, MissingDependencyError
from datastack_fs.formats import torch_
from datastack_fs.formats.torch_ import TorchDatasetIterator
from datastack_fs.testing import DatasetIteratorTests
from datastack_fs.testing.iterators import assert_all_same, assert_same, shuffled
from harness.counting import CountingStore
from harness.stores import READABLE, filled_store

IMAGES = torch.arange(60, dtype=torch.int16).reshape(10, 3, 2)
LABELS = torch.arange(10) % 3
EXPECTED = [(image, label, None) for image, label in zip(IMAGES.numpy(), LABELS.numpy(), strict=True)]


def saved(tensors, **options):
    stream = io.BytesIO()
    torch.save(tensors, stream, **options)
    return stream.getvalue()


def opened(tensors, store=None, **options):
    content = tensors if isinstance(tensors, bytes) else saved(tensors)
    store = store or MemoryStorageConnector("torch-own")
    store.set_resource("a.pt", content)
    return TorchDatasetIterator(store.get_resource("a.pt"), **options)


def test_the_example_runs():
    assert doctest.testmod(torch_).failed == 0


@pytest.mark.parametrize("kind", READABLE)
def test_every_sample_is_the_same_in_every_store(kind, request):
    connector = filled_store(kind, {"a.pt": saved({"images": IMAGES, "labels": LABELS})}, request)
    iterator = open_dataset("a.pt", storage=connector)
    assert_all_same(list(iterator), EXPECTED)
    order = shuffled(range(-10, 10)) * 2
    assert_all_same(iterator.__getitems__(order), [EXPECTED[index] for index in order])
    assert_all_same(iterator.view(order).targets(), [EXPECTED[index][1] for index in order])


@pytest.mark.parametrize("place", ["file", "memory"])
class TestInOneStore(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self, place, tmp_path):
        store = FileStorageConnector(tmp_path) if place == "file" else MemoryStorageConnector("torch-contract")
        return opened((IMAGES, LABELS), store)

    @pytest.fixture
    def expected(self):
        return EXPECTED


def test_a_batch_is_one_request_for_its_rows():
    store = CountingStore("torch-counting")
    images = torch.arange(3_000_000, dtype=torch.int32).reshape(10, -1)
    iterator = opened({"images": images, "labels": LABELS}, store)
    assert store.fetched < images.nbytes / 4
    store.requests.clear()
    samples, _, _ = iterator.take([3, 8, 4])
    assert np.array_equal(samples, images[[3, 8, 4]].numpy())
    assert len(store.requests) == 1
    assert store.fetched <= 3 * images[0].nbytes + LABELS.nbytes


@pytest.mark.parametrize("kind", [name for name in torch_.DTYPES if name != "bfloat16"])
@pytest.mark.parametrize("place", ["file", "memory"])
def test_every_type_of_numpy(kind, place, tmp_path):
    tensor = torch.arange(6).reshape(3, 2).to(getattr(torch, kind))
    store = FileStorageConnector(tmp_path) if place == "file" else None
    assert_same(opened(tensor, store).take([2, 0])[0], tensor.numpy()[[2, 0]])


@pytest.mark.parametrize("place", ["file", "memory"])
def test_bfloat16_is_float32_exactly(place, tmp_path):
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).reshape(-1, 4)
    store = FileStorageConnector(tmp_path) if place == "file" else None
    iterator = opened({"x": every, "y": every}, store)
    rows = list(range(len(every)))[::-1]
    wanted = every.float().numpy()[rows]
    assert np.array_equal(iterator.take(rows)[0], wanted, equal_nan=True)
    assert np.array_equal(iterator.view(rows).targets(), wanted, equal_nan=True)


def test_what_lies_scattered_is_loaded_with_a_warning():
    wide = torch.arange(12.0).reshape(3, 4)
    for tensor in (
        wide.t(),
        wide[:, ::2],
        wide[:1].expand(5, 4),
        wide.t().bfloat16(),
        torch.ones(2, 2).cfloat().conj(),
    ):
        iterator = opened({"x": tensor})
        with pytest.warns(UserWarning, match=r"tensor 'x' of a\.pt in .* is not contiguous"):
            found = iterator.take([1, 0])[0]
        wanted = tensor[[1, 0]].resolve_conj()
        assert np.array_equal(found, (wanted if wanted.is_complex() else wanted.float()).numpy())
        with pytest.raises(DatasetFileCorruptError, match="more than max_bytes=100"):
            opened({"x": tensor}, max_bytes=100)


def test_files_of_old_torch_are_loaded_with_a_warning():
    iterator = opened(saved({"x": IMAGES, "y": LABELS}, _use_new_zipfile_serialization=False))
    with pytest.warns(UserWarning, match="of an old file"):
        assert_all_same(list(iterator), EXPECTED)


def test_views_and_parameters_share_a_storage():
    rows = torch.arange(12.0).reshape(6, 2)
    iterator = opened({"x": torch.nn.Parameter(rows[1:4]), "y": rows[3:], "epoch": 3})
    assert iterator[2][0].tolist() == rows[3].tolist() == iterator[0][1].tolist()


def test_tensors_are_said_by_name_or_number():
    assert opened(IMAGES)[3][1] is None
    assert opened([IMAGES, LABELS], sample="1", target="0")[4][0] == 1
    with pytest.raises(DatasetNotFoundError, match=r"no array 'up' in a\.pt; it has 'images', 'labels'"):
        opened({"images": IMAGES, "labels": LABELS}, sample="up")


# What is refused.


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_of_a_file_is_run(tmp_path, zipped):
    canary = tmp_path / "canary"
    for content in (Hostile(str(canary)), {"x": IMAGES, "y": Hostile(str(canary))}):
        data = saved(content, _use_new_zipfile_serialization=zipped)
        with pytest.raises(DatasetFileCorruptError, match=r"a\.pt in .* holds other things than tensors"):
            opened(data)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": torch.eye(3).to_sparse()}, "sparse.*, which numpy has not: save it as a dense"),
        ({"x": torch.ones(2).to(torch.float8_e4m3fn)}, "float8_e4m3fn, which numpy has not"),
        ({"x": torch.tensor(1.0)}, "is a single value"),
        ({"x": IMAGES, "y": LABELS[:9]}, "as many rows are needed"),
        ({"epoch": 3}, "holds no tensors"),
        (TensorDataset(IMAGES), "holds other things than tensors"),
    ],
    ids=["sparse", "float8", "single", "lengths", "none", "TensorDataset"],
)
def test_what_has_no_rows_for_numpy_is_refused(content, message):
    with pytest.raises(DatasetFileCorruptError, match=message):
        opened(content)


@pytest.mark.filterwarnings("ignore")
def test_quantized_tensors_are_refused():
    with pytest.raises(DatasetFileCorruptError, match=r"a\.pt in memory://torch-own"):
        opened({"x": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)})


def test_a_tensor_that_goes_past_its_storage_is_refused():
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved({"x": torch.arange(9)}))) as source, zipfile.ZipFile(stream, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name)[:-8] if "/data/" in name else source.read(name))
    with pytest.raises(DatasetFileCorruptError, match=r"a\.pt in memory://torch-own"):
        opened(stream.getvalue()).take([8])


def test_an_old_torch_is_refused(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(
        MissingDependencyError, match=r"needs torch 2\.6 or newer, .* this is 2\.5\.1\+cpu: pip install"
    ):
        opened(IMAGES)


WHOLE = saved({"images": IMAGES, "labels": LABELS})
relaxed = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(kept=st.integers(0, len(WHOLE) - 1))
@relaxed
def test_a_truncated_file_is_an_error(kept):
    with pytest.raises(DatastackError, match=r"a\.pt"):
        list(opened(WHOLE[:kept]))


@given(data=st.data())
@relaxed
def test_a_damaged_file_is_an_error_or_has_samples(data):
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            content[at : at + data.draw(st.integers(1, 9))] = data.draw(st.binary(max_size=9))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(DatastackError):
            iterator = opened(bytes(content), sample="images", target="labels")
            iterator.targets()
            list(iterator)
