"""Child processes for tests: with a result, or an error, within a time."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datastack_fs.iterators.base import DatasetIterator
    from datastack_fs.resource import StreamedResource
    from datastack_fs.storage import StorageConnector

TIMEOUT = 60.0

PRELOADED = [
    "datastack_fs.testing.killing",
    "datastack_fs.formats.hdf5",
    "datastack_fs.connectors.s3",
    "datastack_fs.connectors.gcs",
    "datastack_fs.connectors.gridfs_",
]
"""What the server that forkserver children are forked from has imported already, as far as it is installed."""


def context_of(method: str) -> Any:
    """The multiprocessing context of a start method."""
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(PRELOADED)
    return context


def in_child(method: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a module's function in a child made by ``fork``, ``spawn`` or ``forkserver`` and returns its result."""
    context = context_of(method)
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(theirs, function, arguments), daemon=True)
    child.start()
    theirs.close()
    try:
        if not ours.poll(TIMEOUT):
            raise AssertionError(f"a {method} child did not answer within {TIMEOUT:.0f} s")
        try:
            failed, result = ours.recv()
        except EOFError:
            child.join(5)
            raise AssertionError(f"a {method} child died with exit code {child.exitcode}") from None
    finally:
        ours.close()
        if child.is_alive():
            child.join(5)
        if child.is_alive():
            child.kill()
    if failed:
        raise AssertionError(f"in a {method} child:\n{result}")
    return result


def _answer(connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        connection.send((False, function(*arguments)))
    except BaseException:  # noqa: BLE001 (whatever it is, the parent shall see it)
        connection.send((True, traceback.format_exc()))


def read_pickled(pickled: bytes) -> bytes:
    """The rest of a pickled open resource, after checking that its connector works, too."""
    connector, resource = pickle.loads(pickled)
    assert connector.get_info(resource.identifier) == resource.info
    with resource:
        rest: bytes = resource.read()
    return rest


def read_in_every_way(iterator: DatasetIterator[Any], indices: Sequence[int]) -> tuple[list[Any], list[Any], Any]:
    """A batch, the same samples one by one, and the targets."""
    return iterator.__getitems__(indices), [iterator[index] for index in indices], iterator.targets()


def read_inherited(connector: StorageConnector, resource: StreamedResource) -> str:
    """Forks; the child reads on in the open resource and opens it anew. Returns the checksum of both."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(int(TIMEOUT))  # a child that hangs dies by SIGALRM
            content = resource.read() + connector.get_resource(resource.identifier).read()
            os.write(writing, f"sha256:{hashlib.sha256(content).hexdigest()}".encode())
        except BaseException:  # noqa: BLE001 (the child must not go on as a second test run)
            os.write(writing, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the forked child ended with status {status}: {answer}"
    return answer
