"""A dataset is prepared once, whole or not at all, whoever else is at it, and opened many times."""

import json
import multiprocessing
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest

from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.datasets import MNISTFactory
from datastack_fs.errors import (
    ConfigError,
    DatasetFileCorruptError,
    DatasetNotFoundError,
    ReadOnlyStorageError,
    RetrievalError,
    StorageFullError,
    UnknownPluginError,
    UnsupportedStorageError,
)
from datastack_fs.manifest import Manifest, ManifestEntry
from datastack_fs.retrieval import FileRetriever, HTTPRetriever, ResourceDefinition
from harness import mirrors
from harness.mirrors import COUNTS, definitions, images, labels

RESOURCES = [
    "mnist/manifest.json",
    "mnist/preprocessed/test.h5",
    "mnist/preprocessed/train.h5",
    "mnist/raw/labels_test.gz",
    "mnist/raw/labels_train.gz",
    "mnist/raw/samples_test.gz",
    "mnist/raw/samples_train.gz",
]


@pytest.fixture
def mirror(web_server):
    mirrors.serve(web_server)
    return web_server


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


def factory_for(connector, mirror):
    return MNISTFactory(connector, resource_definitions=definitions(mirror.url))


def check_all(factory):
    for split, count in COUNTS.items():
        iterator, meta = factory.get_dataset_iterator({"split": split})
        assert len(iterator) == count
        assert meta is iterator.meta
        assert (np.stack([image for image, _, _ in iterator]) == images(split)).all()
        assert iterator.targets().tolist() == labels(split).tolist()


def test_it_is_retrieved_prepared_and_opened(store, mirror):
    factory = factory_for(store, mirror)
    assert not factory.is_prepared()
    iterator, meta = factory.get_dataset_iterator(config={"split": "train"})
    image, target, tag = iterator[3]
    assert (image.shape, image.dtype, int(target), tag) == ((28, 28), np.uint8, 1, "train")
    assert (meta.name, meta.tag, meta.identifier) == ("mnist", "train", "mnist/preprocessed/train.h5")
    assert list(store.list_resources()) == RESOURCES
    assert factory.is_prepared()
    assert sorted(info.identifier for info in factory.resources()) == RESOURCES[1:]
    check_all(factory)


def test_the_second_time_nothing_is_done(store, mirror):
    factory = factory_for(store, mirror)
    first = factory.prepare()
    mirror.requests.clear()
    assert factory.prepare() == factory_for(store, mirror).prepare() == first
    factory.get_dataset_iterator()
    assert mirror.requests == []


def test_another_connector_finds_it_prepared(memory, mirror):
    factory_for(memory, mirror).prepare()
    other = pickle.loads(pickle.dumps(factory_for(memory, mirror)))
    assert other.is_prepared()
    assert MNISTFactory(memory).is_prepared(), "wherever it was retrieved from"


def test_the_manifest_says_what_there_is(memory, mirror):
    infos = {info.identifier: info for info in factory_for(memory, mirror).prepare()}
    facts = json.loads(memory.get_resource("mnist/manifest.json").read())
    assert (facts["dataset"], facts["version"], facts["format"]) == ("mnist", "1", 1)
    assert "library" in facts
    for entry in facts["resources"]:
        info = infos.pop(entry["identifier"])
        assert (entry["size"], entry["checksum"]) == (info.size, info.checksum)
        if "/raw/" in entry["identifier"]:
            assert entry["source"].startswith(f"{mirror.url}/mirror/")
            assert entry["source_checksum"].startswith("md5:")
    assert infos == {}


def test_the_manifest_holds_no_secret(memory, mirror):
    secret = [
        ResourceDefinition(each.identifier, f"{each.source}?token=CANARY".replace("://", "://ann:CANARY@"))
        for each in definitions(mirror.url)
    ]
    MNISTFactory(memory, resource_definitions=secret).prepare()
    assert b"CANARY" not in memory.get_resource("mnist/manifest.json").read()


@pytest.mark.parametrize(
    "manifest", [b"", b"{}", b"[]", b'{"format": 2}', b"\xff", b'{"format": 1, "resources": [{}]}']
)
def test_a_broken_manifest_is_none(memory, mirror, manifest):
    factory = factory_for(memory, mirror)
    factory.prepare()
    memory.set_resource("mnist/manifest.json", manifest)
    assert not factory.is_prepared()
    check_all(factory)
    assert factory.is_prepared()


@pytest.mark.parametrize("harm", ["deleted", "shortened", "changed"])
@pytest.mark.parametrize("identifier", RESOURCES[1:])
def test_it_is_whole_or_not_prepared(memory, mirror, identifier, harm):
    factory = factory_for(memory, mirror)
    factory.prepare()
    content = memory.get_resource(identifier).read()
    if harm == "deleted":
        memory.delete_resource(identifier)
    else:
        memory.set_resource(identifier, content[:-1] + (b"" if harm == "shortened" else bytes([content[-1] ^ 1])))
    assert not factory.is_prepared()
    with pytest.raises(DatasetNotFoundError, match=r"mnist is not prepared in memory://.*prepare\(\) does it"):
        factory.resources()
    check_all(factory)


def test_a_store_that_knows_no_checksums_goes_by_size():
    manifest = Manifest("a", "1", "0", (ManifestEntry("a/x", 3, "sha256:" + "0" * 64),))

    class Silent(MemoryStorageConnector):
        def _stat(self, identifier):
            info = super()._stat(identifier)
            return type(info)(info.identifier, info.size, info.version)

    connector = Silent("silent")
    connector.set_resource("a/x", b"abc")
    assert manifest.stored(connector) is not None
    connector.set_resource("a/x", b"abcd")
    assert manifest.stored(connector) is None


class NextMNIST(MNISTFactory):
    version = "2"


def next_factory_for(connector, mirror):
    identifiers = [each.identifier for each in NextMNIST.definitions()]
    old = definitions(mirror.url)
    new = [ResourceDefinition(name, each.source, each.checksum) for name, each in zip(identifiers, old, strict=True)]
    return NextMNIST(connector, resource_definitions=new)


def test_versions_stand_side_by_side(store, mirror):
    first = factory_for(store, mirror).prepare()
    factory = next_factory_for(store, mirror)
    assert not factory.is_prepared()
    check_all(factory)
    assert factory.get_dataset_iterator()[1].identifier == "mnist@2/preprocessed/train.h5"
    beside = [name.replace("mnist/", "mnist@2/") for name in RESOURCES]
    assert sorted(store.list_resources()) == sorted([*RESOURCES, *beside])
    assert list(store.list_resources("mnist/")) == RESOURCES
    assert factory_for(store, mirror).prepare() == first, "the other version is as it was"
    factory.prepare(overwrite=True)
    assert factory_for(store, mirror).prepare() == first
    with pytest.raises(DatasetNotFoundError, match="mnist@2 has no split 'dev'"):
        factory.get_dataset_iterator({"split": "dev"})


def test_a_version_cannot_take_what_is_the_others(memory, mirror):
    factory = NextMNIST(memory, resource_definitions=definitions(mirror.url))
    with pytest.raises(ValueError, match=r"mnist/raw/samples_train.gz is no resource of mnist@2: .* called mnist@2/…"):
        factory.prepare()
    assert list(memory.list_resources()) == []


@pytest.mark.parametrize("facts", [{"name": "a/b"}, {"name": "a@2"}, {"name": ""}, {"name": "a", "version": "../b"}])
def test_names_and_versions_that_are_none_are_refused(facts):
    with pytest.raises(ValueError, match="it has letters, digits"):
        type("Wrong", (MNISTFactory,), facts)


def test_overwrite_does_it_all_anew(memory, mirror):
    factory = factory_for(memory, mirror)
    first = factory.prepare()
    mirror.requests.clear()
    second = factory.prepare(overwrite=True)
    assert len(mirror.requests) == 4
    for one, other in zip(first, second, strict=True):
        assert one.version != other.version
        assert (one.identifier, one.checksum) == (other.identifier, other.checksum), "the same bytes each time"
    assert factory.is_prepared()


class Filling(MemoryStorageConnector):
    """Has no room from the n-th write of the dataset on."""

    def __init__(self, name, writes):
        super().__init__(name)
        self.left = writes

    def _publish(self, identifier, upload, overwrite):
        if not identifier.endswith(".lock"):
            self.left -= 1
            if self.left < 0:
                raise StorageFullError("no room")
        return super()._publish(identifier, upload, overwrite)


@pytest.mark.parametrize("before", ["nothing", "prepared"])
@pytest.mark.parametrize("writes", range(8))
def test_cut_off_between_any_two_writes_it_is_not_prepared(request, mirror, writes, before):
    connector = Filling(request.node.nodeid, 100)
    factory = factory_for(connector, mirror)
    if before == "prepared":
        factory.prepare()
    connector.left = writes
    if writes < 7:
        with pytest.raises(StorageFullError):
            factory.prepare(overwrite=True)
        assert not factory.is_prepared()
        assert not connector.has_resource("mnist/prepare.lock")
        connector.left = 100
        check_all(factory)
    else:
        factory.prepare(overwrite=True)
    assert factory.is_prepared()


@pytest.mark.parametrize("name", [definition.source.rpartition("/")[2] for definition in MNISTFactory.definitions()])
@pytest.mark.parametrize("harm", ["404", "html", "damaged"])
def test_a_source_that_is_not_right_leaves_nothing_prepared(memory, mirror, name, harm):
    factory = factory_for(memory, mirror)
    if harm == "damaged":
        mirror.put(f"mirror/{name}", mirrors.files()[name][:-1] + b"x")
    else:
        mirror.behave(f"mirror/{name}", **({"statuses": [404]} if harm == "404" else {"html": True}))
    with pytest.raises((RetrievalError, DatasetFileCorruptError), match=name):
        factory.prepare()
    assert not factory.is_prepared()
    assert not memory.has_resource("mnist/prepare.lock")
    stored = list(memory.list_resources())
    assert not any("preprocessed" in identifier for identifier in stored)
    mirror.behave(f"mirror/{name}")
    mirrors.serve(mirror)
    mirror.requests.clear()
    check_all(factory)
    fetched = {request.path.rpartition("/")[2] for request in mirror.requests}
    missing = [each for each in factory.resource_definitions if each.identifier not in stored]
    assert fetched == {each.source.rpartition("/")[2] for each in missing}, "what was right is not fetched again"


# Several at once.


def test_of_several_processes_one_does_the_work(tmp_path, mirror):
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        answers = [pool.apply_async(mirrors.prepare, (tmp_path, mirror.url)) for _ in range(3)]
        first, *others = [answer.get(60) for answer in answers]
    assert all(other == first for other in others)
    assert len(mirror.requests) == 4
    assert list(FileStorageConnector(tmp_path).list_resources()) == RESOURCES


def test_of_several_threads_one_does_the_work(store, mirror):
    barrier = threading.Barrier(3)
    done = []

    def prepare():
        barrier.wait()
        done.append(factory_for(store, mirror).prepare())

    threads = [threading.Thread(target=prepare) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(done) == 3
    assert list(store.list_resources()) == RESOURCES
    check_all(factory_for(store, mirror))
    assert len(mirror.requests) == 4


class NoLease(MemoryStorageConnector):
    def _publish(self, identifier, upload, overwrite):
        if not overwrite:
            raise UnsupportedStorageError("not here")
        return super()._publish(identifier, upload, overwrite)


def test_without_a_lease_the_work_is_done_twice_and_is_right(request, mirror):
    connector = NoLease(request.node.nodeid)
    barrier = threading.Barrier(2)

    def prepare():
        barrier.wait()
        factory_for(connector, mirror).prepare()

    threads = [threading.Thread(target=prepare) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    check_all(factory_for(connector, mirror))
    assert factory_for(connector, mirror).is_prepared()


class Impatient(MNISTFactory):
    lease_seconds = 0.6


def test_a_killed_process_is_succeeded(tmp_path, mirror):
    reached, go_on = threading.Event(), threading.Event()

    def hold(body):
        reached.set()
        go_on.wait(60)
        return body

    name = "mirror/t10k-images-idx3-ubyte.gz"
    mirror.behave(name, mangle=hold)
    child = multiprocessing.get_context("spawn").Process(target=mirrors.prepare, args=(tmp_path, mirror.url))
    child.start()
    assert reached.wait(60)
    connector = FileStorageConnector(tmp_path)
    others = [name for name in RESOURCES if "/raw/" in name and name != "mnist/raw/samples_test.gz"]
    until = time.monotonic() + 60
    while not all(map(connector.has_resource, others)):  # they come at the same time
        assert time.monotonic() < until
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    go_on.set()
    mirror.behave(name)
    assert connector.has_resource("mnist/prepare.lock")
    factory = Impatient(connector, resource_definitions=definitions(mirror.url))
    assert not factory.is_prepared()
    mirror.requests.clear()
    check_all(factory)
    assert len(mirror.requests) == 1, "what the killed process had stored is used"
    assert list(connector.list_resources()) == RESOURCES


# Read-only stores.


def test_a_read_only_store_opens_what_is_prepared(tmp_path, mirror):
    factory = factory_for(FileStorageConnector(tmp_path, read_only=True), mirror)
    with pytest.raises(ReadOnlyStorageError, match=r"mnist is not prepared in file://.*read-only"):
        factory.get_dataset_iterator()
    assert mirror.requests == []
    factory_for(FileStorageConnector(tmp_path), mirror).prepare()
    check_all(factory)
    with pytest.raises(ReadOnlyStorageError):
        factory.prepare(overwrite=True)


def test_a_web_server_opens_what_is_prepared(tmp_path, mirror):
    from datastack_fs.connectors import HTTPStorageConnector

    factory_for(FileStorageConnector(tmp_path), mirror).prepare()
    mirror.folder = tmp_path
    check_all(factory_for(HTTPStorageConnector(mirror.url), mirror))


# What is asked for.


def test_splits_and_keys_are_checked_before_anything_is_done(memory):
    factory = MNISTFactory(memory)
    with pytest.raises(DatasetNotFoundError, match="mnist has no split 'validation'; it has train, test"):
        factory.get_dataset_iterator({"split": "validation"})
    with pytest.raises(ConfigError, match="mnist: unknown key fold, size; the configuration takes: split"):
        factory.get_dataset_iterator({"split": "train", "fold": 1, "size": 2})
    assert list(memory.list_resources()) == []


def test_a_retriever_of_ones_own(memory, mirror):
    class Noting(HTTPRetriever):
        seen = ()

        def retrieve(self, definitions, *, overwrite=False):
            self.seen = [definition.identifier for definition in definitions]
            return super().retrieve(definitions, overwrite=overwrite)

    retriever = Noting(memory)
    factory = MNISTFactory(memory, resource_definitions=definitions(mirror.url), retriever=retriever)
    check_all(factory)
    assert len(retriever.seen) == 4
    with pytest.raises(ValueError, match="the retriever writes to memory://elsewhere"):
        MNISTFactory(memory, retriever=FileRetriever(MemoryStorageConnector("elsewhere")))


def test_sources_of_several_kinds(memory, mirror, tmp_path):
    mixed = []
    for number, definition in enumerate(definitions(mirror.url)):
        name = definition.source.rpartition("/")[2]
        (tmp_path / name).write_bytes(mirrors.files()[name])
        source = tmp_path / name if number % 2 else definition.source
        mixed.append(ResourceDefinition(definition.identifier, source, definition.checksum))
    check_all(MNISTFactory(memory, resource_definitions=mixed))
    assert len(mirror.requests) == 2


def test_a_source_that_nothing_fetches_is_refused(memory):
    wrong = [ResourceDefinition("mnist/raw/a.gz", "sftpx://host/a.gz")]
    with pytest.raises(UnknownPluginError, match="no retriever for sftpx: sources; known are file, package, http"):
        MNISTFactory(memory, resource_definitions=wrong).prepare()
    assert list(memory.list_resources()) == []


def test_progress_is_passed_on(memory, mirror, capfd):
    factory_for(memory, mirror).prepare(progress=True)
    assert "mnist/raw/samples_train.gz" in capfd.readouterr().err
