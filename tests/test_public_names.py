"""The names that the package gives, loaded when they are used; and what importing it costs."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import datastack_fs
from datastack_fs import errors

DESIGNED = {
    "connect",
    "open_resource",
    "open_dataset",
    "load_dataset",
    "StorageConnector",
    "StreamedResource",
    "ResourceInfo",
    "DatasetIterator",
    "DatasetMeta",
    "DatasetIteratorView",
    "CombinedDatasetIterator",
    "ShuffledDatasetIterator",
    "SequenceDatasetIterator",
    "InMemoryDatasetIterator",
    "DatasetFactory",
    "DatasetRepository",
    "Retriever",
    "HTTPRetriever",
    "FileRetriever",
    "ResourceDefinition",
    "Preprocessor",
    "report",
    "Report",
    "DatastackError",
}

NEED_AN_EXTRA = {"GCSStorageConnector", "GridFSFileSystem", "GridFSStorageConnector", "S3StorageConnector"}


def names_for_type_checkers():
    """What the ``if TYPE_CHECKING`` block imports, name by module."""
    tree = ast.parse(Path(datastack_fs.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = (node for node in block.body if isinstance(node, ast.ImportFrom) and node.module != "typing")
    return {alias.name: node.module for node in imports for alias in node.names}


def run(code, *flags):
    done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_designed_names_are_there():
    assert set(datastack_fs.__all__) >= DESIGNED


def test_every_error_is_there():
    tree = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert set(datastack_fs.__all__) >= tree


@pytest.mark.parametrize("name", sorted({*datastack_fs.__all__, *NEED_AN_EXTRA}))
def test_every_name_loads_from_its_module(name):
    module = names_for_type_checkers()[name]
    assert getattr(datastack_fs, name) is getattr(importlib.import_module(module), name)


def test_type_checkers_see_the_same_names():
    assert set(names_for_type_checkers()) == {*datastack_fs.__all__, *NEED_AN_EXTRA}


def test_everything_can_be_imported_without_any_extra():
    code = """
import sys
for package in ("s3fs", "gcsfs", "pymongo", "aiohttp", "botocore", "google", "click", "pandas", "pyarrow", "sklearn"):
    sys.modules[package] = None
from datastack_fs import *
import datastack_fs
for name in NEED_AN_EXTRA:
    try:
        getattr(datastack_fs, name)
    except MissingDependencyError as error:
        print(str(error).partition("pip install ")[2])
""".replace("NEED_AN_EXTRA", repr(sorted(NEED_AN_EXTRA)))
    extras = [f"'datastack-fs[{extra}]'" for extra in ("gcs", "mongodb", "mongodb", "s3")]
    assert run(code).splitlines() == extras


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'datastack_fs' has no attribute 'conect'"):
        _ = datastack_fs.conect
    assert not hasattr(datastack_fs, "MNIST")


def test_dir_lists_the_names_before_they_are_loaded():
    out = run("import datastack_fs; print(*dir(datastack_fs))").split()
    assert {*datastack_fs.__all__, *NEED_AN_EXTRA, "__version__"} <= set(out)


def test_the_version_is_text():
    assert datastack_fs.__version__[0].isdigit()


def test_importing_loads_no_other_project_and_little_else():
    # -S -E: no .pth file of the environment imports anything either.
    root = str(Path(datastack_fs.__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {root!r}); before = set(sys.modules); import datastack_fs; " + (
        "print(*sorted(set(sys.modules) - before))"
    )
    assert run(code, "-S", "-E").split() == ["datastack_fs"]


@pytest.mark.parametrize(
    "name", ["connect", "open_resource", "StorageConnector", "FileStorageConnector", "ConfigError"]
)
def test_the_core_loads_no_other_project(name):
    """A folder or memory is used without waiting for numpy, pydantic, fsspec and the like."""
    code = f"""
import sys
before = set(sys.modules)
import datastack_fs
datastack_fs.{name}
datastack_fs.connect("memory://x").set_resource("a", b"1")
new = {{module.partition(".")[0] for module in set(sys.modules) - before}}
print(*sorted(new - set(sys.stdlib_module_names) - {{"datastack_fs"}}))
"""
    assert run(code).split() == []


def test_importing_starts_no_thread_and_opens_nothing():
    code = """
import os, threading
before = len(os.listdir("/proc/self/fd"))
import datastack_fs
for name in datastack_fs.__all__:
    getattr(datastack_fs, name)
print(threading.active_count(), len(os.listdir("/proc/self/fd")) - before)
"""
    assert run(code).split() == ["1", "0"]
