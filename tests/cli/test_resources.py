"""ls, info, rm, verify, sweep and storages, on a folder and in memory."""

import os
import time

import pytest

from datastack_fs import connect

SHA256_HOO = "sha256:" + __import__("hashlib").sha256(b"hoo").hexdigest()


@pytest.fixture
def birds(here):
    connector = connect("./datasets")
    connector.set_resource("birds/owl.txt", b"hoo")
    connector.set_resource("birds/wren.txt", b"")
    connector.set_resource("trees/oak.txt", b"x" * 1234)
    return connector


def test_ls(run, birds):
    assert run("ls").out.split() == ["birds/owl.txt", "birds/wren.txt", "trees/oak.txt"]
    assert run("ls", "birds/").out.split() == ["birds/owl.txt", "birds/wren.txt"]
    assert run("ls", "nothing").out == ""


def test_ls_json(run, birds):
    assert run("ls", "--json", "trees").json == ["trees/oak.txt"]
    (row,) = run("ls", "-l", "--json", "trees").json
    assert (row["identifier"], row["size"]) == ("trees/oak.txt", 1234)
    assert run("ls", "--json", "nothing").json == []


def test_ls_long(run, birds):
    lines = run("ls", "--long").out.splitlines()
    assert lines[0].split() == ["identifier", "bytes", "checksum"]
    assert lines[1].split() == ["birds/owl.txt", "3", SHA256_HOO]
    assert lines[3].split()[:2] == ["trees/oak.txt", "1,234"]


@pytest.mark.parametrize("argument", ["./datasets", "{here}/datasets", "file://{here}/datasets"])
def test_ls_of_a_store_by_url_or_path(run, birds, here, argument):
    assert "trees/oak.txt" in run("ls", argument.format(here=here)).out
    assert "trees/oak.txt" in run("ls", "--storage", argument.format(here=here)).out


def test_ls_of_a_store_in_memory(run):
    connect("memory://cli-ls").set_resource("a", b"")
    assert run("ls", "memory://cli-ls").out == "a\n"


def test_info(run, birds):
    fields = dict(line.split(maxsplit=1) for line in run("info", "birds/owl.txt").out.splitlines())
    assert fields["identifier"] == "birds/owl.txt"
    assert fields["size"] == "3"
    assert fields["checksum"] == SHA256_HOO
    assert fields["storage"] == birds.url


@pytest.mark.parametrize("argument", ["birds/owl.txt", "./datasets/birds/owl.txt"])
def test_info_json(run, birds, argument):
    info = run("info", argument, "--json").json
    assert (info["size"], info["checksum"]) == (3, SHA256_HOO)
    assert info["modified"].endswith("+00:00")


def test_a_resource_that_is_not_there(run, birds):
    ran = run("info", "birds/eagle.txt", code=1)
    assert ran.err == f"error: birds/eagle.txt is not in {birds.url}\n"
    assert ran.out == ""


@pytest.mark.parametrize("argument", ["../x", "/etc/passwd", "a//b", "a\\b", "s3://lab/x", "x" * 300, "."])
def test_with_a_store_an_argument_is_an_identifier(run, birds, argument):
    for command in ("info", "rm", "get", "verify"):
        ran = run(command, argument, "--storage", "./datasets", code=1)
        assert ran.err.startswith("error: identifier ")
    assert run("ls", "../x", "--storage", "./datasets", code=1).err.startswith("error: identifier ")


def test_rm(run, birds):
    assert run("rm", "birds/owl.txt", "birds/wren.txt").out == "deleted birds/owl.txt\ndeleted birds/wren.txt\n"
    assert list(birds.list_resources()) == ["trees/oak.txt"]
    assert run("rm", "birds/owl.txt", code=1).err.startswith("error: birds/owl.txt is not in ")
    run("rm", "./datasets/trees/oak.txt")
    assert list(birds.list_resources()) == []


def test_a_read_only_store(run, birds):
    ran = run("rm", "birds/owl.txt", "-o", "read_only=true", code=1)
    assert "read-only" in ran.err
    assert birds.has_resource("birds/owl.txt")


# verify


def corrupt(path):
    """Flips a bit as a bad disk would: the time of the last change stays."""
    status = os.stat(path)
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_verify(run, birds):
    lines = [line.split()[:2] for line in run("verify").out.splitlines()[1:]]
    assert lines == [["ok", "birds/owl.txt"], ["ok", "birds/wren.txt"], ["ok", "trees/oak.txt"]]
    assert [row["identifier"] for row in run("verify", "--json", "--prefix", "birds/").json] == [
        "birds/owl.txt",
        "birds/wren.txt",
    ]


def test_verify_finds_a_flipped_bit(run, birds, here):
    corrupt(here / "datasets" / "birds" / "owl.txt")
    states = {row["identifier"]: row["state"] for row in run("verify", "--json", code=1).json}
    assert states == {"birds/owl.txt": "corrupt", "birds/wren.txt": "ok", "trees/oak.txt": "ok"}
    assert run("verify", "birds/wren.txt").out.splitlines()[1].startswith("ok ")
    assert run("verify", "birds/owl.txt", code=1).out.splitlines()[1].startswith("corrupt ")


def test_verify_of_what_has_no_checksum(run, here):
    (here / "datasets").mkdir()
    (here / "datasets" / "plain.txt").write_text("hoo")
    (row,) = run("verify", "--json").json
    assert row == {"state": "unknown", "identifier": "plain.txt", "checksum": SHA256_HOO}


# sweep


def left_over(folder, age):
    path = folder / f".datastack-tmp-{age}"
    path.write_bytes(b"half")
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def test_sweep(run, birds, here):
    old, young = left_over(here / "datasets", 100_000), left_over(here / "datasets", 7_000)
    assert run("sweep", "--json").json == {"storage": birds.url, "removed": 1}
    assert (old.exists(), young.exists()) == (False, True)
    assert run("sweep", "--older-than", "2h").out == f"removed 0 left-overs from {birds.url}\n"
    assert run("sweep", "--older-than", "90m").out == f"removed 1 left-over from {birds.url}\n"
    assert len(list(birds.list_resources())) == 3


@pytest.mark.parametrize("time", ["-1h", "1w", "", "h", "1h30m"])
def test_a_time_that_is_none(run, time):
    assert "90s, 30m, 24h or 7d" in run("sweep", "--older-than", time, code=2).err


# storages

CONFIG = """
default: laptop
storages:
  laptop: {url: ./data}
  prod:
    url: mongodb://ann:hunter2@host/lab
    options: {key: hunter2, secret: '${LAB_SECRET}', deadline: 5}
    read_only: true
"""


def test_storages(run, here):
    (here / "datastack.yaml").write_text(CONFIG)
    ran = run("storages")
    assert ran.out.splitlines()[0] == f"profiles in {here}/datastack.yaml: laptop, prod"
    assert "mongodb://ann:***@host/lab  read-only  key=*** secret=${LAB_SECRET} deadline=5" in ran.out
    assert "hunter2" not in ran.out
    assert ran.out.splitlines()[-1] == "default: laptop"


def test_storages_json(run, here, monkeypatch):
    (here / "datastack.yaml").write_text(CONFIG)
    found = run("storages", "--json").json
    assert found["files"] == [f"{here}/datastack.yaml"]
    assert [(row["name"], row["default"], row["read_only"]) for row in found["storages"]] == [
        ("laptop", True, False),
        ("prod", False, True),
    ]
    assert "hunter2" not in str(found)
    monkeypatch.setenv("DATASTACK_STORAGE", "mongodb://ann:hunter2@host/lab")
    found = run("storages", "--json").json
    assert found["default"] == "mongodb://ann:***@host/lab"


def test_storages_without_a_file(run):
    ran = run("storages")
    assert ran.out.startswith("no datastack.yaml, datastack.yml or datastack.toml here")
    assert "default: ./datasets" in ran.out


def test_a_broken_file_is_one_line(run, here):
    (here / "datastack.yaml").write_text("storages:\n  prod:\n    ulr: s3://lab\n")
    ran = run("ls", code=1)
    assert ran.err.startswith(f"error: {here}/datastack.yaml:3: storages.prod.ulr: unknown key (did you mean 'url'?)")
    assert ran.err.count("\n") == 1
