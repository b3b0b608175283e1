# ruff: noqa: PT012 (a with block that ends by an exception is what is tested)
"""Writing: all or nothing, one revision, exclusive creation, moving and copying."""

import gc
import gzip
import itertools
import multiprocessing
import random
import threading
import time
from datetime import timedelta

import fsspec
import gridfs
import pytest
from pymongo.errors import AutoReconnect

from datastack_fs.connectors import gridfs_upload
from datastack_fs.connectors.gridfs_filesystem import GridFSFileSystem
from harness.children import create_ten

KIB = 1 << 10


class Failure(BaseException):
    """Not an Exception: what KeyboardInterrupt and SystemExit have in common."""


def chunk_total(database):
    return database["fs.chunks"].count_documents({})


def file_total(database, **query):
    return database["fs.files"].count_documents(query)


def eventually(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_only(fs, database, name, data):
    """One revision of the name with these bytes, and no chunk that isn't its own."""
    assert fs.cat_file(name) == data
    assert file_total(database) == 1
    size = fs.info(name)["chunk_size"]
    assert chunk_total(database) == -(-len(data) // size)


@pytest.fixture
def tiny_batches(monkeypatch):
    """Chunks go to the server two at a time, so that small writes have many steps."""
    monkeypatch.setattr(gridfs_upload, "BATCH_BYTES", 2048)


def test_overwriting_keeps_exactly_one_revision(small, database):
    for size in [5000, 0, 1, 3000]:
        data = random.Random(size).randbytes(size)
        small.pipe_file("x", data)
        assert_only(small, database, "x", data)


def test_indexes_are_those_of_gridfs(fs, database):
    fs.pipe_file("x", b"1")
    files, chunks = database["fs.files"].index_information(), database["fs.chunks"].index_information()
    assert files["filename_1_uploadDate_1"]["key"] == [("filename", 1), ("uploadDate", 1)]
    assert chunks["files_id_1_n_1"]["unique"] is True
    plan = database.command(
        "explain", {"find": "fs.files", "filter": {"filename": {"$gte": "a/", "$lt": "a0"}}, "sort": {"filename": 1}}
    )
    assert "COLLSCAN" not in str(plan)
    assert "SORT" not in str(plan)


def test_buckets_are_apart(url, fs, database):
    other = GridFSFileSystem(url=url, bucket="other.bucket", skip_instance_cache=True)
    other.pipe_file("x", b"other")
    fs.pipe_file("x", b"default")
    assert (other.cat_file("x"), fs.cat_file("x")) == (b"other", b"default")
    assert database["other.bucket.files"].count_documents({}) == 1
    other.close()


@pytest.mark.parametrize("old", [None, b"old" * 1000])
@pytest.mark.parametrize("error", [RuntimeError, Failure])
def test_an_exception_at_any_byte_leaves_the_old(small, database, tiny_batches, old, error):
    if old is not None:
        small.pipe_file("x", old)

    def check():
        if old is None:
            assert not small.exists("x")
            assert chunk_total(database) == 0
        else:
            assert_only(small, database, "x", old)

    data = random.Random(0).randbytes(9000)
    for cut in [0, 1, 1023, 1024, 1025, 2048, 4096, 6000, 8999, 9000]:

        def blocks(cut=cut):
            for start in range(0, cut, 700):
                yield data[start : min(start + 700, cut)]
            raise error("source")

        with pytest.raises(error, match="source"):
            small.write("x", blocks())
        check()
        with pytest.raises(error), small.open("x", "wb") as file:
            file.write(data[:cut])
            raise error
        check()
        with pytest.raises(error), fsspec.open("gridfs://x", "wb", url=small.url, chunk_size=1024) as file:
            file.write(data[:cut])
            raise error
        check()

    def refuse():
        raise error("checksum")

    with pytest.raises(error, match="checksum"):
        small.write("x", [data], metadata=refuse)
    check()


@pytest.mark.parametrize("old", [None, b"old" * 1000])
def test_an_exception_at_every_call_to_the_server(url, database, tiny_batches, old):
    """The n-th call fails, for every n: the old revision stays whole, and no chunk is left."""
    for step in itertools.count():
        fs = GridFSFileSystem(url=url, chunk_size=1024, skip_instance_cache=True)
        database["fs.files"].drop()
        database["fs.chunks"].drop()
        if old is not None:
            fs.pipe_file("x", old)
        before = chunk_total(database)
        run, calls = fs.store.run, itertools.count()

        def failing(what, call, run=run, calls=calls, step=step):
            if next(calls) == step:
                raise Failure(what)
            return run(what, call)

        fs.store.run = failing
        data = random.Random(step).randbytes(7000)
        failed = False
        try:
            fs.write("x", [data])
        except Failure:
            failed = True
        happened = next(calls) > step
        fs.store.run = run
        if failed and not (fs.exists("x") and fs.cat_file("x") == data):
            assert (fs.cat_file("x") if fs.exists("x") else None) == old
            assert chunk_total(database) == before
        else:  # it was published; what it replaced may be left, until the sweep
            fs.sweep(-5)
            assert_only(fs, database, "x", data)
        fs.close()
        if not happened:
            assert step > 8
            return


def test_lost_answers_are_asked_for_again(small, database, monkeypatch, tiny_batches):
    """What was done, and whose answer was lost, is found to be done."""
    collection = type(database["x"])
    for method in ["insert_many", "insert_one", "update_one", "delete_many", "find_one", "count_documents"]:
        original = getattr(collection, method)
        lost = []

        def losing(self, *args, original=original, lost=lost, **kwargs):
            answer = original(self, *args, **kwargs)
            if len(lost) < 2:
                lost.append(1)
                raise AutoReconnect("lost")
            return answer

        for overwrite in [False, True]:
            lost.clear()
            monkeypatch.setattr(collection, method, losing)
            data = random.Random(1).randbytes(5000)
            small.write("x", [data], overwrite=overwrite)
            monkeypatch.setattr(collection, method, original)
            assert_only(small, database, "x", data)
        small.rm("x")


def test_text_compressed_and_wrapped_writes_are_all_or_nothing(small, database):
    small.pipe_file("x", b"old")
    url = small.url
    opens = [
        lambda: small.open("x", "w", encoding="utf-8"),
        lambda: small.open("x", "wb", compression="gzip"),
        lambda: small.open("x", "wt", compression="bz2"),
        lambda: fsspec.open("gridfs://x", "w", url=url),
        lambda: fsspec.open("gridfs://x", "wb", url=url, compression="gzip"),
        lambda: fsspec.open("gridfs://x", "wt", url=url, compression="gzip"),
        lambda: fsspec.open_files(["gridfs://x"], "wb", url=url),
    ]
    for opener in opens:
        with pytest.raises(RuntimeError, match="mine"), opener() as opened:
            file = opened[0] if isinstance(opened, list) else opened
            file.write("n" * 5000 if hasattr(file, "encoding") else b"n" * 5000)
            raise RuntimeError("mine")
        assert_only(small, database, "x", b"old")
    with small.open("x", "wb", compression="gzip") as file:
        file.write(b"new" * 1000)
    assert gzip.decompress(small.cat_file("x")) == b"new" * 1000
    assert small.open("x", "rb", compression="gzip").read() == b"new" * 1000
    with small.open("x.gz", "wt", compression="infer", encoding="utf-8") as file:
        file.write("ü" * 1000)
    assert small.open("x.gz", "rt", compression="infer", encoding="utf-8").read() == "ü" * 1000


def test_a_close_while_another_exception_is_handled_publishes(fs):
    file = fs.open("before", "wb")
    try:
        raise KeyError
    except KeyError:
        file.write(b"1")
        file.close()
        with fs.open("inside", "wb") as inner:
            inner.write(b"2")
        with fsspec.open("gridfs://chained", "wb", url=fs.url) as inner:
            inner.write(b"3")
    assert fs.cat(["before", "inside", "chained"]) == {"before": b"1", "inside": b"2", "chained": b"3"}


def test_a_failed_write_can_not_be_closed_into_a_file(small, database, monkeypatch, tiny_batches):
    file = small.open("x", "wb")
    monkeypatch.setattr(small.store, "run", lambda *args: (_ for _ in ()).throw(ConnectionError("down")))
    with pytest.raises(ConnectionError):
        file.write(bytes(20 * KIB))
    monkeypatch.undo()
    with pytest.raises(ValueError, match="given up"):
        file.write(b"more")
    with pytest.raises(ValueError, match="given up"):
        file.close()
    assert not small.exists("x")


def test_forgotten_files_are_discarded(small, database, tiny_batches):
    file = small.open("x", "wb")
    file.write(bytes(9000))
    assert chunk_total(database)
    del file
    gc.collect()
    eventually(lambda: chunk_total(database) == 0)
    assert not small.exists("x")


def test_commit_and_discard(small, database, tiny_batches):
    file = small.open("x", "wb", autocommit=False)
    file.write(bytes(3000))
    file.close()
    assert not small.exists("x")
    file.commit()
    assert_only(small, database, "x", bytes(3000))
    file = small.open("x", "wb", autocommit=False)
    file.write(bytes(9000))
    file.discard()
    file.discard()
    file.commit()
    assert file.closed
    assert_only(small, database, "x", bytes(3000))


def test_transactions(small, database):
    small.pipe_file("x", b"old")
    with small.transaction:
        small.pipe_file("x", b"new")
        with small.open("y", "wb") as file:
            file.write(b"y")
        with pytest.raises(RuntimeError), small.open("z", "wb") as file:
            file.write(b"z")
            raise RuntimeError
        assert small.cat_file("x") == b"old"
        assert not small.exists("y")
    assert small.cat("*") == {"x": b"new", "y": b"y"}
    with pytest.raises(RuntimeError), small.transaction:
        small.pipe_file("x", b"newer")
        raise RuntimeError
    assert small.cat_file("x") == b"new"
    assert file_total(database) == chunk_total(database) == 2


def test_any_buffer_is_written(small):
    parts = [b"bytes", bytearray(b"array"), memoryview(b"view"), memoryview(bytearray(range(8))).cast("I"), b""]
    document = small.write("x", parts, metadata={"sha256": "abc", "$odd.key": 1}, chunk_size=3)
    assert small.cat_file("x") == b"".join(bytes(part) for part in parts)
    assert document == small.file_document("x")
    assert document["metadata"] == {"sha256": "abc", "$odd.key": 1}
    assert document["chunkSize"] == 3
    seen = []
    small.write("x", [b"12"], metadata=lambda: seen.append(1) or {"late": True})
    assert small.info("x")["metadata"] == {"late": True}


def test_bad_writes_are_refused(fs):
    with pytest.raises(ValueError, match="chunk_size"):
        fs.open("x", "wb", chunk_size=16 << 20)
    for name in ["", "nul\0"]:
        with pytest.raises(ValueError, match="named"):
            fs.pipe_file(name, b"")
    with pytest.raises(ValueError, match="surrogates"):
        fs.pipe_file("\ud800", b"")


def test_append_writes_anew(small, database):
    for part in [b"one", b"two" * 1000, b""]:
        with small.open("x", "ab", metadata={"m": 1} if part == b"one" else None) as file:
            file.write(part)
            assert file.tell() == small.size("x") + len(part) if small.exists("x") else True
    assert_only(small, database, "x", b"one" + b"two" * 1000)
    assert small.info("x")["metadata"] == {"m": 1}


def test_a_writer_with_a_slow_clock_is_seen(fs, database, monkeypatch):
    """Newest wins, even over a revision dated in the future by another program; also before it is deleted."""
    gridfs.GridFSBucket(database).upload_from_stream("x", b"theirs")
    future = fs.created("x") + timedelta(hours=1)
    database["fs.files"].update_one({}, {"$set": {"uploadDate": future}})
    with monkeypatch.context() as killed:
        killed.setattr(gridfs_upload, "delete_files", lambda bucket, documents: None)
        fs.pipe_file("x", b"ours")
    assert file_total(database, filename="x") == 2
    assert fs.cat_file("x") == b"ours"
    assert gridfs.GridFSBucket(database).open_download_stream_by_name("x").read() == b"ours"
    fs.pipe_file("x", b"again")
    assert_only(fs, database, "x", b"again")
    assert fs.created("x") > future


def test_concurrent_overwrites_leave_one_whole_revision(url, database):
    systems = [GridFSFileSystem(url=url, chunk_size=1024, skip_instance_cache=True) for _ in range(4)]
    systems[0].pipe_file("x", b"start")
    contents = [bytes([number]) * 20_000 for number in range(4)]
    errors = []

    def work(number):
        try:
            for _ in range(15):
                systems[number].pipe_file("x", contents[number])
                assert systems[number].cat_file("x") in contents
                assert systems[number].cat_ranges(["x", "x"], [0, 19_999], [1, 20_000])[0] in {c[:1] for c in contents}
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert systems[0].cat_file("x") in contents
    assert file_total(database) == 1
    assert chunk_total(database) == 20
    for system in systems:
        system.close()


# Exclusive creation.


def test_create_refuses_what_is_there(small, database):
    small.pipe_file("x", b"old", mode="create")
    for attempt in [
        lambda: small.pipe_file("x", b"new", mode="create"),
        lambda: small.open("x", "xb"),
        lambda: small.write("x", iter([b"new"]), overwrite=False),
    ]:
        with pytest.raises(FileExistsError):
            attempt()
    assert_only(small, database, "x", b"old")
    late = small.open("y", "xb")
    late.write(bytes(5000))
    small.pipe_file("y", b"first")
    with pytest.raises(FileExistsError):
        late.close()
    assert small.cat_file("y") == b"first"
    assert chunk_total(database) == 2


def test_create_after_remove_overwrite_and_rename(small, database):
    small.pipe_file("x", b"1", mode="create")
    small.rm("x")
    small.pipe_file("x", b"2", mode="create")
    small.pipe_file("x", b"3")
    small.rm("x")
    small.pipe_file("x", b"4", mode="create")
    small.mv("x", "y")
    small.pipe_file("x", b"5", mode="create")
    # Another program renames a file and knows nothing of our field.
    files_id = small.file_document("x")["_id"]
    gridfs.GridFSBucket(database).rename(files_id, "z")
    small.pipe_file("x", b"6", mode="create")
    assert small.cat("*") == {"x": b"6", "y": b"4", "z": b"5"}
    with pytest.raises(FileExistsError):
        small.pipe_file("z", b"", mode="create")
    assert file_total(database) == chunk_total(database) == 3


def test_other_programs_may_still_share_names(fs, database):
    fs.pipe_file("x", b"1", mode="create")
    bucket = gridfs.GridFSBucket(database)
    bucket.upload_from_stream("x", b"2")
    bucket.upload_from_stream("x", b"3")
    assert fs.cat_file("x") == b"3"
    assert file_total(database, filename="x") == 3
    fs.pipe_file("x", b"4")
    assert_only(fs, database, "x", b"4")


def check_winners(fs, database, results, creators):
    winners = {}
    for turn, number in results:
        assert turn not in winners
        winners[turn] = number
    assert sorted(winners) == list(range(10))
    for turn, number in winners.items():
        assert fs.cat_file(f"x{turn}") == bytes([number]) * 3000
    assert file_total(database) == 10
    assert chunk_total(database) == 30


def test_of_eight_creating_threads_one_wins(url, small, database):
    import queue

    results, barrier = queue.SimpleQueue(), threading.Barrier(8)
    threads = [threading.Thread(target=create_ten, args=(url, n, barrier, results)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_winners(small, database, [results.get() for _ in range(results.qsize())], 8)


def test_of_four_creating_processes_one_wins(url, small, database):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(4), context.Queue()
    processes = [context.Process(target=create_ten, args=(url, n, barrier, results)) for n in range(4)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in range(10)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert results.empty()
    check_winners(small, database, found, 4)


# Moving, copying, removing.


def test_a_move_is_a_rename(small, database):
    small.pipe_file("a/x", bytes(5000), metadata={"m": 1})
    small.pipe_file("b", b"target")
    before = small.info("a/x")
    small.mv("a/x", "b")
    after = small.info("b")
    assert after["version"] == before["version"]
    assert after["metadata"] == {"m": 1}
    assert_only(small, database, "b", bytes(5000))
    small.mv("b", "c/")
    assert small.find("") == ["c/b"]
    small.mv("c", "d", recursive=True)
    assert small.find("") == ["d/b"]
    small.mv("d/b", "d/b")
    assert small.find("") == ["d/b"]
    for missing in ["nothing", "nothing/at/all"]:
        with pytest.raises(FileNotFoundError):
            small.mv(missing, "e")
    small.pipe_file("other", b"1")
    small.mv("*", "all", recursive=True)
    assert small.find("") == ["all/d/b", "all/other"]


def test_a_move_brings_no_old_revision_to_light(fs, database):
    bucket = gridfs.GridFSBucket(database)
    bucket.upload_from_stream("x", b"old")
    bucket.upload_from_stream("x", b"new")
    bucket.upload_from_stream("y", b"target")
    fs.mv("x", "y")
    assert fs.find("") == ["y"]
    assert_only(fs, database, "y", b"new")


def test_copies_are_files_of_their_own(small, database):
    small.pipe_file("x", bytes(5000), metadata={"m": 1}, mode="create")
    small.cp("x", "y")
    assert small.info("y")["metadata"] == {"m": 1}
    small.pipe_file("x", b"changed")
    assert small.cat_file("y") == bytes(5000)
    small.cp_file("x", "x")
    assert small.cat_file("x") == b"changed"
    with pytest.raises(FileNotFoundError):
        small.cp_file("nothing", "z")


def test_remove_takes_all_revisions(small, database):
    bucket = gridfs.GridFSBucket(database)
    for content in [b"1" * 5000, b"2"]:
        bucket.upload_from_stream("x", content)
    small.pipe_file("dir/y", b"")
    small.rm("x")
    assert small.find("") == ["dir/y"]
    with pytest.raises(FileNotFoundError):
        small.rm("x")
    with pytest.raises(FileNotFoundError):
        small.rm_file("x")
    with pytest.raises(IsADirectoryError):
        small.rm("dir")
    with pytest.raises(FileNotFoundError):
        small.rm(["dir/y", "nothing"])
    assert small.exists("dir/y")
    small.rm(["dir"], recursive=True)
    assert file_total(database) == chunk_total(database) == 0


def test_a_removal_cut_short_shows_no_old_revision(fs, database):
    bucket = gridfs.GridFSBucket(database)
    for content in [b"1", b"2", b"3"]:
        bucket.upload_from_stream("x", content)
    run, calls = fs.store.run, []

    def failing(what, call):
        calls.append(what)
        if len(calls) == 4:
            raise Failure
        return run(what, call)

    fs.store.run = failing
    with pytest.raises(Failure):
        fs.rm_file("x")
    fs.store.run = run
    assert not fs.exists("x") or fs.cat_file("x") == b"3"


def test_touch_truncates_or_dates_anew(fs):
    fs.pipe_file("x", b"abc")
    date, key, checksum = fs.modified("x"), fs.ukey("x"), fs.checksum("x")
    fs.touch("x", truncate=False)
    assert fs.cat_file("x") == b"abc"
    assert fs.modified("x") > date
    assert (fs.ukey("x"), fs.checksum("x")) == (key, checksum)
    fs.touch("x")
    assert fs.size("x") == 0
    assert fs.ukey("x") != key
    fs.touch("new", truncate=False)
    assert fs.exists("new")


def test_downloads_replace_the_local_file_at_the_end(small, database, tmp_path):
    small.pipe_file("x", bytes(5000))
    target = tmp_path / "deep" / "x"
    small.get_file("x", str(target))
    assert target.read_bytes() == bytes(5000)
    database["fs.chunks"].delete_one({"n": 4})
    target.write_bytes(b"precious")
    with pytest.raises(OSError, match="missing"):
        small.get_file("x", str(target))
    assert target.read_bytes() == b"precious"
    assert [entry.name for entry in target.parent.iterdir()] == ["x"]


def test_uploads_from_local_files(small, tmp_path):
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "x").write_bytes(bytes(5000))
    small.put(str(tmp_path / "dir"), "up", recursive=True)
    assert small.find("") == ["up/x"]
    with pytest.raises(FileExistsError):
        small.put_file(str(tmp_path / "dir" / "x"), "up/x", mode="create")
    seen = []

    class Progress(fsspec.Callback):
        def relative_update(self, inc=1):
            seen.append(inc)

    small.put_file(str(tmp_path / "dir" / "x"), "y", callback=Progress())
    small.get_file("y", str(tmp_path / "y"), callback=Progress())
    assert sum(seen) == 10_000
