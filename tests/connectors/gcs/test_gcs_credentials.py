"""Who asks, and where: credentials of Google, and the environment."""

import json
import pickle
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from datastack_fs.connectors import GCSStorageConnector
from datastack_fs.credentials import EnvironmentText
from datastack_fs.errors import ConfigError, StoragePermissionError
from datastack_fs.testing.content import read_all
from harness.ports import free_ports
from harness.stores import BUCKET, unique

CREDENTIALS = ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT")


@pytest.fixture
def no_google(monkeypatch, tmp_path):
    """An environment without any Google credentials."""
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


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


def test_a_token_that_google_cannot_give_now_is_asked_for_again(proxy, service_account, token_server):
    token_server.failures = [(503, {"error": "unavailable"})] * 4  # google.auth itself gives up after three
    with GCSStorageConnector(BUCKET, "x", token=service_account, endpoint_url=proxy.url) as connector:
        assert connector.has_resource("a") is False
    assert token_server.asked == 5


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
            status, answer = server.failures.pop() if server.failures else server.answer
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer = 200, {"access_token": "fresh", "expires_in": 3600, "token_type": "Bearer"}
    server.failures = []
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
