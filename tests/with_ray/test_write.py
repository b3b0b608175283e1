"""Datasets of Ray written to a store as prepared datasets, and a factory's preprocessing as tasks of Ray."""

import numpy as np
import pytest
import ray
from click.testing import CliRunner

from datastack_fs import DatasetNotFoundError, FileStorageConnector, ResourceExistsError, load_dataset
from datastack_fs.bridges import preprocess_on_ray, to_ray, write_to
from datastack_fs.cli.app import app
from datastack_fs.datasets import DigitsFactory
from datastack_fs.datasets.digits import DigitsPreprocessor
from harness.ray_cluster import failed_at_the_end, images_in, inverted, killed_once, ragged


def test_what_is_mapped_and_written_is_read_back(shared_store, no_reads_here, monkeypatch):
    images, labels, iterator = images_in(shared_store)
    mapped = to_ray(iterator, blocks=2).map_batches(inverted)
    manifest = write_to(
        {"train": mapped, "test": mapped.limit(30)}, shared_store, "owls@2", class_names=["a", "b", "c"]
    )
    assert list(manifest.splits) == ["train", "test"]
    assert len(manifest.splits["train"].parts) == 2
    monkeypatch.undo()
    train, test = (load_dataset("owls@2", split=split, storage=shared_store) for split in ("train", "test"))
    assert (train.meta.name, train.meta.tag, train.meta.class_names) == ("owls", "train", ("a", "b", "c"))
    samples, targets, tags = train.take(range(300))
    assert samples.dtype == np.uint8
    assert np.array_equal(samples, 255 - images)
    assert np.array_equal(targets, labels)
    assert {*tags} == {"train"}
    assert np.array_equal(test.take(range(30))[0], 255 - images[:30])
    with pytest.raises(DatasetNotFoundError, match="it has train, test"):
        load_dataset("owls@2", split="valid", storage=shared_store)
    with pytest.raises(ResourceExistsError, match="overwrite=True"):
        write_to(mapped, shared_store, "owls@2")
    parts = write_to(mapped, shared_store, "owls@2", overwrite=True, rows_per_part=120).splits["train"].parts
    whole = load_dataset("owls@2", storage=shared_store)
    assert [len(part) for part in whole.underlying_iterators] == [120, 120, 60]
    assert np.array_equal(whole.targets(), labels)
    assert [*shared_store.list_resources("owls@2/preprocessed/")] == sorted(parts)
    write_to(mapped.limit(10), shared_store, "owls@2", overwrite=True)
    assert len(load_dataset("owls@2", storage=shared_store)) == 10
    assert len([*shared_store.list_resources("owls@2/preprocessed/")]) == 1


def test_a_run_that_fails_leaves_nothing_and_the_one_before_stays(shared_store):
    images, _, iterator = images_in(shared_store)
    dataset = to_ray(iterator, blocks=2)
    write_to(dataset, shared_store, "owls")
    with pytest.raises(ray.exceptions.RayError, match="no image at all"):
        write_to(dataset.map_batches(failed_at_the_end), shared_store, "owls", overwrite=True)
    with pytest.raises(ray.exceptions.RayError, match="no common type and shape"):
        write_to(dataset.map(ragged), shared_store, "wrens")
    assert np.array_equal(load_dataset("owls", storage=shared_store).take(range(300))[0], images)
    with pytest.raises(DatasetNotFoundError):
        load_dataset("wrens", storage=shared_store)


def test_a_task_that_is_killed_runs_again(shared_store, tmp_path):
    images, _, iterator = images_in(shared_store)
    dataset = to_ray(iterator, blocks=2).map_batches(killed_once, fn_args=[str(tmp_path / "killed")])
    manifest = write_to(dataset, shared_store, "owls")
    assert (tmp_path / "killed").exists()
    assert np.array_equal(load_dataset("owls", storage=shared_store).take(range(300))[0], images)
    assert [*shared_store.list_resources("owls/preprocessed/")] == sorted(manifest.splits["train"].parts)


def test_a_factory_is_prepared_on_ray_with_the_same_bytes(shared_store, tmp_path, monkeypatch):
    here = FileStorageConnector(tmp_path)
    expected = DigitsFactory(here).prepare()
    monkeypatch.setattr(DigitsPreprocessor, "preprocess", None)  # in this process: nodes have their own
    found = DigitsFactory(shared_store).prepare(preprocessing=preprocess_on_ray)
    stored = [(info.identifier, shared_store.get_resource(info.identifier).read()) for info in found]
    assert stored == [(info.identifier, here.get_resource(info.identifier).read()) for info in expected]


def test_the_command_prepares_on_ray(tmp_path):
    result = CliRunner().invoke(app, ["prepare", "digits", "--storage", str(tmp_path), "--engine", "ray"])
    assert result.exit_code == 0, result.output
    assert len(load_dataset("digits", storage=tmp_path)) == 1437
