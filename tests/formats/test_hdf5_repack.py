"""Another layout, the same content; and what doctor says of both."""

import io

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, MaliciousFilePathError, ResourceExistsError
from datastack_fs.formats.hdf5_layout import layouts
from datastack_fs.formats.hdf5_repack import repack
from harness.hdf5_family import file_of, files
from harness.hdf5_walk import everything_in
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


@pytest.mark.parametrize("packing", ["keep", "none", "gzip"])
def test_the_content_stays_as_it_is(packing):
    store = made(every_kind)
    repack(store.get_resource("a.h5"), store, "b.h5", chunk_bytes=640, packing=packing)
    with h5py.File(store.get_resource("a.h5")) as before, h5py.File(store.get_resource("b.h5")) as after:
        assert everything_in(after) == everything_in(before)
        assert after["train/images"].chunks == (10, 8, 8)
        assert after["packed"].compression == {"keep": "gzip", "none": None, "gzip": "gzip"}[packing]
        assert after["packed"].fletcher32


def test_doctor_advises_what_repack_does():
    def fill(file):
        images = np.random.default_rng(1).integers(0, 9, (20_000, 8, 8), np.uint8)
        file.create_dataset("images", data=images, chunks=(5000, 2, 8))
        file.create_dataset("packed", data=images[:90], chunks=(1, 8, 8), compression="lzf", fletcher32=True)

    store = made(fill)
    before = {layout.name: layout for layout in layouts(store.get_resource("a.h5"))}
    repack(store.get_resource("a.h5"), store, "b.h5", chunk_bytes=640)
    after = {layout.name: layout for layout in layouts(store.get_resource("b.h5"))}
    images = before["/images"]
    assert (images.requests, images.amplification) == (1.0, pytest.approx(20_000 / 32, rel=0.01))  # all of it
    assert images.advice[0] == "a row lies in 4 chunks: let a chunk hold whole rows"
    assert after["/images"].amplification < 20
    assert not any("whole rows" in advice for advice in after["/images"].advice)
    assert before["/packed"].filters == ("lzf", "fletcher32")


@settings(max_examples=15, deadline=None)
@given(files, st.sampled_from(["keep", "none", "gzip"]), st.sampled_from([None, 512, 4096]))
def test_whatever_a_file_holds_is_in_the_new_one(drawn, packing, page_bytes):
    store = MemoryStorageConnector(unique("repack"))
    store.set_resource("a.h5", file_of(drawn))
    repack(store.get_resource("a.h5"), store, "b.h5", chunk_bytes=40, packing=packing, page_bytes=page_bytes)
    with h5py.File(store.get_resource("a.h5")) as before, h5py.File(store.get_resource("b.h5")) as after:
        assert everything_in(after) == everything_in(before)


def test_pages_are_as_large_as_lets_little_of_the_file_be_unused(tmp_path):
    rng = np.random.default_rng(1)

    def fill(file):
        file.create_dataset("a", data=rng.integers(0, 9, (600, 1000), np.uint8), chunks=(1, 1000))
        file.create_dataset("wide", data=rng.integers(0, 9, (600, 200), np.uint8), chunks=(100, 200))

    store = made(fill)
    for chunk_bytes, page in ((1000, 16_000), (100, 4096)):  # one row would fit a page of 1,600
        info = repack(store.get_resource("a.h5"), store, "b.h5", chunk_bytes=chunk_bytes, paged=True)
        path = tmp_path / "b.h5"
        path.write_bytes(store.get_resource("b.h5").read())
        with h5py.File(path, page_buf_size=1 << 20) as file:
            assert file.id.get_create_plist().get_file_space_page_size() == page
            assert file["a"][3].tolist() == h5py.File(store.get_resource("a.h5"))["a"][3].tolist()
        assert info.size < 1.15 * 600 * 1200


def test_what_was_never_written_takes_no_room():
    store = made(
        lambda file: file.create_dataset("a", (1 << 18, 8), "f4", chunks=(64, 8), fillvalue=7).write_direct(
            np.ones((1, 8), "f4"), dest_sel=np.s_[99:100]
        )
    )
    repack(store.get_resource("a.h5"), store, "b.h5")
    assert store.get_info("b.h5").size < 1 << 20
    with h5py.File(store.get_resource("b.h5")) as after:
        assert after["a"][98:101, 0].tolist() == [7, 1, 7]


def lost_reference(file):
    file["a"], file["b"] = [1, 2], [3]
    file["a"].attrs["scale"] = file["b"].ref
    del file["b"]


def virtual(file):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "a", (3,))
    file.create_virtual_dataset("a", layout)


@pytest.mark.parametrize(
    ("fill", "error"), [(lost_reference, DatasetFileCorruptError), (virtual, MaliciousFilePathError)]
)
def test_what_can_not_be_copied_is_refused_and_nothing_is_stored(fill, error):
    store = made(fill)
    with pytest.raises(error, match=r"'/?a'.* a\.h5 in memory://"):
        repack(store.get_resource("a.h5"), store, "b.h5")
    assert not store.has_resource("b.h5")


def test_it_is_published_as_it_is_asked():
    store = made(every_kind)
    with pytest.raises(ResourceExistsError):
        repack(store.get_resource("a.h5"), store, "a.h5", overwrite=False)
    with pytest.raises(ValueError, match="'keep', 'none' or 'gzip'"):
        repack(store.get_resource("a.h5"), store, "b.h5", packing="zip")
