"""The contract on the real servers: S3, GCS, MongoDB."""

import pytest

from datastack_fs.testing import StorageConnectorTests
from harness.stores import empty_store

MIB = 1 << 20


@pytest.mark.xdist_group("s3")
class TestS3StorageConnector(StorageConnectorTests):
    large = 9 * MIB

    @pytest.fixture
    def connector(self, request):
        return empty_store("s3", request)

    def left_overs(self, connector):
        answer = connector._clients.get().call("list_multipart_uploads", Prefix=connector._folder)
        return len(answer.get("Uploads", ()))


@pytest.mark.xdist_group("gcs")
class TestGCSStorageConnector(StorageConnectorTests):
    large = 9 * MIB

    @pytest.fixture
    def connector(self, request):
        return empty_store("gcs", request)

    # The emulator keeps objects in a folder of files, and an emptied folder in it; real GCS has no folders.
    test_a_resource_takes_the_place_of_an_emptied_folder = None


@pytest.mark.xdist_group("gridfs")
class TestGridFSStorageConnector(StorageConnectorTests):
    large = 20 * MIB

    @pytest.fixture
    def connector(self, request):
        return empty_store("gridfs", request)

    def left_overs(self, connector):
        bucket = connector._fs.store
        return len(set(bucket.chunks.distinct("files_id")) - set(bucket.files.distinct("_id")))
