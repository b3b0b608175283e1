"""Keeps forked children from holding the sockets of servers that live in the test process.

A connection ends only when every process that has it closes it. So a child that a test forks while a `WebServer`
or a `FaultProxy` runs would keep the parent's connections open, and its ports taken.
"""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Iterable
from typing import Protocol


class HasSockets(Protocol):
    """Something with sockets that children must not have."""

    def sockets(self) -> Iterable[socket.socket]:
        """Return the sockets open now."""
        ...


_owners: weakref.WeakSet[HasSockets] = weakref.WeakSet()


def close_in_children(owner: HasSockets) -> None:
    """Close the owner's sockets in every child forked from now on."""
    _owners.add(owner)


def _close_all() -> None:
    for owner in list(_owners):
        for each in owner.sockets():
            fd = each.detach()  # so that no object closes the number again once something else has it
            if fd >= 0:
                os.close(fd)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
