"""A database of its own for every test, on the session's mongod."""

import itertools
import os

import fsspec
import pymongo
import pytest
from pymongo.monitoring import CommandListener

from datastack_fs.connectors.gridfs_filesystem import GridFSFileSystem

_numbers = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def _registered():
    # The installed package's entry point does this; the tests run from the source tree, too.
    fsspec.register_implementation("gridfs", GridFSFileSystem, clobber=True)


@pytest.fixture
def url(mongod):
    """A connection string with a database that no other test uses."""
    base, _, query = mongod.url.partition("?")
    name = f"gridfs_{os.getpid()}_{next(_numbers)}"
    yield f"{base.rstrip('/')}/{name}" + (f"?{query}" if query else "")
    with pymongo.MongoClient(mongod.url) as client:
        client.drop_database(name)


@pytest.fixture
def database(url):
    """The same database through pymongo alone."""
    with pymongo.MongoClient(url, tz_aware=True) as client:
        yield client.get_default_database()


@pytest.fixture
def fs(url):
    filesystem = GridFSFileSystem(url=url, timeout=10, skip_instance_cache=True)
    yield filesystem
    filesystem.close()


@pytest.fixture
def small(url):
    """A filesystem with chunks of 1 KiB, so that small files have many."""
    filesystem = GridFSFileSystem(url=url, chunk_size=1024, timeout=10, skip_instance_cache=True)
    yield filesystem
    filesystem.close()


class Commands(CommandListener):
    """Records the commands that a client sends."""

    def __init__(self):
        self.sent = []

    def started(self, event):
        self.sent.append((event.command_name, event.command.get(event.command_name), event.command))

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass

    def of(self, name, collection):
        return [command for sent, target, command in self.sent if sent == name and target == collection]


@pytest.fixture
def counted(url):
    """A filesystem, and the commands that it sends."""
    commands = Commands()
    filesystem = GridFSFileSystem(url=url, client_options={"event_listeners": [commands]}, skip_instance_cache=True)
    yield filesystem, commands
    filesystem.close()
