"""Clients that belong to one process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Something made on first use in each process: a client with sockets or threads, which must not cross a fork.

    A forked child makes its own and leaves the parent's untouched: closing or collecting it there could end
    connections that the parent still uses. It pickles as the function that makes it.

    Examples:
        >>> clients = PerProcess(dict)
        >>> clients.get() is clients.get()
        True
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], None] | None = None) -> None:
        self._make = make
        self._close = close
        self._made: dict[int, T] = {}

    def get(self) -> T:
        """This process's own."""
        pid = os.getpid()
        found = self._made.get(pid)
        if found is not None:
            return found
        made = self._make()
        # Two threads may both have made one: setdefault is atomic, and the loser's is closed.
        kept = self._made.setdefault(pid, made)
        if kept is not made and self._close is not None:
            self._close(made)
        return kept

    def close(self) -> None:
        """Ends this process's own, if there is one; a later ``get`` makes a new one."""
        made = self._made.pop(os.getpid(), None)
        if made is not None and self._close is not None:
            self._close(made)

    def __reduce__(self) -> tuple[Any, ...]:
        return PerProcess, (self._make, self._close)
