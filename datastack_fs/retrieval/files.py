"""Files of this machine and of installed packages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import unquote, urlsplit

from datastack_fs.errors import MissingDependencyError, RetrievalError
from datastack_fs.retrieval.definition import ResourceDefinition
from datastack_fs.retrieval.progress import FileProgress
from datastack_fs.retrieval.retriever import Retriever

if TYPE_CHECKING:
    from datastack_fs.resource import ResourceInfo

BLOCK_BYTES: Final = 1 << 20
PACKAGE: Final = "package://"
_EXTRAS = {"sklearn": "sklearn"}


class FileRetriever(Retriever):
    """Fetches files of this machine: by path, by ``file:`` URL, or out of an installed package.

    Its arguments are those of ``Retriever``.

    Examples:
        >>> import tempfile
        >>> from datastack_fs.connectors.memory import MemoryStorageConnector
        >>> connector = MemoryStorageConnector("file-retriever-example")
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     _ = file.write(b"hoo"), file.flush()
        ...     infos = FileRetriever(connector).retrieve([ResourceDefinition("owl.txt", file.name)])
        >>> connector.get_resource("owl.txt").read()
        b'hoo'
    """

    def _is_local(self, definition: ResourceDefinition) -> bool:
        return True

    def _fetch(self, definition: ResourceDefinition, bar: FileProgress) -> ResourceInfo:
        path = _path_of(definition.source)
        try:
            file = open(path, "rb")  # noqa: SIM115 (closed below; this catches only what opening raises)
        except OSError as error:
            raise RetrievalError(f"can't fetch {definition.source}: {error.strerror or error}") from error
        with file:
            size = os.fstat(file.fileno()).st_size
            self._check_size(definition, size)
            bar.reset(total=size)
            return self._publish(definition, _blocks(file, definition.source, bar))


def _path_of(source: str) -> str:
    if source.startswith(PACKAGE):
        return _path_in_package(source)
    if not source.startswith("file:"):
        return source
    parts = urlsplit(source)
    if parts.netloc not in {"", "localhost"}:
        raise RetrievalError(f"{source}: a file URL has three slashes and an absolute path, file:///folder/file")
    return unquote(parts.path)


def _path_in_package(source: str) -> str:
    """The file of an installed package, which is not imported: that could take seconds."""
    from importlib.util import find_spec

    package, _, name = source.removeprefix(PACKAGE).partition("/")
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        extra = _EXTRAS.get(package)
        install = f"pip install 'datastack-fs[{extra}]'" if extra else f"install {package}"
        raise MissingDependencyError(f"{source} needs the package {package}: {install}", name=package)
    return os.path.join(folders[0], *name.split("/"))


def _blocks(file: BinaryIO, source: str, bar: FileProgress) -> Iterator[bytes]:
    while True:
        try:
            block = file.read(BLOCK_BYTES)
        except OSError as error:
            raise RetrievalError(f"can't fetch {source}: {error.strerror or error}") from error
        if not block:
            return
        bar.update(len(block))
        yield block
