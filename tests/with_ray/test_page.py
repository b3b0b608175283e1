"""The blocks of docs/engines.md that need Ray, dask or datasets: they run in order, in one namespace."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"


def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for code in re.findall(r"^```py\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), namespace)
    assert len(namespace["train"]) == namespace["dataset"].count() == 1437
    assert len(namespace["means"]) == 3
