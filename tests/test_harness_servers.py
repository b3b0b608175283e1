"""The servers of the harness start, keep their data over a crash, and never outlive the test process."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from harness.fakegcs import FakeGCS
from harness.mongod import Mongod
from harness.ports import free_ports
from harness.process import Server, ServerError, can_connect
from harness.seaweed import SeaweedS3

TESTS = Path(__file__).parent


class Sleeper(Server):
    """A server that is ready when its file is there."""

    name = "sleeper"
    startup_timeout = 30
    code = "import pathlib, time; pathlib.Path('ready').touch(); time.sleep(60)"

    def command(self):
        return [sys.executable, "-c", self.code]

    def is_ready(self):
        return (self.folder / "ready").exists()


class Crasher(Sleeper):
    code = "import sys; print('line one'); sys.exit('cannot open the database')"


class Dawdler(Sleeper):
    startup_timeout = 0.5
    code = "import time; print('still thinking', flush=True); time.sleep(60)"


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def test_ports_are_distinct_also_between_processes():
    code = "from harness.ports import free_ports; print(*free_ports(500), flush=True); input()"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    ports = [int(word) for child in children for word in child.stdout.readline().split()]
    ports += free_ports(500)
    for child in children:
        child.communicate("done\n")
    assert len(ports) == 2000
    assert len(set(ports)) == 2000


def test_stop_ends_the_process_and_removes_the_folder():
    with Sleeper() as server:
        pid = server.pid
        assert alive(pid)
        assert os.getpgid(pid) == pid
    assert not alive(pid)
    assert not server.folder.exists()


def test_it_runs_once():
    server = Sleeper().start()
    pid = server.pid
    with pytest.raises(ServerError, match="running already"):
        server.start()
    with server:
        assert server.pid == pid
    assert not alive(pid)


def test_a_server_that_ends_while_starting_shows_its_log():
    with pytest.raises(ServerError, match=r"(?s)exit code 1\n(?=.*line one)(?=.*cannot open the database)"), Crasher():
        pass


def test_a_server_that_is_never_ready_is_given_up_and_killed():
    server = Dawdler()
    with pytest.raises(ServerError, match=r"(?s)not ready in 0\.5 s.*still thinking"), server:
        pass
    assert server.pid is None
    assert not server.folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
@pytest.mark.parametrize("starter", ["main", "thread"])
def test_no_server_outlives_a_killed_test_process(starter):
    code = textwrap.dedent(f"""
        import threading
        from test_harness_servers import Sleeper
        server = Sleeper()
        if {starter!r} == "main":
            server.start()
        else:
            thread = threading.Thread(target=server.start)
            thread.start()
            thread.join()
        print(server.pid, server.folder, flush=True)
        input()
    """)
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid, folder = child.stdout.readline().split()
    assert alive(int(pid)), "it must outlive the thread that started it"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    wait_until(lambda: not alive(int(pid)))
    subprocess.run(["rm", "-r", folder], check=True)


def test_a_server_not_stopped_is_stopped_at_exit():
    code = "from test_harness_servers import Sleeper; s = Sleeper().start(); print(s.pid, s.folder)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=True,
    )
    pid, folder = done.stdout.split()
    assert not alive(int(pid))
    assert not Path(folder).exists()
    assert done.stderr == ""


def test_mongod_keeps_its_data_over_a_crash():
    import pymongo

    with Mongod() as server, pymongo.MongoClient(server.url) as client:
        numbers = client.db.numbers.with_options(write_concern=pymongo.WriteConcern(w=1, j=True))
        numbers.insert_one({"_id": 1})
        pid = server.pid
        restarting = threading.Thread(target=server.restart)
        restarting.start()
        restarting.join()
        assert server.pid not in (None, pid)
        assert numbers.find_one() == {"_id": 1}


def test_seaweed_keeps_its_data_over_a_crash():
    import s3fs

    with SeaweedS3() as server:
        bucket = server.make_bucket("crash-bucket")
        server.create_bucket(bucket)
        options = server.options()
        filesystem = s3fs.S3FileSystem(**options, use_listings_cache=False, skip_instance_cache=True)
        filesystem.pipe_file(f"{bucket}/a", b"bytes" * 100_000)
        server.kill()
        assert not can_connect(server.port)
        server.start()
        assert filesystem.cat_file(f"{bucket}/a") == b"bytes" * 100_000
        filesystem.pipe_file(f"{bucket}/b", b"more")


def test_fake_gcs_keeps_its_data_over_a_crash():
    import gcsfs

    with FakeGCS() as server:
        bucket = server.make_bucket("crash-bucket")
        assert server.make_bucket("crash-bucket") == bucket
        filesystem = gcsfs.GCSFileSystem(**server.options(), use_listings_cache=False, skip_instance_cache=True)
        filesystem.pipe_file(f"{bucket}/a", b"bytes" * 100_000)
        server.restart()
        assert filesystem.cat_file(f"{bucket}/a") == b"bytes" * 100_000


def test_fixtures_hand_out_servers(mongod, fake_gcs):
    assert mongod.url.startswith("mongodb")
    assert fake_gcs.make_bucket("fixture-bucket") == "fixture-bucket"
    assert fake_gcs.options()["endpoint_url"] == fake_gcs.endpoint_url


def test_fixtures_use_the_servers_of_the_environment(monkeypatch):
    from harness import fixtures

    monkeypatch.setenv("DATASTACK_TEST_MONGODB_URL", "mongodb://user:pass@one.example:27018,two.example/db")
    monkeypatch.setenv("DATASTACK_TEST_S3_URL", "https://s3.example")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("DATASTACK_TEST_GCS_URL", "https://gcs.example")
    mongodb = next(fixtures.mongod.__wrapped__())
    assert (mongodb.url[-3:], mongodb.port) == ("/db", 27018)
    s3 = next(fixtures.seaweed.__wrapped__())
    assert s3.options() == {"key": "id", "secret": "secret", "endpoint_url": "https://s3.example"}
    gcs = next(fixtures.fake_gcs.__wrapped__())
    assert gcs.endpoint_url == "https://gcs.example"


def test_fixtures_fail_and_never_skip(monkeypatch):
    from harness import fixtures

    monkeypatch.delenv("DATASTACK_TEST_MONGODB_URL", raising=False)
    monkeypatch.setattr(fixtures, "Mongod", Crasher)
    with pytest.raises(pytest.fail.Exception, match=r"(?s)cannot open.*DATASTACK_TEST_MONGODB_URL.*libcurl4"):
        next(fixtures.mongod.__wrapped__())
