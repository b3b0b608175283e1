"""The reading part of the contract on S3 through a cache, twice over: what is fetched, and what is found."""

import pytest

from datastack_fs.cache.settings import CacheSettings
from datastack_fs.testing import StorageReadingTests
from datastack_fs.testing.content import MIB
from harness.stores import empty_store


class TestCachedS3(StorageReadingTests):
    leak_rounds = 10
    # What has nothing to do with ranges.
    test_scans_what_it_lists = None

    @pytest.fixture
    def fill(self, request, tmp_path_factory):
        folder = str(tmp_path_factory.mktemp("cache"))

        def store(contents):
            connector = empty_store("s3", request)
            for name, content in contents.items():
                connector.set_resource(name, content)
            connector.use_cache(CacheSettings(folder, size=64 * MIB, free=0))
            connector.read_resources(list(contents)[:10])
            return connector

        return store
