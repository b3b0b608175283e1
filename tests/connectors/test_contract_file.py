"""The contract on a folder."""

import pytest

from datastack_fs.connectors import FileStorageConnector
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
