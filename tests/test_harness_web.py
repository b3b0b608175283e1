"""The scripted web server answers as RFC 9110 says, and wrongly only where told to."""

import gzip
import hashlib
import http.client
import itertools
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

CONTENT = os.urandom(300_000)


@pytest.fixture
def url(web_server):
    return web_server.put("dir/a b.bin", CONTENT, modified=1_700_000_000)


def get(url, **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(url, headers=names, timeout=10)


def test_whole_file(url):
    answer = get(url)
    assert answer.status_code == 200
    assert answer.content == CONTENT
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"] == f'"{hashlib.sha256(CONTENT).hexdigest()[:32]}"'
    assert answer.headers["Last-Modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=299990-", 299_990, 300_000),
        ("bytes=-5", 299_995, 300_000),
        ("bytes=-999999", 0, 300_000),
        ("bytes=5-99999999", 5, 300_000),
    ],
)
def test_range(url, asked, start, end):
    answer = get(url, Range=asked)
    assert answer.status_code == 206
    assert answer.content == CONTENT[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/300000"


@pytest.mark.parametrize("asked", ["bytes=300000-", "bytes=-0", "bytes=400000-400001"])
def test_range_outside(url, asked):
    answer = get(url, Range=asked)
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == "bytes */300000"


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "bytes=5-2", "bytes=-", "lines=1-2"])
def test_ranges_that_may_be_ignored(url, asked):
    assert get(url, Range=asked).status_code == 200


def test_head(web_server, url):
    answer = requests.head(url, timeout=10)
    assert answer.headers["Content-Length"] == str(len(CONTENT))
    assert answer.content == b""
    web_server.behave("dir/a b.bin", head=False)
    assert requests.head(url, timeout=10).status_code == 405
    assert get(url).content == CONTENT


def test_conditions(url):
    etag = get(url).headers["ETag"]
    date = get(url).headers["Last-Modified"]
    part = {"Range": "bytes=0-9"}
    assert get(url, If_Match=etag).status_code == 200
    assert get(url, If_Match='"x", ' + etag).status_code == 200
    assert get(url, If_Match="*").status_code == 200
    assert get(url, If_Match='"other"').status_code == 412
    assert get(url, If_None_Match=etag).status_code == 304
    assert get(url, If_None_Match="W/" + etag).status_code == 304
    assert get(url, If_None_Match='"other"').status_code == 200
    assert get(url, If_Range=etag, **part).status_code == 206
    assert get(url, If_Range=date, **part).status_code == 206
    assert get(url, If_Range='"other"', **part).status_code == 200
    assert get(url, If_Range="Tue, 14 Nov 2023 22:13:21 GMT", **part).status_code == 200


def test_weak_and_missing_validators(web_server, url):
    web_server.behave("dir/a b.bin", etag="weak")
    etag = get(url).headers["ETag"]
    assert etag.startswith('W/"')
    assert get(url, If_Match=etag).status_code == 412
    assert get(url, If_Range=etag, Range="bytes=0-9").status_code == 200
    assert get(url, If_None_Match=etag).status_code == 304
    web_server.behave("dir/a b.bin", etag=None, last_modified=False)
    assert not {"ETag", "Last-Modified"} & set(get(url).headers)
    web_server.behave("dir/a b.bin")
    assert get(url).headers["ETag"] == etag.removeprefix("W/")


def test_replaced_file_has_another_etag(web_server, url):
    before = get(url).headers["ETag"]
    web_server["dir/a b.bin"] = b"new"
    assert get(url, Range="bytes=1-", If_Range=before).content == b"new"
    del web_server["dir/a b.bin"]
    assert get(url).status_code == 404


def test_folder(web_server, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "b.bin").write_bytes(CONTENT)
    (tmp_path / "secret").write_bytes(b"outside")
    web_server.folder = tmp_path / "site"
    answer = get(web_server.url_of("b.bin"), Range="bytes=-7")
    assert answer.content == CONTENT[-7:]
    assert answer.headers["ETag"]
    assert get(web_server.url + "/%2e%2e/secret").status_code == 404


def test_ranges_switched_off(web_server, url):
    web_server.behave("dir/a b.bin", ranges=False)
    answer = get(url, Range="bytes=0-9")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert "Accept-Ranges" not in answer.headers


def test_body_shorter_than_its_content_length(web_server, url):
    web_server.behave("dir/a b.bin", mangle=lambda body: body[:1000])
    connection = http.client.HTTPConnection("127.0.0.1", web_server.port, timeout=10)
    connection.request("GET", "/dir/a%20b.bin")
    answer = connection.getresponse()
    assert answer.getheader("Content-Length") == "300000"
    with pytest.raises(http.client.IncompleteRead) as caught:
        answer.read()
    connection.close()
    assert caught.value.partial == CONTENT[:1000]
    assert web_server.requests[-1].sent == 1000


def test_wrong_body_under_the_right_headers(web_server, url):
    right = get(url)
    web_server.behave("dir/a b.bin", mangle=lambda body: bytes(len(body)))
    wrong = get(url)
    assert wrong.headers["ETag"] == right.headers["ETag"]
    assert wrong.content == bytes(300_000)
    assert get(url, Range="bytes=5-9").content == bytes(5)


def test_no_length(web_server, url):
    web_server.behave("dir/a b.bin", length="none")
    answer = get(url)
    assert answer.content == CONTENT
    assert "Content-Length" not in answer.headers
    assert answer.headers["Connection"] == "close"
    web_server.behave("dir/a b.bin", length="none", mangle=lambda body: body[:10])
    assert get(url).content == CONTENT[:10], "no client can tell"


def test_chunked(web_server, url):
    web_server.behave("dir/a b.bin", length="chunked")
    answer = get(url)
    assert answer.content == CONTENT
    assert answer.headers["Transfer-Encoding"] == "chunked"


def test_endless_body(web_server, url):
    web_server.behave("dir/a b.bin", length="none", mangle=lambda body: itertools.repeat(body))
    with requests.get(url, stream=True, timeout=10) as answer:
        blocks = list(itertools.islice(answer.iter_content(100_000), 20))
    assert sum(map(len, blocks)) == 2_000_000


def test_script_of_statuses(web_server, url):
    web_server.behave("dir/a b.bin", statuses=[503, 429, 200, 500], headers={"Retry-After": "1"})
    assert [get(url).status_code for _ in range(5)] == [503, 429, 200, 500, 200]
    assert [r.status for r in web_server.requests] == [503, 429, 200, 500, 200]
    assert get(url).headers["Retry-After"] == "1"


def test_gzip(web_server, url):
    web_server.behave("dir/a b.bin", gzip="always")
    plain = get(url, Accept_Encoding="identity")
    assert plain.headers["Content-Encoding"] == "gzip"
    assert plain.content == CONTENT, "requests undoes it"
    web_server.behave("dir/a b.bin", gzip="accepted")
    assert "Content-Encoding" not in get(url, Accept_Encoding="identity").headers
    answer = requests.get(url, stream=True, timeout=10)
    assert gzip.decompress(answer.raw.read()) == CONTENT


def test_redirect(web_server, url):
    web_server.behave("old", redirect="/dir/a%20b.bin", redirect_status=307)
    assert get(web_server.url_of("old")).content == CONTENT
    assert [(r.path, r.status) for r in web_server.requests] == [("old", 307), ("dir/a b.bin", 200)]


def test_html_page(web_server, url):
    web_server.behave("dir/a b.bin", html=True)
    answer = get(url)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE html>")


def test_basic_auth(web_server, url):
    web_server.behave("dir/a b.bin", auth=("user", "p:w"))
    assert get(url).status_code == 401
    assert requests.get(url, auth=("user", "p:w"), timeout=10).content == CONTENT


def test_requests_are_recorded(web_server, url):
    get(url + "?sig=1", Range="bytes=0-9", X_Thing="yes")
    requests.head(url, timeout=10)
    get(web_server.url_of("nothing"))
    first, second, third = web_server.requests
    assert (first.method, first.path, first.query, first.range) == ("GET", "dir/a b.bin", "sig=1", "bytes=0-9")
    assert (first.headers["x-thing"], first.status, first.sent) == ("yes", 206, 10)
    assert (second.method, second.sent) == ("HEAD", 0)
    assert third.status == 404
    assert web_server.requests_for("dir/a b.bin", "GET") == [first]


def test_connections_are_kept_and_counted(web_server, url):
    with requests.Session() as session:
        for _ in range(5):
            session.get(url, timeout=10)
    assert web_server.connections == 1
    assert len(web_server.requests) == 5


def test_many_at_once(url):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: get(url, Range=f"bytes={i}-{i + 999}").content, range(200)))
    assert answers == [CONTENT[i : i + 1000] for i in range(200)]


def test_stop_cuts_connections_and_start_has_the_same_port(web_server, url):
    with socket.create_connection(("127.0.0.1", web_server.port), timeout=10) as kept:
        kept.sendall(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.recv(4096)
        web_server.stop()
        assert kept.recv(4096) == b""
    with pytest.raises(requests.ConnectionError):
        get(url)
    web_server.start()
    assert get(url).content == CONTENT
