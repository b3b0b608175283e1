"""A static S3 server: folders as buckets, ranges, ETags, listings, a delay, and a bound on each connection's rate.

It checks no signatures and takes no writes. One process answers 15,000 requests a second and sends 3 GB/s on a machine
where SeaweedFS behind the fault proxy is at its end with 1,500: so the clients are what is measured.

    python static_s3.py PORT FOLDER DELAY RATE
"""

from __future__ import annotations

import asyncio
import mmap
import re
import sys
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BLOCK = 256 << 10
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_REASONS = {200: "OK", 206: "Partial Content", 404: "Not Found", 412: "Precondition Failed", 416: "Bad Range"}
_CODES = {404: "NoSuchKey", 412: "PreconditionFailed", 416: "InvalidRange"}


class Objects:
    """The files of a folder, mapped; none of them changes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[str, tuple[memoryview, str, str]] = {}

    def get(self, key: str) -> tuple[memoryview, str, str] | None:
        """Content, ETag and Last-Modified, or None where there is no such file."""
        if key not in self._found:
            path = (self._folder / key).resolve()
            if not path.is_relative_to(self._folder) or not path.is_file():
                return None
            status = path.stat()
            with path.open("rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if status.st_size else b""
            etag = f'"{status.st_mtime_ns:x}{status.st_size:x}"'
            self._found[key] = memoryview(content), etag, formatdate(status.st_mtime, usegmt=True)
        return self._found[key]

    def listing(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        """The answer to ListObjectsV2, all on one page."""
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        root, entries, folders = self._folder / bucket, [], set()
        for path in sorted(root.rglob("*")):
            key = path.relative_to(root).as_posix()
            if not path.is_file() or not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
                continue
            status = path.stat()
            entries.append(
                f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>&quot;{status.st_mtime_ns:x}{status.st_size:x}&quot;</ETag><Size>{status.st_size}</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
            )
        entries += [f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders)]
        head = f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(entries)}</KeyCount>"
        head += "<MaxKeys>1000000</MaxKeys><IsTruncated>false</IsTruncated>"
        xmlns = "http://s3.amazonaws.com/doc/2006-03-01/"
        text = f'<ListBucketResult xmlns="{xmlns}">{head}{"".join(entries)}</ListBucketResult>'
        return text.encode()


class Connections:
    """Answers each connection's requests, one after the other."""

    def __init__(self, objects: Objects, delay: float, rate: float) -> None:
        self._objects = objects
        self._delay = delay
        self._rate = rate

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the client leaves."""
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = lines[0].split(" ", 2)
                fields = (line.partition(":") for line in lines[1:] if line)
                headers = {name.strip().lower(): value.strip() for name, _, value in fields}
                head, content = self._answer(target, headers)
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._send(writer, head, memoryview(b"") if method == "HEAD" else content)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, target: str, headers: dict[str, str]) -> tuple[bytes, memoryview]:
        parts = urlsplit(target)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if not key:
            return _head(200, [], listed := memoryview(self._objects.listing(bucket, parse_qs(parts.query)))), listed
        found = self._objects.get(f"{bucket}/{key}")
        if found is None:
            return _refusal(404)
        content, etag, modified = found
        if headers.get("if-match", etag) != etag:
            return _refusal(412)
        fields = [f"ETag: {etag}", f"Last-Modified: {modified}", "Accept-Ranges: bytes"]
        asked = _RANGE.fullmatch(headers.get("range", ""))
        if asked is None:
            return _head(200, fields, content), content
        size = len(content)
        first, last = asked.groups()
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        if start >= stop:
            return _refusal(416)
        part = content[start:stop]
        return _head(206, [*fields, f"Content-Range: bytes {start}-{stop - 1}/{size}"], part), part

    async def _send(self, writer: asyncio.StreamWriter, head: bytes, content: memoryview) -> None:
        if len(content) <= BLOCK and not self._rate:
            writer.write(head + content)
            await writer.drain()
            return
        writer.write(head)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for start in range(0, len(content), BLOCK):
            writer.write(content[start : start + BLOCK])
            await writer.drain()
            if self._rate:
                ahead = began + min(start + BLOCK, len(content)) / self._rate - loop.time()
                if ahead > 0:
                    await asyncio.sleep(ahead)


def _head(status: int, fields: list[str], content: memoryview) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", f"Content-Length: {len(content)}", *fields, "", ""]
    return "\r\n".join(lines).encode()


def _refusal(status: int) -> tuple[bytes, memoryview]:
    content = memoryview(f"<Error><Code>{_CODES[status]}</Code><Message>{status}</Message></Error>".encode())
    return _head(status, ["Content-Type: application/xml"], content), content


async def main() -> None:
    """Serves until it is killed."""
    port, folder, delay, rate = sys.argv[1:]
    connections = Connections(Objects(Path(folder).resolve()), float(delay), float(rate))
    server = await asyncio.start_server(connections.serve, "127.0.0.1", int(port), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
