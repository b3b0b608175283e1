"""The project's own proxy before a server, with a delay: python delayed.py TESTS PORT URL DELAY."""

from __future__ import annotations

import signal
import sys

tests, port, url, delay = sys.argv[1:]
sys.path.insert(0, tests)

from harness.proxy import FaultProxy  # noqa: E402 (the harness lies in tests/)

proxy = FaultProxy.before(url)
proxy.delay = float(delay)
proxy.start(int(port))
signal.pause()
