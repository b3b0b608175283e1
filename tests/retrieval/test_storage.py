"""Resources of any store as sources."""

import gzip
import hashlib
import zipfile

import pytest

from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.errors import (
    ConfigError,
    DatasetFileCorruptError,
    MissingDependencyError,
    RetrievalError,
    UnknownPluginError,
)
from datastack_fs.factory import retriever_for
from datastack_fs.retrieval import FileRetriever, HTTPRetriever, ResourceDefinition, StorageRetriever

CONTENT = gzip.compress(bytes(range(256)) * 20_000)
CHECK = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
NAME = "birds/raw/owl.gz"


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


CHECKS = {"none": None, "sha256": CHECK, "md5": f"md5:{hashlib.md5(CONTENT).hexdigest()}"}


def retrieve(connector, url, check=None, **options):
    return StorageRetriever(connector, **options).retrieve([ResourceDefinition(NAME, url, check)])


@pytest.mark.parametrize(
    "check", [None, CHECK, f"md5:{hashlib.md5(CONTENT).hexdigest()}"], ids=["none", "sha256", "md5"]
)
def test_from_every_store(store, memory, check):
    store.set_resource("published/owl.gz", CONTENT)
    (info,) = retrieve(memory, "published/owl.gz", check, source=store)
    assert (info.identifier, info.size, info.checksum) == (NAME, len(CONTENT), CHECK)
    store.delete_resource("published/owl.gz")
    assert retrieve(memory, "published/owl.gz", check, source=store) == [info], "what is there is not fetched again"


def test_into_every_store(store, memory):
    MemoryStorageConnector("published").set_resource("birds/owl.gz", CONTENT)
    retrieve(store, "memory://published/birds/owl.gz")
    assert store.get_resource(NAME).read() == CONTENT


def test_by_url_with_options(seaweed, memory):
    import datastack_fs

    seaweed.make_bucket("retrieval")
    options = {"endpoint_url": seaweed.endpoint_url, "key": seaweed.key, "secret": seaweed.secret}
    with datastack_fs.connect("s3://retrieval", **options) as connector:
        connector.set_resource("published/owl.gz", CONTENT)
    retrieve(memory, "s3://retrieval/published/owl.gz", source_options=options)
    assert memory.get_resource(NAME).read() == CONTENT


def test_from_a_database(mongod, memory):
    import datastack_fs

    url = f"mongodb://127.0.0.1:{mongod.port}/retrieval"
    with datastack_fs.connect(url) as connector:
        connector.set_resource("published/owl.gz", CONTENT)
    retrieve(memory, f"{url}/published/owl.gz")
    assert memory.get_resource(NAME).read() == CONTENT


def test_from_an_archive(memory, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("published/owl.gz", CONTENT)
    retrieve(memory, f"zip://published/owl.gz::file://{tmp_path}/all.zip")
    assert memory.get_resource(NAME).read() == CONTENT


def test_it_is_of_one_version(tmp_path, memory):
    """The source is replaced while it is read."""
    source = FileStorageConnector(tmp_path)
    old, new = bytes(5 << 20), b"\1" * (5 << 20)
    source.set_resource("owl.bin", old)

    class Swapping(MemoryStorageConnector):
        def _publish(self, identifier, upload, overwrite):
            blocks = upload.blocks
            upload.blocks = lambda: swapped(blocks())
            return super()._publish(identifier, upload, overwrite)

    def swapped(blocks):
        yield next(blocks)
        source.set_resource("owl.bin", new)
        yield from blocks

    target = Swapping("swapping")
    StorageRetriever(target, source=source).retrieve([ResourceDefinition("owl.bin", "owl.bin")])
    assert target.get_resource("owl.bin").read() == old


def test_the_checksum_that_a_store_keeps_must_be_met(memory):
    class Rotten(MemoryStorageConnector):
        def _stat(self, identifier):
            info = super()._stat(identifier)
            return type(info)(info.identifier, info.size, info.version, checksum="sha256:" + "0" * 64)

    source = Rotten("rotten")
    source.set_resource("owl.gz", CONTENT)
    with pytest.raises(DatasetFileCorruptError, match=r"it came from owl\.gz"):
        retrieve(memory, "owl.gz", source=source)
    assert list(memory.list_resources()) == []


def test_what_cannot_be_read_is_named(memory):
    with pytest.raises(RetrievalError, match=r"can't fetch memory://none/owl\.gz: .*owl\.gz") as caught:
        retrieve(memory, "memory://none/owl.gz")
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    with pytest.raises(RetrievalError, match=r"can't fetch .*\*\*\*") as caught:
        retrieve(memory, "mongodb://ann:CANARY@127.0.0.1:1/db/owl.gz", source_options={"deadline": 0.2})
    assert "CANARY" not in str(caught.value)
    assert list(memory.list_resources()) == []


def test_misuse_stays_what_it_is(memory):
    with pytest.raises(ConfigError, match="names a store, not a resource"):
        retrieve(memory, "memory://none")
    with pytest.raises(ConfigError, match="takes"):
        retrieve(memory, "memory://none/owl.gz", source_options={"endpoint": 1})
    with pytest.raises(UnknownPluginError, match="no connector"):
        retrieve(memory, "sftpx://none/owl.gz")
    with pytest.raises(ValueError, match="a connector has its own"):
        StorageRetriever(memory, source=memory, source_options={"endpoint": 1})


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("https://host/a.gz", HTTPRetriever),
        ("HTTP://host/a.gz", HTTPRetriever),
        ("a.gz", FileRetriever),
        ("./folder/a.gz", FileRetriever),
        ("file:///a.gz", FileRetriever),
        ("package://sklearn/a.gz", FileRetriever),
        ("s3://lab/a.gz", StorageRetriever),
        ("gs://lab/a.gz", StorageRetriever),
        ("mongodb://host/db/a.gz", StorageRetriever),
        ("memory://lab/a.gz", StorageRetriever),
        ("zip://a.gz::https://host/all.zip", StorageRetriever),
        ("ftp://host/a.gz", StorageRetriever),
    ],
)
def test_the_kind_of_retriever_is_told_by_the_source(source, kind):
    assert retriever_for(source) is kind


def test_a_store_whose_package_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(MissingDependencyError, match=r"datastack-fs\[s3\]"):
        retriever_for("s3://lab/a.gz")
