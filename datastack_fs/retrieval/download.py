"""One HTTP source, read to its end whatever happens on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import requests
import urllib3

from datastack_fs.deadline import Deadline
from datastack_fs.retrieval.web import TransientError, Web

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from datastack_fs.retrieval.keeping import Kept
    from datastack_fs.retrieval.progress import FileProgress

Blocks: TypeAlias = "Generator[bytes, None, None]"

BLOCK_BYTES: Final = 128 << 10

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class BeginAnew(Exception):
    """What came so far is of no use: the file changed, or the transfer can't go on in its middle."""


@dataclass(frozen=True)
class Version:
    """What a server says of a file when it is first asked.

    Attributes:
        size: in bytes.
        etag: a strong one; without it, parts of the file could be of several versions.
        ranges: whether the server says that it takes ranges.
    """

    size: int | None = None
    etag: str | None = None
    ranges: bool = False

    @classmethod
    def of(cls, response: requests.Response) -> Version:
        """The version that an answer has the whole of."""
        size = response.headers.get("Content-Length", "")
        etag = response.headers.get("ETag", "")
        return cls(
            int(size) if size.isascii() and size.isdigit() else None,
            etag if etag.startswith('"') else None,
            response.headers.get("Accept-Ranges", "").strip().lower() == "bytes",
        )

    def has_in(self, response: requests.Response, start: int, stop: int | None) -> bool:
        """Whether an answer is this range of this very file, up to its end if there is no ``stop``."""
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if found is None or self.etag is None or response.headers.get("ETag", self.etag) != self.etag:
            return False
        if response.status_code != 206 or int(found[1]) != start:
            return False
        end = self.size if stop is None else stop
        return end is None or (int(found[2]) + 1 == end and found[3] in {"*", str(self.size or end)})


class Download:
    """An HTTP source. ``blocks`` may be called again after ``BeginAnew``; the deadline runs on meanwhile.

    Args:
        web: asks for it.
        seconds: gives up after so many without progress.
        bar: how far it has come.
        check_size: refuses a size before any byte is passed on.
        connections: how many fetch parts of a large file at the same time.
        kept: what an earlier process got, and what comes now for a later one.
    """

    def __init__(
        self,
        web: Web,
        seconds: float,
        bar: FileProgress,
        *,
        check_size: Callable[[int], None] = lambda _: None,
        connections: int = 1,
        kept: Kept | None = None,
    ) -> None:
        self.web = web
        self.deadline = Deadline(seconds, sleep=bar.sleep)
        self._bar = bar
        self._check_size = check_size
        self._connections = connections
        self._kept = kept
        self._furthest = 0

    def blocks(self) -> Iterator[bytes]:
        """Yields the whole body, from one version of the file.

        Raises:
            RetrievalError: it can't be had, now or at all.
            BeginAnew: it must be read from its start once more.
        """
        version, came = Version(), 0
        if self._kept is not None and self._kept.version.size:
            version = self._kept.version
            self._begin(version)
            for block in self._kept.blocks():
                came += len(block)
                self._bar.update(len(block))
                yield block
        if not came or came != version.size:
            yield from self._rest(version, came)

    def _rest(self, version: Version, came: int) -> Iterator[bytes]:
        """What has not come yet, however often it breaks off."""
        begun = False
        while True:
            after = 0.0
            try:
                with self.answer(version, came) as response:
                    if came == 0:
                        version = Version.of(response)
                        self._begin(version)
                        if self._kept is not None:
                            self._kept.begin(version)
                    with closing(self._coming(version, response, came, begun)) as blocks:
                        for block in blocks:
                            begun = True
                            came += len(block)
                            if self._kept is not None:
                                self._kept.append(block)
                            self._bar.update(len(block))
                            yield block  # may take long, which is not the server's time
                            self._note(came)
                if version.size is None or came == version.size:
                    return
                failure = self.web.failure(f"{came:,} of {version.size:,} bytes came")
            except urllib3.exceptions.HTTPError as error:
                failure = self.web.failure(f"the transfer broke off after {came:,} bytes", error)
            except TransientError as error:
                failure, after = error.failure, error.after
            self.deadline.wait(failure, after)
            if came and version.etag is None:
                raise BeginAnew

    def _coming(self, version: Version, response: requests.Response, came: int, begun: bool) -> Blocks:
        """The rest of the file: from this answer alone, or by several connections if none of it has come yet."""
        from datastack_fs.retrieval.parts import Parts

        if begun or not Parts.suit(version, came, self._connections):
            return body(response)
        connections, self._connections = self._connections, 1  # begun anew, it is one stream
        return Parts(self, version, connections).blocks(response, came)

    @contextmanager
    def answer(self, version: Version, start: int, stop: int | None = None) -> Iterator[requests.Response]:
        """The answer with the whole body, or with a range of that version."""
        headers: Mapping[str, str] = {}
        partly = bool(start or stop)
        if partly and version.etag:
            end = "" if stop is None else stop - 1
            headers = {"Range": f"bytes={start}-{end}", "If-Range": version.etag}
        with self.web.get(headers) as response:
            if not partly and response.status_code != 200:
                raise self.web.refused(response)
            if partly and not version.has_in(response, start, stop):
                self.deadline.wait(self.web.failure("the file changed, or its server knows no ranges"))
                raise BeginAnew
            yield response

    def _begin(self, version: Version) -> None:
        if version.size is not None:
            self._check_size(version.size)
        self._bar.reset(total=version.size)

    def _note(self, came: int) -> None:
        if came > self._furthest:  # what came before already is no progress
            self._furthest = came
            self.deadline.progress()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.web.close()


def body(response: requests.Response) -> Blocks:
    """The body of an answer, as it comes off the wire."""
    while block := response.raw.read(BLOCK_BYTES, decode_content=False):
        yield block
