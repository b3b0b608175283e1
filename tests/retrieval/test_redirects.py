"""Redirects can't send us where a stranger must not, and no secret follows them."""

import base64
import http.client
import logging
import socket
import threading
import traceback
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

import pytest

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import RetrievalError
from datastack_fs.retrieval import HTTPRetriever, ResourceDefinition, addresses
from harness.ports import free_ports
from harness.web import WebServer

PUBLIC = "127.0.0.1"
"""This address plays a public host; all others of this machine stay what they are."""

CONTENT = b"hoo" * 1000
NAME = "owl.txt"


@pytest.fixture
def public(monkeypatch):
    """A server on a public address, as far as anybody can tell."""
    original = addresses.is_public
    monkeypatch.setattr(addresses, "is_public", lambda address: address == PUBLIC or original(address))
    with WebServer({"owl.txt": CONTENT}, host=PUBLIC) as server:
        yield server


@pytest.fixture
def canary():
    with WebServer({"owl.txt": CONTENT}, host="127.0.0.2") as server:
        yield server


@pytest.fixture
def canary6():
    """The same on IPv6's loopback, where there is one."""
    if not has_ipv6():
        yield None
        return
    with IPv6Canary() as server:
        yield server


class IPv6Canary:
    """Counts who comes to [::1]."""

    def __enter__(self):
        self._socket = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        return self

    def __exit__(self, *_):
        self._socket.close()

    @property
    def connections(self):
        try:
            self._socket.accept()
        except BlockingIOError:
            return 0
        return 1


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


def retrieve(connector, url, *, deadline=0.5, **options):
    retriever = HTTPRetriever(connector, deadline=deadline, **options)
    return retriever.retrieve([ResourceDefinition(NAME, url)], overwrite=True)


# Addresses.


OPEN = """
1.1.1.1 8.8.8.8 100.63.255.255 172.32.0.1 192.167.1.1 223.255.255.255
2606:4700::1111 2a00:1450:4001::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8
"""

CLOSED = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8
192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.250 240.0.0.1
255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:a9fe:a9fe 64:ff9b::10.0.0.1 64:ff9b:1::8.8.8.8 100::1
2001::1 2001:db8::1 2002:7f00:1:: 2002:808:808:: 3fff::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%lo fec0::1 ff02::1 x
"""


@pytest.mark.parametrize("address", OPEN.split())
def test_public_addresses(address):
    assert addresses.is_public(address)


@pytest.mark.parametrize("address", CLOSED.split())
def test_addresses_that_are_not(address):
    assert not addresses.is_public(address)


# From a public host.

ELSEWHERE = [
    "http://127.0.0.2:{port}/owl.txt",
    "http://127.2:{port}/owl.txt",
    "http://127.0.2:{port}/owl.txt",
    "http://0x7f.2:{port}/owl.txt",
    "http://0x7f000002:{port}/owl.txt",
    "http://2130706434:{port}/owl.txt",
    "http://0177.0.0.2:{port}/owl.txt",
    "http://127.0.0.02:{port}/owl.txt",
    "http://[::ffff:127.0.0.2]:{port}/owl.txt",
    "http://[::ffff:7f00:2]:{port}/owl.txt",
    "http://[0:0:0:0:0:FFFF:7F00:0002]:{port}/owl.txt",
    "HTTP://127.0.0.2:{port}/owl.txt",
    "//127.0.0.2:{port}/owl.txt",
    "///127.0.0.2:{port}/owl.txt",
    "http://{public}@127.0.0.2:{port}/owl.txt",
    "http://{public}%40127.0.0.2:{port}/owl.txt",
    "http://{public}:80@127.0.0.2:{port}/owl.txt",
    "http://127.0.0.2:{port}#@{public}/owl.txt",
    "http://127.0.0.2:{port}\\@{public}/owl.txt",
    "http://{public}\\@127.0.0.2:{port}/owl.txt",
    "http://\uff11\uff12\uff17.\uff10.\uff10.\uff12:{port}/owl.txt",
    "http://127\u30020\u30020\u30022:{port}/owl.txt",
    "http://127.0.0.2.:{port}/owl.txt",
    "http://127.0.0.2%00.{public}:{port}/owl.txt",
    "http://%31%32%37.0.0.2:{port}/owl.txt",
    "http://birds.example:{port}/owl.txt",
    "http://BIRDS.example.:{port}/owl.txt",
    "http://rebinding.example:{port}/owl.txt",
    "http://both.example:{port}/owl.txt",
    "http://[::1]:{port6}/owl.txt",
    "http://[0:0::1]:{port6}/owl.txt",
    "http://[::]:{port6}/owl.txt",
    "http://[::1%25lo]:{port6}/owl.txt",
    "http://[::127.0.0.2]:{port}/owl.txt",
    "http://[64:ff9b::127.0.0.2]:{port}/owl.txt",
    "http://[2002:7f00:2::]:{port}/owl.txt",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://0:{port}/owl.txt",
    "http://0.0.0.0:{port}/owl.txt",
    "http://10.0.0.1/owl.txt",
    "http://[fe80::1]/owl.txt",
    "file:///etc/passwd",
    "FILE:/etc/passwd",
    "gopher://127.0.0.2:{port}/owl.txt",
    "ftp://127.0.0.2:{port}/owl.txt",
    "data:text/plain,hoo",
    "javascript:alert(1)",
    "http:\\\\127.0.0.2:{port}\\owl.txt",
    "http://",
    "http://[127.0.0.2]:{port}/owl.txt",
]


@pytest.fixture
def names(monkeypatch):
    """A resolver of a stranger's: one name is the canary, one has two addresses, one is public the first time only."""
    original = socket.getaddrinfo
    asked = []

    def getaddrinfo(host, port, *arguments, **options):
        name = str(host).lower().rstrip(".")
        found = {
            "birds.example": ["127.0.0.2"],
            "both.example": [PUBLIC, "127.0.0.2"],
            "rebinding.example": [PUBLIC] if name not in asked else ["127.0.0.2"],
        }.get(name)
        asked.append(name)
        if found is None:
            return original(host, port, *arguments, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("target", ELSEWHERE)
def test_a_public_host_cannot_send_us_into_a_private_network(memory, public, canary, canary6, names, target):
    port6 = canary6.port if canary6 else 9
    target = target.format(port=canary.port, port6=port6, public=PUBLIC)
    public.behave("first", headers={"Location": target.encode().decode("latin-1")}, statuses=[302] * 99)
    with pytest.raises(RetrievalError, match="can't fetch"):
        retrieve(memory, public.url_of("first"))
    assert canary.connections == 0
    assert canary6 is None or canary6.connections == 0
    assert list(memory.list_resources()) == []


def test_the_error_says_where_it_was_sent(memory, public, canary):
    public.behave("first", redirect=canary.url_of("owl.txt"))
    expected = rf"it redirects to {canary.url}/owl.txt, and 127\.0\.0\.2 is no public address"
    with pytest.raises(RetrievalError, match=expected):
        retrieve(memory, public.url_of("first"))


def test_neither_over_a_further_hop_nor_back_to_a_host_that_was_reached_before(memory, public, canary):
    """The user's own host is internal: it was reached, and its connection is open still."""
    canary.behave("first", redirect=public.url_of("second"))
    public.behave("second", redirect=canary.url_of("owl.txt"))
    with pytest.raises(RetrievalError, match="no public address"):
        retrieve(memory, canary.url_of("first"))
    assert [request.path for request in canary.requests] == ["first"]


def test_from_one_public_address_to_another(memory, public):
    public.behave("first", redirect=public.url_of("owl.txt"))
    retrieve(memory, public.url_of("first"))
    assert memory.get_resource(NAME).read() == CONTENT


def test_the_first_host_may_be_anywhere_and_lead_to_its_neighbours(memory, canary, web_server):
    """What the user names is what the user wants."""
    url = web_server.put("owl.txt", CONTENT)
    canary.behave("first", redirect=url)
    retrieve(memory, canary.url_of("first"))
    assert memory.get_resource(NAME).read() == CONTENT


def test_a_name_is_resolved_once_and_the_address_connected_to_is_the_one_that_was_checked(memory, public, names):
    """A second answer of the resolver, which would be the canary's, is never asked for."""
    public.behave("first", redirect=f"http://rebinding.example:{public.port}/owl.txt")
    retrieve(memory, public.url_of("first"))
    assert memory.get_resource(NAME).read() == CONTENT


def test_a_proxy_is_not_asked_for_private_addresses_either(memory, public, canary, names, monkeypatch):
    """It connects in our place, so what can be checked is the name as it is here."""
    with proxy() as (address, asked):
        monkeypatch.setenv("http_proxy", address)
        public.behave("birds", redirect=f"http://birds.example:{canary.port}/owl.txt")
        with pytest.raises(RetrievalError, match=r"birds\.example \(127\.0\.0\.2\) is no public address"):
            retrieve(memory, public.url_of("birds"))
        public.behave("first", redirect=public.url_of("owl.txt"))
        retrieve(memory, public.url_of("first"))
    assert asked == [public.url_of("birds"), public.url_of("first"), public.url_of("owl.txt")]
    assert canary.connections == 0


@contextmanager
def proxy():
    """An HTTP proxy, as the environment names one, and what it was asked for."""
    asked = []

    class Passing(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            parts = urlsplit(self.path)
            onward = http.client.HTTPConnection(parts.hostname, parts.port)
            onward.request("GET", parts.path)
            answer = onward.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.read())
            onward.close()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", free_ports(1)[0]), Passing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


# Secrets.

SECRETS = {
    "headers": {"headers": {"X-Api-Key": "CANARY", "Authorization": "Bearer CANARY"}},
    "auth": {"auth": ("ann", "CANARY")},
    "url": {},
    "netrc": {},
}


@pytest.fixture(params=SECRETS)
def secret(request, monkeypatch, tmp_path):
    """Options of the retriever, and what the user puts before the host."""
    if request.param == "netrc":
        path = tmp_path / "netrc"
        path.write_text("default login ann password CANARY\n")
        monkeypatch.setenv("NETRC", str(path))
    return SECRETS[request.param], "ann:CANARY@" if request.param == "url" else ""


def has_secret(request):
    shown = str(sorted(request.headers.items()))
    return "CANARY" in shown or base64.b64encode(b"ann:CANARY").decode() in shown


@pytest.mark.parametrize("elsewhere", ["host", "port", "name"])
def test_secrets_go_to_the_host_that_the_user_named_alone(memory, web_server, canary, secret, elsewhere):
    options, user_info = secret
    with WebServer({"owl.txt": CONTENT}) as other:
        last = web_server.put("owl.txt", CONTENT)
        target = {
            "host": canary.url_of("second"),
            "port": other.url_of("second"),
            "name": other.url_of("second").replace("127.0.0.1", "localhost"),
        }[elsewhere]
        web_server.behave("first", redirect="/next")
        web_server.behave("next", redirect=target)
        for server in (canary, other):
            server.behave("second", redirect="/third")
            server.behave("third", redirect=last)
        retrieve(memory, web_server.url_of("first").replace("://", f"://{user_info}"), **options)
        away = canary.requests + other.requests
    assert [request.path for request in away] == ["second", "third"]
    assert not any(map(has_secret, away))
    assert [request.path for request in web_server.requests if has_secret(request)] == ["first", "next", "owl.txt"]


def test_a_redirect_cannot_make_us_send_what_it_says(memory, web_server, canary):
    web_server.behave("first", redirect=canary.url_of("owl.txt").replace("://", "://bob:pw@"))
    retrieve(memory, web_server.url_of("first"))
    assert "authorization" not in canary.requests[0].headers


def test_headers_cannot_break_what_is_asked_for(memory, web_server):
    url = web_server.put("owl.txt", CONTENT)
    retrieve(memory, url, headers={"accept-encoding": "gzip", "X-Birds": "1"})
    assert web_server.requests[0].headers["accept-encoding"] == "identity"
    assert web_server.requests[0].headers["x-birds"] == "1"


@pytest.mark.parametrize("value", ["CANARY\r\nX: y", "CANARY\n", " CANARY", "CANARY €"])
def test_a_header_that_cannot_be_sent_is_not_shown(memory, web_server, value):
    with pytest.raises(RetrievalError, match="headers= can't be sent") as caught:
        retrieve(memory, web_server.url_of("owl.txt"), headers={"X-Api-Key": value})
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


def test_no_secret_is_shown_or_logged(memory, web_server, canary, secret, caplog):
    options, user_info = secret
    caplog.set_level(logging.DEBUG)
    web_server.behave("first", redirect=f"{canary.url_of('second')}?token=CANARY", statuses=[200, 503, 404])
    canary.behave("second", redirect="ftp://bob:CANARY@host/?sig=CANARY")
    url = web_server.url_of("first").replace("://", f"://{user_info}") + "?token=CANARY&X-Amz-Signature=CANARY"
    retriever = HTTPRetriever(memory, deadline=1, **options)
    shown = [repr(retriever), str(retriever)]
    for _ in range(2):
        with pytest.raises(RetrievalError) as caught:
            retriever.retrieve([ResourceDefinition(NAME, url)])
        shown += [line for line in traceback.format_exception(caught.value) if "File" not in line]
    assert "503" in caplog.text
    assert "CANARY" not in "\n".join([*shown, caplog.text])
    assert base64.b64encode(b"ann:CANARY").decode() not in "\n".join([*shown, caplog.text])
