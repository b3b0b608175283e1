"""doctor and repack."""

import io

import h5py
import numpy as np

from datastack_fs import connect


def test_a_file_is_looked_at_repacked_and_looked_at_again(run, here):
    file = io.BytesIO()
    with h5py.File(file, "w") as birds:
        birds.create_dataset("images", data=np.zeros((640, 8, 8)), chunks=(640, 1, 8))
    with connect("./datasets") as store:
        store.set_resource("a.h5", file.getvalue())
    out = run("doctor", "a.h5").out
    assert "/images  (640, 8, 8)  (640, 1, 8)" in out
    assert "/images: a row lies in 8 chunks: let a chunk hold whole rows" in out
    assert "b.h5" in run("repack", "a.h5", "b.h5", "--packing", "gzip").out
    (images,) = run("doctor", "b.h5", "--batch", "8", "--json").json
    assert (images["chunks"], images["filters"], images["advice"]) == ([128, 8, 8], ["shuffle", "gzip"], [])
    assert run("doctor", "missing.h5", code=1).err.startswith("error:")
