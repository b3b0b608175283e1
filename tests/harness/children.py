"""What child processes of tests do: in a module that a spawned child can import."""

from __future__ import annotations

import pickle
from typing import Any

from datastack_fs.connectors import GridFSFileSystem
from datastack_fs.testing.content import read_all


def read_of(pickled: bytes, identifier: str) -> bytes:
    """The content of a resource of a pickled connector."""
    return read_all(pickle.loads(pickled), identifier)


def has(pickled: bytes, identifier: str) -> bool:
    """Whether a pickled connector has the resource."""
    found: bool = pickle.loads(pickled).has_resource(identifier)
    return found


def use_filesystem(fs: Any, file: Any, expected: bytes, queue: Any) -> None:
    """Reads an inherited or pickled file and its filesystem, and writes; puts True, or the error."""
    try:
        file.seek(0)
        queue.put(file.read() == expected and fs.cat_file("x") == expected and fs.pipe_file("child", b"c") is None)
    except BaseException as error:  # noqa: BLE001 (whatever it is, the parent shall see it)
        queue.put(repr(error))


def create_ten(url: str, number: int, barrier: Any, results: Any) -> None:
    """Tries to create ten files at the same time as others, and puts those where it was first."""
    fs = GridFSFileSystem(url=url, chunk_size=1024, skip_instance_cache=True)
    for turn in range(10):
        barrier.wait()
        try:
            fs.pipe_file(f"x{turn}", bytes([number]) * 3000, mode="create")
        except FileExistsError:
            continue
        results.put((turn, number))
    fs.close()


def first_columns(iterator: Any) -> Any:
    """The first values of twenty samples that are rows."""
    return iterator.take(range(20))[0][:, 0]
