"""report: of datasets by name, of files in any store, in every form."""

import io
import json
import os

import h5py
import numpy as np
import pytest
import yaml

from datastack_fs import connect

FAST = ["--seconds", "0"]


def hdf5(labels):
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        opened["pictures"] = np.arange(len(labels) * 64, dtype=np.uint8).reshape(-1, 8, 8)
        opened["species"] = labels
    return file.getvalue()


def test_a_page_of_digits(run, here):
    assert run("report", "digits", "--out", "report.html", *FAST).out == "wrote report.html\n"
    page = (here / "report.html").read_text()
    assert "digits [train]" in page
    assert page.count("<figure>") == 24
    assert page.count("<rect") == 10


def test_every_form(run, here):
    for ending in ("json", "yaml", "yml", "md"):
        run("report", "digits", "--split", "test", "--out", f"report.{ending}", *FAST)
    found = json.loads((here / "report.json").read_text())
    assert (
        found == yaml.safe_load((here / "report.yaml").read_text()) == yaml.safe_load((here / "report.yml").read_text())
    )
    assert (found["length"], found["tag"], found["format"]) == (360, "test", "hdf5")
    assert (here / "report.md").read_text() == run("report", "digits", "--split", "test", *FAST).out


def test_speed_is_timed(run):
    out = run("report", "digits", "--seconds", "0.05").out
    assert "| in order |" in out
    assert "| at random |" in out


@pytest.mark.parametrize(
    ("target", "storage"),
    [
        ("birds/train.h5", []),
        ("./datasets/birds/train.h5", []),
        ("birds/train.h5", ["--storage", "lab"]),
        ("memory://cli-report/birds/train.h5", []),
    ],
)
def test_files_in_stores(run, here, target, storage):
    (here / "datastack.yaml").write_text("storages: {lab: {url: memory://cli-report}}")
    for store in (None, "memory://cli-report"):
        connect(store).set_resource("birds/train.h5", hdf5([0, 1, 1, 1]))
    out = run("report", target, *storage, "-o", "sample=pictures", "-o", "target=species", *FAST).out
    assert out.startswith("# train\n\n- **samples**: 4\n")
    assert "| 1 | 3 | 75.0 % |" in out


def test_the_format_can_be_told(run):
    connect("memory://cli-report").set_resource("plain", hdf5([0, 1]))
    options = ["-o", "sample=pictures", "--format", "hdf5", *FAST]
    assert "hdf5" in run("report", "plain", "--storage", "memory://cli-report", *options).out


def test_what_cannot_be_read_is_said_and_is_an_error(run, here):
    connect().set_resource("labels.idx", b"\0\0\x08\1\0\0\0\3" + bytes([4, 5, 6]))
    found = run("report", "labels.idx", *FAST)
    assert found.err == ""
    with h5py.File(here / "broken.h5", "w") as opened:
        data = opened.create_dataset("pictures", data=np.ones((3, 64)), chunks=(1, 64), fletcher32=True)
        place = data.id.get_chunk_info(1).byte_offset
    content = bytearray((here / "broken.h5").read_bytes())
    content[place] ^= 1
    (here / "broken.h5").write_bytes(bytes(content))
    ran = run("report", "./broken.h5", "--out", "report.json", *FAST, code=1)
    assert ran.err.startswith("problem: sample 1: DatasetFileCorruptError: ")
    assert json.loads((here / "report.json").read_text())["looked_at"] == 2


def test_misuse(run, here):
    assert "did you mean 'digits'?" in run("report", "digit", code=1).err
    assert "not in" in run("report", "birds/none.h5", code=1).err
    assert "a report ends in .html" in run("report", "digits", "--out", "report.pdf", code=2).err
    assert "--split goes with" in run("report", "birds/train.h5", "--split", "test", code=2).err
    assert "--format goes with" in run("report", "digits", "--format", "hdf5", code=2).err
    assert run("report", "digits", "--split", "dev", *FAST, code=1).err.startswith("error: digits has no split 'dev'")
    assert [path.name for path in here.iterdir() if path.suffix in {".pdf", ".html"}] == []


def test_on_s3_without_secrets(run, seaweed, here):
    bucket = seaweed.make_bucket("cli-tests")
    store = ["--storage", f"s3://{bucket}/report-{os.getpid()}"]
    store += [part for name, value in seaweed.options().items() for part in ("-o", f"{name}={value}")]
    run("report", "digits", *store, "--out", "report.html", "--seconds", "0.2")
    page = (here / "report.html").read_text()
    assert f"s3://{bucket}/report-{os.getpid()}" in page
    assert seaweed.options()["secret"] not in page
    assert "256 of 1,437 samples" in page
