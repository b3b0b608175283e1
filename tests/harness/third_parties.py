"""Projects of other people, installed for the time of a test."""

import sys
import textwrap

import pytest


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    """Installs a project of one module, with entry points."""

    def install(entry_points, code="", name="birdstore"):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(textwrap.dedent(entry_points))
        if str(tmp_path) not in sys.path:
            monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, name, raising=False)

    yield install
    sys.modules.pop("birdstore", None)
