"""Ranges through obstore: the same bytes, versions and errors as through s3fs and gcsfs, also after a fork."""

import io
import multiprocessing
import pickle

import numpy as np
import pytest

from datastack_fs.connectors import GCSStorageConnector, S3StorageConnector
from datastack_fs.connectors.obstore_ranges import MOST_FAILURES
from datastack_fs.errors import ConfigError, ResourceChangedError, StoragePermissionError
from datastack_fs.formats.npy import NpyDatasetIterator
from datastack_fs.testing import StorageReadingTests
from datastack_fs.testing.content import MIB, noise
from harness.proxy import FaultProxy, ranged_get
from harness.stores import BUCKET, empty_store, unique

SCATTERED = [(start, start + 100) for start in range(0, 2 * MIB, 50_000)]
OBSTORE = "object_store"  # how it calls itself in requests


class TestS3ThroughS3fs(StorageReadingTests):
    """The contract of S3 runs through obstore, which is installed; its reading part holds without it, too."""

    leak_rounds = 10
    # What has nothing to do with ranges.
    test_scans_what_it_lists = test_works_in_child_processes = test_works_after_a_plain_fork = None
    test_pickles_connector_and_open_resource = test_reads_many_resources = None

    @pytest.fixture
    def fill(self, request):
        def store(contents):
            made = empty_store("s3", request)
            for name, content in contents.items():
                made.set_resource(name, content)
            options = made._clients._make.args[2]
            return S3StorageConnector(BUCKET, made._folder, engine="s3fs", **options)

        return store


@pytest.fixture
def s3(seaweed):
    folder, options = unique("fast"), seaweed.options()
    seaweed.make_bucket(BUCKET)
    with (
        S3StorageConnector(BUCKET, folder, **options) as connector,
        FaultProxy.before(seaweed.endpoint_url) as proxy,
        S3StorageConnector(BUCKET, folder, deadline=9, **{**options, "endpoint_url": proxy.url}) as through,
    ):
        yield connector, through, proxy


def reads(proxy):
    """How many ranges were asked for by obstore, and how many by s3fs."""
    agents = [request.headers.get("user-agent", "") for request in proxy.log if ranged_get(request)]
    return sum(OBSTORE in agent for agent in agents), sum(OBSTORE not in agent for agent in agents)


def parts_of(content):
    return [content[start:stop] for start, stop in SCATTERED]


def test_many_ranges_go_through_obstore_and_few_small_ones_do_not(s3):
    connector, through, proxy = s3
    info = connector.set_resource("a b#c%2e", noise(2 * MIB))
    assert through.get_ranges("a b#c%2e", SCATTERED, info=info) == parts_of(noise(2 * MIB))
    assert reads(proxy) == (len(SCATTERED), 0)
    assert through.get_ranges("a b#c%2e", [(5, 9)], info=info) == [noise(2 * MIB)[5:9]]
    assert reads(proxy) == (len(SCATTERED), 1)


def test_a_replaced_object_is_told_by_its_etag(s3):
    connector, through, _ = s3
    info = connector.set_resource("a", noise(2 * MIB))
    connector.set_resource("a", noise(2 * MIB, 1))
    with pytest.raises(ResourceChangedError):
        through.get_ranges("a", SCATTERED, info=info)
    connector.delete_resource("a")
    with pytest.raises(ResourceChangedError):
        through.get_ranges("a", SCATTERED, info=info)


@pytest.mark.parametrize("kind", ["rst", "fin", "503"])
def test_faults_leave_the_right_bytes(s3, kind):
    connector, through, proxy = s3
    info = connector.set_resource("a", noise(2 * MIB))
    ranges = [(0, MIB), (MIB, 2 * MIB), *SCATTERED]
    proxy.arm(kind, at=50, times=5, when=ranged_get)
    found = through.get_ranges("a", ranges, info=info)
    assert found == [noise(2 * MIB)[start:stop] for start, stop in ranges]


def test_a_store_in_trouble_is_tried_by_one_reader_until_it_answers(s3):
    """Else a store that hangs would take the deadline of both."""
    connector, through, proxy = s3
    info = connector.set_resource("a", noise(2 * MIB))
    whole = [(0, 2 * MIB)]
    for most, read in (
        (1, lambda: through.get_ranges("a", whole, info=info)),
        (3, lambda: through.get_many_ranges([(info, whole), (info, whole)])[0]),  # one may follow the other's answer
        (1, lambda: through.read_resources([info])),
    ):
        before, _ = reads(proxy)
        fault = proxy.arm("503", times=3, when=ranged_get)
        assert [bytes(part) for part in read()] == [noise(2 * MIB)]
        assert fault.fired == 3
        assert reads(proxy)[0] - before <= most
        assert through.engine == "obstore"


def test_many_objects_are_one_request_each(s3):
    connector, through, proxy = s3
    contents = {f"many/{number}": noise(number * 100, number) for number in range(40)}
    infos = [connector.set_resource(name, content) for name, content in contents.items()]
    through.has_resource("many/1")
    before = proxy.requests
    assert through.read_resources(infos) == list(contents.values())
    assert proxy.requests - before == 39, "the empty one is not asked for"
    assert through.read_resources(list(contents)) == list(contents.values())
    assert proxy.requests - before == 79
    ranges = [(info, [(0, info.size), (1, 2)] if info.size > 2 else []) for info in infos]
    found = through.get_many_ranges(ranges)
    assert [[bytes(part) for part in parts] for parts in found] == [
        [contents[info.identifier][start:stop] for start, stop in wanted] for info, wanted in ranges
    ]


def test_what_fails_again_and_again_is_left_to_s3fs(s3):
    connector, through, proxy = s3
    info = connector.set_resource("a", noise(2 * MIB))
    for _ in range(MOST_FAILURES + 1):
        proxy.arm("503", when=lambda request: OBSTORE in request.headers.get("user-agent", ""))
        assert through.get_ranges("a", SCATTERED, info=info) == parts_of(noise(2 * MIB))
    assert proxy.armed == 1, "the last one met no request of obstore's"


def test_a_forked_child_reads_through_s3fs(s3):
    connector, _, _ = s3
    info = connector.set_resource("a", noise(2 * MIB))
    assert connector.get_ranges("a", SCATTERED, info=info) == parts_of(noise(2 * MIB))
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(connector.get_ranges, ("a", SCATTERED), {"info": info}) == parts_of(noise(2 * MIB))
    again = pickle.loads(pickle.dumps(connector))
    assert again.get_ranges("a", SCATTERED, info=info) == parts_of(noise(2 * MIB))


def test_wrong_credentials_are_denied_without_the_secret(s3):
    connector, through, _ = s3
    info = connector.set_resource("a", noise(2 * MIB))
    options = {**through._clients._make.args[2], "secret": "wr0ng-s3cret"}
    with (
        S3StorageConnector(BUCKET, connector._folder, **options) as stranger,
        pytest.raises(StoragePermissionError) as caught,
    ):
        stranger.get_ranges("a", SCATTERED, info=info)
    assert "wr0ng-s3cret" not in str(caught.value)


def test_replaced_objects_do_not_count_against_obstore(s3):
    connector, through, _ = s3
    info = connector.set_resource("a", noise(2 * MIB))
    assert through.engine == "obstore"
    for _ in range(MOST_FAILURES + 1):
        connector.set_resource("a", noise(2 * MIB, 1))
        with pytest.raises(ResourceChangedError):
            through.get_ranges("a", SCATTERED, info=info)
    assert through.engine == "obstore"


def test_gcs_is_read_through_obstore_by_generation(fake_gcs, monkeypatch):
    fake_gcs.make_bucket(BUCKET)
    folder, options = unique("fast"), fake_gcs.options()
    with (
        GCSStorageConnector(BUCKET, folder, **options) as connector,
        GCSStorageConnector(BUCKET, folder, engine="gcsfs", **options) as other,
    ):
        info = connector.set_resource("a b#c%2e", noise(2 * MIB))
        assert (connector.engine, other.engine) == ("obstore", "gcsfs")
        assert other.get_ranges("a b#c%2e", SCATTERED, info=info) == parts_of(noise(2 * MIB))
        with monkeypatch.context() as patch:
            patch.setattr(connector, "_read_otherwise", None)
            assert connector.get_ranges("a b#c%2e", SCATTERED, info=info) == parts_of(noise(2 * MIB))
            assert connector.read_resources([info] * 4) == [noise(2 * MIB)] * 4
        connector.set_resource("a b#c%2e", noise(2 * MIB, 1))
        with pytest.raises(ResourceChangedError):
            connector.get_ranges("a b#c%2e", SCATTERED, info=info)


@pytest.mark.parametrize("kind", ["rst", "fin", "503"])
def test_faults_of_gcs_leave_the_right_bytes(fake_gcs, kind):
    """Within a batch that is under way, too; and one that is overwritten is never mixed."""
    fake_gcs.make_bucket(BUCKET)
    rows = np.arange(MIB, dtype=np.uint32).reshape(2048, 512)
    file = io.BytesIO()
    np.save(file, rows)
    with FaultProxy.before(fake_gcs.endpoint_url) as proxy:
        proxy.host = fake_gcs.endpoint_url.partition("//")[2]
        options = {**fake_gcs.options(), "endpoint_url": proxy.url}
        with GCSStorageConnector(BUCKET, unique("fast"), deadline=9, **options) as through:
            through.set_resource("a.npy", file.getvalue())
            iterator = NpyDatasetIterator(through.get_resource("a.npy"))
            order = np.random.default_rng(1).permutation(len(rows))[:80]
            batches = iterator.batches(16, order, prefetch=1, max_bytes=0)
            found = [next(batches)[0]]
            fault = proxy.arm(kind, at=50, times=3, when=ranged_get)
            found += [columns[0] for columns in batches]
            assert fault.fired == 3
            np.testing.assert_array_equal(np.concatenate(found), rows[order])
            assert reads(proxy)[0] > 40, "through obstore"
            assert through.engine == "obstore"
            batches = iterator.batches(16, order, prefetch=1, max_bytes=0)
            found = [next(batches)[0]]
            through.set_resource("a.npy", file.getvalue()[::-1])
            with pytest.raises(ResourceChangedError):
                found += [columns[0] for columns in batches]
            np.testing.assert_array_equal(np.concatenate(found), rows[order][: 16 * len(found)])


def test_an_unknown_engine_is_refused():
    with pytest.raises(ConfigError, match="'auto', 'obstore' or 's3fs'"):
        S3StorageConnector("lab", engine="boto")
