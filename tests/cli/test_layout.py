"""doctor, plan and repack."""

import io

import h5py
import numpy as np

from datastack_fs import connect


def test_a_file_is_looked_at_repacked_and_looked_at_again(run, here):
    file = io.BytesIO()
    with h5py.File(file, "w") as birds:
        birds.create_dataset("images", data=np.zeros((6400, 8, 8)), chunks=(6400, 1, 8))
    with connect("./datasets") as store:
        store.set_resource("a.h5", file.getvalue())
    out = run("doctor", "a.h5").out
    assert "/images  (6400, 8, 8)  (6400, 1, 8)" in out
    assert "opening it for the first time: 3 requests" in out
    assert "/images: a row lies in 8 chunks: let a chunk hold whole rows" in out
    assert "b.h5" in run("repack", "a.h5", "b.h5", "--packing", "gzip", "--paged").out
    (images,) = run("doctor", "b.h5", "--batch", "8", "--json").json["datasets"]
    assert (images["chunks"], images["filters"], images["advice"]) == ([128, 8, 8], ["shuffle", "gzip"], [])
    assert run("doctor", "missing.h5", code=1).err.startswith("error:")


def test_files_of_other_formats_are_looked_at_as_well(run, here):
    file = io.BytesIO()
    np.save(file, np.zeros((900, 4096), np.uint8))
    with connect("./datasets") as store:
        store.set_resource("a.npy", file.getvalue())
        store.set_resource("notes.txt", b"owl")
    told = run("doctor", "a.npy", "--json").json
    assert told["opening"] == {"requests": 2, "fetched_bytes": 65536}  # one is a look-up
    (batch,) = told["datasets"]
    assert 10 < batch["requests"] <= 32
    assert 32 * 4096 <= batch["fetched_bytes"] < 1.25 * 32 * 4096
    assert "known format" in run("doctor", "notes.txt", code=1).err


def test_an_epoch_is_foretold(run, here):
    file = io.BytesIO()
    np.save(file, np.zeros((9000, 4096), np.uint8))
    with connect("./datasets") as store:
        store.set_resource("a.npy", file.getvalue())
    prices = ("--request-price", "0.4", "--byte-price", "0.09")
    told = run("plan", "a.npy", "--batch", "100", *prices, "--json").json["exact shuffle"]
    assert (told["batches"], told["is_kept"], told["fetched_bytes"]) == (90, True, 9000 * 4096 + 128)
    assert told["price"] == round(told["requests"] * 0.0004 + told["fetched_bytes"] * 0.09e-9, 6)
    assert "90" in run("plan", "a.npy", "--batch", "100", "--window", "8", "--memory", "8").out
