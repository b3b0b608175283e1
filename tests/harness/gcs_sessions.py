"""The resumable uploads that Google documents, put before fake-gcs-server, which has them wrong.

fake-gcs-server publishes what it has when it is asked how much that is, credits bytes that never came, and ignores
preconditions (its issue 2354). Here a session follows
https://cloud.google.com/storage/docs/performing-resumable-uploads and ends as one conditional insert into the real
emulator, to which all other requests are passed on.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import itertools
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

from typing_extensions import Self

UNIT = 256 * 1024
_SPAN = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


@dataclass
class Session:
    """An upload that is under way.

    Attributes:
        received: What the server has of it.
        chunks: How many requests brought bytes.
        questions: How many asked for the status.
    """

    name: str
    metadata: dict[str, object]
    condition: str | None
    received: bytearray = field(default_factory=bytearray)
    chunks: int = 0
    questions: int = 0
    resource: bytes | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class GoogleSessions:
    """A gateway to a fake-gcs-server on a port of this machine.

    Attributes:
        sessions: Those under way, and those that are done.
        cancelled: How many were cancelled.
        keep: Of the next chunk, only so many bytes are kept, as Google may do.
        on_chunk: Called with the session when a chunk has been taken.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.sessions: dict[str, Session] = {}
        self.cancelled = 0
        self.keep: int | None = None
        self.on_chunk: Callable[[Session], object] = lambda _: None
        self._ids = itertools.count(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), name="gcs-sessions", daemon=True
        )

    @property
    def url(self) -> str:
        """The address of the API."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def unfinished(self) -> list[Session]:
        """Sessions that are neither done nor cancelled."""
        return [session for session in self.sessions.values() if session.resource is None]

    def forget(self) -> None:
        """Lose all sessions, as Google does after a week."""
        self.sessions.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def begin(self, name: str, metadata: dict[str, object], condition: str | None) -> str:
        """Open a session and return its id."""
        upload_id = f"upload-{next(self._ids)}"
        self.sessions[upload_id] = Session(name, metadata, condition)
        return upload_id

    def pass_on(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, list, bytes]:
        """Ask the emulator."""
        connection = http.client.HTTPConnection("127.0.0.1", self.target_port, timeout=30)
        try:
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def insert(self, bucket_path: str, session: Session) -> tuple[int, bytes]:
        """Publish a whole session."""
        head = json.dumps(session.metadata).encode()
        types = b"Content-Type: application/json\r\n\r\n", b"Content-Type: application/octet-stream\r\n\r\n"
        body = b"--=B\r\n%b%b\r\n--=B\r\n%b%b\r\n--=B--\r\n" % (types[0], head, types[1], session.received)
        condition = "" if session.condition is None else f"&ifGenerationMatch={session.condition}"
        headers = {"Content-Type": 'multipart/related; boundary="=B"'}
        status, _, answer = self.pass_on("POST", f"{bucket_path}?uploadType=multipart{condition}", body, headers)
        return status, answer


def _handler_of(gateway: GoogleSessions) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.gateway = gateway
    return Handler


class _Handler(BaseHTTPRequestHandler):
    gateway: GoogleSessions
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if query.get("uploadType") == "resumable":
            if "upload_id" in query:
                self._session(parts.path, query["upload_id"])
            else:
                self._begin(parts.path, query)
            return
        own = {"host", "connection", "content-length"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in own}
        status, answered, content = self.gateway.pass_on(self.command, self.path, self._body(), headers)
        kept = {
            name: v for name, v in answered if name.lower() not in ("connection", "content-length", "transfer-encoding")
        }
        self._answer(status, content, kept)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    def _begin(self, path: str, query: dict[str, str]) -> None:
        metadata = json.loads(self._body())
        status, _, answer = self.gateway.pass_on("GET", path.removeprefix("/upload"), b"", {})
        if status != 200:
            self._answer(status, answer)
            return
        upload_id = self.gateway.begin(
            query["name"], {"name": query["name"], **metadata}, query.get("ifGenerationMatch")
        )
        location = f"{self.gateway.url}{path}?uploadType=resumable&upload_id={upload_id}"
        self._answer(200, b"", {"Location": location, "X-GUploader-UploadID": upload_id})

    def _session(self, path: str, upload_id: str) -> None:
        session = self.gateway.sessions.get(upload_id)
        if session is None:
            self._body()
            self._answer(404, b"")
        elif self.command == "DELETE":
            del self.gateway.sessions[upload_id]
            self.gateway.cancelled += 1
            self._answer(499, b"")
        else:
            with session.lock:
                self._put(path, session)

    def _put(self, path: str, session: Session) -> None:
        span = _SPAN.fullmatch(self.headers["Content-Range"])
        assert span is not None, self.headers["Content-Range"]
        total = int(span[3])
        content = self._body(into=session.received, start=None if span[1] is None else int(span[1]))
        session.questions += span[1] is None
        session.chunks += span[1] is not None
        if session.resource is not None:
            self._answer(200, session.resource)
            return
        if span[1] is not None:
            start, end = int(span[1]), int(span[2]) + 1
            is_last = end == total
            if start > len(session.received) or len(content) != end - start or (not is_last and len(content) % UNIT):
                self._answer(400, b"invalid chunk")
                return
            kept = content[len(session.received) - start : self.gateway.keep]
            self.gateway.keep = None
            session.received += kept
            self.gateway.on_chunk(session)
        if len(session.received) < total:
            self._incomplete(session)
            return
        promised = dict(item.split("=", 1) for item in self.headers.get("X-Goog-Hash", "").split(",") if item)
        md5 = base64.b64encode(hashlib.md5(session.received).digest()).decode()
        if promised.get("md5", md5) != md5:
            self._answer(400, b'{"error": {"message": "Provided MD5 hash doesn\'t match calculated MD5 hash"}}')
            return
        status, answer = self.gateway.insert(path, session)
        if status == 200:
            session.resource = answer
        self._answer(status, answer)

    def _incomplete(self, session: Session) -> None:
        got = len(session.received)
        self._answer(308, b"", {"Range": f"bytes=0-{got - 1}"} if got else {})

    def _body(self, into: bytearray | None = None, start: int | None = None) -> bytes:
        """The body; of one that breaks off, what is whole units is kept."""
        wanted = int(self.headers.get("Content-Length", 0))
        content = b""
        with contextlib.suppress(ConnectionError):
            while len(content) < wanted and (piece := self.rfile.read1(wanted - len(content))):
                content += piece
        if len(content) < wanted:
            if into is not None and start is not None:
                into += content[: len(content) // UNIT * UNIT][len(into) - start :]
            raise ConnectionError("the client left")
        return content

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, *_: object) -> None:
        pass
