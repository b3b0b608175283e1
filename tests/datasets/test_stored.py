"""Datasets that were written without a factory: opened by name from their manifest, part after part."""

import numpy as np
import pytest

from datastack_fs import DatasetFileCorruptError, DatasetNotFoundError, load_dataset
from datastack_fs.formats.hdf5_writing import store_columns
from datastack_fs.manifest import Manifest, ManifestSplit
from datastack_fs.stored_dataset import stored_manifest


@pytest.fixture
def manifest(store):
    """Nine samples in two files, of which a mapping of two columns is the sample."""
    rows = {"grams": np.arange(9.0), "name": np.array([f"n{n}" for n in range(9)], object), "target": np.arange(9)}
    parts = []
    for number, run in enumerate([slice(0, 4), slice(4, 9)]):
        part = {name: column[run] for name, column in rows.items()}
        words = {("target", "class_names"): ["x", "y"]}
        parts.append(store_columns(store, f"birds/{number}.h5", [part], len(part["target"]), words=words))
    split = ManifestSplit(
        tuple(part.identifier for part in parts), {"grams": "grams", "name": "name"}, ["target", "grams"]
    )
    manifest = Manifest.of("birds", "1", parts, splits={"all": split})
    store.set_resource("birds/manifest.json", manifest.to_json())
    return manifest


def test_it_is_opened_by_name(store, manifest):
    assert stored_manifest(store, "birds") == manifest
    found = load_dataset("birds", storage=store)
    assert (len(found), found.meta.name, found.meta.tag) == (9, "birds", "all")
    assert found[5] == ({"grams": 5.0, "name": "n5"}, (5, 5.0), "all")
    with pytest.raises(DatasetNotFoundError, match="has no split 'train'; it has all"):
        load_dataset("birds", "train", store)
    store.set_resource("birds/1.h5", b"another")
    with pytest.raises(DatasetFileCorruptError, match="is not whole"):
        load_dataset("birds", storage=store)
    with pytest.raises(DatasetNotFoundError, match="no dataset 'bird'"):
        load_dataset("bird", storage=store)
