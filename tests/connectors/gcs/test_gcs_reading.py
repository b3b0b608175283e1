"""Reading from Google Cloud Storage: through faults, of one generation, names that look like syntax, processes."""

import gc
import gzip
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from datastack_fs.connectors import GCSStorageConnector
from datastack_fs.errors import ConfigError, ResourceChangedError, ResourceNotFoundError, StorageUnavailableError
from datastack_fs.testing.content import noise, read_all, stamped
from harness.gcs_sessions import UNIT
from harness.ports import free_ports
from harness.proxy import ranged_get
from harness.stores import BUCKET, unique

MIB = 1 << 20


# Reading through a bad network.


@pytest.mark.parametrize("kind", ["rst", "fin", "cut", "drop", "dup-length", "503", "429", "408", "stall"])
def test_reads_the_right_bytes_through_faults(connector, proxy, kind):
    content = noise(3 * MIB)
    connector.set_resource("a", content)
    prefix = connector.url.removeprefix(f"gs://{BUCKET}/")
    with GCSStorageConnector(BUCKET, prefix, token="anon", endpoint_url=proxy.url, deadline=8) as shaky:
        fault = proxy.arm(kind, at=0 if kind in ("drop", "dup-length") else 40_000, times=2, when=ranged_get)
        assert read_all(shaky, "a") == content
        assert fault.fired == 2


@pytest.mark.parametrize("kind", ["rst", "503", "stall"])
def test_looks_up_and_lists_and_deletes_through_faults(proxied, proxy, kind):
    proxied.set_resource("a", b"1")
    for verb in (
        lambda: proxied.get_info("a").size == 1,
        lambda: proxied.has_resource("a"),
        lambda: list(proxied.list_resources()) == ["a"],
        lambda: proxied.delete_resource("a") is None,
        lambda: not proxied.has_resource("a"),
    ):
        fault = proxy.arm(kind, at=None if kind != "503" else 0)
        assert verb()
        assert fault.fired == 1


def test_a_delete_whose_answer_is_lost_is_done(proxied, proxy):
    proxied.set_resource("a", b"1")
    fault = proxy.arm("rst", at=None, when=lambda request: request.method == "DELETE")
    proxied.delete_resource("a")
    assert fault.fired == 1
    with pytest.raises(ResourceNotFoundError):
        proxied.delete_resource("a")


@pytest.mark.timeout(2 + 20, func_only=True)  # what the contract promises of a deadline of 2 s
@pytest.mark.parametrize("refusing", [True, False], ids=["resets", "nobody listens"])
def test_a_server_that_is_down_is_unavailable_within_the_deadline(proxy, refusing):
    proxy.refusing = True
    url = proxy.url if refusing else f"http://127.0.0.1:{free_ports(1)[0]}"
    with GCSStorageConnector(BUCKET, "down", token="anon", endpoint_url=url, deadline=2) as connector:
        _all_unavailable(
            lambda: connector.get_info("a"),
            lambda: connector.has_resource("a"),
            lambda: list(connector.list_resources()),
            lambda: connector.set_resource("a", b"1"),
            lambda: connector.delete_resource("a"),
        )


@pytest.mark.timeout(2 + 20, func_only=True)
def test_a_server_that_says_nothing_is_unavailable_within_the_deadline(proxied, proxy):
    proxied.set_resource("a", noise(MIB))
    with GCSStorageConnector(
        BUCKET, proxied.url.rpartition("/")[2], token="anon", endpoint_url=proxy.url, deadline=2
    ) as connector:
        info = connector.get_info("a")
        proxy.arm("stall", at=None, times=None)
        _all_unavailable(
            lambda: connector.get_info("a"),
            lambda: connector.get_ranges("a", [(0, 10), (900_000, MIB)], info=info),
            lambda: connector.set_resource("b", noise(MIB)),
        )


def test_a_reader_gets_old_bytes_or_resource_changed(connector):
    size = 3 * MIB
    other = pickle.loads(pickle.dumps(connector))
    outcomes = {"old": 0, "changed": 0}
    for number in range(50):
        connector.set_resource("a", stamped(2 * number, size))
        with connector.get_resource("a") as resource, ThreadPoolExecutor(1) as pool:
            resource.read(number * 1000)
            overwriting = pool.submit(other.set_resource, "a", stamped(2 * number + 1, size - number))
            try:
                resource.seek(0)
                content = resource.read()
            except ResourceChangedError:
                outcomes["changed"] += 1
            else:
                assert content == stamped(2 * number, size)
                outcomes["old"] += 1
            overwriting.result()
            with pytest.raises(ResourceChangedError):
                connector.get_ranges("a", [(0, 1)], info=resource.info)
    assert sum(outcomes.values()) == 50
    assert outcomes["changed"] > 0


def test_every_request_for_bytes_names_the_generation(proxied, proxy):
    info = proxied.set_resource("a", noise(MIB))
    proxied.get_ranges("a", [(0, 10), (500_000, 500_010)])
    asked = [request.target for request in proxy.log if ranged_get(request)]
    assert len(asked) == 2
    assert all(f"generation={info.version}" in target for target in asked)


def test_reads_the_stored_bytes_of_a_gzip_encoded_object(connector, server):
    stored = gzip.compress(noise(100_000))
    name = f"{connector.url.removeprefix(f'gs://{BUCKET}/')}/a.gz"
    _upload(server, name, stored, contentEncoding="gzip")
    info = connector.get_info("a.gz")
    assert (info.size, info.checksum) == (len(stored), None)
    assert read_all(connector, "a.gz") == stored


# Buckets and names.


def test_a_missing_bucket_is_named_and_never_made(server):
    with GCSStorageConnector("no-such-bucket", "x", **server.options(), chunk_size=UNIT) as connector:
        for call in (
            lambda: connector.get_resource("a"),
            lambda: connector.has_resource("a"),
            lambda: connector.get_info("a"),
            lambda: list(connector.list_resources()),
            lambda: connector.set_resource("a", b"1"),
            lambda: connector.set_resource("a", noise(3 * UNIT)),
            lambda: connector.set_resource("a", b"1", overwrite=False),
            lambda: connector.delete_resource("a"),
        ):
            with pytest.raises(ConfigError, match="gcloud storage buckets create gs://no-such-bucket"):
                call()
    assert "no-such-bucket" not in server._request("GET", "/storage/v1/b?project=test")[1].decode()


def test_a_missing_object_is_looked_for_in_one_request_once_the_bucket_is_known(proxied, proxy):
    assert proxied.has_resource("a") is False
    before = proxy.requests
    assert proxied.has_resource("b") is False
    assert proxy.requests == before + 1


def test_names_are_not_interpreted(connector):
    names = [
        "h",
        "h#1",
        "h?generation=1",
        "a*",
        "a[b]",
        "a%2Fb",
        "a/b",
        "100%",
        "a b",
        "a+b",
        "é/日本",
        "~x",
        "a&b=c;d",
    ]
    for name in names:
        connector.set_resource(name, name.encode())
    version = connector.get_info("h").version
    connector.set_resource(f"h#{version}", b"not h")
    assert {name: read_all(connector, name) for name in names} == {name: name.encode() for name in names}
    assert list(connector.list_resources()) == sorted([*names, f"h#{version}"])
    connector.delete_resource(f"h#{version}")
    assert read_all(connector, "h") == b"h"


def test_a_prefix_is_a_store_of_its_own(server):
    root = unique("own")
    whole, part, neighbour = (
        GCSStorageConnector(BUCKET, prefix, **server.options()) for prefix in (root, f"/{root}/a/", f"{root}/ab")
    )
    with whole, part, neighbour:
        part.set_resource("x", b"1")
        neighbour.set_resource("y", b"2")
        assert list(part.list_resources()) == ["x"]
        assert list(whole.list_resources("a")) == ["a/x", "ab/y"]
        assert list(whole.list_resources("a/")) == ["a/x"]
        assert part.url == f"gs://{BUCKET}/{root}/a"


def test_lists_page_by_page_and_no_further_than_asked(server, proxied, proxy):
    names = [f"many/{number:05}" for number in range(1205)]
    for name in names:
        _upload(server, f"{proxied.url.removeprefix(f'gs://{BUCKET}/')}/{name}", b"")
    before = proxy.requests
    listing = proxied.list_resources("many/")
    assert next(listing) == names[0]
    assert proxy.requests == before + 1
    assert [names[0], *listing] == names
    assert proxy.requests == before + 2


@pytest.mark.parametrize("bucket", ["", "a/b"])
def test_refuses_what_is_no_bucket(bucket):
    with pytest.raises(ConfigError, match="gs://bucket"):
        GCSStorageConnector(bucket)


def test_refuses_bad_options():
    with pytest.raises(ConfigError) as caught:
        GCSStorageConnector.from_url("gs://user:s3cret@bucket/x")
    assert "s3cret" not in str(caught.value)
    for size in (0, UNIT - 1, UNIT + 1):
        with pytest.raises(ConfigError, match="chunk_size"):
            GCSStorageConnector("bucket", chunk_size=size)
    with pytest.raises(ConfigError, match="prefix"):
        GCSStorageConnector("bucket", "x/" * 100)
    with pytest.raises(ValueError, match=r"\.\."):
        GCSStorageConnector("bucket", "../x")
    with pytest.raises(TypeError, match="colour"):
        GCSStorageConnector.from_url("gs://bucket", colour="red")


def test_takes_both_schemes(server):
    for scheme in ("gs", "gcs"):
        connector = GCSStorageConnector.from_url(f"{scheme}://{BUCKET}/some/prefix", **server.options())
        assert repr(connector) == f"GCSStorageConnector('gs://{BUCKET}/some/prefix')"


# Processes.


def test_a_child_that_ends_leaves_the_parents_connections_alone(connector):
    content = noise(2 * MIB)
    connector.set_resource("a", content)
    stop = threading.Event()
    wrong = []

    def read():
        while not stop.is_set():
            if connector.get_ranges("a", [(at, at + 1000) for at in range(0, 2 * MIB, 200_000)])[0] != content[:1000]:
                wrong.append(1)

    readers = [threading.Thread(target=read) for _ in range(6)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(10):
            child = multiprocessing.get_context("fork").Process(target=_read_and_collect, args=(connector, content))
            child.start()
            child.join(60)
            assert child.exitcode == 0
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not wrong
    assert read_all(connector, "a") == content


def test_works_where_gcsfs_was_imported_before_with_grpc_on(server):
    """gcsfs's own default asks an emulator over gRPC, for a minute, and dies of it in a forked child."""
    code = f"""
import gcsfs, os
from datastack_fs.connectors import GCSStorageConnector
connector = GCSStorageConnector({BUCKET!r}, {unique("own")!r}, endpoint_url={server.endpoint_url!r}, deadline=10)
connector.set_resource("a", b"12")
assert connector.get_resource("a").read() == b"12"
child = os.fork()
if child == 0:
    os._exit(0 if connector.get_resource("a").read() == b"12" else 1)
raise SystemExit(os.waitpid(child, 0)[1])
"""
    environment = {name: value for name, value in os.environ.items() if name != "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_says_what_to_install():
    code = """
import sys
sys.modules["gcsfs"] = None
try:
    from datastack_fs.connectors import GCSStorageConnector
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "MissingDependencyError gs:// needs gcsfs: pip install 'datastack-fs[gcs]'"


def _all_unavailable(*calls):
    """Makes the calls at the same time; each gives up."""

    def call_one(call):
        with pytest.raises(StorageUnavailableError, match=f"gs://{BUCKET}"):
            call()

    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(call_one, calls))


def _upload(server, name, content, **metadata):
    head = json.dumps({"name": name, **metadata}).encode()
    body = b"--B\r\nContent-Type: application/json\r\n\r\n%b\r\n--B\r\n\r\n%b\r\n--B--\r\n" % (head, content)
    url = f"{server.endpoint_url}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart&name={quote(name, safe='')}"
    headers = {"Content-Type": "multipart/related; boundary=B"}
    urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10).close()


def _read_and_collect(connector, content):
    assert read_all(connector, "a") == content
    connector.close()
    del connector
    gc.collect()
