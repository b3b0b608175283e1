"""The contract on S3."""

import pytest

from datastack_fs.testing import StorageConnectorTests
from datastack_fs.testing.content import MIB
from harness.stores import empty_store


class TestS3StorageConnector(StorageConnectorTests):
    large = 9 * MIB

    @pytest.fixture
    def connector(self, request):
        return empty_store("s3", request)

    def left_overs(self, connector):
        answer = connector._clients.get().call("list_multipart_uploads", Prefix=connector._folder)
        return len(answer.get("Uploads", ()))
