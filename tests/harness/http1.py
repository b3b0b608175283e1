"""As much of HTTP/1.1 as a proxy must understand: heads, and where bodies end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

from typing_extensions import Self

BLOCK = 256 * 1024

Framing = Literal["none", "length", "chunked", "close"]


@dataclass(frozen=True)
class Head:
    """The first line and the headers of a request or a response.

    Attributes:
        raw: All of it, as it came, with the empty line at the end.
        first: The three parts of the first line.
        headers: By name in lower case; of repeated ones, the last.
    """

    raw: bytes
    first: tuple[str, str, str]
    headers: dict[str, str]

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse the bytes up to and with the empty line."""
        lines = raw.decode("latin-1").split("\r\n")
        first = [*lines[0].split(" ", 2), "", "", ""]
        pairs = (line.partition(":") for line in lines[1:] if line)
        return cls(raw, (first[0], first[1], first[2]), {n.strip().lower(): v.strip() for n, _, v in pairs})

    @property
    def status(self) -> int:
        """The status, if this is the head of a response."""
        return int(self.first[1])

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection may be used again after this message."""
        return self.headers.get("connection", "").lower() != "close" and "HTTP/1.0" not in self.first

    def request_framing(self) -> Framing:
        """How the end of this request's body is told."""
        return self._framing() or "none"

    def response_framing(self, method: str) -> Framing:
        """How the end of this response's body is told, it being an answer to such a request."""
        if method == "HEAD" or self.status in (204, 304) or self.status < 200:
            return "none"
        return self._framing() or "close"

    def _framing(self) -> Framing | None:
        if self.headers.get("transfer-encoding", "").lower().endswith("chunked"):
            return "chunked"
        return "length" if "content-length" in self.headers else None

    def edited(self, remove: tuple[str, ...] = (), add: tuple[tuple[str, str], ...] = ()) -> bytes:
        """Return the raw head without some headers (lower case) and with others at the end."""
        first, *lines = self.raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        kept = [line for line in lines if line.partition(":")[0].strip().lower() not in remove]
        added = [f"{name}: {value}" for name, value in add]
        return ("\r\n".join([first, *kept, *added]) + "\r\n\r\n").encode("latin-1")


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Read one head, or return None where the stream ends before it."""
    try:
        return Head.parse(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ConnectionError("the stream ended inside a head") from error
        return None


class Body:
    """The body that follows a head, without the marks of its chunks.

    Attributes:
        length: Its length, where the head tells it.
        rawly: Whether it is passed on without the marks of chunks, though it came with them.
    """

    def __init__(self, reader: asyncio.StreamReader, head: Head, framing: Framing) -> None:
        self.framing = framing
        self.rawly = False
        self.length = {"none": 0, "length": int(head.headers.get("content-length", 0))}.get(framing)
        self._reader = reader
        self._left = self.length or 0
        self._ended = self.length == 0

    async def read(self) -> bytes:
        """Return the next block, b"" at the end.

        Raises:
            ConnectionError: The stream ended too early.
        """
        if self._ended:
            return b""
        if self.framing == "close":
            return await self._reader.read(BLOCK)
        if self.framing == "chunked" and self._left == 0:
            self._left = int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if self._left == 0:
                while await self._reader.readuntil(b"\r\n") != b"\r\n":
                    pass  # trailers
                self._ended = True
                return b""
        block = await self._reader.read(min(BLOCK, self._left))
        if not block:
            raise ConnectionError("the stream ended inside a body")
        self._left -= len(block)
        if self._left == 0:
            if self.framing == "chunked":
                await self._reader.readexactly(2)
            else:
                self._ended = True
        return block

    def framed(self, block: bytes) -> bytes:
        """Return a block of it as it goes over the wire."""
        if self.framing == "chunked" and not self.rawly:
            return b"%x\r\n%b\r\n" % (len(block), block)
        return block

    @property
    def end(self) -> bytes:
        """What goes over the wire after the last block."""
        return b"0\r\n\r\n" if self.framing == "chunked" and not self.rawly else b""
