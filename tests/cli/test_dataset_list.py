"""datasets: what is known by name, and where it is prepared; and the catalogue's datasets in the commands."""

import socket
import threading

import numpy as np
import pytest

from datastack_fs import connect, load_dataset

BUILT_IN = ["digits", "mnist", "fashion-mnist", "iris", "wine", "breast_cancer"]

STORED = ["iris/raw/iris.csv", "iris/preprocessed/train.h5", "iris/preprocessed/test.h5"]

CATALOGUE = """
datasets:
  birds:
    description: Birds of the garden
    licence: CC0
    splits: {train: birds.npz}
    options: {sample: images, target: labels}
  birds@2:
    url: birds.npz
    format: npz
"""


@pytest.fixture
def catalogue(here):
    (here / "datastack-datasets.yaml").write_text(CATALOGUE)
    np.savez(here / "birds.npz", images=np.arange(8.0).reshape(4, 2), labels=np.arange(4))


@pytest.fixture
def silent_server():
    """An address that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = []

        def take():
            try:
                while True:
                    taken.append(server.accept()[0])
            except OSError:
                pass

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    for each in taken:
        each.close()


def row(run, name, *arguments):
    return next(row for row in run("datasets", "--json", *arguments).json["datasets"] if row["name"] == name)


def test_a_table_of_what_is_known(run, here):
    lines = run("datasets").out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *BUILT_IN]
    for part in ("train, test", "CC BY 4.0", "57,523", "1,797 handwritten digits"):
        assert part in lines[1]
    assert list(here.iterdir()) == [], "looking makes no folder"


def test_where_it_is_prepared(run):
    assert row(run, "iris")["prepared"] == []
    run("prepare", "iris")
    size = sum(connect().get_info(identifier).size for identifier in STORED)
    found = row(run, "iris")
    assert found["prepared"] == [{"storage": "./datasets", "bytes": size}]
    assert (found["version"], found["splits"], found["in_place"]) == ("1", ["train", "test"], False)
    assert f"./datasets ({size:,})" in run("datasets").out
    assert row(run, "wine")["prepared"] == []
    assert row(run, "iris", "--storage", "memory://cli-elsewhere")["prepared"] == []


def test_all_stores_of_the_configuration(run, here):
    (here / "datastack.yaml").write_text(
        "default: lab\nstorages: {lab: {url: ./lab}, spare: {url: ./spare}, unset: {url: '${NO_SUCH_STORE}'}}"
    )
    run("prepare", "iris")
    run("prepare", "iris", "--storage", "spare")
    found = run("datasets", "--all", "--json").json
    assert [store["name"] for store in found["storages"]] == ["lab", "spare", "unset"]
    assert [store["error"] is None for store in found["storages"]] == [True, True, False]
    assert [each["storage"] for each in row(run, "iris", "--all")["prepared"]] == ["lab", "spare"]
    last = run("datasets", "--all").out.splitlines()[-1]
    assert last.startswith("unset: not known: ")
    assert "NO_SUCH_STORE is not set" in last
    assert "leave --storage and -o away" in run("datasets", "--all", "--storage", "lab", code=2).err


def test_a_store_that_does_not_answer_is_named_and_holds_nobody_up(run, here, silent_server):
    (here / "datastack.yaml").write_text(
        "storages:\n"
        f"  silent: {{url: 's3://lab', options: {{endpoint_url: 'http://{silent_server}', key: a, secret: hunter2}}}}\n"
        f"  web: {{url: 'http://{silent_server}/data/'}}\n"
        f"  mongo: {{url: 'mongodb://{silent_server}/lab'}}\n"
    )
    run("prepare", "iris")
    ran = run("datasets", "--all", "--deadline", "1", "--json")
    assert {store["name"]: store["error"] is None for store in ran.json["storages"]} == {
        "./datasets": True,
        "silent": False,
        "web": False,
        "mongo": False,
    }
    assert "hunter2" not in ran.out
    assert [each["storage"] for each in ran.json["datasets"][3]["prepared"]] == ["./datasets"]


def test_a_broken_entry_point_is_left_out_with_a_warning(run, third_party):
    third_party("[datastack_fs.datasets]\nowls = nowhere:OwlFactory\n")
    ran = run("datasets", "--json")
    assert [row["name"] for row in ran.json["datasets"]] == BUILT_IN
    assert ran.err.startswith("warning: dataset owls is promised as nowhere:OwlFactory by the entry point of birdstore")
    assert ran.err.count("\n") == 1


def test_the_catalogues_datasets_are_listed_by_version(run, catalogue):
    rows = run("datasets", "--json").json["datasets"][-2:]
    assert [(row["name"], row["version"], row["splits"]) for row in rows] == [
        ("birds", "1", ["train"]),
        ("birds@2", "2", ["all"]),
    ]
    assert [row["in_place"] for row in rows] == [True, True]
    assert (rows[0]["description"], rows[0]["licence"]) == ("Birds of the garden", "CC0")
    assert "in place" in run("datasets").out


def test_a_dataset_of_the_catalogue_is_prepared_where_it_is_or_copied(run, here, catalogue):
    out = run("prepare", "birds").out
    assert out.splitlines()[0] == "birds is opened where it is:"
    assert str(here / "birds.npz") in out
    assert not (here / "datasets").exists()
    assert 'load_dataset("birds", split="train")' in out
    facts = run("prepare", "birds", "--json").json
    assert (facts["storage"], facts["resources"], facts["samples"]) == (None, [], 4)
    assert "birds/raw/train/birds.npz" in run("prepare", "birds", "--storage", "./datasets").out
    assert len(load_dataset("birds", storage="./datasets")) == 4
    assert [each["storage"] for each in row(run, "birds")["prepared"]] == ["./datasets"]
    assert row(run, "birds@2")["prepared"] == []


def test_a_dataset_of_the_catalogue_is_shown(run, catalogue):
    assert run("show", "birds", "--index", "2").out.splitlines()[-1] == "birds train[2]: target 2; shape (2,), float64"


def test_a_vector_is_shown_with_the_names_of_its_features(run):
    lines = run("show", "iris").out.splitlines()
    assert lines[1].split() == ["sepal", "length", "(cm)", "4.9"]
    assert lines[-1] == "iris train[0]: target 0 (setosa); shape (4,), float64"


def test_a_whole_dataset_is_verified(run, here):
    assert "iris is not prepared" in run("verify", "--dataset", "iris", code=1).err
    run("prepare", "iris")
    assert [row["state"] for row in run("verify", "--dataset", "iris", "--json").json] == ["ok"] * 3
    connect().set_resource(STORED[1], b"something else")
    states = {row["identifier"]: row["state"] for row in run("verify", "--dataset", "iris", "--json", code=1).json}
    assert states == {STORED[0]: "ok", STORED[1]: "corrupt", STORED[2]: "ok"}
    assert "leave RESOURCE" in run("verify", "--dataset", "iris", STORED[0], code=2).err


def test_a_dataset_that_is_opened_where_it_is_is_verified(run, here, catalogue):
    assert [row["state"] for row in run("verify", "--dataset", "birds", "--json").json] == ["unknown"]
    text = CATALOGUE.replace("train: birds.npz", f"train: {{url: birds.npz, checksum: 'md5:{'0' * 32}'}}")
    (here / "datastack-datasets.yaml").write_text(text)
    assert [row["state"] for row in run("verify", "--dataset", "birds", "--json", code=1).json] == ["corrupt"]
