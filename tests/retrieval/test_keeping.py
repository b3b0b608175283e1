"""A process that is killed is succeeded by one that goes on where it was, and nothing wrong is ever published."""

import hashlib
import os
import random
import signal
import subprocess
import sys

import pytest

from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.errors import DatasetFileCorruptError, RetrievalError
from datastack_fs.retrieval import HTTPRetriever, ResourceDefinition
from datastack_fs.retrieval.download import BLOCK_BYTES, Version
from datastack_fs.retrieval.keeping import Kept
from harness.proxy import FaultProxy

SIZE = 12_000_000
CONTENT = random.Random(1).randbytes(SIZE)
OTHER = random.Random(2).randbytes(SIZE)
NAME = "owl.bin"
HEAD_BYTES = 4096

CHILD = """
import os, sys
from datastack_fs.connectors import FileStorageConnector
from datastack_fs.retrieval import HTTPRetriever, ResourceDefinition

store, folder, url, checksum = sys.argv[1:]

class Telling(HTTPRetriever):
    def _fetch(self, definition, bar):
        update = bar.update
        def tell(count):
            os.write(1, b"%d\\n" % count)
            update(count)
        bar.update = tell
        return super()._fetch(definition, bar)

Telling(FileStorageConnector(store), keep_parts=folder).retrieve([ResourceDefinition("owl.bin", url, checksum)])
"""


def checksum(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def memory(request):
    return MemoryStorageConnector(request.node.nodeid)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "parts"


@pytest.fixture
def url(web_server):
    return web_server.put("owl.bin", CONTENT)


CHECK = checksum(CONTENT)


def retrieve(connector, url, folder, check=CHECK, *, deadline=30, **options):
    retriever = HTTPRetriever(connector, keep_parts=folder, deadline=deadline, **options)
    return retriever.retrieve([ResourceDefinition(NAME, url, check)])


def interrupt(web_server, url, folder, check=CHECK, **changes):
    """Gets five million bytes, and is then sent away."""
    web_server.behave("owl.bin", mangle=lambda body: body[:5_000_000], statuses=[200, 403], **changes)
    with pytest.raises(RetrievalError, match="HTTP 403"):
        retrieve(MemoryStorageConnector("interrupted"), url, folder, check)
    web_server.behave("owl.bin", **changes)
    web_server.requests.clear()


def kept(folder):
    paths = list(folder.iterdir()) if folder.exists() else []
    return sum(max(path.stat().st_size - HEAD_BYTES, 0) for path in paths)


def starts(web_server):
    return [int(request.range[6:-1]) if request.range else 0 for request in web_server.requests]


def test_a_process_that_is_killed_at_any_time_is_succeeded(tmp_path, folder, web_server, url):
    """What one has got, and be it one block before it was killed, the next does not ask for."""
    chance = random.Random(3)
    store = FileStorageConnector(tmp_path / "store")
    kills = 0
    with FaultProxy.before(web_server.url) as proxy:
        proxy.arm("slow", at=0, times=None, rate=8_000_000)
        command = [sys.executable, "-c", CHILD, tmp_path / "store", folder, f"{proxy.url}/owl.bin", checksum(CONTENT)]
        for _ in range(40):
            before = kept(folder)
            child = subprocess.Popen(command, stdout=subprocess.PIPE)
            told, enough = 0, before + chance.randrange(3_000_000)
            for line in child.stdout:
                told += int(line)
                if told > enough:
                    os.kill(child.pid, signal.SIGKILL)
                    break
            told += sum(map(int, child.stdout.read().split()))
            if child.wait() == 0:
                break
            kills += 1
            assert list(store.list_resources()) == []
            assert kept(folder) >= told > before
    assert kills >= 3
    assert store.get_resource(NAME).read() == CONTENT
    assert kept(folder) == 0
    asked = starts(web_server)
    assert len(asked) == kills + 1
    assert asked == sorted(set(asked)), "each went on beyond where the one before it began"


def test_what_is_kept_is_not_fetched_again(store, folder, web_server, url):
    interrupt(web_server, url, folder)
    before = kept(folder)
    assert 5_000_000 - BLOCK_BYTES <= before <= 5_000_000
    retrieve(store, url, folder)
    assert store.get_resource(NAME).read() == CONTENT
    assert starts(web_server) == [before]
    assert web_server.requests[0].headers["if-range"].startswith('"')
    assert list(folder.iterdir()) == []


def test_all_of_it_was_there_already(memory, folder, web_server, url):
    """The process was killed while the store took the last bytes."""
    with Kept(folder, url) as part:
        etag = hashlib.sha256(CONTENT).hexdigest()[:32]
        part.begin(Version(SIZE, f'"{etag}"'))
        part.append(CONTENT)
    retrieve(memory, url, folder)
    assert memory.get_resource(NAME).read() == CONTENT
    assert web_server.requests == []


def test_a_file_that_has_changed_is_never_mixed(memory, folder, web_server, url):
    interrupt(web_server, url, folder)
    web_server.put("owl.bin", OTHER)
    retrieve(memory, url, folder, checksum(OTHER))
    assert memory.get_resource(NAME).read() == OTHER
    assert starts(web_server)[-1] == 0


@pytest.mark.parametrize("damage", ["flipped", "longer", "head", "empty", "zeros"])
def test_a_part_that_is_damaged_is_fetched_anew(memory, folder, web_server, url, damage):
    interrupt(web_server, url, folder)
    (path,) = folder.iterdir()
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[HEAD_BYTES + 1_000_000] ^= 1
    elif damage == "longer":
        data += bytes(SIZE)
    elif damage == "head":
        data[:10] = b"not JSON {"
    elif damage == "zeros":  # as a power failure leaves it
        data[HEAD_BYTES + 100_000 :] = bytes(len(data) - HEAD_BYTES - 100_000)
    else:
        data.clear()
    path.write_bytes(data)
    retrieve(memory, url, folder)
    assert memory.get_resource(NAME).read() == CONTENT
    assert list(folder.iterdir()) == []


def test_a_source_that_is_wrong_stays_wrong(memory, folder, web_server, url):
    with pytest.raises(DatasetFileCorruptError):
        retrieve(memory, url, folder, checksum(OTHER))
    assert len(web_server.requests) == 1
    assert kept(folder) == 0


@pytest.mark.parametrize("reason", ["no checksum", "weak", "no etag", "another process"])
def test_where_it_would_not_be_sound_nothing_is_kept(memory, folder, web_server, url, reason):
    changes = {"weak": {"etag": "weak"}, "no etag": {"etag": None}}.get(reason, {})
    check = None if reason == "no checksum" else checksum(CONTENT)
    with Kept(folder, url if reason == "another process" else "http://another"):
        interrupt(web_server, url, folder, check, **changes)
        assert kept(folder) == 0
        retrieve(memory, url, folder, check)
    assert memory.get_resource(NAME).read() == CONTENT


def test_by_several_connections(memory, folder, web_server):
    content = CONTENT * 4
    web_server.put("owl.bin", content)
    with FaultProxy.before(web_server.url) as proxy:
        proxy.arm("rst", at=0, times=None, when=lambda request: (request.range or "").startswith("bytes=25165824"))
        address = f"{proxy.url}/owl.bin"
        with pytest.raises(RetrievalError):
            retrieve(memory, address, folder, checksum(content), deadline=0.2, connections=2)
        before = kept(folder)
        assert before >= 16 << 20
        proxy.disarm()
        web_server.requests.clear()
        retrieve(memory, address, folder, checksum(content), connections=2)
    assert memory.get_resource(NAME).read() == content
    assert min(int(request.range[6:].split("-")[0]) for request in web_server.requests) == before


def test_the_names_tell_nothing_and_the_files_are_the_users_alone(web_server, folder):
    url = web_server.put("owl.bin", CONTENT).replace("://", "://ann:CANARY@")
    interrupt(web_server, f"{url}?token=CANARY", folder)
    (path,) = folder.iterdir()
    assert "CANARY" not in path.name
    assert b"CANARY" not in path.read_bytes()[:HEAD_BYTES]
    assert path.stat().st_mode & 0o077 == folder.stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_used_is_named(memory, url, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RetrievalError, match=r"can't keep parts in .*/file: "):
        retrieve(memory, url, tmp_path / "file")
