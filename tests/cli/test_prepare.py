"""prepare and show: from an empty folder to a sample."""

import os

import pytest
from matplotlib import image as matplotlib_image

import datastack_fs
from datastack_fs import connect
from datastack_fs.credentials import EnvironmentText

TRAIN = "digits/preprocessed/train.h5"


def python_line(output):
    return output.rpartition("In Python:")[2].strip()


def test_prepare_into_the_default_folder(run, here):
    out = run("prepare", "digits").out
    assert out.splitlines()[0] == f"digits is in {(here / 'datasets').as_uri()}:"
    info = connect().get_info(TRAIN)
    assert [info.identifier, f"{info.size:,}", info.checksum] in [line.split() for line in out.splitlines()]
    assert "shape (8, 8), uint8; target " in out
    assert python_line(out) == 'datastack_fs.load_dataset("digits", split="train")'
    assert len(eval(python_line(out), {"datastack_fs": datastack_fs})) == 1437


@pytest.mark.parametrize("storage", ["memory://cli-prepare", "./elsewhere", "lab"])
def test_prepare_elsewhere(run, here, storage):
    (here / "datastack.yaml").write_text("storages: {lab: {url: memory://cli-lab}}")
    out = run("prepare", "digits", "--storage", storage).out
    line = python_line(out)
    assert line == f'datastack_fs.load_dataset("digits", split="train", storage="{storage}")'
    assert connect(storage).has_resource(TRAIN)
    assert len(eval(line, {"datastack_fs": datastack_fs})) == 1437


def test_prepare_with_options_shows_them_without_secrets(run, here):
    line = python_line(run("prepare", "digits", "-s", "./data", "-o", "fsync=false").out)
    assert (
        line
        == 'datastack_fs.load_dataset("digits", split="train", storage=datastack_fs.connect("./data", fsync=False))'
    )
    assert len(eval(line, {"datastack_fs": datastack_fs})) == 1437


def test_prepare_json(run):
    found = run("prepare", "digits", "--json").json
    assert (found["dataset"], found["splits"], found["samples"]) == ("digits", ["train", "test"], 1437)
    assert found["sample"]["shape"] == [8, 8]
    stored = {info.identifier: info.checksum for info in map(connect().get_info, connect().list_resources())}
    assert {row["identifier"]: row["checksum"] for row in found["resources"]}.items() <= stored.items()
    assert TRAIN in stored


def test_prepare_twice_and_anew(run):
    run("prepare", "digits")
    first = connect().get_info(TRAIN)
    run("prepare", "digits")
    assert connect().get_info(TRAIN) == first
    run("prepare", "digits", "--overwrite")
    anew = connect().get_info(TRAIN)
    assert anew.version != first.version
    assert anew.checksum == first.checksum


def test_prepare_of_an_unknown_dataset(run):
    ran = run("prepare", "digit", code=1)
    assert ran.err.startswith("error: no dataset 'digit' (did you mean 'digits'?); known datasets: digits, mnist, ")
    assert ran.err.count("\n") == 1


def test_prepare_in_a_read_only_store(run, here):
    ran = run("prepare", "digits", "-o", "read_only=true", code=1)
    assert "read-only" in ran.err
    assert ran.err.count("\n") == 1
    assert list(here.iterdir()) == []


def test_prepare_in_a_store_that_does_not_exist_makes_nothing(run, here):
    ran = run("prepare", "digits", "--storage", "prdo", code=1)
    assert ran.err.startswith("error: no storage 'prdo'")
    assert list(here.iterdir()) == []


def test_show_draws(run):
    out = run("show", "digits", "--split", "test", "--index", "0", env={"COLUMNS": "80"}).out.splitlines()
    assert len(out) == 9
    assert {len(line) for line in out[:8]} == {16}
    assert set("".join(out[:8])) == set(" ░▒▓█")
    assert out[8].startswith("digits test[0]: target ")
    assert out[8].endswith("; shape (8, 8), uint8")


def test_show_counts_from_the_end(run):
    assert (
        run("show", "digits", "--index", "-1").out.splitlines()[:8]
        == (run("show", "digits", "--index", "1436").out.splitlines()[:8])
    )


@pytest.mark.parametrize("index", ["1437", "-1438"])
def test_show_beyond_the_end(run, index):
    assert "train has 1,437 samples" in run("show", "digits", "--index", index, code=2).err


def test_show_of_an_unknown_split(run):
    assert run("show", "digits", "--split", "dev", code=1).err == (
        "error: digits has no split 'dev'; it has train, test\n"
    )


def test_show_writes_a_picture(run, here):
    assert run("show", "digits", "--out", "sample.png").out == "wrote sample.png\n"
    picture = matplotlib_image.imread(here / "sample.png")
    assert picture.shape[2] == 4
    assert picture[:, :, 0].min() < 0.1 < 0.9 < picture[:, :, 0].max()
    run("show", "digits", "--out", "sample.svg")
    assert (here / "sample.svg").read_text().startswith("<?xml")


def test_show_writes_no_picture_of_an_unknown_kind(run, here):
    assert "a picture ends in one of" in run("show", "digits", "--out", "sample.xyz", code=1).err
    assert not (here / "sample.xyz").exists()


def test_show_without_matplotlib(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.backends.backend_agg", None)
    ran = run("show", "digits", "--out", "sample.png", code=1)
    assert ran.err == "error: --out needs matplotlib: pip install 'datastack-fs[plot]'\n"


def test_the_main_job_on_s3(run, seaweed, here, monkeypatch):
    bucket = seaweed.make_bucket("cli-tests")
    monkeypatch.setenv("CLI_TEST_SECRET", seaweed.options().get("secret", ""))
    options = {**seaweed.options(), **({"secret": "${CLI_TEST_SECRET}"} if "secret" in seaweed.options() else {})}
    store = ["--storage", f"s3://{bucket}/prepare-{os.getpid()}"]
    store += [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    out = run("prepare", "digits", *store).out
    assert out.splitlines()[0] == f"digits is in s3://{bucket}/prepare-{os.getpid()}:"
    assert TRAIN in run("ls", *store).out
    drawn = run("show", "digits", "--index", "5", *store).out
    assert drawn == run("show", "digits", "--index", "5").out, "the same sample as in a folder"
    line = python_line(out)
    assert 'key="***"' in line
    assert 'secret="${CLI_TEST_SECRET}"' in line
    secret = EnvironmentText("${CLI_TEST_SECRET}")
    stored = connect(store[1], **{**seaweed.options(), "secret": secret})
    assert len(datastack_fs.load_dataset("digits", storage=stored)) == 1437


def test_a_bucket_that_is_not_there_is_named_and_not_made(run, seaweed):
    options = [part for name, value in seaweed.options().items() for part in ("-o", f"{name}={value}")]
    ran = run("prepare", "digits", "--storage", "s3://no-such-bucket-of-ours", *options, code=1)
    assert "no-such-bucket-of-ours" in ran.err
    assert ran.err.count("\n") == 1
    assert seaweed.options()["secret"] not in ran.err
