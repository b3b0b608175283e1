"""Each fault of the proxy fires as often and where it is told to, on the real servers, and nothing else happens."""

import gc
import http.client
import os
import socket
import threading
import time
import warnings

import pytest

from harness.proxy import FaultProxy, flipped_bits, ranged_get

CONTENT = os.urandom(1_000_000)


@pytest.fixture
def proxy(web_server):
    """A proxy before a web server with the file `a`."""
    web_server.put("a", CONTENT)
    with FaultProxy.before(web_server.url) as proxy:
        yield proxy


class Answer:
    """What a client gets that takes what comes: all bytes until the connection says or breaks otherwise."""

    def __init__(self, proxy, method="GET", path="/a", body=None, **headers):
        self.ended = "whole"
        self.status, self.body = None, b""
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
        began = time.monotonic()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            self.first_byte = time.monotonic() - began
            self.status, self.headers = response.status, response.headers
            while block := response.read1(65536):
                self.body += block
            if response.length:
                self.ended = "short"
        except http.client.RemoteDisconnected:  # a kind of ConnectionResetError, too
            self.ended = "nothing"
        except ConnectionResetError:
            self.ended = "reset"
        except http.client.IncompleteRead:
            self.ended = "short"
        except TimeoutError:
            self.ended = "timeout"
        finally:
            connection.close()
        self.seconds = time.monotonic() - began


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.01)


def test_without_faults_it_only_counts(proxy, web_server):
    assert Answer(proxy).body == CONTENT
    assert Answer(proxy, Range="bytes=5-9").body == CONTENT[5:10]
    assert Answer(proxy, "HEAD").headers["Content-Length"] == "1000000"
    assert Answer(proxy, path="/none").status == 404
    assert (proxy.requests, proxy.connections) == (4, 4)
    assert [(r.method, r.target, r.range) for r in proxy.log][1:3] == [
        ("GET", "/a", "bytes=5-9"),
        ("HEAD", "/a", None),
    ]
    assert 1_000_005 < proxy.bytes_down < 1_003_000
    assert not proxy.fired
    assert web_server.requests[0].headers["host"] == f"127.0.0.1:{proxy.port}"


def test_connections_are_kept(proxy, web_server):
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    for _ in range(5):
        connection.request("GET", "/a")
        assert connection.getresponse().read() == CONTENT
    connection.close()
    assert (proxy.connections, web_server.connections) == (1, 1)


def test_a_restarted_server_is_connected_to_anew(proxy, web_server):
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    for _ in range(2):
        connection.request("GET", "/a")
        assert connection.getresponse().read() == CONTENT
        web_server.stop()
        web_server.start()
    connection.close()


@pytest.mark.parametrize("length", ["chunked", "none"])
def test_bodies_without_length_pass(proxy, web_server, length):
    web_server.behave("a", length=length)
    assert Answer(proxy).body == CONTENT


def test_delay_before_the_first_byte_of_each_response(proxy):
    proxy.delay = 0.3
    answer = Answer(proxy)
    assert answer.body == CONTENT
    assert answer.first_byte >= 0.3
    threads = [threading.Thread(target=Answer, args=(proxy,)) for _ in range(10)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 2, "delays of different connections must not add up"


@pytest.mark.parametrize(("kind", "ended"), [("rst", "reset"), ("fin", "short")])
@pytest.mark.parametrize("at", [0, 1, 400_000, 999_999])
def test_cut_after_n_bytes(proxy, kind, ended, at):
    fault = proxy.arm(kind, at=at, times=2)
    for _ in range(2):
        answer = Answer(proxy)
        assert answer.ended == ended
        assert answer.status == 200
        assert answer.body == CONTENT[:at]
    assert Answer(proxy).body == CONTENT
    assert fault.fired == 2
    assert proxy.fired == {kind: 2}
    assert proxy.armed == 0


@pytest.mark.parametrize(("kind", "ended"), [("rst", "reset"), ("fin", "nothing")])
def test_lost_answer(proxy, web_server, kind, ended):
    proxy.arm(kind, at=None)
    answer = Answer(proxy)
    assert (answer.ended, answer.status) == (ended, None)
    assert len(web_server.requests) == 1, "the server has done what it was asked to"
    assert proxy.fired == {kind: 1}


def test_drop(proxy, web_server):
    proxy.arm("drop")
    assert Answer(proxy).ended == "nothing"
    assert web_server.requests == []
    assert Answer(proxy).body == CONTENT
    assert proxy.fired == {"drop": 1}


@pytest.mark.parametrize("length", ["exact", "chunked", "none"])
def test_cut_that_no_client_can_tell(proxy, web_server, length):
    web_server.behave("a", length=length)
    proxy.arm("cut", at=1234)
    answer = Answer(proxy)
    assert (answer.ended, answer.status, answer.body) == ("whole", 200, CONTENT[:1234])
    assert "Content-Length" not in answer.headers
    assert proxy.fired == {"cut": 1}


@pytest.mark.parametrize("length", ["exact", "chunked", "none"])
@pytest.mark.parametrize(("at", "bit"), [(0, 0), (700_000, 5), (999_999, 7)])
def test_one_bit_flipped(proxy, web_server, length, at, bit):
    web_server.behave("a", length=length)
    proxy.arm("flip", at=at, bit=bit)
    assert flipped_bits(Answer(proxy).body, CONTENT) == [8 * at + bit]
    assert Answer(proxy).body == CONTENT
    assert proxy.fired == {"flip": 1}


@pytest.mark.parametrize("at", [None, 0, 500_000])
def test_stall_until_release(proxy, at):
    proxy.arm("stall", at=at)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(Answer(proxy)))
    thread.start()
    wait_until(lambda: proxy.fired["stall"] == 1)
    wait_until(lambda: proxy.bytes_down >= (at or 0))
    sent = proxy.bytes_down
    assert Answer(proxy, "HEAD").status == 200, "others are not stalled"
    head = proxy.bytes_down - sent
    assert proxy.bytes_down == sent + head
    assert sent <= (at or 0) + 1000
    assert answers == []
    proxy.release()
    thread.join()
    assert answers[0].body == CONTENT


def test_stall_ends_when_the_client_leaves(proxy):
    proxy.arm("stall", at=10)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        client.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: proxy.fired["stall"] == 1)
        assert len(proxy._open) == 1
    wait_until(lambda: not proxy._open)


def test_stall_of_an_upload_ends_when_the_client_leaves(proxy):
    proxy.arm("stall", side="up", at=10)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        client.sendall(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(400_000))
        wait_until(lambda: proxy.fired["stall"] == 1)
    wait_until(lambda: not proxy._open)


def test_slow(proxy):
    proxy.arm("slow", at=900_000, rate=500_000)
    answer = Answer(proxy)
    assert answer.body == CONTENT
    assert answer.seconds >= 0.15
    assert Answer(proxy).body == CONTENT
    assert proxy.fired == {"slow": 1}


@pytest.mark.parametrize("status", [503, 429, 500])
def test_status(proxy, web_server, status):
    fault = proxy.arm(str(status), times=2, retry_after=2)
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    for _ in range(2):
        connection.request("PUT", "/a", body=bytes(300_000))
        response = connection.getresponse()
        assert response.status == status
        assert response.headers["Retry-After"] == "2"
        assert b"<Code>SlowDown</Code>" in response.read()
    connection.request("GET", "/a")
    assert connection.getresponse().read() == CONTENT
    connection.close()
    assert proxy.connections == 1
    assert len(web_server.requests) == 1
    assert fault.fired == proxy.fired[str(status)] == 2


def test_contradicting_lengths(proxy, web_server):
    proxy.arm("dup-length")
    assert Answer(proxy).headers.get_all("Content-Length") == ["1000000", "1000001"]
    assert proxy.fired == {"dup-length": 1}
    web_server.behave("a", length="chunked")
    fault = proxy.arm("dup-length")
    assert Answer(proxy).body == CONTENT
    assert fault.left == 1, "there was none to contradict"


def test_for_ever_until_disarmed(proxy):
    fault = proxy.arm("rst", at=0, times=None)
    assert [Answer(proxy).ended for _ in range(5)] == ["reset"] * 5
    proxy.disarm(fault)
    assert Answer(proxy).body == CONTENT
    assert fault.fired == 5


def test_only_where_it_suits(proxy):
    proxy.arm("503", when=ranged_get)
    proxy.arm("500", when=lambda request: request.method == "HEAD")
    assert Answer(proxy).status == 200
    assert Answer(proxy, "HEAD").status == 500
    assert Answer(proxy, Range="bytes=0-1").status == 503
    assert Answer(proxy, Range="bytes=0-1").status == 206
    assert proxy.fired == {"503": 1, "500": 1}


def test_a_body_too_short_gives_the_fault_back(proxy, web_server):
    proxy.arm("flip", at=10)
    assert Answer(proxy, Range="bytes=0-9").body == CONTENT[:10]
    web_server.behave("a", length="chunked")
    assert Answer(proxy, Range="bytes=0-9").body == CONTENT[:10]
    assert (proxy.armed, proxy.fired) == (1, {})
    assert flipped_bits(Answer(proxy, Range="bytes=0-10").body, CONTENT[:11]) == [80]
    assert proxy.fired == {"flip": 1}


def test_exactly_n_times_under_concurrency(proxy):
    proxy.arm("503", times=10)
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(Answer(proxy).status)) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 30 + [503] * 10


def test_refusing_and_disconnecting(proxy):
    proxy.refusing = True
    assert Answer(proxy).ended == "reset"
    proxy.refusing = False
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as idle:
        wait_until(lambda: len(proxy._open) == 1)
        proxy.disconnect()
        with pytest.raises(ConnectionResetError):
            idle.recv(1)
    assert Answer(proxy).body == CONTENT


def test_a_server_that_is_down_resets(proxy, web_server):
    web_server.stop()
    assert Answer(proxy).ended == "reset"


@pytest.mark.parametrize("kind", ["rst", "fin"])
def test_cuts_are_cuts_though_a_forked_child_lives(proxy, kind):
    proxy.arm("stall", at=5)
    proxy.arm(kind, at=400_000)
    stalled = []
    thread = threading.Thread(target=lambda: stalled.append(Answer(proxy)))
    thread.start()
    wait_until(lambda: proxy.fired["stall"] == 1)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write_end)
        os.read(read_end, 1)  # until the parent closes its end
        os._exit(0)
    os.close(read_end)
    try:
        assert Answer(proxy).body == CONTENT[:400_000]
        proxy.disconnect()
        thread.join(3)
        assert [answer.ended for answer in stalled] == ["reset"]
    finally:
        os.close(write_end)
        os.waitpid(child, 0)


def test_misuse_is_refused(proxy):
    for wrong in ({"kind": "rts"}, {"kind": "flip", "at": None}, {"kind": "cut", "side": "up"}):
        with pytest.raises(ValueError, match=r"no such kind|offset|side"):
            proxy.arm(**wrong)
    raw = FaultProxy("127.0.0.1", 1, mode="raw")
    with pytest.raises(ValueError, match="needs HTTP"):
        raw.arm("503")


def test_nothing_is_left_of_a_proxy_stopped_at_once(web_server):
    before = threading.active_count()
    for _ in range(10):
        with FaultProxy.before(web_server.url) as proxy, socket.create_connection(("127.0.0.1", proxy.port)):
            assert threading.active_count() == before + 1
        assert threading.active_count() == before
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        gc.collect()  # sockets that were not closed speak up here, and pytest fails the test
