"""Writing to Google Cloud Storage: in one request, and through a resumable session, with all that can go wrong.

fake-gcs-server has sessions wrong, so these are tested on the protocol that Google documents, put before that server.
"""

import io
import multiprocessing
import pickle
import signal
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from datastack_fs.connectors import GCSStorageConnector
from datastack_fs.errors import (
    DatasetFileCorruptError,
    ResourceChangedError,
    ResourceExistsError,
    StorageUnavailableError,
)
from datastack_fs.testing.content import failing, noise, read_all, stamped_blocks, versions_in
from harness.gcs_sessions import UNIT
from harness.proxy import FaultProxy
from harness.stores import BUCKET, unique

MIB = 1 << 20
LARGE = 5 * UNIT + 12_345


def uploads(request):
    return request.method in ("POST", "PUT") and request.target.startswith("/upload/")


def chunks(request):
    """Requests that bring bytes to a session."""
    return request.method == "PUT" and not request.headers["content-range"].startswith("bytes */")


def last_chunks(request):
    return chunks(request) and request.headers["content-range"].rpartition("/")[2] == str(
        int(request.headers["content-range"].rpartition("/")[0].rpartition("-")[2]) + 1
    )


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
    # Killed at the last chunk, it may be stored, and that at this very moment.
    try:
        content = read_all(in_sessions, "a")
    except ResourceChangedError:
        content = read_all(in_sessions, "a")
    assert content in (b"old", noise(LARGE))
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


def test_the_address_of_a_session_is_never_told(google, google_proxy, caplog):
    """Whoever has it can write: it is as good as a password."""
    with (
        GCSStorageConnector(
            BUCKET, unique("own"), token="anon", endpoint_url=google_proxy.url, deadline=1, chunk_size=16 * MIB
        ) as connector,
        caplog.at_level("DEBUG"),
    ):
        for kind in ("rst", "fin"):
            fault = google_proxy.arm(kind, at=300_000, side="up", times=None, when=chunks)
            with pytest.raises(StorageUnavailableError) as caught:
                connector.set_resource("a", noise(20 * MIB))
            assert fault.fired
            google_proxy.disarm()
            told = "".join(traceback.format_exception(caught.value)) + caplog.text
            assert "upload_id" not in told
            assert "upload-" not in told


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


def _write(pickled):
    pickle.loads(pickled).set_resource("a", noise(LARGE))
