"""Without any extra: the library imports, works on a folder, and says what a store would need."""

import importlib.util
import subprocess
import sys

import pytest

import datastack_fs
from datastack_fs.connectors import FileStorageConnector
from datastack_fs.errors import MissingDependencyError

EXTRAS = {"s3fs": "s3", "gcsfs": "gcs", "pymongo": "mongodb"}


@pytest.mark.parametrize("package", [*EXTRAS, "click", "pandas", "PIL", "torch"])
def test_no_extra_is_installed(package):
    assert importlib.util.find_spec(package) is None, "this environment is meant to be bare"


def test_every_public_name_loads():
    for name in datastack_fs.__all__:
        assert getattr(datastack_fs, name) is not None


def test_a_folder_works(tmp_path):
    connector = FileStorageConnector(tmp_path)
    connector.set_resource("a/b", b"123")
    assert datastack_fs.open_resource(str(tmp_path / "a" / "b")).read() == b"123"


@pytest.mark.parametrize(
    ("url", "extra"), [("s3://lab", "s3"), ("gs://lab", "gcs"), ("mongodb://localhost/lab", "mongodb")]
)
def test_a_missing_extra_is_named(url, extra):
    with pytest.raises(MissingDependencyError, match=rf"datastack-fs\[{extra}\]"):
        datastack_fs.connect(url).has_resource("a")


def test_a_folder_of_images_says_what_to_install(tmp_path):
    (tmp_path / "owl.png").write_bytes(b"")
    with pytest.raises(MissingDependencyError, match=r"reading images needs PIL: pip install 'datastack-fs\[images\]'"):
        datastack_fs.open_dataset(tmp_path)


def test_the_command_says_what_to_install():
    command = [sys.executable, "-c", "from datastack_fs.cli import main; main()", "datasets"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "datastack-fs[cli]" in done.stderr
    assert "Traceback" not in done.stderr
