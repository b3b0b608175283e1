"""Files fetched over HTTP: whole, right and of one version, or not at all."""

import gzip
import hashlib
import os
import ssl
import threading
import traceback
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, RetrievalError
from datastack_fs.retrieval import HTTPRetriever, ResourceDefinition
from datastack_fs.retrieval.download import BLOCK_BYTES, Download
from datastack_fs.retrieval.progress import FileProgress
from datastack_fs.retrieval.web import STALL_SECONDS, Web
from harness.ports import free_ports
from harness.proxy import FaultProxy

OLD = b"what was stored before"
CONTENT = gzip.compress(os.urandom(3_000_000))
OTHER = gzip.compress(os.urandom(3_100_000))
NAME = "birds/raw/train.gz"
ALGORITHMS = ["sha256", "sha512", "sha1", "md5"]


def checksum(content, algorithm="sha256"):
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


@pytest.fixture
def url(web_server):
    return web_server.put("train.gz", CONTENT)


def retrieve(connector, url, check=None, *, seconds=0.5, name=NAME, **options):
    definition = ResourceDefinition(name, url, check)
    return HTTPRetriever(connector, deadline=seconds).retrieve([definition], **options)


def content_of(connector, name=NAME):
    return connector.get_resource(name).read()


def refused(connector, url, match, error=RetrievalError, **options):
    """Retrieving fails with a message, and leaves what was there: nothing, or the old bytes."""
    with pytest.raises(error, match=match) as caught:
        retrieve(connector, url, **options)
    assert list(connector.list_resources()) == []
    connector.set_resource(NAME, OLD)
    with pytest.raises(error, match=match):
        retrieve(connector, url, overwrite=True, **options)
    assert content_of(connector) == OLD
    assert list(connector.list_resources()) == [NAME]
    return caught.value


# What goes well.


@pytest.mark.parametrize("check", [None, checksum(CONTENT), checksum(CONTENT, "md5")], ids=["none", "sha256", "md5"])
def test_a_file_is_stored_as_it_is(store, web_server, url, check):
    (info,) = retrieve(store, url, check)
    assert content_of(store) == CONTENT
    assert (info.identifier, info.size) == (NAME, len(CONTENT))
    (request,) = web_server.requests
    assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("length", ["chunked", "none"])
def test_a_length_need_not_be_said(memory, web_server, url, length):
    web_server.behave("train.gz", length=length)
    retrieve(memory, url, checksum(CONTENT))
    assert content_of(memory) == CONTENT


def test_an_empty_file(memory, web_server):
    retrieve(memory, web_server.put("empty.csv", b""), name="empty.csv")
    assert content_of(memory, "empty.csv") == b""


@pytest.mark.parametrize("check", [None, *(checksum(CONTENT, name) for name in ALGORITHMS)], ids=["none", *ALGORITHMS])
def test_what_is_there_and_right_is_not_fetched_again(memory, web_server, url, check):
    (first,) = retrieve(memory, url, check)
    web_server.requests.clear()
    (second,) = retrieve(memory, url, check)
    assert web_server.requests == []
    assert first == second
    assert first.checksum == checksum(CONTENT), "whatever the source is known by, the store knows sha256"
    retrieve(memory, url, check, overwrite=True)
    assert len(web_server.requests) == 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_there_and_wrong_is_fetched_again(memory, web_server, url, algorithm):
    memory.set_resource(NAME, OLD)
    retrieve(memory, url, checksum(CONTENT, algorithm))
    assert content_of(memory) == CONTENT


def test_several_files_come_in_order(memory, web_server):
    definitions = [ResourceDefinition(f"{n}.txt", web_server.put(f"{n}.txt", bytes([n]))) for n in (3, 1, 2)]
    infos = HTTPRetriever(memory).retrieve(iter(definitions))
    assert [info.identifier for info in infos] == ["3.txt", "1.txt", "2.txt"]


def test_progress_is_shown_when_asked_for_and_silent_elsewhere_than_on_a_terminal(memory, url, capfd):
    definition = ResourceDefinition(NAME, url)
    HTTPRetriever(memory).retrieve([definition])
    assert capfd.readouterr() == ("", "")
    HTTPRetriever(memory, progress=True).retrieve([definition], overwrite=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert NAME in err
    assert "1/1" in err


# Checksums and promises.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_checksum_keeps_the_old_bytes_and_names_both(memory, url, algorithm):
    wrong = checksum(b"something else", algorithm)
    error = refused(memory, url, "expected", DatasetFileCorruptError, check=wrong)
    assert wrong in str(error)
    assert checksum(CONTENT, algorithm) in str(error)
    assert url in str(error)
    assert NAME in str(error)


@pytest.mark.parametrize("name", ["a.gz", "a.zip", "a.npy", "a.h5", "a.csv", "A.GZ"])
def test_a_web_page_instead_of_the_file_is_called_so(memory, web_server, name):
    web_server.behave("train.gz", html=True)
    with pytest.raises(RetrievalError, match=rf"a web page came instead of {name}: 'Log in'"):
        retrieve(memory, web_server.url_of("train.gz"), name=name)
    assert list(memory.list_resources()) == []


def test_a_web_page_that_was_asked_for_is_stored(memory, web_server):
    page = b"<!DOCTYPE html><title>Birds</title>"
    retrieve(memory, web_server.put("birds.html", page), name="birds.html")
    assert content_of(memory, "birds.html") == page


def test_the_title_of_a_page_cannot_play_with_the_terminal(memory, web_server):
    page = b"\xef\xbb\xbf <!-- a -->\n<HTML><head><title lang=en>\x1b[2J  Wait\n   here" + b"!" * 500 + b"</title>"
    with pytest.raises(RetrievalError) as caught:
        retrieve(memory, web_server.put("x", page))
    assert "'[2J Wait here!!!" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("name", ["a.gz", "a.zip", "a.npy", "a.h5"])
@pytest.mark.parametrize("content", [b"", b"x" * 10, b"{}" * 100_000], ids=len)
def test_another_kind_of_file_is_refused(memory, web_server, name, content):
    with pytest.raises(RetrievalError, match=rf"{name} should begin with .* came"):
        retrieve(memory, web_server.put("x", content), name=name)
    assert list(memory.list_resources()) == []


def test_an_hdf5_file_may_begin_with_a_block_of_the_users(memory, web_server):
    retrieve(memory, web_server.put("x", b"#" * 4096 + b"\x89HDF\r\n\x1a\n"), name="a.h5")
    assert memory.has_resource("a.h5")


def test_a_content_encoding_is_refused(memory, web_server, url):
    web_server.behave("train.gz", gzip="always")
    refused(memory, url, "Content-Encoding 'gzip'")


# Answers that say no.


@pytest.mark.parametrize(
    ("status", "phrase"),
    [(401, "Unauthorized"), (403, "Forbidden"), (404, "Not Found"), (410, "Gone"), (501, "Not Implemented"), (204, "")],
)
def test_a_refusal_names_address_and_status_and_is_not_repeated(memory, web_server, url, status, phrase):
    web_server.behave("train.gz", statuses=[status, status])
    refused(memory, url, rf"can't fetch {url}: HTTP {status} {phrase}")
    assert len(web_server.requests) == 2, "one for each call"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(memory, web_server, url, status):
    web_server.behave("train.gz", statuses=[status, status])
    retrieve(memory, url, checksum(CONTENT), seconds=60)
    assert content_of(memory) == CONTENT
    assert [request.status for request in web_server.requests] == [status, status, 200]


def test_a_server_that_stays_in_trouble_is_given_up(memory, web_server, url):
    web_server.behave("train.gz", statuses=[503] * 10_000)
    refused(memory, url, rf"can't fetch {url}: HTTP 503 Service Unavailable")
    assert len(web_server.requests) > 2


def test_a_server_that_is_down(memory):
    refused(memory, f"http://127.0.0.1:{free_ports(1)[0]}/train.gz", r"can't fetch http://127\.0\.0\.1:.*refused")


@pytest.mark.parametrize("url", ["ftp://host/a.gz", "file:///etc/passwd", "a.gz", "http://", "http://[/a.gz"])
def test_other_addresses_are_refused_without_a_request(memory, url):
    with pytest.raises(RetrievalError, match="can't fetch"):
        retrieve(memory, url)


def test_a_part_asked_for_by_nobody_is_refused(memory, web_server, url, monkeypatch):
    original = requests.Session.get

    def get(session, url, **options):
        return original(session, url, **{**options, "headers": {**options["headers"], "Range": "bytes=0-99"}})

    monkeypatch.setattr(requests.Session, "get", get)
    refused(memory, url, "HTTP 206")


# Redirects.


def chain(web_server, hops, last="/train.gz"):
    for hop in range(hops):
        web_server.behave(f"hop{hop}", redirect=f"/hop{hop + 1}" if hop + 1 < hops else last)
    return web_server.url_of("hop0")


def test_five_redirects_are_followed(memory, web_server, url):
    retrieve(memory, chain(web_server, 5), checksum(CONTENT))
    assert content_of(memory) == CONTENT


def test_six_redirects_are_not(memory, web_server, url):
    refused(memory, chain(web_server, 6), "more than 5 redirects")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x", "http://[/x"])
def test_a_redirect_to_another_scheme_is_refused(memory, web_server, url, target):
    refused(memory, chain(web_server, 1, target), "it redirects to .*, and only http and https")


def test_a_redirect_from_https_to_http_is_refused(memory, web_server, url, tmp_path, monkeypatch):
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with redirecting(url, certificate=certificate) as address:
        refused(memory, address, "it redirects from https to http://127")
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        with pytest.raises(RetrievalError, match="CERTIFICATE_VERIFY_FAILED"):
            retrieve(memory, address, overwrite=True, seconds=3600)
    assert web_server.requests == []


def test_the_body_of_a_redirect_is_not_read(memory, url):
    sent = []
    with redirecting(url, body=(sent.append(1) or bytes(1 << 16) for _ in range(1000))) as address:
        retrieve(memory, address, checksum(CONTENT))
    assert content_of(memory) == CONTENT
    assert len(sent) < 1000


@contextmanager
def redirecting(target, body=(), certificate=None):
    """A server that redirects every request, with a body of its own."""

    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()
            with suppress(OSError):
                for block in body:
                    self.wfile.write(block)

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", free_ports(1)[0]), Redirecting) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}/train.gz"
        finally:
            server.shutdown()
            thread.join()


def make_certificate(folder):
    from datetime import datetime, timedelta, timezone
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return path


# Transfers that break off.


def test_a_body_shorter_than_its_length_is_refused(memory, web_server, url):
    web_server.behave("train.gz", mangle=lambda body: body[:1000], etag=None)
    refused(memory, url, "can't fetch")


def test_also_where_requests_does_not_notice(memory, web_server, url, monkeypatch):
    original = requests.Session.get

    def get(session, url, **options):
        response = original(session, url, **options)
        response.raw.enforce_content_length = False  # as urllib3 1.26 does
        return response

    monkeypatch.setattr(requests.Session, "get", get)
    web_server.behave("train.gz", mangle=lambda body: body[:1000], etag=None)
    refused(memory, url, rf"1,000 of {len(CONTENT):,} bytes came")


def test_a_cut_that_nothing_tells_is_caught_by_the_checksum(memory, web_server, url):
    web_server.behave("train.gz", mangle=lambda body: body[:-1], length="none", etag=None)
    refused(memory, url, "expected", DatasetFileCorruptError, check=checksum(CONTENT))


@pytest.mark.parametrize("length", ["exact", "chunked"])
@pytest.mark.parametrize("kind", ["rst", "fin"])
def test_it_goes_on_where_it_broke_off(store, web_server, url, kind, length):
    web_server.behave("train.gz", length=length)
    with FaultProxy.before(web_server.url) as proxy:
        faults = [proxy.arm(kind, at=1_000_000), proxy.arm(kind, at=700_001), proxy.arm(kind, at=0)]
        retrieve(store, f"{proxy.url}/train.gz", checksum(CONTENT), seconds=60)
        assert [fault.fired for fault in faults] == [1, 1, 1]
    assert content_of(store) == CONTENT
    first, *others = web_server.requests
    assert first.range is None
    assert [request.status for request in others] == [206, 206, 206]
    starts = [int(request.range.removeprefix("bytes=").rstrip("-")) for request in others]
    assert sorted(starts) == starts
    assert starts[-1] >= 1_700_001 - 2 * BLOCK_BYTES
    assert all(request.headers["if-range"].startswith('"') for request in others)


@pytest.mark.parametrize("changes", [{"etag": "weak"}, {"etag": None}, {"ranges": False}], ids=str)
def test_it_begins_anew_where_it_cannot_go_on(memory, web_server, url, changes):
    web_server.behave("train.gz", **changes)
    with FaultProxy.before(web_server.url) as proxy:
        fault = proxy.arm("rst", at=1_000_000, times=2)
        retrieve(memory, f"{proxy.url}/train.gz", checksum(CONTENT), seconds=60)
        assert fault.fired == 2
    assert content_of(memory) == CONTENT
    assert all(request.range is None for request in web_server.requests if "etag" in changes)


def test_a_file_that_changes_on_the_way_is_never_mixed(store, web_server, url):
    def swap(body):
        web_server.put("train.gz", OTHER)
        web_server.behave("train.gz")
        return body[:1_000_000]

    web_server.behave("train.gz", mangle=swap)
    retrieve(store, url, seconds=60)
    assert content_of(store) == OTHER
    assert [request.range for request in web_server.requests][1:] == [web_server.requests[1].range, None]


def test_a_transfer_that_always_breaks_off_at_the_same_place_is_given_up(memory, web_server, url):
    web_server.behave("train.gz", etag=None)
    with FaultProxy.before(web_server.url) as proxy:
        proxy.arm("fin", at=500_000, times=None)
        refused(memory, f"{proxy.url}/train.gz", "broke off after|of 3,.* bytes came")


def test_a_transfer_that_comes_in_pieces_ends_however_many_there_are(memory, web_server, url):
    with FaultProxy.before(web_server.url) as proxy:
        fault = proxy.arm("fin", at=300_000, times=None)
        retrieve(memory, f"{proxy.url}/train.gz", checksum(CONTENT), seconds=5)
        assert fault.fired >= 7
    assert content_of(memory) == CONTENT


def test_a_server_that_falls_silent_is_left(memory, web_server, url):
    assert STALL_SECONDS <= 15
    with FaultProxy.before(web_server.url) as proxy:
        proxy.arm("stall", at=1000, times=None)
        refused(memory, f"{proxy.url}/train.gz", "can't fetch", seconds=0.3)


# Secrets.


@pytest.mark.parametrize("kind", ["404", "503", "rst", "down", "html", "checksum", "redirect", "scheme"])
def test_no_error_shows_a_secret(memory, web_server, url, kind):
    host = f"127.0.0.1:{free_ports(1)[0]}" if kind == "down" else f"{web_server.host}:{web_server.port}"
    scheme = "ftp" if kind == "scheme" else "http"
    secret = f"{scheme}://ann:CANARY1@{host}/train.gz?token=CANARY2&X-Amz-Signature=CANARY3"
    changes = {
        "404": {"statuses": [404]},
        "503": {"statuses": [503] * 10_000},
        "rst": {"mangle": lambda body: body[:10], "etag": None},
        "html": {"html": True},
        "redirect": {"redirect": "ftp://bob:CANARY4@host/?sig=CANARY5"},
    }
    web_server.behave("train.gz", **changes.get(kind, {}))
    check = checksum(b"") if kind == "checksum" else None
    with pytest.raises((RetrievalError, DatasetFileCorruptError)) as caught:
        retrieve(memory, secret, check)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "CANARY" not in "\n".join(line for line in shown.splitlines() if "secret" not in line)
    assert "ann:***@" in str(caught.value)


def test_user_and_password_of_the_address_are_sent(memory, web_server, url):
    web_server.behave("train.gz", auth=("ann", "pw"))
    retrieve(memory, url.replace("http://", "http://ann:pw@"))
    assert content_of(memory) == CONTENT


def test_they_are_not_sent_to_another_host(memory, web_server, url):
    web_server.behave("first", redirect=url.replace("127.0.0.1", "localhost"))
    retrieve(memory, web_server.url_of("first").replace("http://", "http://ann:pw@"))
    first, second = web_server.requests
    assert "authorization" in first.headers
    assert "authorization" not in second.headers


def test_a_download_can_be_left_in_its_middle(url):
    with Download(Web(url), 5, FileProgress()) as download:
        blocks = download.blocks()
        next(blocks)
        blocks.close()
        assert list(blocks) == []
