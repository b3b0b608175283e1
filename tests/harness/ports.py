"""Free loopback ports that no two test processes are given at the same time."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
import threading
from pathlib import Path

_LOWEST = 15_000
_lock = threading.Lock()
_handed_out: set[int] = set()
_register: int | None = None


def free_ports(n: int) -> list[int]:
    """Return `n` distinct free ports of 127.0.0.1, reserved until this process ends.

    The usual way (bind to port 0, close, use the number) has two races: another process may be given the
    number in between, and so may any outgoing connection. Hence these ports lie below the range from which
    the kernel serves port 0 and outgoing connections, and each is reserved with a lock on one byte of a file
    that all test processes of this user share. Such a lock ends with its process, however that ends, and a
    fork doesn't inherit it.

    Raises:
        RuntimeError: There are not `n` free ports left.
    """
    ports: list[int] = []
    with _lock:
        candidates = list(range(_LOWEST, _first_ephemeral_port()))
        random.SystemRandom().shuffle(candidates)
        for port in candidates:
            if len(ports) == n:
                break
            if port not in _handed_out and _reserve(port) and _can_bind(port):
                _handed_out.add(port)
                ports.append(port)
    if len(ports) < n:
        raise RuntimeError(f"only {len(ports)} of {n} free ports found on 127.0.0.1")
    return ports


def _first_ephemeral_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_768


def _reserve(port: int) -> bool:
    global _register
    if _register is None:
        path = Path(tempfile.gettempdir()) / f"datastack-test-ports-{os.getuid()}"
        _register = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.lockf(_register, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
