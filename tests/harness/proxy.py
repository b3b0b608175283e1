"""A proxy before a real server that is slow, cuts, stalls, refuses or lies, when told to and only then.

Example:
    with FaultProxy.before(seaweed.endpoint_url) as proxy:
        filesystem = s3fs.S3FileSystem(endpoint_url=proxy.url, key=..., secret=...)
        fault = proxy.arm("rst", at=400_000, times=2, when=ranged_get)
        filesystem.cat_file("bucket/key")
        assert fault.fired == 2
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import select
import socket
import struct
import termios
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Literal
from urllib.parse import urlsplit

from typing_extensions import Self

from harness.faults import Fault, Kind, Plan, Predicate, Request, Side, flipped_bits, ranged_get
from harness.forks import close_in_children
from harness.http1 import BLOCK, Body, Head, read_head

__all__ = ["Fault", "FaultProxy", "Request", "flipped_bits", "ranged_get"]

_TICK = 0.02
_RAW_HEAD = 4096

_SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class FaultProxy:
    """Passes connections on to a server, from a thread of its own.

    Headers go through as they are, Host included (but see `host`), so signatures made for the proxy's address hold;
    only a Location that names the server is made to name the proxy, else uploads to GCS would go round it.

    In raw mode (MongoDB) the bytes aren't understood: what the server sends after the client sent something
    counts as one response, all of it as its body. The kinds cut, dup-length and statuses don't exist there.

    Attributes:
        delay: Seconds to wait before the first byte of each response.
        refusing: Whether new connections are reset at once, as if the server were down.
        requests: How many requests came in.
        log: These requests.
        connections: How many connections came in.
        bytes_down: How many bytes were sent to clients.
        bytes_up: How many bytes were sent to the server.
        host: The Host that the server is told in place of the client's, for one that answers only its own name.
    """

    def __init__(self, target_host: str, target_port: int, *, mode: Literal["http", "raw"] = "http") -> None:
        self.target_host = target_host
        self.target_port = target_port
        self.mode = mode
        self.scheme = "http"
        self.port = 0
        self.delay = 0.0
        self.refusing = False
        self.requests = 0
        self.log: list[Request] = []
        self.connections = 0
        self.bytes_down = 0
        self.bytes_up = 0
        self.host: str | None = None
        self._plan = Plan()
        self._releases = 0
        self._listener: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @classmethod
    def before(cls, url: str) -> Self:
        """Make a proxy for the server at this URL (http or mongodb)."""
        parts = urlsplit(url)
        proxy = cls(parts.hostname or "127.0.0.1", parts.port or 80, mode="http" if parts.scheme == "http" else "raw")
        proxy.scheme = parts.scheme
        return proxy

    @property
    def url(self) -> str:
        """The address of the proxy, to be used in place of the server's."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def fired(self) -> Counter[str]:
        """How often faults have fired, by kind."""
        return self._plan.fired

    @property
    def armed(self) -> int:
        """How many faults are still to be fired."""
        return len(self._plan)

    def arm(
        self,
        kind: Kind | str,
        *,
        at: int | None = 0,
        times: int | None = 1,
        when: Predicate | None = None,
        side: Side = "down",
        rate: float = 50_000,
        bit: int = 0,
        retry_after: float | None = None,
    ) -> Fault:
        """Arm a fault. Each request takes the oldest armed fault that suits it, if any.

        Kinds:
            drop: the connection is closed and the request goes nowhere.
            rst, fin: the connection is reset, or closed, after `at` bytes of the body.
            cut: the same as fin, but of an answer without Content-Length: no client can tell.
            stall: after `at` bytes nothing comes any more, until `release`, or until the client leaves.
            slow: after `at` bytes, the rest comes at `rate` bytes a second.
            flip: bit number `bit` of the byte at `at` is inverted.
            dup-length: the answer has a second Content-Length that contradicts the first (if it has a first).
            "503", "429" or any other status: that is the answer, and the request goes nowhere.

        Args:
            kind: One of the kinds above.
            at: An offset in the body, the marks of chunks not counted. A request whose body is too short gives
                the fault back. None (for rst, fin, stall): the server has answered, but not even the head of its
                answer comes through; so a writer can't know whether it has written.
            times: How often it fires, on one request each; None: for ever.
            when: Which requests it suits; by default, all.
            side: "up": it is the body of the request that is cut, stalled, slowed or flipped.
            rate: For slow.
            bit: For flip, 0 to 7.
            retry_after: Seconds, to be sent as Retry-After along with a status.
        """
        fault = Fault(kind, at, when, times, side, rate, bit, retry_after)
        if self.mode == "raw" and (fault.status is not None or kind in ("cut", "dup-length")):
            raise ValueError(f"{kind!r} needs HTTP")
        self._plan.add(fault)
        return fault

    def disarm(self, fault: Fault | None = None) -> None:
        """Take back a fault, or all of them. What has begun (a stall, say) goes on."""
        self._plan.clear(fault)

    def release(self) -> None:
        """Let everything that is stalled go on."""
        self._releases += 1

    def disconnect(self) -> None:
        """Reset all connections that are open now."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._reset_all(), self._loop).result()

    def sockets(self) -> list[socket.socket]:
        """Return the sockets open now, as forked children must close them."""
        wrapped = [] if self._listener is None else list(self._listener.sockets)
        for connection in list(self._open):
            for writer in (connection.writer, connection.server_writer):
                if writer is not None:
                    wrapped.append(writer.get_extra_info("socket"))
        return [each._sock for each in wrapped if each is not None]

    def start(self, port: int = 0) -> Self:
        """Listen on a port, by default a free one."""
        ready = threading.Event()
        close_in_children(self)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready, port)), name="fault-proxy", daemon=True
        )
        self._thread.start()
        ready.wait()
        return self

    def stop(self) -> None:
        """Stop listening and reset all connections."""
        if self._loop is not None and self._ending is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join()
            self._loop = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _serve(self, ready: threading.Event, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = ending = asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if ending.is_set():
                writer.transport.abort()
                return
            kind = _HTTPConnection if self.mode == "http" else _RawConnection
            connection = kind(self, reader, writer)
            self._open.add(connection)
            self.connections += 1
            task = asyncio.ensure_future(self._handle(connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        self._listener = await asyncio.start_server(accept, "127.0.0.1", port, limit=BLOCK, backlog=256)
        self.port = self._listener.sockets[0].getsockname()[1]
        ready.set()
        await ending.wait()
        # asyncio leaks a connection that it has accepted but not yet handed over when its server closes.
        for listening in self._listener.sockets:
            self._loop.remove_reader(listening.fileno())
        await asyncio.sleep(_TICK)
        self._listener.close()
        await self._reset_all()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _handle(self, connection: _Connection) -> None:
        try:
            if self.refusing:
                connection.reset()
            else:
                await connection.run()
        except _Cut as cut:
            if cut.kind == "rst":
                connection.reset()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, ValueError):
            connection.reset()
        finally:
            self._open.discard(connection)
            connection.close()

    async def _reset_all(self) -> None:
        for connection in list(self._open):
            connection.reset()


class _Cut(Exception):
    """A fault ended the connection; its kind says how."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class _Connection:
    """One client's connection, and the one to the server that belongs to it."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.plan = proxy._plan
        self.reader = reader
        self.writer = writer
        self.server_reader: asyncio.StreamReader | None = None
        self.server_writer: asyncio.StreamWriter | None = None
        _prepare(writer)

    async def run(self) -> None:
        raise NotImplementedError

    def new_request(self, request: Request) -> Fault | None:
        """Count a request and return the fault that is to befall it."""
        self.proxy.requests += 1
        self.proxy.log.append(request)
        fault = self.plan.claim(request)
        if fault is not None and fault.kind == "drop":
            self.plan.record(fault)
            raise _Cut("fin")
        return fault

    async def server(self) -> asyncio.StreamReader:
        """Connect to the server, anew if it has closed the last connection."""
        if self.server_reader is None or self.server_reader.at_eof():
            self.drop_server()
            self.server_reader, self.server_writer = await asyncio.open_connection(
                self.proxy.target_host, self.proxy.target_port, limit=BLOCK
            )
            _prepare(self.server_writer)
        return self.server_reader

    def drop_server(self) -> None:
        if self.server_writer is not None:
            self.server_writer.transport.abort()

    async def send_down(self, data: bytes) -> None:
        self.proxy.bytes_down += len(data)
        self.writer.write(data)
        await self.writer.drain()

    async def send_up(self, data: bytes) -> None:
        assert self.server_writer is not None
        self.proxy.bytes_up += len(data)
        self.server_writer.write(data)
        await self.server_writer.drain()

    @property
    def client_left(self) -> bool:
        """Whether the client has closed its end. (The reader doesn't know while it holds unread bytes.)"""
        if self.writer.is_closing():
            return True
        poll = select.poll()
        poll.register(self.writer.get_extra_info("socket").fileno(), getattr(select, "POLLRDHUP", select.POLLHUP))
        return bool(poll.poll(0))

    async def stall(self) -> None:
        """Wait for `FaultProxy.release`."""
        releases = self.proxy._releases
        while releases == self.proxy._releases:
            if self.client_left:
                raise ConnectionError("the client left")
            await asyncio.sleep(_TICK)

    async def all_received(self) -> None:
        """Wait until the client's kernel has what was sent: a reset throws away what is still on its way."""
        descriptor = self.writer.get_extra_info("socket").fileno()
        deadline = time.monotonic() + 5
        while not self.client_left and time.monotonic() < deadline:
            if not struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]:
                return
            await asyncio.sleep(0.001)

    def reset(self) -> None:
        """Send RST to the client (where the connection is still open), and drop the server."""
        with contextlib.suppress(OSError):
            connection = self.writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        self.drop_server()

    def close(self) -> None:
        """Close towards the client (FIN), and drop the server."""
        self.writer.close()
        self.drop_server()


class _Tap:
    """The bytes of one body on their way, with the fault that is to befall them."""

    def __init__(self, connection: _Connection, fault: Fault | None, side: Side) -> None:
        self._connection = connection
        self._send = connection.send_down if side == "down" else connection.send_up
        self._offset = 0
        self._rate: float | None = None
        self._fault = fault if fault is not None and fault.side == side else None  # until it has fired

    def waits_for(self, kind: Kind) -> bool:
        """Tell whether a fault of this kind is still to come."""
        return self._fault is not None and self._fault.kind == kind

    def expect(self, length: int | None) -> None:
        """Give the fault back at once if a body of this length is too short for it."""
        if self._fault is not None and not self._fault.reaches(length):
            self.end()

    async def before_head(self) -> None:
        """The place of faults without an offset."""
        if self._fault is not None and self._fault.at is None:
            await self._fire()

    async def before_body(self) -> None:
        """The place of faults that need no byte of the body."""
        if self._fault is not None and self._fault.at == 0 and self._fault.kind != "flip":
            await self._fire()

    async def send(self, block: bytes, body: Body | None = None) -> None:
        """Send a block of the body, or as much of it as the fault lets through."""
        if self._fault is not None and self._fault.at is not None:
            place = self._fault.at - self._offset
            if place < len(block):
                if self._fault.kind == "flip":
                    flipped = block[place] ^ (1 << self._fault.bit)
                    block = b"%b%c%b" % (block[:place], flipped, block[place + 1 :])
                    self.fire_now()
                else:
                    await self._pass(block[:place], body)
                    await self._fire()
                    block = block[place:]
        await self._pass(block, body)

    def fire_now(self) -> Fault:
        """Count the fault as fired, and forget it."""
        assert self._fault is not None
        fault, self._fault = self._fault, None
        self._connection.plan.record(fault)
        return fault

    def end(self) -> None:
        """Give the fault back if its place never came."""
        if self._fault is not None:
            self._connection.plan.give_back(self._fault)
            self._fault = None

    async def _fire(self) -> None:
        fault = self.fire_now()
        if fault.kind == "rst":
            await self._connection.all_received()
        if fault.kind == "stall":
            await self._connection.stall()
        elif fault.kind == "slow":
            self._rate = fault.rate
        else:
            raise _Cut("rst" if fault.kind == "rst" else "fin")

    async def _pass(self, block: bytes, body: Body | None) -> None:
        self._offset += len(block)
        piece = len(block) if self._rate is None else max(1, int(self._rate * _TICK))
        for start in range(0, len(block), piece or 1):
            part = block[start : start + piece]
            await self._send(part if body is None else body.framed(part))
            if self._rate is not None:
                if self._connection.client_left:
                    raise ConnectionError("the client left")
                await asyncio.sleep(len(part) / self._rate)


class _HTTPConnection(_Connection):
    """Requests and responses, one after the other."""

    async def run(self) -> None:
        while True:
            head = await read_head(self.reader)
            if head is None or not await self._exchange(head):
                return

    async def _exchange(self, head: Head) -> bool:
        """Pass on a request and its response; tell whether another may follow."""
        fault = self.new_request(Request(head.first[0], head.first[1], head.headers, head.raw))
        if fault is not None and fault.status is not None:
            self.plan.record(fault)
            return await self._refuse(head, fault, fault.status)
        up, down = _Tap(self, fault, "up"), _Tap(self, fault, "down")
        server_reader = await self.server()
        sending = asyncio.ensure_future(self._send_request(head, up))
        try:
            goes_on = await self._return_response(server_reader, head.first[0], down)
            await asyncio.wait({sending}, timeout=1)  # the answer may come before the request has ended
            return goes_on and head.keeps_alive and sending.done() and sending.exception() is None
        except ConnectionError:
            if sending.done():
                sending.result()  # raises the cut that is the cause, if it is one
            raise
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            up.end()
            down.end()

    async def _refuse(self, head: Head, fault: Fault, status: int) -> bool:
        """Answer in the server's place."""
        waits = "expect" in head.headers  # such a client sends no body before it is told to
        if not waits:
            body = Body(self.reader, head, head.request_framing())
            while await body.read():
                pass
        await asyncio.sleep(self.proxy.delay)
        lines = [
            f"HTTP/1.1 {status} Fault",
            "Content-Type: application/xml",
            f"Content-Length: {len(_SLOW_DOWN)}",
            f"Connection: {'close' if waits else 'keep-alive'}",
        ]
        if fault.retry_after is not None:
            lines.append(f"Retry-After: {fault.retry_after:g}")
        content = b"" if head.first[0] == "HEAD" else _SLOW_DOWN
        await self.send_down("\r\n".join([*lines, "", ""]).encode() + content)
        return not waits and head.keeps_alive

    async def _send_request(self, head: Head, tap: _Tap) -> None:
        body = Body(self.reader, head, head.request_framing())
        try:
            tap.expect(body.length)
            host = self.proxy.host
            await self.send_up(head.edited(remove=("host",), add=(("Host", host),)) if host else head.raw)
            await tap.before_body()
            while block := await body.read():
                await tap.send(block, body)
            await self.send_up(body.end)
        except (ConnectionError, asyncio.IncompleteReadError, _Cut):
            self.drop_server()  # which ends the waiting for a response
            raise

    async def _return_response(self, server_reader: asyncio.StreamReader, method: str, tap: _Tap) -> bool:
        head = await read_head(server_reader)
        while head is not None and head.status < 200:
            await self.send_down(head.raw)
            head = await read_head(server_reader)
        if head is None:
            raise ConnectionError("the server left without an answer")
        await asyncio.sleep(self.proxy.delay)
        body = Body(server_reader, head, head.response_framing(method))
        tap.expect(body.length)
        await tap.before_head()
        head = self._readdressed(head)
        if tap.waits_for("cut"):
            body.rawly = True
            lengths = ("content-length", "transfer-encoding", "connection")
            await self.send_down(head.edited(remove=lengths, add=(("Connection", "close"),)))
        elif tap.waits_for("dup-length") and "content-length" in head.headers:
            tap.fire_now()
            other = int(head.headers["content-length"]) + 1
            await self.send_down(head.edited(add=(("Content-Length", str(other)),)))
        else:
            await self.send_down(head.raw)
        if tap.waits_for("dup-length"):
            tap.end()
        await tap.before_body()
        while block := await body.read():
            await tap.send(block, body)
        tap.end()  # before the client knows that this was all
        await self.send_down(body.end)
        return head.keeps_alive and body.framing != "close" and not body.rawly

    def _readdressed(self, head: Head) -> Head:
        """Make a Location that names the server name the proxy."""
        location = head.headers.get("location", "")
        server = f"//{self.proxy.target_host}:{self.proxy.target_port}"
        if server not in location:
            return head
        here = location.replace(server, f"//127.0.0.1:{self.proxy.port}", 1)
        return Head.parse(head.edited(remove=("location",), add=(("Location", here),)))


class _RawConnection(_Connection):
    """Bytes in both directions. A request begins where the client speaks after the server has."""

    async def run(self) -> None:
        self.asking = False
        self.up, self.down = _Tap(self, None, "up"), _Tap(self, None, "down")
        server_reader = await self.server()
        pumps = {asyncio.ensure_future(self._ask()), asyncio.ensure_future(self._answer(server_reader))}
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in done:
                pump.result()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self.up.end()
            self.down.end()

    async def _ask(self) -> None:
        while block := await self.reader.read(BLOCK):
            if not self.asking:
                self.asking = True
                self.up.end()
                self.down.end()
                fault = self.new_request(Request("", "", {}, block[:_RAW_HEAD]))
                self.up, self.down = _Tap(self, fault, "up"), _Tap(self, fault, "down")
                await self.up.before_body()
            await self.up.send(block)

    async def _answer(self, server_reader: asyncio.StreamReader) -> None:
        while block := await server_reader.read(BLOCK):
            if self.asking:
                self.asking = False
                await asyncio.sleep(self.proxy.delay)
                await self.down.before_head()
                await self.down.before_body()
            await self.down.send(block)


def _prepare(writer: asyncio.StreamWriter) -> None:
    """Let `drain` wait until all is with the kernel: what a fault lets through must have left."""
    writer.transport.set_write_buffer_limits(high=0)
