"""How far a retrieval has come: bars on a terminal, and a word to those still at work when it has failed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

    from tqdm import tqdm
    from typing_extensions import Self

T = TypeVar("T")
R = TypeVar("R")


class StoppedError(Exception):
    """Another file of the same retrieval failed, or the user interrupted: this one is given up, too."""


class Stop:
    """The end of a retrieval, told to all who work for it.

    Attributes:
        told: whether it has come.
    """

    def __init__(self) -> None:
        self.told = threading.Event()
        self._interrupts: list[Callable[[], None]] = []

    def tell(self) -> None:
        """Tells it."""
        self.told.set()
        for interrupt in list(self._interrupts):
            interrupt()

    @contextmanager
    def calling(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Within the block, calls this when it comes."""
        self._interrupts.append(interrupt)
        try:
            yield
        finally:
            self._interrupts.remove(interrupt)


class FileProgress:
    """One file under way, for whoever fetches it. Every call raises ``StoppedError`` once the retrieval has ended.

    Args:
        bar: what to show; nothing by default.
        stop: how the retrieval says that it has ended.
    """

    def __init__(self, bar: tqdm[Any] | None = None, stop: Stop | None = None) -> None:
        self._bar = bar
        self._stop = stop or Stop()

    def reset(self, total: int | None = None) -> None:
        """Begins, or begins anew, with so many bytes to come."""
        self.sleep(0)
        if self._bar is not None:
            self._bar.reset(total=total)

    def update(self, count: int) -> None:
        """So many bytes more have come."""
        self.sleep(0)
        if self._bar is not None:
            self._bar.update(count)

    def sleep(self, seconds: float) -> None:
        """Waits, unless the retrieval ends meanwhile."""
        if self._stop.told.wait(seconds) if seconds > 0 else self._stop.told.is_set():
            raise StoppedError

    def calling(self, interrupt: Callable[[], None]) -> AbstractContextManager[None]:
        """Within the block, ``interrupt`` is called if the retrieval ends: it wakes whoever waits for bytes."""
        return self._stop.calling(interrupt)


class Progress:
    """The bars of one retrieval: how many files are done, and below it one for each file under way.

    Args:
        total: how many files there are.
        shown: whether bars are shown; None for "on a terminal only".
    """

    def __init__(self, total: int, shown: bool | None) -> None:
        from tqdm import tqdm

        # tqdm takes None for "disabled unless this is a terminal".
        self._hidden = None if shown is None else not shown
        self._files = tqdm(total=total, desc="retrieving", unit="file", disable=self._hidden)
        self._stop = Stop()

    @contextmanager
    def file(self, name: str) -> Iterator[FileProgress]:
        """The progress of one file, which has a bar for as long as the block lasts."""
        from tqdm import tqdm

        style: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "leave": False}
        with tqdm(desc=name, disable=self._hidden, **style) as bar:
            yield FileProgress(bar, self._stop)

    def done(self, count: int = 1) -> None:
        """So many files more are in the store."""
        self._files.update(count)

    def run(self, call: Callable[[T], R], items: Sequence[T], workers: int) -> list[R]:
        """Calls for every item, several at once; the results in the order of the items.

        The first error ends the rest: what has not begun is left, and what is under way stops at its next block.
        """
        if workers == 1 or len(items) < 2:
            return [call(item) for item in items]
        failures: list[BaseException] = []

        def work(item: T) -> R:
            if self._stop.told.is_set():
                raise StoppedError
            try:
                return call(item)
            except BaseException as error:
                failures.append(error)
                self._stop.tell()
                raise

        with ThreadPoolExecutor(min(workers, len(items)), thread_name_prefix="retrieve") as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
                if failures:
                    raise failures[0]
            except BaseException:  # Ctrl-C, too, must not wait for what is under way to come to its end
                pool.shutdown(wait=False, cancel_futures=True)
                self._stop.tell()
                raise
            return [future.result() for future in futures]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()
