"""A job that is killed at any step, and goes on with other ranks, other look-ahead and in another store."""

import io
import multiprocessing
import os
import pickle
import random
import signal

import h5py
import numpy as np
import pytest

from datastack_fs.connectors import FileStorageConnector
from datastack_fs.formats.hdf5 import HDF5DatasetIterator
from harness.killed_training import BATCH, read_epochs
from harness.stores import empty_store

ROWS = np.random.default_rng(4).integers(0, 99, (300, 64), dtype=np.uint8)
KILLS = int(os.environ.get("DATASTACK_TEST_KILLS", "1"))
EPOCHS = 2 + KILLS


def stored(store):
    file = io.BytesIO()
    with h5py.File(file, "w") as written:
        written.create_dataset("images", data=ROWS, chunks=(16, 64), compression="gzip")
    store.set_resource("rows.h5", file.getvalue())
    return pickle.dumps(HDF5DatasetIterator(store.get_resource("rows.h5")))


def lines_of(folder):
    journal = folder / "journal"
    return journal.read_text().splitlines() if journal.exists() else []


def run(pickled, folder, world_size, prefetch, kill_after=None):
    """Runs until the end, or until so many more lines are there, and kills it then."""
    known = len(lines_of(folder))
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=read_epochs, args=(pickled, str(folder), world_size, prefetch, EPOCHS))
    child.start()
    while kill_after is not None and child.is_alive() and len(lines_of(folder)) < known + kill_after:
        child.join(0.001)
    if kill_after is not None:
        child.kill()
    child.join(60)
    # A busy machine may let it come to its end before it is killed.
    assert child.exitcode in ((0,) if kill_after is None else (0, -signal.SIGKILL))


@pytest.mark.parametrize("kind", ["file", "s3", "gridfs"])
def test_a_killed_job_reads_what_an_unbroken_one_reads(kind, request, tmp_path):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    unbroken.mkdir()
    broken.mkdir()
    here, elsewhere = stored(empty_store(kind, request)), stored(FileStorageConnector(tmp_path / "elsewhere"))
    read_epochs(elsewhere, str(unbroken), 1, 4, EPOCHS)
    chance = random.Random(5)
    for number in range(KILLS):
        run(
            (here, elsewhere)[number % 2],
            broken,
            chance.choice([1, 2, 4]),
            chance.choice([0, 4]),
            chance.randint(1, 12),
        )
    run(here, broken, 3, 2)
    assert sorted(set(lines_of(broken))) == sorted(lines_of(unbroken))
    assert len(lines_of(unbroken)) == EPOCHS * (300 // BATCH)
    assert len(lines_of(broken)) <= EPOCHS * (300 // BATCH) + KILLS, "no more is read again than what was not yet noted"
