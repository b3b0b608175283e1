"""Doing many things that wait, some at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
ResultT = TypeVar("ResultT")


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
