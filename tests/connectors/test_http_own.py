"""What only HTTP has: redirects, validators, servers that know no ranges, and answers that lie."""

import base64
import io
import logging
import os
import pickle
import random
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest

from datastack_fs.connectors import HTTPStorageConnector
from datastack_fs.connectors.http_client import CONCURRENCY
from datastack_fs.credentials import EnvironmentText
from datastack_fs.errors import (
    ConfigError,
    DatasetFileCorruptError,
    DatastackError,
    MalformedIdentifierError,
    ReadOnlyStorageError,
    ResourceChangedError,
    ResourceNotFoundError,
    StoragePermissionError,
    StorageUnavailableError,
    UnsupportedStorageError,
)
from datastack_fs.testing.content import noise, read_all, stamped, versions_in
from harness.proxy import FaultProxy
from harness.web import WebServer

CANARY = "CANARY4711"


def connect(server, **options):
    return HTTPStorageConnector(f"{server.url}/data", **{"deadline": 20, **options})


def whole_story(error):
    """Every text that an error and all that led to it could put into a log."""
    texts, seen, waiting = [], set(), [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            texts += [str(each), repr(each), repr(each.args)]
            waiting += [each.__cause__, each.__context__]
    return "\n".join(texts)


class Scripted:
    """A server whose answers a function gives: `(status, headers, body)`; the length is added if it has none."""

    def __init__(self, answer, tls=None):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                status, headers, body = answer(self)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    if value is not None:
                        self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def asked_range(request):
    first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
    return int(first), int(last) + 1


# Addresses.


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host", "http://host/"),
        ("https://host:8443/a/b", "https://host:8443/a/b/"),
        ("https://ann:pw@host/a%20b/?sig=x#part", "https://host/a%20b/"),
        ("HTTP://[::1]:80/a", "http://[::1]:80/a/"),
    ],
)
def test_shows_an_address_without_secrets(url, shown):
    connector = HTTPStorageConnector(url)
    assert connector.url == shown
    assert repr(connector) == f"HTTPStorageConnector({shown!r}, read_only=True)"


@pytest.mark.parametrize("url", ["ftp://host/a", "host/a", "http://", "http://[::1/a", ""])
def test_refuses_other_addresses(url):
    with pytest.raises(ConfigError, match="http://host/path/"):
        HTTPStorageConnector(url)


@pytest.mark.parametrize(("port", "host"), [("99999", "h"), ("80", "exa mple")])
def test_refuses_addresses_that_no_request_can_be_sent_to(port, host):
    connector = HTTPStorageConnector(f"http://{host}:{port}/?token={CANARY}")
    with pytest.raises(ConfigError) as caught:
        connector.has_resource("a")
    assert CANARY not in whole_story(caught.value)


@pytest.mark.parametrize("auth", ["ann:pw", ("ann",), ("a", "b", "c")])
def test_refuses_other_credentials_than_user_and_password(auth):
    with pytest.raises(ConfigError, match="auth="):
        HTTPStorageConnector("http://host/", auth=auth)


@pytest.mark.parametrize(
    ("url", "store", "identifier"),
    [
        ("https://host/a/b.h5", "https://host/a/", "b.h5"),
        ("https://host/b.h5", "https://host/", "b.h5"),
        ("https://host/a%20b/na%C3%AFve%2520.h5", "https://host/a%20b/", "naïve%20.h5"),
        ("https://u:p@host/a/b.h5?X-Sig=1%2F2&y=#part", "https://u:p@host/a/?X-Sig=1%2F2&y=", "b.h5"),
        ("https://host/a/", "https://host/a/", ""),
    ],
)
def test_splits_the_url_of_a_file(url, store, identifier):
    assert HTTPStorageConnector.split_url(url) == (store, identifier)


@pytest.mark.parametrize("url", ["https://host/a%FF", "https://host/a%2Fb"])
def test_refuses_names_that_are_no_identifiers(url):
    with pytest.raises(MalformedIdentifierError):
        HTTPStorageConnector.split_url(url)


def test_opens_a_url(web_server):
    from datastack_fs import registry

    url = web_server.put("birds/great owl #1?.txt", b"hoo") + "?token=abc"
    store, identifier = registry.split_resource_url(url)
    assert read_all(registry.connector_for(store), identifier) == b"hoo"
    assert {request.query for request in web_server.requests} == {"token=abc"}


# Read-only, without a listing.


def test_says_what_to_do_without_a_listing(web_server):
    with pytest.raises(UnsupportedStorageError, match="HTTP has no listing; name the resources"):
        list(connect(web_server).list_resources())


def test_refuses_writes_without_asking_the_server(web_server):
    connector = connect(web_server, read_only=False)
    for write in (
        lambda: connector.set_resource("a", iter(lambda: pytest.fail("the source was read"), None)),
        lambda: connector.delete_resource("a"),
        lambda: connector.sweep(),
    ):
        with pytest.raises(ReadOnlyStorageError):
            write()
    assert web_server.requests == []


# What a server says of a file.


def test_tells_size_version_and_time(web_server):
    web_server.put("data/a", b"12345", modified=1_700_000_000)
    info = connect(web_server).get_info("a")
    assert (info.size, info.modified.isoformat()) == (5, "2023-11-14T22:13:20+00:00")
    assert info.version.startswith('"')
    web_server.behave("data/a", etag="weak")
    assert connect(web_server).get_info("a").version.startswith('weak W/"')
    web_server.behave("data/a", etag=None)
    assert connect(web_server).get_info("a").version == "weak Tue, 14 Nov 2023 22:13:20 GMT 5"
    web_server.behave("data/a", etag=None, last_modified=False)
    info = connect(web_server).get_info("a")
    assert (info.version, info.modified) == ("weak - 5", None)


@pytest.mark.parametrize("status", [403, 405, 501])
@pytest.mark.parametrize("ranges", [True, False])
def test_does_without_head(web_server, status, ranges):
    for name, content in {"a": noise(100_000), "empty": b""}.items():
        web_server.put(f"data/{name}", content)
        web_server.behave(f"data/{name}", statuses=[status], ranges=ranges)
        info = connect(web_server).get_info(name)
        assert info.size == len(content)
        if content:
            assert connect(web_server).get_info(name) == info
        web_server.behave(f"data/{name}", statuses=[status], ranges=ranges)
        assert read_all(connect(web_server), name) == content


def test_does_with_chunked_answers_to_ranges(web_server):
    web_server.put("data/a", noise(200_000))
    web_server.behave("data/a", length="chunked")
    assert read_all(connect(web_server), "a") == noise(200_000)


@pytest.mark.parametrize("length", ["chunked", "none"])
def test_a_file_of_unknown_size_goes_through_a_retriever(web_server, length):
    web_server.put("data/a", b"12345")
    web_server.behave("data/a", length=length, ranges=False)
    with pytest.raises(UnsupportedStorageError, match="HTTPRetriever"):
        connect(web_server).get_resource("a")


def test_a_head_that_says_zero_is_not_believed():
    def answer(request):
        return (200, {}, b"") if request.command == "HEAD" else (206, {"Content-Range": "bytes 0-0/4711"}, b"x")

    with Scripted(answer) as server:
        assert connect(server).get_info("a").size == 4711


@pytest.mark.parametrize("head", [True, False])
def test_refuses_a_compressed_answer(web_server, head):
    web_server.put("data/a", b"1" * 5000)
    web_server.behave("data/a", gzip="always", head=head)
    with pytest.raises(UnsupportedStorageError, match="gzip"):
        connect(web_server).get_resource("a")


def test_asks_for_the_bytes_as_they_are(web_server):
    web_server.put("data/a", b"1" * 5000)
    web_server.behave("data/a", gzip="accepted")
    assert read_all(connect(web_server, headers={"accept-encoding": "gzip"}), "a") == b"1" * 5000


# Statuses.


@pytest.mark.parametrize("status", [404, 410])
def test_not_found(web_server, status):
    web_server.behave("data/a", statuses=[status] * 2)
    assert connect(web_server).has_resource("a") is False
    with pytest.raises(ResourceNotFoundError, match="a is not in http://127"):
        connect(web_server).get_resource("a")


@pytest.mark.parametrize("status", [401, 403, 407])
def test_denied_is_not_absent(web_server, status):
    web_server.behave("data/a", statuses=[status] * 2)
    with pytest.raises(StoragePermissionError, match=f"the server answers {status} .*auth="):
        connect(web_server).has_resource("a")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 522])
def test_tries_again(web_server, status):
    web_server.put("data/a", b"12345")
    web_server.behave("data/a", statuses=[status, status])
    connector = connect(web_server)
    info = connector.get_info("a")
    web_server.behave("data/a", statuses=[status])
    assert connector.get_ranges("a", [(1, 3)], info=info) == [b"23"]


@pytest.mark.parametrize("status", [400, 418, 451, 501, 505, 799])
def test_does_not_try_again_in_vain(web_server, status):
    web_server.put("data/a", b"12345")
    connector = connect(web_server)
    info = connector.get_info("a")
    web_server.behave("data/a", statuses=[status] * 9)
    with pytest.raises(DatastackError, match=f"answers {status}"):
        connector.get_ranges("a", [(1, 3)], info=info)
    assert len(web_server.requests_for("data/a", "GET")) == 1


def test_gives_up_after_the_deadline(web_server):
    web_server.put("data/a", b"12345")
    info = connect(web_server).get_info("a")
    web_server.behave("data/a", statuses=[503] * 1000)
    connector = connect(web_server, deadline=0.3)
    for call in (lambda: connector.has_resource("a"), lambda: connector.get_ranges("a", [(0, 5)], info=info)):
        with pytest.raises(StorageUnavailableError, match=r"http://127.* answers 503 \(Service Unavailable\)"):
            call()


def test_a_server_that_is_down(web_server):
    web_server.stop()
    connector = connect(web_server, deadline=0.3, query={"token": CANARY}, auth=("ann", CANARY))
    with pytest.raises(StorageUnavailableError, match=rf"{web_server.url}/data/: .*Connection refused") as caught:
        connector.get_resource("a")
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert CANARY not in whole_story(caught.value)


def test_uses_connections_again(web_server):
    web_server.put("data/a", noise(1000))
    connector = connect(web_server)
    for _ in range(20):
        assert connector.has_resource("missing") is False
        assert connector.get_ranges("a", [(5, 10)]) == [noise(1000)[5:10]]
    assert web_server.connections == 1


# Ranges.


def test_reads_sixteen_ranges_at_once_and_no_more(web_server):
    content = noise(1000)
    barrier = threading.Barrier(CONCURRENCY)
    met = []

    def meet(body):
        met.append(barrier.wait(10))  # it opens when sixteen requests are being answered
        return body

    web_server.put("data/a", content)
    connector = connect(web_server)
    connector.gap_bytes = 0
    info = connector.get_info("a")
    web_server.behave("data/a", mangle=meet)
    ranges = [(at, at + 5) for at in range(0, 10 * 4 * CONCURRENCY, 10)]
    assert connector.get_ranges("a", ranges, info=info) == [content[start:stop] for start, stop in ranges]
    assert len(met) == 4 * CONCURRENCY
    assert web_server.connections <= CONCURRENCY + 1


def test_begins_no_range_after_a_failure(web_server):
    web_server.put("data/a", noise(1000))
    connector = connect(web_server, deadline=0)
    connector.gap_bytes = 0
    info = connector.get_info("a")
    web_server.behave("data/a", statuses=[503] * 1000)
    with pytest.raises(StorageUnavailableError):
        connector.get_ranges("a", [(at, at + 1) for at in range(0, 1000, 2)], info=info)
    assert len(web_server.requests_for("data/a", "GET")) <= 2 * CONCURRENCY


@pytest.mark.parametrize(
    ("content_range", "error"),
    [
        (None, UnsupportedStorageError),
        ("bytes 10-19/*", UnsupportedStorageError),
        ("bytes 0-9/100", UnsupportedStorageError),
        ("bytes 10-14/100", UnsupportedStorageError),
        ("bytes 10-19/101", ResourceChangedError),
        ("octets 10-19/100", UnsupportedStorageError),
    ],
)
def test_checks_what_part_came(content_range, error):
    def answer(request):
        if request.command == "HEAD":
            return 200, {"Content-Length": "100", "ETag": '"1"'}, b""
        return 206, {"Content-Range": content_range, "ETag": '"1"'}, b"x" * 10

    with Scripted(answer) as server, pytest.raises(error):
        connect(server).get_ranges("a", [(10, 20)])


@pytest.mark.parametrize("body", [b"x" * 9, b"x" * 11, b""])
def test_a_part_of_another_length_than_promised(body):
    def answer(request):
        if request.command == "HEAD":
            return 200, {"Content-Length": "100", "ETag": '"1"'}, b""
        return 206, {"Content-Range": "bytes 10-19/100", "ETag": '"1"'}, body

    with Scripted(answer) as server, pytest.raises(DatasetFileCorruptError, match=f"{len(body)} bytes came"):
        connect(server).get_ranges("a", [(10, 20)])


def test_a_body_that_never_ends(web_server):
    web_server.put("data/a", b"x" * 1000)
    web_server.behave("data/a", length="none", mangle=lambda _: iter(lambda: b"x" * 1000, None))
    with pytest.raises(DatasetFileCorruptError):
        connect(web_server).get_ranges("a", [(0, 500)], info=None)


# One version.


@pytest.mark.parametrize("etag", ["strong", "weak", None])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("sizes", [(800_000, 800_000), (800_000, 700_000), (800_000, 900_000)])
def test_a_replaced_file_never_mixes(web_server, etag, ranges, sizes):
    clock = random.Random(repr((etag, ranges, sizes)))
    for number in range(1, 13, 2):  # 6 in each of 18 settings: 108
        web_server.put("data/a", stamped(number, sizes[0]), modified=1_700_000_000 + number)
        web_server.behave("data/a", etag=etag, ranges=ranges)
        connector = connect(web_server)
        with connector.get_resource("a") as resource:
            pieces = [resource.read(clock.randrange(1, 50_000) * 8)]
            web_server.put("data/a", stamped(number + 1, sizes[1]), modified=1_700_000_001 + number)
            try:
                while piece := resource.read(100_000):
                    pieces.append(piece)
            except ResourceChangedError:
                pass
            else:
                assert sum(map(len, pieces)) == sizes[0]
        assert set().union(*map(versions_in, pieces)) == {number}
        assert versions_in(read_all(connector, "a")) == {number + 1}


@pytest.mark.parametrize("etag", ["strong", "weak", None])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("size", [800_000, 700_000])
def test_a_file_replaced_before_the_first_read_is_changed(web_server, etag, ranges, size):
    web_server.put("data/a", stamped(1, 800_000), modified=1_700_000_000)
    web_server.behave("data/a", etag=etag, ranges=ranges)
    with connect(web_server).get_resource("a") as resource:
        web_server.put("data/a", stamped(2, size), modified=1_700_000_001)
        with pytest.raises(ResourceChangedError):
            resource.read(10)


def test_the_etag_of_the_answer_is_compared():
    """A server that knows ranges and ignores If-Match."""
    content = {"a": stamped(1, 1000)}

    def answer(request):
        headers = {"ETag": f'"{versions_in(content["a"])}"'}
        if request.command == "HEAD":
            return 200, {**headers, "Content-Length": "1000"}, b""
        start, stop = asked_range(request)
        return 206, {**headers, "Content-Range": f"bytes {start}-{stop - 1}/1000"}, content["a"][start:stop]

    with Scripted(answer) as server:
        connector = connect(server)
        info = connector.get_info("a")
        assert connector.get_ranges("a", [(0, 8)], info=info) == [stamped(1, 8)]
        content["a"] = stamped(2, 1000)
        with pytest.raises(ResourceChangedError):
            connector.get_ranges("a", [(8, 16)], info=info)


@pytest.mark.parametrize("status", [404, 410, 412, 416])
def test_gone_while_it_is_open_is_changed(web_server, status):
    web_server.put("data/a", b"12345")
    with connect(web_server).get_resource("a") as resource:
        web_server.behave("data/a", statuses=[status])
        with pytest.raises(ResourceChangedError):
            resource.read()


# Servers that send no ranges.


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_a_server_without_ranges_sends_a_file_once(web_server):
    content = noise(3_000_000)
    web_server.put("data/a", content)
    web_server.behave("data/a", ranges=False)
    connector = connect(web_server)
    with connector.get_resource("a") as first, connector.get_resource("a") as second:
        assert first.read(10) == content[:10]
        assert second.read() == content
        rng = random.Random(1)
        for start in rng.sample(range(2_900_000), 50):
            first.seek(start)
            assert first.read(100_000) == content[start : start + 100_000]
    ranges = [(start, start + 10) for start in range(0, 3_000_000, 100_000)]
    assert connector.get_ranges("a", ranges) == [content[start:stop] for start, stop in ranges]
    whole = [request for request in web_server.requests_for("data/a", "GET") if request.sent == len(content)]
    assert len([request for request in whole if request.range is None]) == 1


def test_copies_of_whole_files_are_few_and_go_with_the_connector(web_server):
    contents = {f"f{number}": noise(500_000, number) for number in range(8)}
    for name, content in contents.items():
        web_server.put(f"data/{name}", content)
        web_server.behave(f"data/{name}", ranges=False)
    connector = connect(web_server)

    def read(name):
        return connector.get_ranges(name, [(100_000, 200_000), (0, 5)])

    with ThreadPoolExecutor(4) as pool:
        for name, answers in zip(contents, pool.map(read, contents), strict=True):
            assert answers == [contents[name][100_000:200_000], contents[name][:5]]
    copies = connector._client.get().copies
    assert len(copies) == 4
    open_with_copies = descriptors()
    copies = copies.clear()
    assert descriptors() == open_with_copies - 4


def test_a_copy_of_a_file_without_a_version_is_not_used_for_the_next_reader(web_server):
    web_server.put("data/a", stamped(1, 200_000))
    web_server.behave("data/a", ranges=False, etag=None, last_modified=False)
    connector = connect(web_server)
    assert versions_in(read_all(connector, "a")) == {1}
    web_server.put("data/a", stamped(2, 200_000))
    assert versions_in(read_all(connector, "a")) == {2}
    assert versions_in(connector.get_ranges("a", [(80, 160)])[0]) == {2}


def test_a_whole_file_cut_short_is_fetched_again(web_server):
    content = noise(500_000)
    web_server.put("data/a", content)
    with FaultProxy.before(web_server.url) as proxy:
        web_server.behave("data/a", ranges=False)
        cut = proxy.arm("cut", at=300_000, times=2, when=lambda request: request.method == "GET" and not request.range)
        fin = proxy.arm("fin", at=300_000, times=2, when=lambda request: request.method == "GET" and not request.range)
        assert connect(proxy).get_ranges("a", [(400_000, 400_010)]) == [content[400_000:400_010]]
        assert (cut.fired, fin.fired) == (2, 2)


# Credentials and other secrets.


def test_basic_authentication(web_server):
    web_server.put("data/a", b"1")
    web_server.behave("data/a", auth=("änn", "p:@/ß"))
    assert read_all(connect(web_server, auth=["änn", "p:@/ß"]), "a") == b"1"
    host = web_server.url.removeprefix("http://")
    by_url = HTTPStorageConnector(f"http://{quote('änn')}:{quote('p:@/ß', safe='')}@{host}/data")
    assert read_all(by_url, "a") == b"1"
    assert "ß" not in by_url.url + repr(by_url)
    with pytest.raises(StoragePermissionError):
        connect(web_server, auth=("änn", "wrong")).has_resource("a")


def test_a_given_authorization_header_wins_over_netrc(web_server, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ann password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    web_server.put("data/a", b"1")
    read_all(connect(web_server, headers={"authorization": "Bearer given"}), "a")
    assert {request.headers["authorization"] for request in web_server.requests} == {"Bearer given"}
    web_server.requests.clear()
    read_all(connect(web_server), "a")
    basic = base64.b64encode(b"ann:other").decode()
    assert {request.headers["authorization"] for request in web_server.requests} == {f"Basic {basic}"}


def test_a_query_is_sent_as_it_is(web_server):
    web_server.put("data/a b", b"1")
    signed = "X-Signature=a%2Fb%3D%3D&x=1+2&flag"
    assert read_all(HTTPStorageConnector(f"{web_server.url}/data?{signed}"), "a b") == b"1"
    assert {request.query for request in web_server.requests} == {signed}
    web_server.requests.clear()
    assert read_all(connect(web_server, query={"a": "1&2"}), "a b") == b"1"
    assert {request.query for request in web_server.requests} == {"a=1%262"}


def test_secrets_come_from_the_environment_when_they_are_needed(web_server, monkeypatch):
    web_server.put("data/a", b"1")
    connector = connect(
        web_server,
        headers={"X-Api-Key": EnvironmentText("${BIRDS_KEY}")},
        auth=["ann", EnvironmentText("${BIRDS_PASSWORD}")],
        query={"token": EnvironmentText("${BIRDS_TOKEN}")},
    )
    with pytest.raises(ConfigError, match="BIRDS_"):
        connector.has_resource("a")
    for name in ("KEY", "PASSWORD", "TOKEN"):
        monkeypatch.setenv(f"BIRDS_{name}", CANARY + name)
    assert read_all(connector, "a") == b"1"
    request = web_server.requests[-1]
    assert (request.headers["x-api-key"], request.query) == (f"{CANARY}KEY", f"token={CANARY}TOKEN")
    assert CANARY.encode() not in pickle.dumps(connector)
    assert read_all(pickle.loads(pickle.dumps(connector)), "a") == b"1"


def test_an_address_can_come_from_the_environment(web_server, monkeypatch):
    web_server.put("data/a", b"1")
    monkeypatch.setenv("BIRDS_HOST", web_server.url.removeprefix("http://"))
    monkeypatch.setenv("BIRDS_PASSWORD", CANARY)
    connector = HTTPStorageConnector(EnvironmentText("http://ann:${BIRDS_PASSWORD}@${BIRDS_HOST}/data"))
    assert connector.url == "http://${BIRDS_HOST}/data/"
    assert read_all(connector, "a") == b"1"
    monkeypatch.setenv("BIRDS_URL", f"{web_server.url}/data")
    connector = HTTPStorageConnector(EnvironmentText("${BIRDS_URL}"))
    assert connector.url == "${BIRDS_URL}"
    assert read_all(connector, "a") == b"1"


def test_secrets_are_in_no_message_and_no_log(web_server, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("urllib3").setLevel(logging.DEBUG)
    web_server.put("data/a", noise(100_000))
    options = {
        "headers": {"X-Api-Key": CANARY},
        "auth": ("ann", CANARY),
        "query": f"plain={CANARY}&sig={CANARY}",
        "deadline": 0.3,
    }
    connector = connect(web_server, **options)
    info = connector.get_info("a")
    connector.get_resource("a").read()
    with FaultProxy.before(web_server.url) as proxy:
        faulty = connect(proxy, **options)
        texts = [repr(connector), connector.url]
        for status in (400, 401, 403, 404, 500, 503):
            web_server.behave("data/a", statuses=[status] * 1000)
            texts.append(failure(lambda: connector.get_info("a")))
            texts.append(failure(lambda: connector.get_ranges("a", [(0, 5)], info=info)))
        web_server.behave("data/a")
        for kind, at in (("rst", None), ("fin", None), ("rst", 10), ("fin", 10), ("cut", 10), ("dup-length", 0)):
            fault = proxy.arm(kind, at=at, times=None, when=lambda request: request.method == "GET")
            texts.append(failure(lambda: faulty.get_ranges("a", [(0, 500)], info=info)))
            proxy.disarm(fault)
        for target in ("/data/a", "file:///etc/passwd", f"http://u:{CANARY}@127.0.0.1:1/x?y={CANARY}", "http://[::1"):
            web_server.behave("data/a", redirect=target)
            texts.append(failure(lambda: connector.get_info("a")))
    for broken in ({"X-Api-Key": f"{CANARY}\n"}, {"X-Api-Key": f" {CANARY}"}):
        texts.append(failure(lambda: connect(web_server, headers=broken).get_info("a")))  # noqa: B023
    assert "GET /data/a?***" in caplog.text
    assert CANARY not in "\n".join([*texts, caplog.text])
    assert base64.b64encode(f"ann:{CANARY}".encode()).decode() not in "\n".join([*texts, caplog.text])


def failure(call):
    with pytest.raises(DatastackError) as caught:
        call()
    return whole_story(caught.value)


@pytest.mark.parametrize("value", ["pw\n", "pw\r\nX-Other: 1"])
def test_a_header_with_a_line_break(web_server, value):
    with pytest.raises(ConfigError, match="line break"):
        connect(web_server, headers={"X-Api-Key": value}).has_resource("a")
    assert web_server.requests == []


# Redirects.


@pytest.fixture
def other_server():
    with WebServer() as server:
        yield server


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_follows_redirects_within_the_server_with_all_headers(web_server, status):
    web_server.put("real/a", noise(200_000))
    web_server.behave("data/a", redirect="/real/a", redirect_status=status)
    connector = connect(web_server, headers={"X-Api-Key": "k"}, auth=("ann", "pw"), query="token=t")
    assert read_all(connector, "a") == noise(200_000)
    there = web_server.requests_for("real/a")
    assert {request.headers["x-api-key"] for request in there} == {"k"}
    assert all(request.headers["authorization"].startswith("Basic ") for request in there)
    assert {request.query for request in there} == {""}


def test_takes_no_secret_to_another_server(web_server, other_server):
    web_server.behave("data/a", redirect=other_server.put("real/a", noise(200_000)))
    web_server.behave("data/b", redirect=other_server.url + "/back")
    other_server.behave("back", redirect=web_server.put("real/b", b"back"))
    for auth in (
        {"auth": ("ann", "pw")},
        {"headers": {"X-Api-Key": "k", "Authorization": "Bearer x", "Cookie": "c=1"}},
    ):
        connector = connect(web_server, query="token=t", **auth)
        assert read_all(connector, "a") == noise(200_000)
        assert read_all(connector, "b") == b"back"
    elsewhere = [*other_server.requests, *web_server.requests_for("real/b")]
    for request in elsewhere:
        assert not {"authorization", "x-api-key", "cookie"} & set(request.headers)
        assert request.query == ""
    ranged = other_server.requests_for("real/a", "GET")
    assert ranged
    assert all(request.range and "if-match" in request.headers for request in ranged)
    assert all("authorization" in request.headers for request in web_server.requests_for("data/a"))


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://", "http://127.0.0.1:99999/", "http://[::1"]
)
def test_follows_no_other_redirects(web_server, target):
    web_server.behave("data/a", redirect=target)
    with pytest.raises(UnsupportedStorageError, match="redirect"):
        connect(web_server).get_resource("a")


def test_follows_five_redirects_and_no_more(web_server):
    web_server.put("data/a0", b"1")
    for number in range(1, 7):
        web_server.behave(f"data/a{number}", redirect=f"a{number - 1}")
    assert read_all(connect(web_server), "a5") == b"1"
    with pytest.raises(UnsupportedStorageError, match="more than 5 redirects"):
        connect(web_server).get_resource("a6")


def test_a_redirect_with_an_endless_body_is_not_read():
    def answer(request):
        if request.path == "/data/a":
            return 302, {"Location": "/real", "Content-Length": str(1 << 50)}, b"x" * 1000
        return 200, {"ETag": '"1"'}, b"12345"

    with Scripted(answer) as server:
        assert read_all(connect(server), "a") == b"12345"


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1 that nobody has signed, and its key, in one file."""
    x509 = pytest.importorskip("cryptography.x509")
    import datetime as dt
    import ipaddress

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    today = dt.datetime.now(dt.timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(1))
        .not_valid_after(today + dt.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "certificate.pem"
    kept = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem.write_bytes(
        made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, *kept)
    )
    return pem


def test_https(web_server, certificate, monkeypatch):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    web_server.put("data/a", b"12345")

    def answer(request):
        if request.path == "/data/a":
            return 302, {"Location": f"{web_server.url}/data/a"}, b""
        return 200, {"ETag": '"1"'}, b"12345"

    with Scripted(answer, tls) as server:
        with pytest.raises(StoragePermissionError, match="certificate is not trusted"):
            connect(server).has_resource("b")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert read_all(connect(server), "b") == b"12345"
        with pytest.raises(UnsupportedStorageError, match="from https to http"):
            connect(server).has_resource("a")
    assert web_server.requests == []


# Faults on the way.


def test_right_bytes_whatever_happens_on_the_way(web_server):
    content = noise(4_000_000)
    web_server.put("data/a", content)
    rng = random.Random(7)
    fired = 0
    with FaultProxy.before(web_server.url) as proxy:
        connector = connect(proxy)
        info = connector.get_info("a")
        for kind in ("rst", "fin", "cut", "drop", "dup-length", "503", "429"):
            for _ in range(8):
                at = rng.randrange(900) if kind in {"rst", "fin", "cut"} else 0
                fault = proxy.arm(kind, at=at, times=2)
                starts = [rng.randrange(len(content) - 1000) for _ in range(20)]
                ranges = [(start, start + 1000) for start in starts]
                answers = connector.get_ranges("a", ranges, info=info)
                assert answers == [content[start:stop] for start, stop in ranges]
                assert fault.fired == 2, kind
                fired += 2
        with connector.get_resource("a") as resource:
            for at in (1, 100_000, 700_000):
                proxy.arm("fin", at=at)
            assert resource.read() == content
    assert fired == 112


def test_a_stalled_answer_is_asked_for_again(web_server):
    web_server.put("data/a", noise(100_000))
    with FaultProxy.before(web_server.url) as proxy:
        connector = connect(proxy, deadline=4)
        info = connector.get_info("a")
        for at in (None, 5000):
            fault = proxy.arm("stall", at=at)
            assert connector.get_ranges("a", [(0, 100_000)], info=info) == [noise(100_000)]
            assert fault.fired == 1
        proxy.arm("stall", at=0, times=None)
        with pytest.raises(StorageUnavailableError, match="no answer"):
            connect(proxy, deadline=0.5).get_ranges("a", [(0, 5)], info=info)


def test_a_server_that_restarts(web_server):
    content = noise(2_000_000)
    web_server.put("data/a", content)
    with connect(web_server).get_resource("a") as resource:
        assert resource.read(100_000) == content[:100_000]
        web_server.stop()
        restart = threading.Timer(0.3, web_server.start)
        restart.start()
        assert resource.read() == content[100_000:]
        restart.join()


# As a file.


def test_threads_share_a_connector(web_server):
    content = noise(3_000_000)
    web_server.put("data/a", content)
    connector = connect(web_server)

    def read(seed):
        rng = random.Random(seed)
        for _ in range(20):
            ranges = [(start, start + 1000) for start in rng.sample(range(2_999_000), 10)]
            assert connector.get_ranges("a", ranges) == [content[start:stop] for start, stop in ranges]
            if seed == 0:
                connector.close()
        with connector.get_resource("a") as resource:
            return resource.read() == content

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, range(6)))


def test_closing_ends_threads_and_connections(web_server):
    web_server.put("data/a", noise(1000))
    connector = connect(web_server)
    connector.gap_bytes = 0
    before = set(threading.enumerate())  # in it are threads of other tests' connectors, held by their tracebacks
    connector.get_ranges("a", [(at, at + 1) for at in range(0, 1000, 10)])
    begun = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("datastack-http")]
    assert len(begun) == CONCURRENCY
    connector.close()
    for thread in begun:
        thread.join(10)
    assert not any(thread.is_alive() for thread in begun)
    assert connector.get_ranges("a", [(0, 1)]) == [noise(1000)[:1]]


def test_reads_ahead_in_parallel_parts(web_server):
    content = noise(20_000_000)
    web_server.put("data/a", content)
    with connect(web_server).get_resource("a") as resource:
        assert b"".join(resource.chunks(1 << 20)) == content
    sizes = [request.sent for request in web_server.requests_for("data/a", "GET")]
    assert max(sizes) == 2 << 20
    assert sum(sizes) == len(content)


def test_opens_npy_without_reading_it_whole(web_server):
    import numpy as np

    stream = io.BytesIO()
    np.save(stream, np.arange(2_000_000))
    web_server.put("data/a.npy", stream.getvalue())
    with connect(web_server).get_resource("a.npy") as resource:
        assert np.lib.format.read_magic(resource) == (1, 0)
    assert sum(request.sent for request in web_server.requests) < 200_000
