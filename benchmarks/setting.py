"""What a run has: a folder, how large its data is, and the servers, which are started when they are first asked for."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.servers import Delayed, StaticS3
from harness.mongod import Mongod
from harness.seaweed import SeaweedS3

ServerT = TypeVar("ServerT", bound=contextlib.AbstractContextManager[Any])


class Setting(contextlib.ExitStack):
    """The servers and the folder of one run; all in processes of their own, all ended with it.

    Args:
        quick: a sixteenth of the data, and fewer slow contenders: to see that all runs, not to measure.
    """

    def __init__(self, quick: bool = False) -> None:
        super().__init__()
        self.quick = quick
        self.folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="datastack-benchmark-")))
        os.environ["DATASTACK_CACHE"] = str(self.folder / "cache")
        self._servers: dict[Any, Any] = {}

    def scaled(self, count: int) -> int:
        """So many, or a sixteenth of it where the run is to be quick."""
        return max(1, count // 16) if self.quick else count

    def s3(self, delay: float = 0.02, rate: float | None = None) -> StaticS3:
        """The static S3 server over ``objects``, with a delay (s) and a bound on each connection (bytes/s)."""
        return self._server(("s3", delay, rate), lambda: StaticS3(self.objects, delay, rate))

    @cached_property
    def objects(self) -> Path:
        """The folder whose subfolders are the buckets of ``s3``."""
        folder = self.folder / "objects"
        folder.mkdir()
        return folder

    @property
    def seaweed(self) -> SeaweedS3:
        """A real S3 server, to be written to."""
        return self._server("seaweed", SeaweedS3)

    def mongodb(self, delay: float = 0.0) -> str:
        """The connection string (no database) of a mongod, or of a proxy before it that delays its answers."""
        url: str = self._server("mongod", Mongod).url
        return url if not delay else self._server(("mongod", delay), lambda: Delayed(url, delay)).url

    @contextlib.contextmanager
    def fresh_cache(self) -> Iterator[None]:
        """For a time, this library's cache of indices is another and empty one: what is opened is opened cold."""
        before = os.environ["DATASTACK_CACHE"]
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            os.environ["DATASTACK_CACHE"] = folder
            try:
                yield
            finally:
                os.environ["DATASTACK_CACHE"] = before

    def _server(self, key: Any, make: Any) -> Any:
        if key not in self._servers:
            self._servers[key] = self.enter_context(make())
        return self._servers[key]
