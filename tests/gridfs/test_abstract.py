"""fsspec's own tests for filesystems, on a real MongoDB."""

import posixpath

import pytest
from fsspec.tests import abstract


class GridFSFixtures(abstract.AbstractFixtures):
    @pytest.fixture
    def fs(self, fs):
        return fs

    @pytest.fixture
    def fs_path(self):
        return "abstract"

    @pytest.fixture
    def fs_join(self):
        return posixpath.join

    @pytest.fixture
    def supports_empty_directories(self):
        return False


class TestCopy(abstract.AbstractCopyTests, GridFSFixtures):
    pass


class TestGet(abstract.AbstractGetTests, GridFSFixtures):
    pass


class TestPut(abstract.AbstractPutTests, GridFSFixtures):
    pass


class TestOpen(abstract.AbstractOpenTests, GridFSFixtures):
    pass


class TestPipe(abstract.AbstractPipeTests, GridFSFixtures):
    pass


class AtTheRoot:
    """Names without a folder, of which fsspec's own helpers make the wrong ones."""

    @pytest.fixture
    def fs_path(self):
        return ""


class TestCopyAtTheRoot(AtTheRoot, TestCopy):
    pass


class TestGetAtTheRoot(AtTheRoot, TestGet):
    pass


class TestPutAtTheRoot(AtTheRoot, TestPut):
    pass
