"""The contract on the real servers: S3, GCS, MongoDB."""

import pytest
from harness.stores import empty_store

from datastack_fs.testing import StorageConnectorTests

MIB = 1 << 20


@pytest.mark.xdist_group("s3")
class TestS3StorageConnector(StorageConnectorTests):
    large = 17 * MIB

    @pytest.fixture
    def connector(self, request):
        return empty_store("s3", request)


@pytest.mark.xdist_group("gcs")
class TestGCSStorageConnector(StorageConnectorTests):
    large = 17 * MIB

    @pytest.fixture
    def connector(self, request):
        return empty_store("gcs", request)


@pytest.mark.xdist_group("gridfs")
class TestGridFSStorageConnector(StorageConnectorTests):
    large = 20 * MIB

    @pytest.fixture
    def connector(self, request):
        return empty_store("gridfs", request)
