"""What is Google Cloud Storage's own: its uploads, names, credentials, and what goes wrong between it and us.

Against fake-gcs-server; resumable sessions, which that has wrong, against the protocol that Google documents, put
before the same server (``harness.gcs_sessions``).
"""

import gc
import gzip
import io
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
from harness.fakegcs import FakeGCS
from harness.gcs_sessions import GoogleSessions
from harness.ports import free_ports
from harness.proxy import FaultProxy, ranged_get
from harness.stores import unique

from datastack_fs.connectors.gcs import GCSStorageConnector
from datastack_fs.credentials import EnvironmentText
from datastack_fs.errors import (
    ConfigError,
    DatasetFileCorruptError,
    ResourceChangedError,
    ResourceExistsError,
    ResourceNotFoundError,
    StoragePermissionError,
    StorageUnavailableError,
)
from datastack_fs.testing.content import failing, noise, read_all, stamped, stamped_blocks, versions_in

KIB = 1 << 10
MIB = 1 << 20
UNIT = 256 * KIB
BUCKET = "datastack-own"
CREDENTIALS = ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT")
LARGE = 5 * UNIT + 12_345


@pytest.fixture
def server(fake_gcs):
    if not isinstance(fake_gcs, FakeGCS):
        pytest.skip("these tests break their server's answers: they need fake-gcs-server")
    fake_gcs.make_bucket(BUCKET)
    return fake_gcs


@pytest.fixture
def connector(server):
    with GCSStorageConnector(BUCKET, unique("own"), **server.options()) as connector:
        yield connector


@pytest.fixture
def proxy(server):
    with FaultProxy.before(server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy):
    with GCSStorageConnector(BUCKET, unique("own"), token="anon", endpoint_url=proxy.url, deadline=8) as connector:
        yield connector


@pytest.fixture
def google(server):
    with GoogleSessions(server.port) as google:
        yield google


@pytest.fixture
def google_proxy(google):
    with FaultProxy.before(google.url) as proxy:
        yield proxy


@pytest.fixture
def in_sessions(google_proxy):
    """A connector whose writes of more than 256 KiB go through sessions."""
    with GCSStorageConnector(
        BUCKET, unique("own"), token="anon", endpoint_url=google_proxy.url, deadline=8, chunk_size=UNIT
    ) as connector:
        yield connector


@pytest.fixture
def no_google(monkeypatch, tmp_path):
    """An environment without any Google credentials."""
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


def uploads(request):
    return request.method in ("POST", "PUT") and request.target.startswith("/upload/")


def chunks(request):
    """Requests that bring bytes to a session."""
    return request.method == "PUT" and not request.headers["content-range"].startswith("bytes */")


def last_chunks(request):
    return chunks(request) and request.headers["content-range"].rpartition("/")[2] == str(
        int(request.headers["content-range"].rpartition("/")[0].rpartition("-")[2]) + 1
    )


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
            lambda: connector.set_resource("a", noise(LARGE)),
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


# Writing in one request.


def test_an_insert_whose_answer_is_lost_is_found_and_not_repeated(proxied, proxy):
    for overwrite in (False, True):
        before = sum(map(uploads, proxy.log))
        fault = proxy.arm("rst", at=None, when=uploads)
        info = proxied.set_resource("a", noise(100_000, overwrite), overwrite=overwrite)
        assert fault.fired == 1
        assert sum(map(uploads, proxy.log)) == before + 1
        assert proxied.get_info("a") == info
        assert read_all(proxied, "a") == noise(100_000, overwrite)


def test_an_insert_that_is_stored_later_than_it_is_looked_for_is_found(proxied, proxy):
    """The look finds nothing, the repeated insert meets the first one: no ResourceExistsError for one's own object."""
    lost = proxy.arm("rst", at=None, when=uploads)
    hidden = proxy.arm("404", when=lambda request: request.method == "GET" and lost.fired == 1)
    info = proxied.set_resource("a", b"mine", overwrite=False)
    assert (lost.fired, hidden.fired) == (1, 1)
    assert proxied.get_info("a") == info


@pytest.mark.parametrize("kind", ["rst", "fin", "stall", "503", "429", "drop"])
def test_an_insert_is_tried_again(proxied, proxy, kind):
    content = noise(700_000)
    at = 100_000 if kind in ("rst", "fin", "stall") else 0
    fault = proxy.arm(kind, at=at, times=2, when=uploads, side="up" if at else "down")
    proxied.set_resource("a", content, overwrite=False)
    assert fault.fired == 2
    assert read_all(proxied, "a") == content


def test_a_slow_upload_is_no_stalled_one(proxy):
    with GCSStorageConnector(
        BUCKET, unique("own"), token="anon", endpoint_url=proxy.url, deadline=8, chunk_size=64 * MIB
    ) as connector:
        # 4 s, in which it never stands still for 2 s. (The system's buffers take the last megabytes at once.)
        slow = proxy.arm("slow", side="up", rate=8 * MIB, when=uploads)
        connector.set_resource("a", bytes(32 * MIB))
    assert slow.fired == 1
    assert sum(map(uploads, proxy.log)) == 1, "it was cut off and tried again"


def test_bytes_changed_on_their_way_to_the_store_are_not_kept(proxied, proxy):
    content = noise(700_000)
    fault = proxy.arm("flip", at=300_000, side="up", times=2, when=uploads)
    proxied.set_resource("a", content, overwrite=False)
    assert fault.fired == 2
    assert read_all(proxied, "a") == content


def test_a_source_that_fails_never_reaches_the_store(proxied, proxy):
    proxied.set_resource("a", b"old")
    sent = sum(map(uploads, proxy.log))
    content = noise(4 * UNIT)
    for count in range(0, len(content) + 1, UNIT):
        with pytest.raises(RuntimeError, match="at a block"):
            proxied.set_resource("a", failing(content, count, RuntimeError("at a block")))
    assert sum(map(uploads, proxy.log)) == sent
    assert read_all(proxied, "a") == b"old"


def test_another_servers_sessions_are_not_relied_on(server):
    """fake-gcs-server: one request instead, conditional and all or nothing, even if it is large."""
    with (
        FaultProxy.before(server.endpoint_url) as proxy,
        GCSStorageConnector(
            BUCKET, unique("own"), token="anon", endpoint_url=proxy.url, deadline=20, chunk_size=UNIT
        ) as connector,
    ):
        fault = proxy.arm("rst", at=400_000, side="up", when=lambda request: "multipart" in request.target)
        connector.set_resource("a", noise(LARGE), overwrite=False)
        assert fault.fired == 1
        assert not any(map(chunks, proxy.log))
        assert read_all(connector, "a") == noise(LARGE)


# Writing through a session.


def test_a_session_stores_what_it_was_given(in_sessions, google, google_proxy):
    for size in (UNIT + 1, 2 * UNIT, LARGE):
        info = in_sessions.set_resource("a", noise(size))
        assert (info.size, in_sessions.get_info("a")) == (size, info)
        assert read_all(in_sessions, "a") == noise(size)
    assert [session.chunks for session in google.sessions.values()] == [2, 2, 6]
    assert [session.questions for session in google.sessions.values()] == [0, 0, 0]
    finals = [request for request in google_proxy.log if chunks(request) and "x-goog-hash" in request.headers]
    assert len(finals) == 3, "the last chunk, and no other, brings the md5 of the whole"


@pytest.mark.parametrize("where", ["any chunk", "the last chunk"])
@pytest.mark.parametrize("fault", ["lost", "rst", "stall", "503", "drop"])
def test_a_session_goes_on_after_a_fault(in_sessions, google, google_proxy, fault, where):
    suits = chunks if where == "any chunk" else last_chunks
    if fault == "lost":
        armed = google_proxy.arm("rst", at=None, times=2, when=suits)
    elif fault in ("503", "drop"):
        armed = google_proxy.arm(fault, times=2, when=suits)
    else:
        armed = google_proxy.arm(fault, at=10_000, times=2, side="up", when=suits)
    in_sessions.set_resource("a", noise(LARGE), overwrite=False)
    assert armed.fired == (1 if (fault, where) == ("lost", "the last chunk") else 2)
    assert read_all(in_sessions, "a") == noise(LARGE)
    (session,) = google.sessions.values()
    assert session.questions == armed.fired, "it goes on, it does not begin anew"


def test_a_session_sends_the_rest_when_only_a_part_was_kept(google, google_proxy):
    with GCSStorageConnector(
        BUCKET, unique("own"), token="anon", endpoint_url=google_proxy.url, chunk_size=4 * UNIT
    ) as connector:
        google.keep = UNIT
        connector.set_resource("a", noise(LARGE))
        assert read_all(connector, "a") == noise(LARGE)
    (session,) = google.sessions.values()
    assert session.chunks == 3
    spans = [request.headers["content-range"] for request in google_proxy.log if chunks(request)]
    assert spans[1] == f"bytes {UNIT}-{4 * UNIT - 1}/{LARGE}"


def test_a_session_that_is_forgotten_begins_anew(in_sessions, google):
    def forget_the_first(session):
        if session.chunks == 3 and session.name not in forgotten:
            forgotten.append(session.name)
            google.forget()

    forgotten = []
    google.on_chunk = forget_the_first
    in_sessions.set_resource("a", noise(LARGE))
    assert forgotten
    assert read_all(in_sessions, "a") == noise(LARGE)


def test_sessions_that_are_always_forgotten_end_in_an_error(in_sessions, google):
    in_sessions.set_resource("a", b"old")
    google.on_chunk = lambda _: google.forget()
    with pytest.raises(StorageUnavailableError, match="sessions were lost"):
        in_sessions.set_resource("a", noise(LARGE))
    assert read_all(in_sessions, "a") == b"old"


@pytest.mark.parametrize("old", [b"old", None], ids=["replacing", "new"])
def test_a_failure_in_a_session_leaves_the_old_and_no_session(in_sessions, google, old):
    if old:
        in_sessions.set_resource("a", old)
    for number in range(1, 6):
        source = _FailsLater(noise(LARGE), after=number * UNIT)
        with pytest.raises(Exception, match="at a block"):
            in_sessions.set_resource("a", source)
        changed = _ChangesLater(noise(LARGE), after=number * UNIT)
        with pytest.raises(DatasetFileCorruptError, match="changed while"):
            in_sessions.set_resource("a", changed)
        assert (read_all(in_sessions, "a") if in_sessions.has_resource("a") else None) == old
        assert not google.sessions
    assert google.cancelled == 10


def test_an_interrupted_session_is_cancelled(in_sessions, google):
    in_sessions.set_resource("a", b"old")

    def interrupt(session):
        if session.chunks == 2:
            signal.raise_signal(signal.SIGINT)

    google.on_chunk = interrupt
    with pytest.raises(KeyboardInterrupt):
        in_sessions.set_resource("a", noise(LARGE))
    assert not google.sessions
    assert read_all(in_sessions, "a") == b"old"


def test_a_writer_killed_within_a_session_leaves_the_old(in_sessions, google):
    in_sessions.set_resource("a", b"old")
    pickled = pickle.dumps(in_sessions)
    for number in range(1, 7):
        child = multiprocessing.get_context("fork").Process(target=_write, args=(pickled,))
        google.on_chunk = lambda session, child=child, number=number: session.chunks == number and child.kill()
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        if number < 6:
            assert read_all(in_sessions, "a") == b"old"
    assert read_all(in_sessions, "a") in (b"old", noise(LARGE)), "killed at the last chunk, it may be stored"
    assert list(in_sessions.list_resources()) == ["a"]
    assert in_sessions.sweep(0) == 0


def test_a_session_publishes_nothing_but_what_was_sent(in_sessions, google, google_proxy):
    in_sessions.set_resource("a", b"old")
    always = google_proxy.arm("flip", at=1000, side="up", when=chunks, times=None)
    with pytest.raises(StorageUnavailableError, match="MD5"):
        in_sessions.set_resource("a", noise(LARGE))
    assert always.fired == 3 * 6
    assert read_all(in_sessions, "a") == b"old"
    assert not google.sessions
    google_proxy.disarm()
    once = google_proxy.arm("flip", at=1000, side="up", when=chunks)
    in_sessions.set_resource("a", noise(LARGE))
    assert once.fired == 1
    assert read_all(in_sessions, "a") == noise(LARGE)


@pytest.mark.parametrize("kind", ["one request", "session", "another server"])
def test_exactly_one_of_eight_creates(server, google, kind):
    size = UNIT if kind == "one request" else LARGE
    url = google.url if kind == "session" else server.endpoint_url
    together = threading.Barrier(8)

    with GCSStorageConnector(BUCKET, unique("own"), token="anon", endpoint_url=url, chunk_size=UNIT) as connector:

        def source(number):
            together.wait(20)  # all have looked and found nothing
            yield from stamped_blocks(number, size)

        def create(number):
            try:
                connector.set_resource("new", source(number), overwrite=False)
            except ResourceExistsError:
                return None
            return number

        with ThreadPoolExecutor(8) as pool:
            winners = [number for number in pool.map(create, range(1, 9)) if number]
        assert len(winners) == 1
        assert versions_in(read_all(connector, "new")) == {winners[0]}
        assert not google.unfinished
        with pytest.raises(FileExistsError):
            connector.set_resource("new", _Untouchable(), overwrite=False)


# Credentials and the environment.


@pytest.mark.parametrize("form", ["{}", "http://{}", "http://{}/"])
def test_the_environment_names_an_emulator(server, monkeypatch, no_google, form):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", form.format(f"127.0.0.1:{server.port}"))
    with GCSStorageConnector(BUCKET, unique("own")) as connector:
        connector.set_resource("a", b"1")
        assert read_all(connector, "a") == b"1"


def test_arguments_win_over_the_environment(server, monkeypatch, no_google):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"127.0.0.1:{free_ports(1)[0]}")
    with GCSStorageConnector(BUCKET, unique("own"), endpoint_url=server.endpoint_url, deadline=2) as connector:
        connector.set_resource("a", b"1")
        assert read_all(connector, "a") == b"1"


@pytest.mark.parametrize("status", ["401", "403"])
def test_refused_credentials_raise_and_are_not_told(server, proxy, status):
    with GCSStorageConnector(BUCKET, "x", token="ya29.s3cret", endpoint_url=proxy.url, deadline=5) as connector:
        for call in (
            lambda: connector.has_resource("a"),
            lambda: connector.get_info("a"),
            lambda: list(connector.list_resources()),
            lambda: connector.set_resource("a", b"1"),
            lambda: connector.set_resource("a", b"1", overwrite=False),
            lambda: connector.delete_resource("a"),
        ):
            fault = proxy.arm(status)
            with pytest.raises(StoragePermissionError) as caught:
                call()
            assert fault.fired == 1
            assert "s3cret" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r} {connector!r}"
        assert {request.headers["authorization"] for request in proxy.log} == {"Bearer ya29.s3cret"}


def test_who_may_not_list_still_learns_that_an_object_is_missing(proxied, proxy):
    proxy.arm("403", when=lambda request: "maxResults" in request.target)
    assert proxied.has_resource("a") is False
    assert proxy.fired["403"] == 1


def test_a_token_from_the_environment_stays_there(proxy, monkeypatch):
    monkeypatch.setenv("LAB_TOKEN", "ya29.s3cret")
    connector = GCSStorageConnector(BUCKET, "x", token=EnvironmentText("${LAB_TOKEN}"), endpoint_url=proxy.url)
    with connector:
        assert connector.has_resource("a") is False
        pickled = pickle.dumps(connector)
        assert b"s3cret" not in pickled
        with pickle.loads(pickled) as copy:
            assert copy.has_resource("a") is False
    assert {request.headers["authorization"] for request in proxy.log} == {"Bearer ya29.s3cret"}


def test_no_credentials_name_a_way_out(no_google):
    connector = GCSStorageConnector(BUCKET, endpoint_url="https://127.0.0.1:1", deadline=2)
    with pytest.raises(StoragePermissionError, match="gcloud auth application-default login"):
        connector.has_resource("a")


def test_bad_credentials_are_told_apart(no_google, monkeypatch, tmp_path):
    def outcome(**options):
        with pytest.raises((ConfigError, StoragePermissionError)) as caught:
            GCSStorageConnector(BUCKET, endpoint_url="https://127.0.0.1:1", deadline=2, **options).has_resource("a")
        assert "s3cret" not in str(caught.value)
        return caught.value

    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    assert "missing.json" in str(outcome())
    assert "nowhere.json" in str(outcome(token="nowhere.json"))
    (tmp_path / "broken.json").write_text('{"client_id": "s3cret"')
    assert isinstance(outcome(token=str(tmp_path / "broken.json")), ConfigError)
    assert isinstance(outcome(token={"private_key": "s3cret"}), ConfigError)


def test_a_service_account_asks_for_one_token(proxy, service_account, token_server):
    with GCSStorageConnector(BUCKET, "x", token=service_account, endpoint_url=proxy.url) as connector:
        assert connector.has_resource("a") is False
        assert connector.has_resource("b") is False
    assert {request.headers["authorization"] for request in proxy.log} == {"Bearer fresh"}
    assert token_server.asked == 1


def test_credentials_that_google_refuses_to_renew_are_denied(proxy, service_account, token_server):
    token_server.answer = 400, {"error": "invalid_grant"}
    with GCSStorageConnector(BUCKET, "x", token=service_account, endpoint_url=proxy.url, deadline=5) as connector:
        with pytest.raises(StoragePermissionError, match="credentials") as caught:
            connector.has_resource("a")
        assert "PRIVATE KEY" not in f"{caught.value}{caught.value.__cause__!r}{connector!r}"
    assert proxy.requests == 0


@pytest.fixture
def token_server():
    """Where service accounts get their access tokens."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            server.asked += 1
            status, answer = server.answer
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer = 200, {"access_token": "fresh", "expires_in": 3600, "token_type": "Bearer"}
    server.asked = 0
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def service_account(token_server):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return {
        "type": "service_account",
        "client_email": "lab@example.com",
        "private_key": pem,
        "private_key_id": "1",
        "token_uri": f"http://127.0.0.1:{token_server.server_address[1]}/token",
    }


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
    assert not done.stderr


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


class _Untouchable:
    def read(self, size=-1):
        raise AssertionError("the source was read")


class _FailsLater(io.BytesIO):
    """Readable once; the second time it fails after so many bytes."""

    def __init__(self, content, after):
        super().__init__(content)
        self.after = after
        self.passes = 0

    def seek(self, *arguments):
        self.passes += 1
        return super().seek(*arguments)

    def read(self, size=-1):
        if self.passes and self.tell() >= self.after:
            return self.late(size)
        return super().read(size)

    def late(self, size):
        raise OSError("at a block")


class _ChangesLater(_FailsLater):
    """The second time, the bytes are others after so many."""

    def late(self, size):
        return bytes(len(io.BytesIO.read(self, size)))


def _upload(server, name, content, **metadata):
    head = json.dumps({"name": name, **metadata}).encode()
    body = b"--B\r\nContent-Type: application/json\r\n\r\n%b\r\n--B\r\n\r\n%b\r\n--B--\r\n" % (head, content)
    url = f"{server.endpoint_url}/upload/storage/v1/b/{BUCKET}/o?uploadType=multipart&name={quote(name, safe='')}"
    headers = {"Content-Type": "multipart/related; boundary=B"}
    urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10).close()


def _write(pickled):
    pickle.loads(pickled).set_resource("a", noise(LARGE))


def _read_and_collect(connector, content):
    assert read_all(connector, "a") == content
    connector.close()
    del connector
    gc.collect()
