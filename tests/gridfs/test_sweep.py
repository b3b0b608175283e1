"""Left-overs of killed writers: found, and nothing else with them."""

import os
import random
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone

import gridfs
import pytest
from bson import ObjectId

from datastack_fs.connectors import gridfs_upload
from datastack_fs.connectors.gridfs_filesystem import GridFSFileSystem

DAY = 86400


@pytest.fixture(autouse=True)
def tiny_batches(monkeypatch):
    """Chunks go to the server two at a time, so that small writes leave some."""
    monkeypatch.setattr(gridfs_upload, "BATCH_BYTES", 2048)


def four_chunks_sent(fs, name):
    """A file that is being written, with four chunks at the server and one on its way."""
    before = fs.store.chunks.count_documents({})
    file = fs.open(name, "wb")
    file.write(bytes(5000))
    deadline = time.monotonic() + 10
    while fs.store.chunks.count_documents({}) < before + 4:
        assert time.monotonic() < deadline
    return file


def aged_id(seconds):
    return ObjectId.from_datetime(datetime.now(timezone.utc) - timedelta(seconds=seconds))


def orphan(database, age, count=3):
    """Chunks of a writer that was killed so many seconds ago."""
    files_id = aged_id(age)
    database["fs.chunks"].insert_many(
        {"_id": ObjectId(aged_id(age).binary[:4] + os.urandom(8)), "files_id": files_id, "n": n, "data": b"x"}
        for n in range(count)
    )
    return files_id


def test_sweep_removes_old_orphans_and_nothing_else(small, database):
    contents = {f"f{i}": random.Random(i).randbytes(3000) for i in range(5)}
    small.pipe(contents)
    bucket = gridfs.GridFSBucket(database)
    for content in [b"theirs, older", b"theirs"]:
        bucket.upload_from_stream("theirs", content)
    bucket.upload_from_stream_with_id("custom id", "custom", b"custom")
    database["fs.chunks"].insert_one({"_id": "no date", "files_id": "orphan of another program", "n": 0, "data": b""})
    running = four_chunks_sent(small, "running")
    old = {orphan(database, 2 * DAY), orphan(database, 3 * DAY, 1)}
    young = orphan(database, DAY / 2)
    total = database["fs.chunks"].count_documents({})

    assert set(small.orphans()) == old
    assert small.sweep() == 2
    assert database["fs.chunks"].count_documents({}) == total - 4
    assert small.orphans() == []
    assert set(small.orphans(DAY / 4)) == {young}
    assert small.sweep(DAY / 4) == 1
    running.close()
    assert small.cat(list(contents)) == contents
    assert small.cat_file("running") == bytes(5000)
    assert small.cat_file("theirs") == b"theirs"
    assert small.cat_file("custom") == b"custom"
    assert database["fs.files"].count_documents({"filename": "theirs"}) == 2
    assert small.sweep(0) == 0


def test_a_long_upload_that_still_goes_on_is_no_orphan(small, database):
    files_id = orphan(database, 2 * DAY)
    database["fs.chunks"].insert_one({"files_id": files_id, "n": 3, "data": b"just now"})
    assert small.sweep() == 0
    assert small.orphans(0) == [files_id]


def test_a_swept_upload_is_not_published(small, database):
    file = four_chunks_sent(small, "x")
    assert small.sweep(-5) == 1
    file.write(bytes(5000))
    with pytest.raises(OSError, match="lost or swept"):
        file.close()
    assert not small.exists("x")
    assert database["fs.chunks"].count_documents({}) == 0


def test_sweep_finishes_a_replacement(small, database, monkeypatch):
    """Killed between the publish and the deletion of the old revision: the new one is there, the old one in its way."""
    small.pipe_file("x", b"old" * 1000)
    with monkeypatch.context() as killed:
        killed.setattr(gridfs_upload, "delete_files", lambda bucket, documents: None)
        small.pipe_file("x", b"new")
    assert small.cat_file("x") == b"new"
    assert database["fs.files"].count_documents({}) == 2
    assert small.sweep() == 0
    assert small.sweep(-5) == 1
    assert small.cat_file("x") == b"new"
    assert database["fs.files"].count_documents({}) == database["fs.chunks"].count_documents({}) == 1


WRITER = """
import sys
from datastack_fs.connectors import gridfs_upload
from datastack_fs.connectors.gridfs_filesystem import GridFSFileSystem
fs = GridFSFileSystem(url=sys.argv[1], chunk_size=65536)
fs.exists("x")
print("ready", flush=True)
number = 0
while True:
    number += 1
    fs.write("x", (bytes([number % 256]) * 65536 for _ in range(300)), overwrite=True)
    print(number, flush=True)
"""


def test_killed_writers_leave_old_or_new_and_sweep_finds_the_rest(url, database):
    fs = GridFSFileSystem(url=url, skip_instance_cache=True)
    rng = random.Random(0)
    left = 0
    for _ in range(20):
        with subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0, 0.3))
            os.kill(writer.pid, signal.SIGKILL)
        if fs.exists("x"):
            content = fs.cat_file("x")
            assert len(content) == 300 * 65536
            assert content == content[:1] * len(content)
        time.sleep(0.05)  # the server may still be at the dead writer's last insert
        left += fs.sweep(-5)
        assert database["fs.files"].count_documents({}) == fs.exists("x")
        assert database["fs.chunks"].count_documents({}) == 300 * fs.exists("x")
    assert left >= 5  # else the kills came too late or too early to tell anything
    fs.close()
