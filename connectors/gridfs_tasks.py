"""Calls to the server that threads make ahead of time, a few of them under way at once."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from itertools import islice
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

from datastack_fs.reading import collection_paused

T = TypeVar("T")

LAST_REPLIES: Final = 1.0
"""Seconds that closing waits, at most, for replies that nobody wants any more."""


class Task(Generic[T]):
    """A call that a helper thread may do ahead of time; whoever asks for the result does it, if none has begun.

    So nobody ever waits for a thread that has not begun. A helper that has begun keeps the garbage collector off until
    the result is there: were it to free an h5py object, it would wait for h5py's lock, which the waiting thread may
    hold.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._begun = threading.Lock()
        self._done = threading.Event()
        self._answer: T | None = None
        self._error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        """Whether it neither runs nor will run."""
        return self._done.is_set()

    def cancel(self, timeout: float | None = None) -> None:
        """Returns when it neither runs nor will run, or after so many seconds."""
        if self._begun.acquire(blocking=False):
            self._done.set()
        self._done.wait(timeout)

    def drop(self) -> None:
        """As ``cancel``, but does not wait for the end of one that has begun."""
        self.cancel(0)

    def result(self) -> T:
        """What the call returns, or raises."""
        self._do()
        self._done.wait()
        if self._error is not None:
            raise self._error
        return self._answer  # type: ignore[return-value]

    def help(self) -> None:
        """Does it, on a helper's thread."""
        with collection_paused() if "h5py" in sys.modules else nullcontext():
            self._do()

    def _do(self) -> None:
        if not self._begun.acquire(blocking=False):
            return
        try:
            self._answer = self._call()
        except BaseException as error:  # noqa: BLE001 (raised by result(), on the thread that asks)
            self._error = error
        finally:
            self._done.set()


class Helpers:
    """Threads that do tasks in the order given, made as they are needed.

    A few that stay get the memory of their replies again and again; a thread for each task takes fresh memory every
    time, which costs as much as the copying.

    Args:
        most: threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._tasks: SimpleQueue[Task[Any] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []

    def give(self, task: Task[Any]) -> None:
        """Has a task done; at the interpreter's end it is left to ``task.result``."""
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
            # A daemon: one that waits for tasks must not keep the interpreter from ending.
            thread = threading.Thread(target=self._work, name="datastack-gridfs", daemon=True)
            with suppress(RuntimeError):
                thread.start()
                self._threads.append(thread)
        self._tasks.put(task)

    def close(self) -> None:
        """Ends the threads when all tasks are done, and waits for that, but not long."""
        end = time.monotonic() + LAST_REPLIES
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():  # the collector may have called it there
                thread.join(max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            task.help()
            del task  # its answer is to go when its reader has read it
            self._idle.release()


def in_flight(helpers: Helpers, calls: Sequence[Callable[[], T]], depth: int) -> Iterator[Task[T]]:
    """The calls as tasks, in order, ``depth`` of them under way at once."""
    waiting: deque[Task[T]] = deque()
    upcoming = map(Task, calls)
    try:
        while True:
            for task in islice(upcoming, depth - len(waiting)):
                waiting.append(task)
                if len(calls) > 1:
                    helpers.give(task)
            if not waiting:
                return
            yield waiting.popleft()
    finally:
        for task in waiting:
            task.drop()
