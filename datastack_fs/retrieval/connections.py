"""Connections that know whom they reached, and some that reach public addresses only.

A name is resolved once and the connection goes to the very address that was checked: a resolver that gives another
answer the second time (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import socket
import weakref
from contextlib import suppress
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.connection import create_connection

from datastack_fs.retrieval import addresses


class AddressRefusedError(Exception):
    """A host on the way has an address that is not public; the text says which."""


class _Noting:
    """A connection that notes the address it reached, on itself and on its answers."""

    sockets: weakref.WeakSet[socket.socket]
    sock: socket.socket
    peer: str | None = None

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        self.peer = str(made.getpeername()[0])
        return made

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.sockets.add(self.sock)

    def getresponse(self, *arguments: Any, **options: Any) -> Any:
        answer = super().getresponse(*arguments, **options)  # type: ignore[misc]
        answer.peer = self.peer
        return answer


class _PublicOnly:
    """A connection to a public address, or none at all."""

    host: str
    port: int
    timeout: float | None
    source_address: tuple[str, int] | None
    socket_options: Any

    def _new_conn(self) -> socket.socket:
        found = addresses.resolve(self.host, self.port)
        check_public(self.host, found)
        failure: OSError | None = None
        for address in found:
            place = (address, self.port)
            try:
                return create_connection(place, self.timeout, self.source_address, self.socket_options)
            except OSError as error:
                failure = error
        raise failure or OSError(f"{self.host} has no address")


def check_public(host: str, found: list[str]) -> None:
    """Refuses a host that has any address that is not public.

    Raises:
        AddressRefusedError: it has one.
    """
    inner = [address for address in found if not addresses.is_public(address)]
    if inner:
        named = host if host == inner[0] else f"{host} ({inner[0]})"
        raise AddressRefusedError(f"{named} is no public address")


class Sessions:
    """Two sessions for the requests of one download, usable from several threads.

    Attributes:
        anywhere: reaches any host, for the one that the user named.
        public: reaches public addresses only, for those that a public host redirects to.
    """

    def __init__(self, connections: int) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.anywhere = self._session((), connections)
        self.public = self._session((_PublicOnly,), connections)

    def cut(self) -> None:
        """Ends all transfers under way: whoever waits for bytes gets an error at once."""
        for made in list(self._sockets):
            with suppress(OSError):  # closed by now
                socket.socket.shutdown(made, socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes the connections that are not in use."""
        self.anywhere.close()
        self.public.close()

    def _session(self, bases: tuple[type, ...], connections: int) -> requests.Session:
        session = _Session()
        adapter = _Adapter(_pools((_Noting, *bases), self._sockets), connections)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        return session


class _Session(requests.Session):
    """Looks at no redirect itself: it would read the whole body of each first, even when told not to follow."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class _Adapter(HTTPAdapter):
    """Connects by given classes; through a proxy, by urllib3's own, since there the proxy is who is reached."""

    def __init__(self, pools: dict[str, type[HTTPConnectionPool]], connections: int) -> None:
        self._pools = pools
        super().__init__(pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools


_KINDS: Final[dict[str, tuple[type[HTTPConnection], type[HTTPConnectionPool]]]] = {
    "http": (HTTPConnection, HTTPConnectionPool),
    "https": (HTTPSConnection, HTTPSConnectionPool),
}


def _pools(bases: tuple[type, ...], sockets: weakref.WeakSet[socket.socket]) -> dict[str, type[HTTPConnectionPool]]:
    pools = {}
    for scheme, (connection, pool) in _KINDS.items():
        made = type(connection.__name__, (*bases, connection), {"sockets": sockets})
        pools[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": made})
    return pools
