"""A working folder of its own for a test."""

import pytest


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder, and no configuration."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    for variable in ("DATASTACK_CATALOGUE", "DATASTACK_CONFIG", "DATASTACK_ENV", "DATASTACK_STORAGE"):
        monkeypatch.delenv(variable, raising=False)
    return folder
