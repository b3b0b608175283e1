"""What is published: the wheel and the sdist, and the wheel alone in a new environment."""

import os
import subprocess
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def dist():
    return Path(os.environ["DATASTACK_DIST"])


@pytest.fixture(scope="module")
def wheel(dist):
    (path,) = dist.glob("*.whl")
    return path


def test_the_wheel_holds_the_library(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in ("py.typed", "storage.py", "connectors/s3.py", "cli/__init__.py", "testing/__init__.py"):
        assert names.count(f"datastack_fs/{wanted}") == 1, wanted
    assert all(name.startswith(("datastack_fs/", "datastack_fs-")) for name in names)


def test_the_wheel_names_its_entry_points(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        text = archive.read(path).decode()
    assert "datastack-fs = datastack_fs.cli:main" in text
    assert "gridfs = datastack_fs.connectors.gridfs_filesystem:GridFSFileSystem" in text


def test_the_sdist_builds_and_tests_elsewhere(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"connectors/s3.py", "tests/conftest.py", "tox.ini", "LICENSE", "README.md", "datastack_fs/storage.py"}
    wanted |= {"benchmarks/case.py", "examples/ray_train.py"}
    assert wanted <= names


def test_the_wheel_does_the_main_job_in_a_new_environment(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run = {"check": True, "cwd": tmp_path, "capture_output": True, "text": True, "timeout": 250}
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[cli,sklearn]"], **run)
    done = subprocess.run([tmp_path / "venv" / "bin" / "datastack-fs", "prepare", "digits"], **run)
    assert "digits/preprocessed/train.h5" in done.stdout
    code = "import datastack_fs as ds; image, target, tag = ds.load_dataset('digits')[0]; print(image.shape, tag)"
    assert subprocess.run([python, "-c", code], **run).stdout == "(8, 8) train\n"
