"""The contract on fsspec's own filesystems: its memory, and its local files."""

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from datastack_fs.connectors import FsspecStorageConnector
from datastack_fs.testing import StorageConnectorTests
from harness.stores import unique


class TestFsspecMemory(StorageConnectorTests):
    keeps_checksum = False

    @pytest.fixture
    def connector(self):
        root = f"/{unique('store')}"
        yield FsspecStorageConnector(fsspec.filesystem("memory"), root)
        for path in [path for path in MemoryFileSystem.store if path.startswith(root)]:
            del MemoryFileSystem.store[path]

    # A killed process takes its memory with it.
    test_a_killed_writer_leaves_old_or_new = None
    test_sweep_spares_the_young = None


class TestFsspecLocal(StorageConnectorTests):
    keeps_checksum = False

    @pytest.fixture
    def connector(self, tmp_path):
        return FsspecStorageConnector(fsspec.filesystem("file"), str(tmp_path / "store"))
