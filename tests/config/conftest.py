"""A working folder of its own for each test, without configuration but for what the test writes."""

import textwrap

import pytest

CONFIG = """
    default: laptop
    storages:
      laptop:
        url: ./data
      prod:
        url: s3://lab/datasets
        options:
          endpoint_url: http://127.0.0.1:1
          key: ${LAB_KEY}
          secret: ${LAB_SECRET}
        read_only: true
      scratch:
        url: memory://config-tests
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working folder and a home without configuration."""
    folder = tmp_path / "project" / "scripts"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / ".config"))
    for variable in ("DATASTACK_CATALOGUE", "DATASTACK_CONFIG", "DATASTACK_ENV", "DATASTACK_STORAGE"):
        monkeypatch.delenv(variable, raising=False)
    return folder


@pytest.fixture
def write():
    """Writes a file, by default the configuration above."""

    def write(file, text=CONFIG):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text).lstrip())
        return file

    return write
