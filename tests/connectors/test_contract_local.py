"""The contract on this machine's own stores: a folder, the memory, any fsspec filesystem."""

import pytest

from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.testing import StorageConnectorTests


class TestFileStorageConnector(StorageConnectorTests):
    kills = 200
    leak_rounds = 1000
    many = 10_000

    @pytest.fixture
    def connector(self, tmp_path):
        return FileStorageConnector(tmp_path / "store")

    def left_overs(self, connector):
        import os

        return sum(name.startswith(".datastack") for _, _, names in os.walk(connector.root_path) for name in names)


class TestMemoryStorageConnector(StorageConnectorTests):
    many = 10_000

    @pytest.fixture
    def connector(self, request):
        connector = MemoryStorageConnector(request.node.nodeid)
        yield connector
        for name in list(connector.list_resources()):
            connector.delete_resource(name)

    # A killed process takes its memory with it.
    test_a_killed_writer_leaves_old_or_new = None
    test_sweep_spares_the_young = None
