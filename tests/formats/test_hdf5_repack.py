"""Another layout, the same content; and what doctor says of both."""

import io

import h5py
import numpy as np
import pytest

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, MaliciousFilePathError, ResourceExistsError
from datastack_fs.formats.hdf5_layout import layouts
from datastack_fs.formats.hdf5_repack import repack
from harness.stores import unique


def made(fill):
    store, file = MemoryStorageConnector(unique("repack")), io.BytesIO()
    with h5py.File(file, "w", libver="earliest") as opened:
        fill(opened)
    store.set_resource("a.h5", file.getvalue())
    return store


def every_kind(file):
    rng = np.random.default_rng(1)
    file.attrs["who"] = "owl"
    images = file.create_dataset("train/images", data=rng.integers(0, 9, (500, 8, 8), np.uint8), chunks=(500, 2, 8))
    images.attrs["class_names"] = ["owl", "wren"]
    images.attrs["nothing"] = h5py.Empty("f4")
    file.create_dataset("packed", data=rng.normal(size=(90, 7)), chunks=(1, 7), compression="lzf", fletcher32=True)
    file.create_dataset("grows", (40, 3), ">i2", chunks=(7, 3), maxshape=(None, 3), fillvalue=-1)[:9] = 5
    file["flags"] = np.arange(9) % 2 == 0
    file["kinds"] = np.zeros(5, h5py.enum_dtype({"owl": 0, "wren": 7}, basetype="i2"))
    file["rows"] = np.zeros(5, [("x", "<f4"), ("name", "S3")])
    file["names"] = ["a", "bcd"]
    file["single"] = 3
    file["empty"] = np.zeros((0, 4))
    file["soft"] = h5py.SoftLink("/train/images")
    file["hard"] = file["flags"]


def content(file):
    found = {}

    def note(name, item):
        attributes = {key: str(value) for key, value in item.attrs.items()}
        values = (item.dtype, item.shape, item.maxshape, item[()].tolist()) if isinstance(item, h5py.Dataset) else None
        found[name] = attributes, values

    file.visititems(note)
    return found, dict(file.attrs), file["soft"][()].tolist(), file["hard"] == file["flags"]


@pytest.mark.parametrize("packing", ["keep", "none", "gzip"])
def test_the_content_stays_as_it_is(packing):
    store = made(every_kind)
    repack(store.get_resource("a.h5"), store, "b.h5", chunk_bytes=640, packing=packing)
    with h5py.File(store.get_resource("a.h5")) as before, h5py.File(store.get_resource("b.h5")) as after:
        assert content(after) == content(before)
        assert after["train/images"].chunks == (10, 8, 8)
        assert after["packed"].compression == {"keep": "gzip", "none": None, "gzip": "gzip"}[packing]
        assert after["packed"].fletcher32


def test_doctor_advises_what_repack_does():
    store = made(every_kind)
    before = {layout.name: layout for layout in layouts(store.get_resource("a.h5"))}
    repack(store.get_resource("a.h5"), store, "b.h5", chunk_bytes=640)
    after = {layout.name: layout for layout in layouts(store.get_resource("b.h5"))}
    images = before["/train/images"]
    assert (images.requests, images.amplification) == (4.0, pytest.approx(500 / 32, rel=0.01))
    assert images.advice[0] == "a row lies in 4 chunks: let a chunk hold whole rows"
    assert after["/train/images"].advice == ()
    assert after["/train/images"].amplification < 10
    assert before["/packed"].filters == ("lzf", "fletcher32")


def references(file):
    file["a"] = [1, 2]
    file["a"].attrs["scale"] = file["a"].ref


def outside(file):
    file["a"] = h5py.ExternalLink("/etc/passwd", "b")


@pytest.mark.parametrize(("fill", "error"), [(references, DatasetFileCorruptError), (outside, MaliciousFilePathError)])
def test_what_can_not_be_copied_is_refused_and_nothing_is_stored(fill, error):
    store = made(fill)
    with pytest.raises(error, match=r"a\.h5 in memory://"):
        repack(store.get_resource("a.h5"), store, "b.h5")
    assert not store.has_resource("b.h5")


def test_it_is_published_as_it_is_asked():
    store = made(every_kind)
    with pytest.raises(ResourceExistsError):
        repack(store.get_resource("a.h5"), store, "a.h5", overwrite=False)
    with pytest.raises(ValueError, match="'keep', 'none' or 'gzip'"):
        repack(store.get_resource("a.h5"), store, "b.h5", packing="zip")
