"""Doing many things that wait, some at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from queue import Queue
from typing import Final, TypeVar

T = TypeVar("T")
ResultT = TypeVar("ResultT")

LAST_VALUE: Final = 1.0
"""Seconds that ending ``made_ahead`` early waits, at most, for the value that is being made."""


def map_in_threads(function: Callable[[T], ResultT], values: Sequence[T], most: int) -> list[ResultT]:
    """The results of a function, at most so many calls of it at once; the first error ends all.

    The threads are made for this call: none is left for a fork to lose. After an error or Ctrl-C, calls that have not
    begun never do, and nobody waits for those under way.

    Examples:
        >>> map_in_threads(len, ["owl", "finch"], most=4)
        [3, 5]
    """
    if len(values) < 2 or most < 2:
        return [function(value) for value in values]
    pool = ThreadPoolExecutor(min(len(values), most), "datastack-many")
    all_done = False
    try:
        calls = [pool.submit(function, value) for value in values]
        ended, waiting = wait(calls, return_when=FIRST_EXCEPTION)
        all_done = not waiting
        return [call.result() for call in calls if call in ended]
    finally:
        pool.shutdown(wait=all_done, cancel_futures=True)


def made_ahead(values: Iterable[T], most: int) -> Iterator[T]:
    """The values of an iterable, made by a thread of their own while the ones before are used.

    Errors come where they happened. The thread ends with the last value, with an error, or when nobody asks any more.

    Args:
        values: used by that thread alone until this has ended.
        most: values that wait to be used, at most.

    Examples:
        >>> list(made_ahead(iter("owl"), most=2))
        ['o', 'w', 'l']
    """
    made: Queue[tuple[T, ...] | BaseException] = Queue(most)
    is_over = threading.Event()

    def make() -> None:
        try:
            for value in values:
                made.put((value,))
                if is_over.is_set():
                    return
            made.put(())
        except BaseException as error:  # noqa: BLE001 (raised where the values are used)
            made.put(error)

    thread = threading.Thread(target=make, name="datastack-ahead", daemon=True)
    thread.start()
    try:
        while True:
            value = made.get()
            if isinstance(value, BaseException):
                raise value
            if not value:
                return
            yield value[0]
    finally:
        is_over.set()
        while not made.empty():  # the thread may be waiting to put one; after that it sees that it is over
            made.get()
        thread.join(LAST_VALUE)
