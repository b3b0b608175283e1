"""Every example in a docstring runs."""

import doctest
import importlib
import pkgutil

import pytest

import datastack_fs


def modules():
    yield "datastack_fs"
    for module in pkgutil.walk_packages(datastack_fs.__path__, "datastack_fs."):
        if not module.name.endswith("__main__"):
            yield module.name


@pytest.mark.parametrize("name", sorted(modules()))
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    assert doctest.testmod(importlib.import_module(name), optionflags=options).failed == 0
