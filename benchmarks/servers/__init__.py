"""Servers that only the benchmarks need, each in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import ROOT
from harness.process import Server


class StaticS3(Server):
    """A folder as an S3 endpoint (see ``static_s3``) with a delay and a bound on the rate of each connection.

    Args:
        folder: its subfolders are the buckets.
        delay: seconds before the first byte of each answer.
        rate: bytes a second of each connection; None: as fast as it goes.
    """

    name = "static-s3"
    key = "benchmark"
    secret = "not-checked"

    def __init__(self, folder: Path, delay: float, rate: float | None) -> None:
        super().__init__()
        self._arguments = [str(folder), str(delay), str(rate or 0)]

    @property
    def endpoint_url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def options(self) -> dict[str, str]:
        """What to hand to ``connect("s3://...", **options)``."""
        return {"key": self.key, "secret": self.secret, "endpoint_url": self.endpoint_url}

    def command(self) -> list[str]:
        """The program and its arguments."""
        return [sys.executable, str(Path(__file__).parent / "static_s3.py"), str(self.port), *self._arguments]


class Delayed(Server):
    """The project's own proxy before a server, in a process of its own, with a delay before each answer."""

    name = "delayed"

    def __init__(self, url: str, delay: float) -> None:
        super().__init__()
        self._arguments = [url, str(delay)]
        self._scheme = url.partition(":")[0]

    @property
    def url(self) -> str:
        """Its address, in place of the server's."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """The program and its arguments."""
        program = str(Path(__file__).parent / "delayed.py")
        return [sys.executable, program, str(ROOT / "tests"), str(self.port), *self._arguments]
