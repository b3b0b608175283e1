"""Reading damaged files in a child process: what hangs or crashes in C there is killed, told, and kept."""

from __future__ import annotations

import multiprocessing
import tempfile
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from datastack_fs import open_dataset
from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.errors import DatastackError
from harness.cases import FormatCase, all_cases
from harness.stores import unique

LONGEST = 20
"""Seconds for one damaged file of a few KiB; the machine may be busy."""


class DamagedFileReader:
    """A child that reads one damaged file after the other; another takes its place when it dies.

    After a file that killed it nothing else is read until ``forgive``: a test that looks for a smaller such file would
    wait for each.
    """

    def __init__(self) -> None:
        self._fatal: dict[tuple[str, bytes], str] = {}
        self._child: Any = None
        self._pipe: Connection | None = None

    def read(self, case: FormatCase, content: bytes) -> list[Any] | None:
        """All samples of a case with this content; None if an error of this library says that it is damaged."""
        key = (case.name, content)
        if key in self._fatal:
            raise AssertionError(self._fatal[key])
        if self._fatal:
            return None
        pipe = self._pipe or self._start()
        pipe.send(key)
        if not pipe.poll(LONGEST):
            self._die(key, case, f"no answer within {LONGEST} s")
        try:
            is_read, answer = pipe.recv()
        except EOFError:
            self._child.join(5)
            self._die(key, case, f"it died with exit code {self._child.exitcode}")
        if not is_read:
            raise AssertionError(answer)
        samples: list[Any] | None = answer
        return samples

    def forgive(self) -> None:
        """Reads again."""
        self._fatal.clear()

    def close(self) -> None:
        """Ends the child."""
        if self._pipe is not None:
            self._pipe.close()
            self._child.kill()
            self._child.join()
            self._pipe = None

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._child.start()
        theirs.close()
        return self._pipe

    def _die(self, key: tuple[str, bytes], case: FormatCase, fate: str) -> None:
        self.close()
        kept = Path(tempfile.mkdtemp(prefix="damaged-")) / case.identifier
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(key[1])
        self._fatal[key] = f"{case.name}, {fate}: {kept}"
        raise AssertionError(self._fatal[key])


def store_with(case: FormatCase, content: bytes) -> MemoryStorageConnector:
    """A store that has the files of a case, and this content for the one that is opened."""
    connector = MemoryStorageConnector(unique("damaged"))
    for name, other in case.contents.items():
        connector.set_resource(name, other)
    connector.set_resource(case.identifier, content)
    return connector


def _serve(pipe: Connection) -> None:
    warnings.simplefilter("ignore")
    cases = {case.name: case for case in all_cases()}
    while True:
        try:
            name, content = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, _samples(cases[name], content)
        except BaseException:  # noqa: BLE001 (whatever it is, the parent shall see it)
            answer = False, traceback.format_exc()
        pipe.send(answer)


def _samples(case: FormatCase, content: bytes) -> list[Any] | None:
    store = store_with(case, content)
    try:
        iterator: Any = open_dataset(case.identifier, storage=store, format=case.format, **case.options)
        iterator.targets()
        return list(iterator)
    except DatastackError:
        return None
