"""The contract on fsspec's own filesystems: its memory, and its local files."""

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from harness.stores import unique

from datastack_fs.connectors import FsspecStorageConnector
from datastack_fs.testing import StorageConnectorTests


class TestFsspecMemory(StorageConnectorTests):
    keeps_checksum = False

    @pytest.fixture
    def connector(self):
        root = f"/{unique('store')}"
        yield FsspecStorageConnector(fsspec.filesystem("memory"), root)
        for path in [path for path in MemoryFileSystem.store if path.startswith(root)]:
            del MemoryFileSystem.store[path]

    # No other process reaches the memory of this one, and a killed process takes its own with it.
    test_works_in_child_processes = None
    test_h5py_survives_collection_while_it_reads = None
    test_a_killed_writer_leaves_old_or_new = None
    test_sweep_spares_the_young = None


class TestFsspecLocal(StorageConnectorTests):
    keeps_checksum = False

    @pytest.fixture
    def connector(self, tmp_path):
        return FsspecStorageConnector(fsspec.filesystem("file"), str(tmp_path / "store"))
