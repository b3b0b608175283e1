"""A server program as a context manager: started, awaited, killed, restarted, and never left behind."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import ClassVar

from typing_extensions import Self

from harness.ports import free_ports
from harness.wheels import ServerError

__all__ = ["Server", "ServerError", "can_connect", "free_ports"]

_POLL = 0.05

# Runs between fork and exec, but as a program of its own: a `preexec_fn` isn't safe where there are threads.
_LAUNCHER = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the test process is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""

# The death signal comes when the *thread* that started the server ends, so that thread must last as long as
# the process: tests may well restart a server from a short-lived thread.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="server-spawner")


class Server:
    """Base class: subclasses say what to run (`command`) and when it is up (`is_ready`).

    The server runs in a session of its own (so Ctrl-C in the terminal doesn't reach it), keeps its data and
    its log in a temporary folder, and dies with the test process, even when that is killed. `kill` and
    `restart` keep the ports and the data; `stop` throws the data away.

    Attributes:
        ports: The free ports that were reserved for the server, `n_ports` of them.
        folder: The temporary folder.
        startup_seconds: How long the last start took.
    """

    name: ClassVar[str] = "server"
    n_ports: ClassVar[int] = 1
    startup_timeout: ClassVar[float] = 60.0

    def __init__(self) -> None:
        self.ports = free_ports(self.n_ports)
        self.port = self.ports[0]
        self.folder = Path(tempfile.mkdtemp(prefix=f"datastack-{self.name}-"))
        self.startup_seconds = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        _servers.add(self)

    def command(self) -> list[str]:
        """Return the program and its arguments."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Tell whether the server answers. May raise OSError while it doesn't."""
        return can_connect(self.port)

    def start(self) -> Self:
        """Start the server and wait until it is ready.

        Raises:
            ServerError: It ended, or wasn't ready in time, or is running already.
        """
        if self._process is not None:
            raise ServerError(f"{self.name} is running already")
        began = time.monotonic()
        self._process = _spawner.submit(self._spawn).result()
        while True:
            code = self._process.poll()
            if code is not None:
                self._process = None
                raise ServerError(f"{self.name} ended with exit code {code}\n{self.log_tail()}")
            if self._answers():
                break
            if time.monotonic() - began > self.startup_timeout:
                self.kill()
                raise ServerError(f"{self.name} not ready in {self.startup_timeout:g} s\n{self.log_tail()}")
            time.sleep(_POLL)
        self.startup_seconds = time.monotonic() - began
        return self

    def kill(self) -> None:
        """Kill the server with SIGKILL, as a crash would. Ports and data stay, for `start` or `restart`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> Self:
        """Kill the server and start it again on the same ports and data."""
        self.kill()
        return self.start()

    def stop(self) -> None:
        """End the server and remove its folder. (With SIGKILL too: nobody wants its data any more.)"""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int | None:
        """The process id of the running server, else None."""
        return None if self._process is None else self._process.pid

    @property
    def log_file(self) -> Path:
        """The file that holds the output of the server."""
        return self.folder / "server.log"

    def log_tail(self, lines: int = 30) -> str:
        """Return the last lines of the log."""
        try:
            text = self.log_file.read_text(errors="replace")
        except OSError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    def __enter__(self) -> Self:
        try:
            return self.start() if self._process is None else self
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = self.command()
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]
        home = str(self.folder)
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=home,
                env={**os.environ, "HOME": home, "TMPDIR": home},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        try:
            return self.is_ready()
        except OSError:
            return False


def can_connect(port: int) -> bool:
    """Tell whether something listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


_servers: weakref.WeakSet[Server] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    for server in list(_servers):
        if server._owner == os.getpid():
            server.stop()
