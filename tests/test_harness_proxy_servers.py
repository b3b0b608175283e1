"""The faults of the proxy as the clients of S3, GCS and MongoDB meet them, before the real servers."""

import os
import threading
import time

import pytest

from harness.proxy import FaultProxy, flipped_bits, ranged_get

CONTENT = os.urandom(1_000_000)


def is_put(request):
    return request.method == "PUT"


def is_find(request):
    return b"\x02find\x00" in request.raw


@pytest.fixture(scope="module")
def s3_filesystem(seaweed):
    import s3fs

    with FaultProxy.before(seaweed.endpoint_url) as proxy:
        seaweed.make_bucket("harness-proxy")
        options = {**seaweed.options(), "endpoint_url": proxy.url}
        filesystem = s3fs.S3FileSystem(**options, use_listings_cache=False, skip_instance_cache=True)
        filesystem.pipe_file("harness-proxy/a", CONTENT)
        yield filesystem, proxy


@pytest.fixture
def s3(s3_filesystem):
    filesystem, proxy = s3_filesystem
    proxy.disarm()
    proxy.delay = 0
    return filesystem, proxy


@pytest.fixture(scope="module")
def gcs(fake_gcs):
    import gcsfs

    with FaultProxy.before(fake_gcs.endpoint_url) as proxy:
        fake_gcs.make_bucket("harness-proxy")
        options = {**fake_gcs.options(), "endpoint_url": proxy.url}
        yield gcsfs.GCSFileSystem(**options, use_listings_cache=False, skip_instance_cache=True), proxy


@pytest.fixture
def mongo(mongod):
    import pymongo

    with (
        FaultProxy.before(mongod.url) as proxy,
        pymongo.MongoClient(proxy.url, directConnection=True) as client,
    ):
        client.drop_database("harness")
        client.harness.things.insert_many([{"_id": i, "data": bytes(100_000)} for i in range(20)])
        yield client.harness.things, proxy


def read(filesystem):
    with filesystem.open("harness-proxy/a", block_size=2**20) as file:
        return file.read()


def test_s3_signatures_hold(s3):
    filesystem, proxy = s3
    assert read(filesystem) == CONTENT
    assert any(ranged_get(request) for request in proxy.log)
    assert filesystem.ls("harness-proxy") == ["harness-proxy/a"]


def test_s3_delay(s3):
    filesystem, proxy = s3
    proxy.delay = 0.2
    began = time.monotonic()
    filesystem.info("harness-proxy/a")
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("kind", ["rst", "fin", "503"])
def test_s3_two_faults_then_the_right_bytes(s3, kind):
    filesystem, proxy = s3
    fault = proxy.arm(kind, at=400_000, times=2, when=ranged_get)
    assert read(filesystem) == CONTENT
    assert fault.fired == 2


def test_s3_flipped_bit_comes_through(s3):
    filesystem, proxy = s3
    fault = proxy.arm("flip", at=123_456, bit=3, when=ranged_get)
    assert flipped_bits(read(filesystem), CONTENT) == [8 * 123_456 + 3]
    assert fault.fired == 1


@pytest.mark.parametrize(
    ("kind", "side", "at"), [("rst", "up", 300_000), ("fin", "up", 1), ("rst", "down", None), ("503", "down", 0)]
)
def test_s3_upload_is_tried_again(s3, kind, side, at):
    filesystem, proxy = s3
    fault = proxy.arm(kind, side=side, at=at, when=is_put)
    filesystem.pipe_file("harness-proxy/cut", CONTENT)
    assert fault.fired == 1
    assert filesystem.cat_file("harness-proxy/cut") == CONTENT
    filesystem.rm_file("harness-proxy/cut")


def test_s3_upload_with_flipped_bit(s3):
    filesystem, proxy = s3
    fault = proxy.arm("flip", side="up", at=300_000, when=is_put)
    filesystem.pipe_file("harness-proxy/flipped", CONTENT)
    assert fault.fired == 1
    assert filesystem.cat_file("harness-proxy/flipped") == CONTENT, "the server noticed, the client sent it again"


def test_gcs_round_trip_stays_on_the_proxy(gcs):
    filesystem, proxy = gcs
    with filesystem.open("harness-proxy/a", "wb", block_size=2**18) as file:
        file.write(CONTENT)
    assert any("uploadType=resumable" in request.target for request in proxy.log)
    assert proxy.bytes_up > 1_000_000
    assert read(filesystem) == CONTENT


def test_gcs_two_faults_then_the_right_bytes(gcs):
    filesystem, proxy = gcs
    filesystem.pipe_file("harness-proxy/b", CONTENT)
    fault = proxy.arm("rst", at=400_000, times=2, when=lambda request: request.method == "GET")
    assert filesystem.cat_file("harness-proxy/b") == CONTENT
    assert fault.fired == 2


def test_mongodb_delay(mongo):
    things, proxy = mongo
    proxy.delay = 0.1
    began = time.monotonic()
    things.find_one({"_id": 1})
    assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("kind", ["rst", "fin", "drop"])
@pytest.mark.parametrize("at", [0, 500_000])
def test_mongodb_read_is_tried_again(mongo, kind, at):
    things, proxy = mongo
    fault = proxy.arm(kind, at=at, when=is_find)
    before = sum(map(is_find, proxy.log))
    assert len(list(things.find())) == 20
    assert sum(map(is_find, proxy.log)) == before + 2
    assert fault.fired == 1


def test_mongodb_stall_until_release(mongo):
    things, proxy = mongo
    proxy.arm("stall", at=100_000, when=is_find)
    found = []
    reader = threading.Thread(target=lambda: found.extend(things.find()))
    reader.start()
    deadline = time.monotonic() + 5
    while not proxy.fired["stall"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert found == []
    proxy.release()
    reader.join()
    assert len(found) == 20


def test_mongodb_flipped_bit_comes_through(mongo):
    things, proxy = mongo
    fault = proxy.arm("flip", at=50_000, when=is_find)
    assert sum(thing["data"] != bytes(100_000) for thing in things.find()) == 1
    assert fault.fired == 1
