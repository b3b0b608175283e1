"""The server: wrong options, denied, unreachable, restarted."""

import logging
import pickle
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pymongo
import pytest

from datastack_fs.connectors.gridfs_filesystem import GridFSFileSystem
from harness.mongod import Mongod
from harness.ports import free_ports
from harness.proxy import FaultProxy

MIB = 1 << 20


def make(**options):
    return GridFSFileSystem(**options, skip_instance_cache=True)


def test_options_are_checked():
    with pytest.raises(TypeError, match="buckte"):
        make(url="mongodb://h/db", buckte="x")
    with pytest.raises(ValueError, match="one of"):
        make(url="mongodb://h/db", host="h")
    make(url="mongodb://h/db", use_listings_cache=False)
    with pytest.raises(ValueError, match="begins with mongodb://"):
        make(url="http://h/db").exists("x")
    with pytest.raises(ValueError, match="names no database"):
        make(url="mongodb://h").exists("x")
    with pytest.raises(ValueError, match=r"unknownOption|Unknown option"):
        make(url="mongodb://h/db", client_options={"unknownOption": 1}).exists("x")


def test_no_server_named(monkeypatch):
    monkeypatch.delenv("DATASTACK_MONGODB_URL", raising=False)
    with pytest.raises(ValueError, match="DATASTACK_MONGODB_URL"):
        make().exists("x")


def test_host_and_port(mongod, url, fs):
    fs.pipe_file("x", b"1")
    other = make(host="127.0.0.1", port=mongod.port, database=url.rsplit("/", 1)[1])
    assert other.cat_file("x") == b"1"
    other.close()
    third = make(url=mongod.url, database=url.rsplit("/", 1)[1])
    assert third.cat_file("x") == b"1"
    third.close()
    assert third.cat_file("x") == b"1"  # it connects anew
    third.close()


def test_the_bucket_may_stand_in_the_url(url, database, monkeypatch):
    separator = "&" if "?" in url else "?"
    named = f"{url}{separator}bucket=birds"
    monkeypatch.setenv("DATASTACK_MONGODB_URL", named)
    for fs in [make(url=named), make()]:
        assert fs.bucket == "birds"
        fs.pipe_file("x", b"1")
        fs.close()
    assert database["birds.files"].count_documents({}) == 1
    assert make(url=named, bucket="fish").bucket == "fish"


def test_a_dropped_filesystem_ends_its_connections(url):
    fs = make(url=url)
    fs.exists("x")
    client = fs.server.client()
    del fs
    with pytest.raises(pymongo.errors.InvalidOperation):
        client.admin.command("ping")


def test_secrets_stay_out_of_sight(monkeypatch):
    monkeypatch.setenv("DATASTACK_MONGODB_URL", "mongodb://me:hunter2@127.0.0.1:1/db")
    from_environment = make(timeout=0.2)
    given = make(url="mongodb://me:hunter2@127.0.0.1:1/db", timeout=0.2)
    parts = make(host="127.0.0.1", port=1, database="db", username="me", password="hunter2", timeout=0.2)
    for fs in [from_environment, given, parts]:
        assert "hunter2" not in repr(fs) + str(fs)
        with pytest.raises(ConnectionError) as caught:
            fs.exists("x")
        assert "hunter2" not in str(caught.value)
        assert "127.0.0.1:1" in str(caught.value)
        fs.close()
    assert b"hunter2" not in pickle.dumps(from_environment)


def test_unreachable_is_an_error_and_never_absence(tmp_path):
    (port,) = free_ports(1)
    fs = make(url=f"mongodb://127.0.0.1:{port}/db", timeout=0.3)
    calls = [
        lambda: fs.exists("x"),
        lambda: fs.isfile("x"),
        lambda: fs.isdir("x"),
        lambda: fs.ls(""),
        lambda: fs.find(""),
        lambda: fs.cat_file("x"),
        lambda: fs.pipe_file("x", b"1"),
        lambda: fs.rm("x"),
        lambda: fs.sweep(),
    ]
    begun = time.monotonic()
    with ThreadPoolExecutor(len(calls)) as pool:
        errors = [task.exception() for task in [pool.submit(call) for call in calls]]
    assert time.monotonic() - begun < 5
    for error in errors:
        assert isinstance(error, ConnectionError)
        assert isinstance(error.__cause__, pymongo.errors.ServerSelectionTimeoutError)
    fs.close()


class MongodWithUsers(Mongod):
    name = "mongod-auth"

    def command(self):
        return [*super().command(), "--auth"]


def test_denied_is_a_permission_error():
    with MongodWithUsers() as server:
        with pymongo.MongoClient(server.url) as client:
            client.admin.command("createUser", "root", pwd="pw", roles=["root"])
        with pymongo.MongoClient(server.url, username="root", password="pw") as client:
            client.lab.command("createUser", "reader", pwd="pw", roles=["read"])
        address = server.url.removeprefix("mongodb://")
        root = make(url=f"mongodb://root:pw@{address}/lab?authSource=admin")
        root.pipe_file("x", b"1")
        reader = make(url=f"mongodb://reader:pw@{address}/lab")
        assert reader.cat_file("x") == b"1"
        nobody = make(url=f"mongodb://{address}/lab")
        # A refused password makes the driver look for the server anew, at its next heartbeat: usually after 10 s.
        wrong = make(url=f"mongodb://reader:wrongpw@{address}/lab?heartbeatFrequencyMS=500")
        calls = [
            lambda: reader.pipe_file("x", b"2"),
            lambda: reader.rm("x"),
            lambda: reader.pipe_file("new", b"", mode="create"),
            lambda: nobody.exists("x"),
            lambda: nobody.ls(""),
            lambda: wrong.exists("x"),
            lambda: wrong.cat_file("x"),
        ]
        for call in calls:
            with pytest.raises(PermissionError) as caught:
                call()
            assert "wrongpw" not in str(caught.value)
        assert root.cat_file("x") == b"1"
        for fs in [root, reader, nobody, wrong]:
            fs.close()


@pytest.mark.timeout(25, func_only=True)  # a close that waited for the server that is gone would take 30 s
def test_a_restarted_server_is_waited_for_and_one_that_is_gone_is_not():
    with Mongod() as server:
        fs = make(url=f"{server.url}/db")
        data = random.Random(0).randbytes(24 * MIB)
        fs.pipe_file("x", data)
        file = fs.open("x")
        assert file.read(MIB) == data[:MIB]

        def blocks():
            for number in range(24):
                if number == 12:
                    server.kill()
                    server.restart()
                yield data[number * MIB : (number + 1) * MIB]

        fs.write("y", blocks())
        assert file.read() == data[MIB:]
        assert fs.cat_file("y") == data
        assert fs.sweep(-5) == 0
        server.kill()
        server.restart()
        assert fs.cat_ranges(["x"] * 10, 5, 10) == [data[5:10]] * 10
        server.kill()
        server.restart()
        fs.pipe_file("x", b"1", mode="overwrite")
        fs.pipe_file("z", b"1", mode="create")
        assert fs.cat("*") == {"x": b"1", "y": data, "z": b"1"}
        server.kill()
        fs.close()


@pytest.mark.parametrize("kind", ["rst", "fin"])
def test_cut_connections_are_tried_again(mongod, fs, url, kind):
    data = random.Random(0).randbytes(3 * MIB)
    fs.pipe_file("x", data)
    with FaultProxy("127.0.0.1", mongod.port, mode="raw") as proxy:
        through = make(url=f"mongodb://127.0.0.1:{proxy.port}/{url.rsplit('/', 1)[1]}")
        through.exists("x")
        for at in [0, 10, 100_000]:
            fault = proxy.arm(kind, at=at, times=1, when=lambda request: True)
            assert through.cat_file("x") == data
            with through.open("x") as file:
                assert file.read() == data
            proxy.arm(kind, at=0, times=1, when=lambda request: True)
            through.pipe_file("y", data)
            assert fs.cat_file("y") == data
            assert fault.fired
        through.close()


def test_nothing_is_logged_of_secrets(caplog):
    caplog.set_level(logging.DEBUG)
    fs = make(url="mongodb://me:hunter2@127.0.0.1:1/db", timeout=0.2, deadline=0)
    with pytest.raises(ConnectionError):
        fs.pipe_file("x", b"1")
    fs.close()
    assert "hunter2" not in caplog.text
