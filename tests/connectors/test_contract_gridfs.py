"""The contract on MongoDB GridFS."""

import pytest

from datastack_fs.testing import StorageConnectorTests
from datastack_fs.testing.content import MIB
from harness.stores import empty_store


class TestGridFSStorageConnector(StorageConnectorTests):
    large = 20 * MIB

    @pytest.fixture
    def connector(self, request):
        return empty_store("gridfs", request)

    def left_overs(self, connector):
        bucket = connector._fs.store
        return len(set(bucket.chunks.distinct("files_id")) - set(bucket.files.distinct("_id")))
