"""The contract on Google Cloud Storage."""

import pytest

from datastack_fs.testing import StorageConnectorTests
from datastack_fs.testing.content import MIB
from harness.stores import empty_store


class TestGCSStorageConnector(StorageConnectorTests):
    large = 9 * MIB

    @pytest.fixture
    def connector(self, request):
        return empty_store("gcs", request)

    # The emulator keeps objects in a folder of files, and an emptied folder in it; real GCS has no folders.
    test_a_resource_takes_the_place_of_an_emptied_folder = None
