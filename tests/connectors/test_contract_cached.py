"""The reading part of the contract on S3 through a cache, some of it read before."""

import pytest

from datastack_fs.cache.settings import CacheSettings
from datastack_fs.testing import StorageReadingTests
from datastack_fs.testing.content import MIB
from harness.stores import empty_store


class TestCachedS3(StorageReadingTests):
    leak_rounds = 10
    # What has nothing to do with ranges, or holds where it holds without a cache.
    test_scans_what_it_lists = test_h5py_survives_collection_while_it_reads = test_says_what_is_there = None
    test_feeds_pandas_and_pyarrow = test_feeds_pillow = test_feeds_the_standard_library = None
    test_refuses_bad_identifiers_before_any_io = test_takes_or_refuses_any_text_as_the_grammar_says = None
    test_keeps_unusual_names_apart = test_refuses_names_that_are_no_text = test_lists_by_prefix_in_order = None
    test_missing_resources_are_not_found = test_read_only_refuses_writes_before_touching_the_source = None

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
