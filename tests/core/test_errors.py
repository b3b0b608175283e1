"""Every error: its built-in, its text, its pickle."""

import inspect
import pickle

import pytest

from datastack_fs import errors

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.DatastackError)]


@pytest.mark.parametrize("cls", CLASSES)
def test_errors_travel_between_processes(cls):
    error = cls("birds.h5: 'quoted' text")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error) == "birds.h5: 'quoted' text"
    assert issubclass(cls, errors.DatastackError)


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls is not errors.DatastackError])
def test_the_tree_is_drawn_with_its_built_ins(cls):
    built_in = cls.__bases__[1]
    name = built_in.__name__ if built_in.__module__ == "builtins" else f"{built_in.__module__}.{built_in.__name__}"
    (line,) = (line for line in errors.__doc__.splitlines() if f" {cls.__name__} " in line)
    assert f"({name})" in line
