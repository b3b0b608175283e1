"""Every way to read from a remote store goes through its cache, which its processes share."""

import io
import multiprocessing
import pickle
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from datastack_fs import connect, open_dataset
from datastack_fs.cache.settings import CacheSettings
from datastack_fs.connectors import S3StorageConnector
from datastack_fs.errors import ConfigError, ResourceChangedError, StorageFullError
from datastack_fs.testing.content import MIB, noise
from harness.cached_reading import bytes_in, read_shuffled
from harness.proxy import FaultProxy, ranged_get
from harness.stores import BUCKET, empty_store, filled_store, unique


@pytest.fixture
def settings(tmp_path):
    return CacheSettings(str(tmp_path / "cache"), size=64 * MIB, free=0)


@pytest.fixture
def s3(seaweed):
    """A store, and a way to the same through a proxy that counts."""
    folder, options = unique("cached"), seaweed.options()
    seaweed.make_bucket(BUCKET)
    with (
        S3StorageConnector(BUCKET, folder, **options) as connector,
        FaultProxy.before(seaweed.endpoint_url) as proxy,
        S3StorageConnector(BUCKET, folder, **{**options, "endpoint_url": proxy.url}) as through,
    ):
        yield connector, through, proxy


def gets(proxy):
    return sum(map(ranged_get, proxy.log))


@pytest.mark.parametrize("kind", ["s3", "gcs", "gridfs", "http", "zip in s3"])
def test_every_way_to_read_finds_what_was_read_before(kind, request, settings):
    content = noise(3 * MIB)
    connector = filled_store(kind, {"a": content, "b": content[:5000]}, request)
    connector.use_cache(settings)
    inner = getattr(connector, "_connector", connector)
    with connector.get_resource("a") as resource:
        assert resource.read() == content
    info, other = connector.get_info("a"), connector.get_info("b")
    assert connector.read_resources([other]) == [content[:5000]]
    before = inner.metrics
    assert connector.get_ranges("a", [(70_000, 90_000), (5, 9)], info=info) == [content[70_000:90_000], content[5:9]]
    ((part,), (whole,)) = connector.get_many_ranges([(info, [(MIB, 2 * MIB)]), (other, [(0, 5000)])])
    assert (bytes(part), bytes(whole)) == (content[MIB : 2 * MIB], content[:5000])
    assert connector.read_resources([info, other]) == [content, content[:5000]]
    with connector.get_resource("a", info=info) as resource:
        assert [resource.seek(MIB), resource.read(100)] == [MIB, content[MIB : MIB + 100]]
        resource.seek(0)
        assert b"".join(resource.chunks()) == content
    plan = connector.plan_resources([info])
    ((source, version, ranges),) = plan.requests
    assert plan.contents(source.get_many_ranges([(version, ranges)])) == [content]
    spent = inner.metrics - before
    assert spent.fetched_bytes == 0
    assert spent.cache_hits > 0


def test_what_a_web_server_names_weakly_is_not_kept(web_server, settings):
    web_server["weak/a"] = noise(100_000)
    web_server.behave("weak/a", etag="weak")
    with connect(f"{web_server.url}/weak", cache=settings.folder, cache_free=0) as connector:
        for content in (noise(100_000), noise(100_000, 1)):
            web_server["weak/a"] = content
            assert connector.get_ranges("a", [(5, 90_000)]) == [content[5:90_000]]
    assert bytes_in(Path(settings.folder)) < MIB or not list(Path(settings.folder).rglob("*.blocks"))


@pytest.mark.parametrize("url", ["memory://a", "./a", "zip::./a.zip"])
def test_a_store_of_this_machine_takes_no_cache(url, tmp_path):
    with pytest.raises(ConfigError, match="makes no sense"):
        connect(url, cache=str(tmp_path))


def test_a_replaced_resource_is_never_answered_by_the_old_one(s3, settings):
    connector, through, _ = s3
    through.use_cache(settings)
    for number in range(3):
        info = connector.set_resource("a", noise(200_000, number))
        with through.get_resource("a") as resource:
            assert resource.read() == noise(200_000, number)
        connector.set_resource("a", noise(200_000, number + 1))
        assert through.get_ranges("a", [(0, 200_000)]) == [noise(200_000, number + 1)]
        try:
            (old,) = through.get_ranges("a", [(0, 200_000)], info=info)
        except ResourceChangedError:
            continue
        assert old == noise(200_000, number)


def test_processes_fetch_each_block_once(s3, settings):
    connector, through, proxy = s3
    infos = [connector.set_resource(f"r{number}", noise(MIB, number)) for number in range(3)]
    through.use_cache(settings)
    before = gets(proxy), proxy.bytes_down
    with multiprocessing.get_context("fork").Pool(3) as pool:
        jobs = [(pickle.dumps(through), infos, seed, 10_000, 64, 1) for seed in range(3)]
        assert pool.starmap(read_shuffled, jobs) == [[], [], []]
    assert proxy.bytes_down - before[1] < 1.1 * 3 * MIB
    assert gets(proxy) - before[0] <= 3 * 16


def test_processes_together_stay_below_the_limit(s3, settings):
    connector, through, _ = s3
    infos = [connector.set_resource(f"r{number}", noise(MIB, number)) for number in range(4)]
    through.use_cache(CacheSettings(settings.folder, size=2 * MIB, free=0))
    with closing(multiprocessing.get_context("fork").Pool(3)) as pool:
        jobs = [pool.apply_async(read_shuffled, (pickle.dumps(through), infos, seed, 320, 64, 1)) for seed in range(3)]
        most = 0
        while not all(job.ready() for job in jobs):
            most = max(most, bytes_in(Path(settings.folder)))
            jobs[0].wait(0.01)
        assert [job.get() for job in jobs] == [[], [], []]
    assert MIB < most <= 2 * MIB


def test_a_pinned_resource_stays_whole(s3, settings):
    connector, through, proxy = s3
    content = noise(MIB)
    connector.set_resource("pinned", content)
    others = [connector.set_resource(f"r{number}", noise(MIB, number)) for number in range(6)]
    with pytest.raises(ConfigError, match="has no cache"):
        through.pin("pinned")
    through.use_cache(CacheSettings(settings.folder, size=3 * MIB, free=0))
    through.read_resources(others)
    info = through.pin("pinned")
    for _ in range(3):
        for each in others:
            through.read_resources([each])
    before = gets(proxy)
    assert through.read_resources([info]) == [content]
    assert gets(proxy) == before
    assert bytes_in(Path(settings.folder)) <= 3 * MIB
    large = connector.set_resource("large", noise(4 * MIB))
    with pytest.raises(StorageFullError, match="no room for all of large"):
        through.pin(large.identifier)
    assert (through.unpin("pinned"), through.unpin("pinned")) == (True, False)


def test_an_epoch_of_samples_is_read_once_over_the_network(s3, settings):
    connector, through, proxy = s3
    file = io.BytesIO()
    np.save(file, np.arange(500 * 1024, dtype=np.uint32).reshape(500, 1024))
    connector.set_resource("a.npy", file.getvalue())
    through.use_cache(settings)
    order = np.random.default_rng(1).permutation(500)
    for epoch in range(2):
        before = proxy.bytes_down
        with through.get_resource("a.npy") as resource:
            samples = open_dataset("a.npy", storage=through)
            for first in range(0, 500, 50):
                found = samples.take(order[first : first + 50])
                np.testing.assert_array_equal(found[0][:, 0], order[first : first + 50] * 1024)
        fetched = proxy.bytes_down - before
        assert fetched < (1.1 * resource.size if epoch == 0 else 10_000)


def test_a_profile_has_a_cache(tmp_path, monkeypatch, seaweed):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAST_DISK", str(tmp_path / "nvme"))
    (tmp_path / "datastack.yaml").write_text(
        "storages:\n  prod:\n    url: s3://lab\n    cache: ${FAST_DISK}/cache\n"
        "    cache_size: 1 GB\n    cache_free: 0\n"
    )
    connector = connect("prod", **seaweed.options())
    assert connector.is_cached
    assert connector._cache.get().settings == CacheSettings(str(tmp_path / "nvme" / "cache"), 10**9, 0)
    assert not connect({"url": "s3://lab", "options": seaweed.options()}).is_cached
    assert connect({"url": "s3://lab", "options": seaweed.options(), "cache": "c"}).is_cached


def test_a_store_is_told_by_its_server(request, settings, seaweed, tmp_path):
    one = empty_store("s3", request)
    info = one.set_resource("a", noise(5000))
    one.use_cache(settings)
    one.read_resources([info])
    other = S3StorageConnector(BUCKET, one._folder, **{**seaweed.options(), "endpoint_url": "http://127.0.0.1:1"})
    assert one._cache_identity() != other._cache_identity()
