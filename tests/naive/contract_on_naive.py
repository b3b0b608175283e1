"""A connector as one writes it at first, under the contract. Not collected: test_contract_can_fail.py runs it."""

import fsspec
import pytest

from datastack_fs.resource import ResourceInfo
from datastack_fs.storage import StorageConnector
from datastack_fs.testing import StorageConnectorTests


class NaiveStorageConnector(StorageConnector):
    """fsspec's ``open(path, "wb")`` for writes, unpinned reads, check-then-act."""

    def __init__(self, root):
        super().__init__(f"naive://{root}")
        self._root = root

    @property
    def _fs(self):
        return fsspec.filesystem("file", auto_mkdir=True)

    def _stat(self, identifier):
        info = self._fs.info(f"{self._root}/{identifier}")
        if info["type"] != "file":
            raise FileNotFoundError(identifier)
        return ResourceInfo(identifier, info["size"], "1")

    def _read_ranges(self, info, ranges):
        path = f"{self._root}/{info.identifier}"
        return [self._fs.cat_file(path, start=start, end=stop) for start, stop in ranges]

    def _list(self, prefix):
        paths = sorted(path[len(str(self._root)) + 1 :] for path in self._fs.find(str(self._root)))
        return [path for path in paths if path.startswith(prefix)]

    def _publish(self, identifier, upload, overwrite):
        path = f"{self._root}/{identifier}"
        if not overwrite and self._fs.exists(path):
            raise FileExistsError(path)
        with self._fs.open(path, "wb") as file:
            for block in upload.blocks():
                file.write(block)
        return self._stat(identifier)

    def _delete(self, identifier):
        self._fs.rm_file(f"{self._root}/{identifier}")


class CheckThenActStorageConnector(NaiveStorageConnector):
    """Looks first and writes later: two writers both find nothing."""

    def _publish(self, identifier, upload, overwrite):
        path = f"{self._root}/{identifier}"
        if not overwrite and self._fs.exists(path):
            raise FileExistsError(path)
        self._fs.pipe_file(path, b"".join(upload.blocks()))
        return self._stat(identifier)


class TestCheckThenActStorageConnector(StorageConnectorTests):
    @pytest.fixture
    def connector(self, tmp_path):
        return CheckThenActStorageConnector(tmp_path / "store")


class TestNaiveStorageConnector(StorageConnectorTests):
    kills = 20

    @pytest.fixture
    def connector(self, tmp_path):
        return NaiveStorageConnector(tmp_path / "store")
