"""A real HTTP/1.1 server whose every answer can be made right, or wrong in a chosen way."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from typing_extensions import Self

from harness.forks import close_in_children
from harness.ports import free_ports

_BLOCK = 256 * 1024
_HTML = b"<!DOCTYPE html><html><head><title>Log in</title></head><body>Please log in.</body></html>"


@dataclass
class Behaviour:
    """How the server answers for one path. The defaults are those of a well-behaved server.

    Attributes:
        ranges: Whether Range is understood; if not, it is ignored and nothing says it would be.
        etag: The kind of ETag sent, if any.
        last_modified: Whether Last-Modified is sent.
        head: Whether HEAD is allowed; if not, it is answered with 405.
        statuses: What the next requests are answered with, in order; 200 stands for the usual answer, which also
            follows when the list is used up.
        headers: More headers, on every answer, also on those of `statuses` (Retry-After, say).
        length: How the end of the body is told: by Content-Length, by chunks, or only by the end of the connection.
        mangle: Makes of the right body (or the asked range of it) the bytes that are sent under the *right*
            headers. `lambda body: body[:1000]` is a body shorter than its Content-Length, and
            `lambda body: itertools.repeat(b"x" * 1000)`, with `length="none"`, one that never ends.
        gzip: Whether the body is compressed, with Content-Encoding: if the client accepts that, or regardless.
        redirect: Where to redirect to, a path of this server or a URL.
        redirect_status: The status of the redirect.
        html: Whether a HTML page comes in place of the file, with status 200, as from a log-in wall.
        auth: User and password that Basic authentication must bring.
    """

    ranges: bool = True
    etag: Literal["strong", "weak"] | None = "strong"
    last_modified: bool = True
    head: bool = True
    statuses: list[int] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    length: Literal["exact", "chunked", "none"] = "exact"
    mangle: Callable[[bytes], bytes | Iterable[bytes]] | None = None
    gzip: Literal["never", "accepted", "always"] = "never"
    redirect: str | None = None
    redirect_status: int = 302
    html: bool = False
    auth: tuple[str, str] | None = None


@dataclass
class Recorded:
    """A request that the server got, and what became of it.

    Attributes:
        path: The decoded path, without the first slash and the query.
        headers: The names in lower case.
        status: The status it was answered with (0: not yet).
        sent: How many bytes of the body were sent.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0

    @property
    def range(self) -> str | None:
        """The Range header."""
        return self.headers.get("range")


class WebServer:
    """Serves bytes (`server["a/b.bin"] = content`) and, behind them, the files of a folder.

    Attributes:
        requests: Every request so far, in order; `clear()` it as you like.
        connections: How many TCP connections were opened.
    """

    def __init__(
        self, files: Mapping[str, bytes] | None = None, folder: Path | None = None, host: str = "127.0.0.1"
    ) -> None:
        self.host = host
        self.port = free_ports(1)[0]
        self.folder = folder
        self.requests: list[Recorded] = []
        self.connections = 0
        self._pages: dict[str, _Page] = {}
        self._behaviours: dict[str, Behaviour] = {}
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        for path, content in (files or {}).items():
            self.put(path, content)

    def __setitem__(self, path: str, content: bytes) -> None:
        self.put(path, content)

    def __delitem__(self, path: str) -> None:
        del self._pages[path]

    def put(self, path: str, content: bytes, modified: float | None = None) -> str:
        """Serve these bytes from now on, and return their URL."""
        etag = hashlib.sha256(content).hexdigest()[:32]
        self._pages[path] = _Page(content, len(content), etag, time.time() if modified is None else modified)
        return self.url_of(path)

    def behave(self, path: str, behaviour: Behaviour | None = None, /, **changes: object) -> Behaviour:
        """Set how the server answers for this path, whether there is a file or not: `behave("a", etag=None)`.

        Called without changes, it sets the defaults again.
        """
        behaviour = behaviour or Behaviour(**changes)  # type: ignore[arg-type]
        self._behaviours[path] = behaviour
        return behaviour

    @property
    def url(self) -> str:
        """The address of the server, without a slash at the end."""
        return f"http://{self.host}:{self.port}"

    def url_of(self, path: str) -> str:
        """The address of a path."""
        return f"{self.url}/{quote(path)}"

    def requests_for(self, path: str, method: str | None = None) -> list[Recorded]:
        """Return the requests so far for this path (and method)."""
        return [r for r in list(self.requests) if r.path == path and method in (None, r.method)]

    def start(self) -> Self:
        """Serve, in a thread. After `stop`, on the same port again."""
        self._server = _Server((self.host, self.port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and cut all connections. Files, behaviours and records stay."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server.cut_connections()
            self._server = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _page(self, path: str) -> _Page | None:
        page = self._pages.get(path)
        if page is None and self.folder is not None:
            file = (self.folder / path).resolve()
            if file.is_file() and file.is_relative_to(self.folder.resolve()):
                facts = file.stat()
                page = _Page(file, facts.st_size, f"{facts.st_mtime_ns:x}-{facts.st_size:x}", facts.st_mtime)
        return page

    def _behaviour(self, path: str) -> Behaviour:
        return self._behaviours.get(path) or Behaviour()

    def _next_status(self, behaviour: Behaviour) -> int:
        with self._lock:
            return behaviour.statuses.pop(0) if behaviour.statuses else 200


@dataclass(frozen=True)
class _Page:
    """A file to serve."""

    content: bytes | Path
    size: int
    etag: str
    modified: float

    @property
    def last_modified(self) -> str:
        return formatdate(self.modified, usegmt=True)

    def blocks(self, start: int, end: int) -> Iterator[bytes]:
        if isinstance(self.content, bytes):
            view = memoryview(self.content)
            for offset in range(start, end, _BLOCK):
                yield view[offset : min(offset + _BLOCK, end)]
            return
        with self.content.open("rb") as file:
            file.seek(start)
            while start < end:
                block = file.read(min(_BLOCK, end - start))
                if not block:
                    return
                start += len(block)
                yield block


class _Server(ThreadingHTTPServer):
    """The listening socket and its open connections."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], site: WebServer) -> None:
        super().__init__(address, _Handler)
        self.site = site
        self._open: set[socket.socket] = set()
        close_in_children(self)

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        self.site.connections += 1
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def sockets(self) -> list[socket.socket]:
        return [self.socket, *self._open]

    def cut_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):  # closed by now
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        """Say nothing: clients of tests leave in the middle all the time."""


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path).lstrip("/")
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.record = Recorded(self.command, path, parts.query, headers)
        self.server.site.requests.append(self.record)
        self.behaviour = self.server.site._behaviour(path)
        try:
            self._answer(path)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self, path: str) -> None:
        behaviour = self.behaviour
        status = self.server.site._next_status(behaviour)
        if status != 200:
            self._refuse(status)
        elif behaviour.auth and self.record.headers.get("authorization") != _basic(*behaviour.auth):
            self._refuse(401, {"WWW-Authenticate": 'Basic realm="test"'})
        elif self.command == "HEAD" and not behaviour.head:
            self._refuse(405, {"Allow": "GET"})
        elif behaviour.redirect is not None:
            self._refuse(behaviour.redirect_status, {"Location": behaviour.redirect})
        elif behaviour.html:
            self._send(200, {"Content-Type": "text/html; charset=utf-8"}, [_HTML], len(_HTML))
        else:
            page = self.server.site._page(path)
            if page is None:
                self._refuse(404)
            else:
                self._serve(page)

    def _serve(self, page: _Page) -> None:
        asked, behaviour = self.record.headers, self.behaviour
        headers = {"Content-Type": "application/octet-stream"}
        etag = None
        if behaviour.etag is not None:
            etag = headers["ETag"] = f'W/"{page.etag}"' if behaviour.etag == "weak" else f'"{page.etag}"'
        if behaviour.last_modified:
            headers["Last-Modified"] = page.last_modified
        if behaviour.ranges:
            headers["Accept-Ranges"] = "bytes"
        if "if-match" in asked and not _matches(asked["if-match"], etag, weakly=False):
            self._refuse(412)
            return
        if "if-none-match" in asked and _matches(asked["if-none-match"], etag, weakly=True):
            self._start(304, headers)
            self.end_headers()
            return
        start, end, status = 0, page.size, 200
        if behaviour.ranges and "range" in asked and self._range_holds(etag, page):
            found = _parse_range(asked["range"], page.size)
            if found == "unsatisfiable":
                self._refuse(416, {"Content-Range": f"bytes */{page.size}"})
                return
            if isinstance(found, tuple):
                start, end = found
                status = 206
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{page.size}"
        compressed = behaviour.gzip == "always" or (
            behaviour.gzip == "accepted" and "gzip" in asked.get("accept-encoding", "")
        )
        if compressed:
            body = gzip.compress(b"".join(page.blocks(start, end)))
            headers["Content-Encoding"] = "gzip"
            self._send(status, headers, [body], len(body))
        elif behaviour.mangle is not None:
            mangled = behaviour.mangle(b"".join(page.blocks(start, end)))
            self._send(status, headers, [mangled] if isinstance(mangled, bytes) else mangled, end - start)
        else:
            self._send(status, headers, page.blocks(start, end), end - start)

    def _range_holds(self, etag: str | None, page: _Page) -> bool:
        """Whether If-Range, if any, allows a part: it takes a strong ETag or the very date."""
        condition = self.record.headers.get("if-range")
        if condition is None:
            return True
        if condition.startswith(('"', "W/")):
            return condition == etag and not condition.startswith("W/")
        return self.behaviour.last_modified and condition == page.last_modified

    def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self.record.status = status
        self.send_response(status)
        for name, value in {**headers, **self.behaviour.headers}.items():
            self.send_header(name, value)

    def _refuse(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        body = f"{status}\n".encode()
        self._start(status, {"Content-Type": "text/plain", **(headers or {}), "Content-Length": str(len(body))})
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send(self, status: int, headers: Mapping[str, str], blocks: Iterable[bytes], length: int) -> None:
        """Send the answer; `length` is what Content-Length says, whatever the blocks have."""
        how = self.behaviour.length
        self._start(status, headers)
        if how == "exact":
            self.send_header("Content-Length", str(length))
        elif how == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        for block in blocks:
            self.record.sent += len(block)  # before the write: a client that has all finds the full count
            if how != "chunked":
                self.wfile.write(block)
            elif block:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        if how == "chunked":
            self.wfile.write(b"0\r\n\r\n")
        elif how == "exact" and self.record.sent != length:
            self.close_connection = True


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _matches(condition: str, etag: str | None, *, weakly: bool) -> bool:
    """Whether an If-Match (strong comparison) or If-None-Match (weak comparison) names this ETag."""
    if condition.strip() == "*":
        return True
    if etag is None:
        return False
    named = [tag.strip() for tag in condition.split(",")]
    if weakly:
        return etag.removeprefix("W/") in [tag.removeprefix("W/") for tag in named]
    return not etag.startswith("W/") and etag in named


def _parse_range(value: str, size: int) -> tuple[int, int] | Literal["unsatisfiable"] | None:
    """Return start and end of a single range, or None for what may be ignored (several ranges, nonsense)."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", value.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    return (start, end) if start < min(end, size) else "unsatisfiable"
