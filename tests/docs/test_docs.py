"""The code blocks of README and docs run: Python in one namespace a page, `datastack-fs` lines in a shell."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datastack_fs import load_dataset
from harness.command_line_page import PAGE, page

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(python|bash|yaml|toml)(?: title=\"(.+?)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def servers(seaweed, fake_gcs, mongod, monkeypatch):
    """The addresses that the pages use lead to this run's servers, as a user's environment would say."""
    seaweed.make_bucket("lab")
    fake_gcs.make_bucket("lab")
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.secret)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake_gcs.endpoint_url)
    monkeypatch.setenv("MONGODB_PASSWORD", "unused")
    return {"localhost:27017": f"127.0.0.1:{mongod.port}"}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_code_blocks_run(page, servers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    for ours, theirs in servers.items():
        text = text.replace(ours, theirs)
    namespace = {"__name__": "page"}
    for match in BLOCK.finditer(text):
        language, title, code = match.groups()
        line = text[: match.start()].count("\n") + 2
        if language == "python":
            exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)
        elif language == "bash":
            run_commands(code)
        elif title:
            Path(title).parent.mkdir(parents=True, exist_ok=True)
            Path(title).write_text(code)


def test_the_command_line_page_is_what_the_commands_say():
    assert PAGE.read_text() == page(), "python tests/harness/command_line_page.py writes it anew"


def test_the_connector_of_the_page_keeps_the_contract(tmp_path):
    code = "\n".join(blocks("add-a-connector", "python"))
    run_tests(tmp_path, code, "-k", "not killed and not young and not many and not memory")


def test_the_format_of_the_page_keeps_the_contract_and_is_found_by_its_entry_point(tmp_path):
    """The page's class as a module of somebody else's installed package, its tests as that project's own."""
    *code, tests = blocks("add-a-format", "python")
    (tmp_path / "my_package.py").write_text("\n".join(code))
    ((name, target),) = re.findall(r"^(\S+) = \"(.+)\"", *blocks("add-a-format", "toml"), re.MULTILINE)
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[datastack_fs.formats]\n{name} = {target}\n")
    run_tests(tmp_path, f"from my_package import *\n{tests}\n{FOUND_BY_OPEN_DATASET}")


FOUND_BY_OPEN_DATASET = """
from datastack_fs import open_dataset

class TestPlannedCIFAR10(TestCIFAR10):
    @pytest.fixture
    def iterator(self):
        connector = connect("memory://cifar10")
        connector.set_resource("test.cifar10", content)
        planned = PlannedCIFAR10DatasetIterator(connector.get_resource("test.cifar10"))
        assert planned.byte_ranges([1])[0].ranges == [(RECORD, 2 * RECORD)]
        return planned

def test_found_by_open_dataset():
    connect("memory://cifar10").set_resource("a/test.cifar10", content)
    for options in ({}, {"format": "cifar10"}):
        found = open_dataset("memory://cifar10/a/test.cifar10", classes=("owl", "wren", "finch"), **options)
        assert type(found) is CIFAR10DatasetIterator
        assert found.targets().tolist() == [0, 1, 2] * 3
"""


def blocks(page, language):
    """The page's own blocks of one language."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    return [code for kind, _, code in BLOCK.findall(text) if kind == language]


def run_tests(folder, code, *options):
    """Runs tests as somebody else's project would, from a folder of their own."""
    (folder / "test_page.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull]
    done = subprocess.run(
        [*command, "--rootdir", str(folder), *options, "test_page.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    assert " passed" in done.stdout


def test_the_dataset_of_the_page_is_short_and_known_by_its_entry_points(third_party):
    """The page's own module and entry points, as somebody else's installed project."""
    blocks = BLOCK.findall((ROOT / "docs" / "add-a-dataset.md").read_text())
    module = [code for kind, title, code in blocks if kind == "python" and title == "gym.py"]
    (project,) = (code for kind, _, code in blocks if kind == "toml")
    assert module[0].count("\n") < 60
    third_party(project.replace("project.entry-points.", "").replace('"', ""), "\n\n".join(module), name="gym")
    for name, length in (("gym", 16), ("gym@2", 16)):
        assert len(load_dataset(name, storage="memory://page-of-datasets")) == length


def run_commands(code):
    """Runs the lines that begin with the library's own command; a prepare of its own folder comes once only."""
    command = Path(sys.executable).with_name("datastack-fs")
    assert command.exists() or shutil.which("datastack-fs"), "the package is not installed with the extra cli"
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] != ["datastack-fs"] or "prod" in words:
            continue
        done = subprocess.run(
            [str(command), *words[1:]], capture_output=True, text=True, check=False, env=os.environ, timeout=120
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
