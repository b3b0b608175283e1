"""The reading part of the contract on the stores that can only be read: HTTP and archives."""

import io
import tarfile
import zipfile

import pytest

from datastack_fs.connectors import ArchiveStorageConnector, HTTPStorageConnector
from datastack_fs.testing import StorageReadingTests
from harness.stores import empty_store


class TestHTTPStorageConnector(StorageReadingTests):
    lists = False

    @pytest.fixture
    def fill(self, web_server):
        def serve(contents):
            for name, content in contents.items():
                web_server[f"data/{name}"] = content
            return HTTPStorageConnector(f"{web_server.url}/data")

        return serve


def zipped(contents, compression):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return stream.getvalue()


def tarred(contents, compression):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compression}") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


class ArchiveTests(StorageReadingTests):
    kind = "file"
    name = "archive.zip"
    pack = staticmethod(lambda contents: zipped(contents, zipfile.ZIP_STORED))

    @pytest.fixture
    def fill(self, request):
        def store(contents):
            inner = empty_store(self.kind, request)
            inner.set_resource(self.name, self.pack(contents))
            return ArchiveStorageConnector(inner, self.name)

        return store


class TestStoredZip(ArchiveTests):
    pass


class TestDeflatedZip(ArchiveTests):
    pack = staticmethod(lambda contents: zipped(contents, zipfile.ZIP_DEFLATED))


class TestTar(ArchiveTests):
    name = "archive.tar"
    pack = staticmethod(lambda contents: tarred(contents, ""))


class TestGzippedTar(ArchiveTests):
    name = "archive.tar.gz"
    pack = staticmethod(lambda contents: tarred(contents, "gz"))


class TestZipInS3(ArchiveTests):
    kind = "s3"


class TestDeflatedZipInGridFS(ArchiveTests):
    kind = "gridfs"
    pack = staticmethod(lambda contents: zipped(contents, zipfile.ZIP_DEFLATED))
