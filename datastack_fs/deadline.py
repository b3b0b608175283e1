"""How long to go on trying, and how long to wait between tries."""

import logging
import random
import time
from collections.abc import Callable
from typing import Final

from datastack_fs.errors import DatastackError

logger = logging.getLogger(__name__)

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 5.0


class Deadline:
    """Seconds without progress after which an operation gives up, with full-jitter backoff until then.

    The waits are drawn evenly from 0 to a bound that doubles from 0.1 s to 5 s ("Exponential backoff and jitter", AWS
    Architecture Blog, 2015).

    Args:
        seconds: how long.
        sleep: waits so many seconds; ``time.sleep`` unless somebody must be able to end the wait.

    Examples:
        >>> deadline = Deadline(0)
        >>> deadline.wait(ConnectionResetError("gone"))
        Traceback (most recent call last):
        ConnectionResetError: gone
    """

    def __init__(self, seconds: float, *, sleep: Callable[[float], object] | None = None) -> None:
        self._seconds = seconds
        self._sleep = sleep or time.sleep
        self.progress()

    def progress(self) -> None:
        """Something came: the clock and the backoff start anew."""
        self._since = time.monotonic()
        self._bound = FIRST_WAIT

    def wait(self, error: Exception, at_least: float = 0.0) -> None:
        """Sleeps before the next try, or raises the error when the time is up.

        Args:
            error: what went wrong.
            at_least: seconds that the other side asks to be left alone; more than there are left is the end, too.
        """
        left = self._seconds - (time.monotonic() - self._since)
        if left <= 0 or at_least > left:
            raise error
        pause = min(at_least + random.uniform(0, self._bound), left)
        self._bound = min(2 * self._bound, LONGEST_WAIT)
        reason = error if isinstance(error, DatastackError) else type(error).__name__
        logger.info("trying again in %.1f s: %s", pause, reason)
        self._sleep(pause)
