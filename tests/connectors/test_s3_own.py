"""What is S3's own: its credentials, buckets, uploads and names, and what goes wrong between it and us."""

import asyncio
import io
import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from datastack_fs.connectors.s3 import S3StorageConnector
from datastack_fs.credentials import EnvironmentText
from datastack_fs.errors import (
    ConfigError,
    DatasetFileCorruptError,
    DatastackError,
    MaliciousFilePathError,
    ReadOnlyStorageError,
    ResourceChangedError,
    ResourceExistsError,
    ResourceNotFoundError,
    StoragePermissionError,
    StorageUnavailableError,
    UnsupportedStorageError,
)
from datastack_fs.testing.content import digest, noise, read_all, stamped, versions_in
from datastack_fs.testing.processes import in_child
from harness.children import has
from harness.ports import free_ports
from harness.proxy import FaultProxy, ranged_get
from harness.stores import unique

MIB = 1 << 20
BUCKET = "datastack-own"
LARGE = 17 * MIB + 5  # three parts, the last one short


@pytest.fixture
def server(seaweed, monkeypatch):
    """The server, and an environment in which the SDK finds nothing by itself."""
    account = seaweed.options()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    if "key" not in account:
        pytest.skip("these tests try several credentials, and DATASTACK_TEST_S3_URL's are the environment's")
    seaweed.make_bucket(BUCKET)
    return seaweed


@pytest.fixture
def connector(server):
    with S3StorageConnector(BUCKET, unique("store"), **server.options()) as connector:
        yield connector


@pytest.fixture
def proxy(server):
    with FaultProxy.before(server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def shaky(server, proxy, connector):
    """The same store as ``connector``, through the proxy."""
    with through(proxy, server, connector, deadline=30) as shaky:
        yield shaky


def through(proxy, server, connector, **options):
    folder = connector.url.removeprefix(f"s3://{BUCKET}/")
    options = {**server.options(), "endpoint_url": proxy.url, **options}
    return S3StorageConnector(BUCKET, folder, **options)


def call(connector, method, **parameters):
    """Asks the store itself, past the connector."""
    return connector._clients.get().call(method, **parameters)


def unfinished_uploads(connector):
    return call(connector, "list_multipart_uploads", Prefix=connector._folder).get("Uploads", [])


def puts(request):
    return request.method == "PUT" and "uploadId" not in request.target


def parts(request):
    return request.method == "PUT" and "partNumber" in request.target


def completes(request):
    return request.method == "POST" and "uploadId" in request.target


# Faults on the way.


@pytest.mark.parametrize("fault", ["rst", "fin", "503", "429", "500", "drop"])
def test_faults_while_reading_are_retried(connector, shaky, proxy, fault):
    content = noise(9 * MIB)
    connector.set_resource("a", content)
    fired = proxy.arm(fault, at=0 if fault.isdigit() or fault == "drop" else 400_000, times=2, when=ranged_get)
    assert read_all(shaky, "a") == content
    assert fired.fired == 2


def test_a_stalled_read_is_retried(server, connector, proxy):
    content = noise(3 * MIB)
    connector.set_resource("a", content)
    fault = proxy.arm("stall", at=100_000, times=2, when=ranged_get)
    with through(proxy, server, connector, deadline=3) as impatient:
        assert read_all(impatient, "a") == content
    assert fault.fired == 2


@pytest.mark.parametrize("times", [3, 30], ids=["now and then", "often"])
def test_many_ranges_survive_a_bad_network(connector, shaky, proxy, times):
    content = noise(4 * MIB)
    info = connector.set_resource("a", content)
    kinds = itertools.cycle(["rst", "503", "fin"])
    for _ in range(times):
        proxy.arm(next(kinds), at=0, when=ranged_get)
    ranges = [(start, start + 100) for start in range(0, 4 * MIB, 80 << 10)]
    assert shaky.get_ranges("a", ranges, info=info) == [content[start:stop] for start, stop in ranges]
    assert sum(proxy.fired.values()) >= 3


@pytest.mark.parametrize(("fault", "at"), [("503", 0), ("rst", None), ("stall", None)])
def test_endless_faults_end_as_unavailable(server, connector, proxy, fault, at):
    info = connector.set_resource("a", b"content")
    proxy.arm(fault, at=at, times=None)
    with through(proxy, server, connector, deadline=1) as shaky:
        for error in errors_of(operations(shaky, info)):
            assert isinstance(error, StorageUnavailableError), error
    assert read_all(connector, "a") == b"content"


def test_a_server_that_is_down_is_unavailable_by_its_address():
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    down = S3StorageConnector(BUCKET, key="k", secret="s3cret", endpoint_url=endpoint, deadline=1)
    for error in errors_of(operations(down)):
        assert isinstance(error, StorageUnavailableError), error
        assert endpoint in str(error)
        assert "s3cret" not in str(error)


def errors_of(operations):
    """What each of them raises, all at once: each may take its whole deadline."""
    operations = list(operations)
    with ThreadPoolExecutor(len(operations)) as pool:
        return [task.exception() for task in [pool.submit(operation) for operation in operations]]


def operations(connector, info=None):
    yield lambda: connector.get_resource("a")
    yield lambda: connector.has_resource("a")
    yield lambda: list(connector.list_resources())
    yield lambda: connector.set_resource("b", b"content")
    yield lambda: connector.set_resource("b", noise(LARGE))
    yield lambda: connector.set_resource("b", b"content", overwrite=False)
    yield lambda: connector.delete_resource("a")
    yield lambda: connector.sweep(0)
    if info is not None:
        yield lambda: connector.get_ranges("a", [(0, 1)], info=info)


def test_an_interrupted_read_leaves_no_task(server, connector, proxy):
    info = connector.set_resource("a", noise(MIB))
    with through(proxy, server, connector) as shaky:
        shaky.has_resource("a")
        loop = shaky._clients.get().loop
        before = tasks_of(loop)

        def interrupt(request):
            if ranged_get(request):
                ctrl_c()
            return ranged_get(request)

        ctrl_c = once(interrupt_main)

        proxy.arm("stall", times=None, when=interrupt)
        with pytest.raises(KeyboardInterrupt):
            shaky.get_ranges("a", [(start, start + 10) for start in range(0, MIB, 100_000)], info=info)
        for _ in range(1000):  # the cancelling takes a few turns of the loop
            if tasks_of(loop) <= before:
                break
        assert tasks_of(loop) <= before
        proxy.disarm()
        assert shaky.get_ranges("a", [(0, 4)], info=info) == [noise(MIB)[:4]]


def interrupt_main():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def once(action):
    """The action, but the first time only: a second interrupt would come when the test expects none any more."""
    free = threading.Lock()
    return lambda: action() if free.acquire(blocking=False) else None


def tasks_of(loop):
    async def count():
        return len(asyncio.all_tasks())

    return asyncio.run_coroutine_threadsafe(count(), loop).result()


# Faults while writing.


WRITES = {"put": (1000, puts), "file": (3 * MIB, puts), "part": (LARGE, parts), "completion": (LARGE, completes)}


@pytest.mark.parametrize(
    ("fault", "at", "side"),
    [("503", 0, "down"), ("rst", 0, "up"), ("stall", 0, "up"), ("rst", None, "down"), ("stall", None, "down")],
    ids=["503", "reset", "stalled", "answer lost", "answer stalled"],
)
def test_faults_while_writing_are_retried(server, connector, proxy, fault, at, side):
    """In writes of each kind, which wait at the same time."""
    armed = {}
    for name, (_, which) in WRITES.items():
        connector.set_resource(name, b"old")
        armed[name] = proxy.arm(fault, at=at, side=side, times=2, when=partial(asks, which, name))
    contents = {name: noise(size) for name, (size, _) in WRITES.items()}
    with through(proxy, server, connector, deadline=6) as shaky, ThreadPoolExecutor(len(contents)) as pool:
        infos = list(pool.map(shaky.set_resource, contents, contents.values()))
    for info, (name, content) in zip(infos, contents.items(), strict=True):
        assert armed[name].fired == 2, name
        assert info == connector.get_info(name)
        assert info.checksum == digest(content)
        assert digest(read_all(connector, name)) == digest(content)
    assert unfinished_uploads(connector) == []


def asks(which, name, request):
    return which(request) and request.target.partition("?")[0].endswith(f"/{name}")


@pytest.mark.parametrize(("size", "which"), [(3 * MIB, puts), (LARGE, parts)], ids=["put", "part"])
def test_a_bit_flipped_on_its_way_up_is_refused_and_sent_again(connector, shaky, proxy, size, which):
    fault = proxy.arm("flip", at=2 * MIB, side="up", when=which)
    content = noise(size)
    shaky.set_resource("a", content)
    assert fault.fired == 1
    assert digest(read_all(connector, "a")) == digest(content)


@pytest.mark.parametrize(("size", "which"), [(1000, puts), (LARGE, puts)], ids=["small", "large"])
def test_a_created_resource_whose_answer_was_lost_is_created(connector, shaky, proxy, size, which):
    shaky.set_resource("other", b"", overwrite=False)  # the store has been tried out
    fault = proxy.arm("rst", at=None, when=which)
    shaky.set_resource("a", noise(size), overwrite=False)
    assert fault.fired == 1
    assert digest(read_all(connector, "a")) == digest(noise(size))
    with pytest.raises(ResourceExistsError):
        shaky.set_resource("a", noise(size), overwrite=False)


@pytest.mark.parametrize(("size", "which"), [(1000, puts), (LARGE, completes)], ids=["put", "multipart"])
def test_a_write_whose_answers_are_all_lost_is_looked_up(server, connector, proxy, size, which):
    proxy.arm("rst", at=None, times=None, when=which)
    with through(proxy, server, connector, deadline=1) as shaky:
        info = shaky.set_resource("a", noise(size))
    assert info == connector.get_info("a")
    assert digest(read_all(connector, "a")) == digest(noise(size))


def test_a_delete_whose_answer_was_lost_succeeds(connector, shaky, proxy):
    connector.set_resource("a", b"1")
    fault = proxy.arm("rst", at=None, when=lambda request: request.method == "DELETE")
    shaky.delete_resource("a")
    assert fault.fired == 1
    assert not connector.has_resource("a")


def test_a_part_that_never_arrives_aborts_the_upload(server, connector, proxy):
    connector.set_resource("a", b"old")
    proxy.arm("503", times=None, when=lambda request: "partNumber=2" in request.target)
    with through(proxy, server, connector, deadline=1) as shaky, pytest.raises(StorageUnavailableError):
        shaky.set_resource("a", noise(LARGE))
    assert read_all(connector, "a") == b"old"
    assert unfinished_uploads(connector) == []


class SecondReading(io.BytesIO):
    """Does something else when it is read for the second time."""

    def __init__(self, content, then):
        super().__init__(content)
        self.then = then
        self.readings = 0

    def seek(self, offset, whence=0):
        self.readings += 1
        return super().seek(offset, whence)

    def read(self, size=-1):
        if self.readings and self.tell() > 9 * MIB:
            self.then(self)
        return super().read(size)


@pytest.mark.parametrize(
    ("then", "error"),
    [
        (lambda _: (_ for _ in ()).throw(KeyboardInterrupt), KeyboardInterrupt),
        (lambda _: (_ for _ in ()).throw(OSError("disk on fire")), OSError),
        (lambda source: source.getbuffer().__setitem__(slice(-5, None), b"other"), DatasetFileCorruptError),
    ],
    ids=["interrupted", "failing", "changed"],
)
def test_a_source_that_fails_at_its_second_reading_aborts_the_upload(connector, then, error):
    connector.set_resource("a", b"old")
    with pytest.raises(error):
        connector.set_resource("a", SecondReading(noise(LARGE), then))
    assert read_all(connector, "a") == b"old"
    assert unfinished_uploads(connector) == []


def test_ctrl_c_while_parts_are_sent_aborts_the_upload(connector, shaky, proxy):
    connector.set_resource("a", b"old")

    def interrupt(request):
        if "partNumber=3" in request.target:
            ctrl_c()
        return parts(request)

    ctrl_c = once(interrupt_main)
    proxy.arm("stall", at=1000, times=None, side="up", when=interrupt)
    with pytest.raises(KeyboardInterrupt):
        shaky.set_resource("a", noise(LARGE))
    assert read_all(connector, "a") == b"old"
    assert unfinished_uploads(connector) == []


def test_an_s3_resource_is_a_source_for_s3(connector):
    content = noise(LARGE)
    connector.set_resource("a", content)
    with connector.get_resource("a") as source:
        connector.set_resource("b", source)
    with connector.get_resource("a") as source:
        connector.set_resource("c", source, overwrite=False)
    assert digest(read_all(connector, "b")) == digest(read_all(connector, "c")) == digest(content)


def test_a_resource_with_a_checksum_is_read_once(connector, shaky, proxy):
    content = noise(LARGE)
    for size in [3 * MIB, LARGE]:
        connector.set_resource("a", content[:size])
        with shaky.get_resource("a") as source:
            before = proxy.bytes_down
            info = connector.set_resource("b", source)
        assert size <= proxy.bytes_down - before < size + MIB
        assert info.checksum == digest(content[:size])
        assert digest(read_all(connector, "b")) == info.checksum


def test_a_source_that_breaks_its_promise_aborts_the_upload(connector):
    connector.set_resource("a", b"old")
    for size in [1000, 3 * MIB, LARGE]:
        with pytest.raises(DatasetFileCorruptError, match="expected sha256"):
            connector.set_resource("a", io.BytesIO(noise(size)), checksum=digest(b"other"))
    assert read_all(connector, "a") == b"old"
    assert unfinished_uploads(connector) == []


def test_size_and_checksum_stand_in_the_metadata(connector):
    for name, size in {"small": 10, "large": LARGE}.items():
        connector.set_resource(name, noise(size))
        found = call(connector, "head_object", Key=connector._folder + name)
        assert f"sha256:{found['Metadata']['datastack-sha256']}" == digest(noise(size))
        assert found["ContentLength"] == size


def test_an_object_of_another_program_has_no_checksum(connector):
    call(connector, "put_object", Key=f"{connector._folder}a", Body=b"abc", Metadata={"datastack-sha256": "nonsense"})
    assert connector.get_info("a").checksum is None
    assert read_all(connector, "a") == b"abc"


def test_memory_stays_bounded_while_parts_are_sent(connector):
    code = """
import pickle, resource, sys
connector = pickle.load(sys.stdin.buffer)
connector.set_resource("a", b"-")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
connector.set_resource("a", (bytes(1 << 20) for _ in range(256)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(connector), capture_output=True, check=True)
    assert int(done.stdout) < 128 << 10, "KiB"
    assert connector.get_info("a").size == 256 * MIB


# Versions.


@pytest.mark.parametrize("change", ["replaced", "shorter", "deleted"])
def test_a_version_that_is_gone_is_told(connector, change):
    info = connector.set_resource("a", stamped(1, MIB))
    with connector.get_resource("a") as resource:
        assert versions_in(resource.read(100)) == {1}
        if change == "deleted":
            connector.delete_resource("a")
        else:
            connector.set_resource("a", stamped(2, MIB if change == "replaced" else 10))
        resource.seek(MIB // 2)
        with pytest.raises(ResourceChangedError, match="a in s3://"):
            resource.read(100)
    with pytest.raises(ResourceChangedError):
        connector.get_ranges("a", [(0, 10), (MIB // 2, MIB)], info=info)


@pytest.mark.parametrize("size", [1000, LARGE], ids=["small", "large"])
def test_exactly_one_of_eight_creates(connector, size):
    together = threading.Barrier(8)

    def source(number):
        together.wait(30)  # all have looked and found nothing
        yield stamped(number, size)

    def create(number):
        try:
            connector.set_resource("new", source(number), overwrite=False)
        except ResourceExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        (winner,) = [number for number in pool.map(create, range(1, 9)) if number]
    assert versions_in(read_all(connector, "new")) == {winner}
    assert list(connector.list_resources()) == ["new"]
    assert connector.sweep(0) == 0


class CarelessStore(BaseHTTPRequestHandler):
    """A store that answers every request with success, and ignores what it doesn't know: conditions and ranges."""

    content = b"whatever was asked for"
    stored: list[str]

    def do_HEAD(self):
        self.answer(404 if self.path.endswith("/new") else 200)

    def do_GET(self):
        self.answer(200, self.content)

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.stored.append(self.path)
        self.answer(200)

    def do_DELETE(self):
        self.server.stored.append(f"-{self.path}")
        self.answer(204)

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("ETag", '"1-2"')
        self.send_header("Content-Length", str(len(self.content) if self.command in ("GET", "HEAD") else 0))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def careless():
    with ThreadingHTTPServer(("127.0.0.1", 0), CarelessStore) as web:
        web.stored = []
        threading.Thread(target=web.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{web.server_port}"
        with S3StorageConnector("lab", key="k", secret="s", endpoint_url=endpoint, deadline=1) as connector:
            yield connector, web
        web.shutdown()


def test_a_store_that_ignores_conditions_is_found_out(careless):
    connector, web = careless
    with pytest.raises(UnsupportedStorageError, match="If-None-Match"):
        connector.set_resource("new", b"1", overwrite=False)
    put, again, deleted = web.stored
    assert put == again == deleted[1:]
    assert "/lab/.datastack-probe-" in put


def test_a_store_that_ignores_ranges_is_found_out(careless):
    connector, _ = careless
    whole = len(CarelessStore.content)
    assert connector.get_ranges("a", [(0, whole)]) == [CarelessStore.content]
    with pytest.raises(UnsupportedStorageError, match="ranges"):
        connector.get_ranges("a", [(3, whole)])


# Buckets and credentials.


def test_a_missing_bucket_is_named_and_never_made(server, connector):
    name = unique("nowhere")
    missing = S3StorageConnector(name, **server.options())
    for operation in operations(missing):
        with pytest.raises(ConfigError) as caught:
            operation()
        assert name in str(caught.value)
        assert f"aws s3 mb s3://{name}" in str(caught.value)
    buckets = connector._clients.get()
    listed = asyncio.run_coroutine_threadsafe(buckets._client.list_buckets(), buckets.loop).result()
    assert name not in [bucket["Name"] for bucket in listed["Buckets"]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": "wr0ng-s3cret"},
        {"key": "nobody", "secret": "wr0ng-s3cret"},
        {"anon": True, "key": None, "secret": None},
    ],
    ids=["secret", "key", "anonymous"],
)
def test_wrong_credentials_are_refused_without_the_secret(server, connector, wrong):
    connector.set_resource("a", b"1")
    stranger = S3StorageConnector(BUCKET, connector._folder, **{**server.options(), **wrong})
    for operation in operations(stranger, connector.get_info("a")):
        with pytest.raises(StoragePermissionError) as caught:
            operation()
        told = f"{caught.value} {caught.value!r} {caught.value.__cause__} {stranger!r} {stranger.url}"
        assert "wr0ng-s3cret" not in told
    assert read_all(connector, "a") == b"1"


def test_no_credentials_at_all_says_what_to_give(server):
    with pytest.raises(StoragePermissionError, match="AWS_ACCESS_KEY_ID"):
        S3StorageConnector(BUCKET, endpoint_url=server.endpoint_url).has_resource("a")


def test_half_a_credential_is_a_configuration_error(server):
    with pytest.raises(ConfigError, match="aws_secret_access_key"):
        S3StorageConnector(BUCKET, key="test", endpoint_url=server.endpoint_url).has_resource("a")


@pytest.mark.parametrize("endpoint", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_the_environment_of_the_sdk_is_enough(server, connector, monkeypatch, endpoint):
    connector.set_resource("a", b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret)
    monkeypatch.setenv(endpoint, server.endpoint_url)
    with S3StorageConnector.from_url(connector.url) as found:
        assert read_all(found, "a") == b"1"
    pickled = pickle.dumps(found)
    assert server.secret.encode() not in pickled
    assert in_child("spawn", has, pickled, "a") is True


def test_a_profile_of_the_sdk_is_enough(server, connector, monkeypatch, tmp_path):
    connector.set_resource("a", b"1")
    (tmp_path / "config").write_text(
        f"[profile lab]\naws_access_key_id = {server.key}\naws_secret_access_key = {server.secret}\n"
        f"endpoint_url = {server.endpoint_url}\nregion = us-east-1\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert S3StorageConnector.from_url(connector.url, profile="lab").has_resource("a")
    with pytest.raises(ConfigError, match="nobody"):
        S3StorageConnector.from_url(connector.url, profile="nobody").has_resource("a")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert S3StorageConnector.from_url(connector.url).has_resource("a")


def test_arguments_win_over_the_environment(server, connector, monkeypatch):
    connector.set_resource("a", b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "else")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "9")
    assert S3StorageConnector.from_url(connector.url, **server.options()).has_resource("a")


def test_references_to_the_environment_are_read_late_and_not_pickled(server, connector, monkeypatch):
    connector.set_resource("a", b"1")
    options = {name: EnvironmentText(f"${{LAB_{name.upper()}}}") for name in server.options()}
    found = S3StorageConnector.from_url(connector.url, **options)
    with pytest.raises(ConfigError, match="LAB_"):
        found.has_resource("a")
    for name, value in server.options().items():
        monkeypatch.setenv(f"LAB_{name.upper()}", value)
    assert found.has_resource("a")
    pickled = pickle.dumps(found)
    assert server.secret.encode() not in pickled
    assert b"${LAB_SECRET}" in pickled
    assert in_child("spawn", has, pickled, "a") is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("",), "bucket"),
        (("key:s3cret@lab",), "no credentials"),
        (("lab", "x" * 124), "123 bytes"),
        (("lab", "a/../b"), "'..'"),
    ],
)
def test_refuses_what_is_no_store(arguments, message):
    with pytest.raises((ConfigError, MaliciousFilePathError), match=message) as caught:
        S3StorageConnector(*arguments)
    assert "s3cret" not in str(caught.value)


def test_refuses_parts_too_small_for_s3():
    with pytest.raises(ConfigError, match="part_size"):
        S3StorageConnector("lab", part_size=1000)


@pytest.mark.parametrize("endpoint", ["nonsense", "http://", "127.0.0.1:80"])
def test_a_malformed_endpoint_is_a_configuration_error(endpoint):
    with pytest.raises(ConfigError):
        S3StorageConnector("lab", key="k", secret="s", endpoint_url=endpoint).has_resource("a")


@pytest.mark.parametrize("bucket", ["a b", "UPPER_case!", "x"])
def test_a_name_that_no_bucket_has_is_a_configuration_error(server, bucket):
    with pytest.raises(ConfigError, match=bucket):
        S3StorageConnector(bucket, **server.options()).has_resource("a")


def test_urls():
    for url in ("s3://lab/a b/c%20d?x#y", "s3a://lab/a b/c%20d?x#y"):
        assert S3StorageConnector.from_url(url).url == "s3://lab/a b/c%20d?x#y"
    assert S3StorageConnector.from_url("s3://lab/").url == S3StorageConnector("lab").url == "s3://lab"
    assert S3StorageConnector.split_url("s3://lab/birds/train.h5") == ("s3://lab", "birds/train.h5")
    assert repr(S3StorageConnector("lab", "v2", key="k", secret="s")) == "S3StorageConnector('s3://lab/v2')"


def test_read_only(server, connector):
    connector.set_resource("a", b"1")
    reader = S3StorageConnector.from_url(connector.url, **server.options(), read_only=True)
    assert read_all(reader, "a") == b"1"
    for write in (lambda: reader.set_resource("b", b"2"), lambda: reader.delete_resource("a"), reader.sweep):
        with pytest.raises(ReadOnlyStorageError):
            write()


# Names.

SPECIAL = ["#", "a?versionId=1", "a*b[c]", "50%", "%2e%2e", "a b", "a+b&c=d", "é/日本/🦜", "a:b/c:d"[2:], "~", "<x>"]


def test_names_are_keys_as_they_stand(connector):
    for name in SPECIAL:
        connector.set_resource(name, name.encode())
    assert {name: read_all(connector, name) for name in SPECIAL} == {name: name.encode() for name in SPECIAL}
    assert list(connector.list_resources()) == sorted(SPECIAL)
    listed = call(connector, "list_objects_v2", Prefix=connector._folder)["Contents"]
    assert sorted(entry["Key"] for entry in listed) == sorted(connector._folder + name for name in SPECIAL)


def test_lists_in_order_whatever_the_server_does(connector):
    names = ["a", "a b", "a!", "a-b", "a.b", "a/b", "a/c/d", "a0", "b/a", "b-a"]
    for name in names:
        connector.set_resource(name, b"")
    assert list(connector.list_resources()) == sorted(names)
    assert list(connector.list_resources("a")) == [name for name in sorted(names) if name.startswith("a")]
    assert list(connector.list_resources("a/")) == ["a/b", "a/c/d"]


def test_nothing_outside_the_prefix_is_reached(server, connector):
    folder = connector._folder.rstrip("/")
    for key in (f"{folder}-too/a", f"{folder}2", f"{folder}.txt"):
        call(connector, "put_object", Key=key, Body=b"")
    assert list(connector.list_resources()) == []
    connector.set_resource("inner/a", b"1")
    inner = S3StorageConnector(BUCKET, f"{folder}/inner", **server.options())
    assert list(inner.list_resources()) == ["a"]
    assert read_all(inner, "a") == b"1"


def test_what_is_outside_the_grammar_is_not_listed(connector):
    for key in ("a/", ".datastack-tmp-1", "b/.datastack-tmp-2", "e\u0301", "x" * 201, "ok"):
        call(connector, "put_object", Key=connector._folder + key, Body=b"")
    assert list(connector.list_resources()) == ["ok"]


# Sweeping.


def test_sweeps_old_unfinished_uploads_of_its_own(connector):
    folder = connector._folder

    def begin(key):
        return call(connector, "create_multipart_upload", Key=key)["UploadId"]

    ours, others = [begin(f"{folder}a"), begin(f"{folder}b/c")], begin(f"{folder.rstrip('/')}-other/a")
    call(connector, "put_object", Key=f"{folder}.datastack-probe-1", Body=b"")
    connector.set_resource("kept", b"1")
    try:
        assert connector.sweep(3600) == 0
        assert {upload["UploadId"] for upload in unfinished_uploads(connector)} == set(ours)
        assert connector.sweep(0) == 3
        assert connector.sweep(0) == 0
        assert unfinished_uploads(connector) == []
        left = call(connector, "list_multipart_uploads", Prefix=f"{folder.rstrip('/')}-other/")["Uploads"]
        assert [upload["UploadId"] for upload in left] == [others]
        assert list(connector.list_resources()) == ["kept"]
    finally:
        call(connector, "abort_multipart_upload", Key=f"{folder.rstrip('/')}-other/a", UploadId=others)


def test_an_upload_swept_while_it_is_written_says_so(connector, shaky, proxy):
    connector.set_resource("a", b"old")

    def sweep(request):
        if completes(request):
            connector.sweep(0)
        return False

    proxy.arm("503", when=sweep)
    with pytest.raises(DatastackError, match="sweep"):
        shaky.set_resource("a", noise(LARGE))
    assert read_all(connector, "a") == b"old"


# Processes.


def test_forks_while_other_threads_are_busy(connector):
    content = noise(2 * MIB)
    info = connector.set_resource("a", content)
    over = threading.Event()

    def read_on():
        while not over.is_set():
            assert connector.get_ranges("a", [(0, 100), (MIB, MIB + 100)], info=info)[0] == content[:100]

    with ThreadPoolExecutor(4) as pool, connector.get_resource("a") as resource:
        busy = [pool.submit(read_on) for _ in range(4)]
        resource.read(1000)
        statuses = [fork_and_read(connector, resource, content) for _ in range(10)]
        over.set()
        for task in busy:
            task.result()
        assert statuses == [0] * 10
        assert resource.read() == content[1000:]


def fork_and_read(connector, resource, content):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(60)
            if resource.read() == content[1000:] and connector.set_resource(f"child-{os.getpid()}", b"1").size == 1:
                status = 0
            # What the child inherited goes, and the parent's connections must not notice.
            connector.close()
            del connector, resource
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def test_a_connector_dropped_in_a_child_leaves_the_parents_connections_alone(server, connector):
    content = noise(MIB)
    info = connector.set_resource("a", content)
    held = [S3StorageConnector.from_url(connector.url, **server.options())]
    held[0].get_ranges("a", [(0, 10)], info=info)
    pid = os.fork()
    if pid == 0:
        held.clear()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    for start in range(0, 1000, 100):
        assert held[0].get_ranges("a", [(start, start + 10)], info=info) == [content[start : start + 10]]


def test_says_nothing_when_it_is_dropped_or_the_interpreter_ends(connector):
    connector.set_resource("a", b"1")
    code = """
import gc, pickle, sys
connector = pickle.load(sys.stdin.buffer)
other = pickle.loads(pickle.dumps(connector))
assert connector.has_resource("a") and other.has_resource("a")
del other
gc.collect()
"""
    command = [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", code]
    done = subprocess.run(command, input=pickle.dumps(connector), capture_output=True, check=True)
    assert b"nclosed" not in done.stderr
    assert b"never" not in done.stderr


def test_says_what_to_install():
    code = """
import sys
sys.modules["s3fs"] = None
from datastack_fs.errors import MissingDependencyError
try:
    from datastack_fs.connectors import S3StorageConnector
except MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "s3:// needs s3fs: pip install 'datastack-fs[s3]'"


def test_not_found_is_told_by_name(connector):
    with pytest.raises(ResourceNotFoundError, match="birds/owl"):
        connector.get_resource("birds/owl")
