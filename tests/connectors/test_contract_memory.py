"""The contract on the memory of this process."""

import pytest

from datastack_fs.connectors import MemoryStorageConnector
from datastack_fs.testing import StorageConnectorTests


class TestMemoryStorageConnector(StorageConnectorTests):
    many = 10_000

    @pytest.fixture
    def connector(self, request):
        yield MemoryStorageConnector(request.node.nodeid)
        emptied = MemoryStorageConnector(request.node.nodeid)
        for name in list(emptied.list_resources()):
            emptied.delete_resource(name)

    # A killed process takes its memory with it.
    test_a_killed_writer_leaves_old_or_new = None
    test_sweep_spares_the_young = None
