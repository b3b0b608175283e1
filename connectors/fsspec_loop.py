"""Waiting for coroutines on fsspec's I/O thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

import fsspec.asyn

from datastack_fs.resource import Range

T = TypeVar("T")

CONCURRENCY: Final = 64
"""Most requests of one call that are under way at once."""

# fsspec's own hook resets ``lock``, a name that nothing reads, and not ``_lock``: a child forked while another thread
# was making the loop would wait for that lock for ever.
os.register_at_fork(after_in_child=fsspec.asyn.reset_lock)


def run_on_loop(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on the loop of another thread, and waits for it.

    When the waiting thread is interrupted, at whatever moment, the coroutine is cancelled: ``fsspec.asyn.sync`` leaves
    it running, and ``asyncio.run_coroutine_threadsafe`` does when the interrupt comes before it returns.
    """
    done: concurrent.futures.Future[T] = concurrent.futures.Future()
    tasks: list[asyncio.Task[T]] = []

    def start() -> None:
        tasks.append(loop.create_task(coroutine))
        tasks[0].add_done_callback(finish)

    def finish(task: asyncio.Task[T]) -> None:
        if task.cancelled():
            done.cancel()
        elif error := task.exception():
            done.set_exception(error)
        else:
            done.set_result(task.result())

    def stop() -> None:
        if tasks:
            tasks[0].cancel()
        else:  # the interrupt came before the loop was told of it
            coroutine.close()

    try:
        loop.call_soon_threadsafe(start)
        return done.result()
    except BaseException:
        if loop.is_closed():
            coroutine.close()
        elif not done.done():
            loop.call_soon_threadsafe(stop)
        raise


def gather_ranges(
    loop: asyncio.AbstractEventLoop,
    read_one: Callable[[int, int], Awaitable[bytes]],
    ranges: Sequence[Range],
    *,
    concurrency: int = CONCURRENCY,
    timeout: float | None = None,
) -> list[bytes | Exception]:
    """Reads many ranges on an event loop, some at once; each answers with its bytes or with its own exception.

    After the first failure no further range is begun, so that a store in trouble gets a pause (the caller retries
    what is missing); the ranges not begun answer with that failure. When this returns or is interrupted, no task is
    left on the loop.

    Args:
        loop: a running loop of another thread.
        read_one: ``await read_one(start, stop)`` gives the bytes. It has timeouts of its own for a stalled socket.
        ranges: half-open, in any order.
        concurrency: most reads under way at once.
        timeout: seconds in which no range ends, after which the rest answer with ``TimeoutError``.

    Examples:
        >>> import fsspec.asyn
        >>> async def read_one(start: int, stop: int) -> bytes:
        ...     return b"abcdef"[start:stop]
        >>> gather_ranges(fsspec.asyn.get_loop(), read_one, [(4, 6), (0, 1)])
        [b'ef', b'a']
    """
    return run_on_loop(loop, _gather(read_one, ranges, concurrency, timeout))


async def _gather(
    read_one: Callable[[int, int], Awaitable[bytes]], ranges: Sequence[Range], concurrency: int, timeout: float | None
) -> list[bytes | Exception]:
    loop = asyncio.get_running_loop()
    answers: dict[int, bytes | Exception] = {}
    waiting = iter(enumerate(ranges))
    failure: Exception | None = None
    since = loop.time()

    async def work() -> None:
        nonlocal failure, since
        while failure is None:
            index, wanted = next(waiting, (-1, (0, 0)))
            if index < 0:
                return
            try:
                answers[index] = await read_one(*wanted)
                since = loop.time()
            except Exception as error:  # noqa: BLE001 (the caller translates it)
                answers[index] = failure = error

    workers = {loop.create_task(work()) for _ in range(min(concurrency, len(ranges)))}
    pending = set(workers)
    try:
        while pending:
            left = None if timeout is None else since + timeout - loop.time()
            if left is not None and left <= 0:
                break
            _, pending = await asyncio.wait(pending, timeout=left)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    missing = failure or TimeoutError(f"no range was read within {timeout} s")
    return [answers.get(index, missing) for index in range(len(ranges))]
