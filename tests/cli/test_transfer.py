"""get, put and cp: any store to any other, all or nothing, checked."""

import hashlib
import os

import pytest

from datastack_fs import connect
from datastack_fs.testing.content import noise

CONTENT = noise(3 << 20)
OTHER_FIRST, OTHER_LAST = (bytes([CONTENT[at] ^ 1]) for at in (0, -1))
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def file(here):
    path = here / "train.h5"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def birds(here):
    connector = connect("./datasets")
    connector.set_resource("birds/train.h5", CONTENT)
    connector.set_resource("birds/list.csv", b"owl,wren\n")
    return connector


def test_put(run, file):
    ran = run("put", "train.h5", "birds/train.h5")
    assert SHA256 in ran.out
    assert connect().get_resource("birds/train.h5").read() == CONTENT
    (row,) = run("put", "train.h5", "birds/train.h5", "--json").json
    assert (row["checksum"], row["size"]) == (SHA256, len(CONTENT))


def test_put_by_url(run, file):
    run("put", "train.h5", "memory://cli-put/birds/train.h5")
    assert connect("memory://cli-put").get_info("birds/train.h5").checksum == SHA256


def test_put_from_the_standard_input(run):
    run("put", "-", "birds/owl.txt", input=b"hoo")
    assert connect().get_resource("birds/owl.txt").read() == b"hoo"


def test_put_checks_a_checksum_and_keeps_the_old(run, file):
    run("put", "train.h5", "a", "--checksum", SHA256)
    other = f"md5:{'0' * 32}"
    ran = run("put", "-", "a", "--checksum", other, input=b"other", code=1)
    assert other in ran.err
    assert connect().get_resource("a").read() == CONTENT
    assert "expected 'sha256:<64 hex digits>'" in run("put", "train.h5", "a", "--checksum", "abc", code=2).err


def test_put_without_overwriting(run, file):
    run("put", "train.h5", "a", "--no-overwrite")
    assert "is in file://" in run("put", "train.h5", "a", "--no-overwrite", code=1).err


def test_put_of_a_file_that_is_not_there(run):
    assert "does not exist" in run("put", "nowhere.h5", "a", code=2).err


def test_get(run, birds, here):
    ran = run("get", "birds/train.h5")
    assert (here / "train.h5").read_bytes() == CONTENT
    assert SHA256 in ran.out
    run("get", "birds/train.h5", "./copy.h5")
    run("get", "./datasets/birds/train.h5", "datasets")
    assert (here / "copy.h5").read_bytes() == (here / "datasets" / "train.h5").read_bytes() == CONTENT


def test_get_to_the_standard_output(run, birds):
    assert run("get", "birds/train.h5", "-").bytes_ == CONTENT


def test_get_without_overwriting(run, birds, file):
    ran = run("get", "birds/list.csv", "train.h5", "--no-overwrite", code=1)
    assert "train.h5 is in file://" in ran.err
    assert file.read_bytes() == CONTENT


def test_get_into_a_folder_that_is_not_there(run, birds, here):
    assert f"the folder {here}/nowhere is not there" in run("get", "birds/list.csv", "nowhere/x", code=2).err


@pytest.mark.parametrize("target", ["copy.h5", "-"])
def test_get_of_a_corrupt_resource_fails_and_leaves_nothing(run, birds, here, target):
    path = here / "datasets" / "birds" / "train.h5"
    status = path.stat()
    path.write_bytes(OTHER_FIRST + CONTENT[1:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    ran = run("get", "birds/train.h5", target, code=1)
    assert SHA256 in ran.err
    assert not (here / "copy.h5").exists()


def test_cp_by_url(run, birds):
    ran = run("cp", "./datasets/birds/train.h5", "memory://cli-cp/train.h5")
    assert ran.out.splitlines()[0] == "in memory://cli-cp:"
    assert SHA256 in ran.out
    assert connect("memory://cli-cp").get_resource("train.h5").read() == CONTENT


def test_cp_by_identifier(run, birds):
    (row,) = run("cp", "birds/train.h5", "--from", "./datasets", "--to", "memory://cli-cp-2", "--json").json
    assert row["storage"] == "memory://cli-cp-2"
    assert (row["identifier"], row["checksum"]) == ("birds/train.h5", SHA256)
    run("cp", "birds/train.h5", "other.h5", "--to", "memory://cli-cp-2")
    assert list(connect("memory://cli-cp-2").list_resources()) == ["birds/train.h5", "other.h5"]


def test_cp_of_many(run, birds):
    birds.set_resource("trees/oak", b"")
    run("cp", "-r", "birds/", "--to", "memory://cli-cp-3")
    assert list(connect("memory://cli-cp-3").list_resources()) == ["birds/list.csv", "birds/train.h5"]
    run("cp", "-r", "./datasets/birds", "memory://cli-cp-4")
    assert list(connect("memory://cli-cp-4").list_resources()) == ["list.csv", "train.h5"]


def test_cp_with_options_for_either_side(run, birds):
    command = ["cp", "birds/list.csv", "--from", "./datasets", "--to", "./other"]
    run(*command, "--from-option", "read_only=true", "--to-option", "fsync=false")
    assert "read-only" in run(*command, "--to-option", "read_only=true", code=1).err
    assert "unknown option 'colour'" in run(*command, "--from-option", "colour=red", code=1).err


def test_cp_of_a_corrupt_resource_keeps_the_old_target(run, birds, here):
    target = connect("memory://cli-cp-5")
    target.set_resource("birds/train.h5", b"old")
    path = here / "datasets" / "birds" / "train.h5"
    status = path.stat()
    path.write_bytes(CONTENT[:-1] + OTHER_LAST)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    run("cp", "birds/train.h5", "--to", "memory://cli-cp-5", code=1)
    assert target.get_resource("birds/train.h5").read() == b"old"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "say where to"),
        (["-r", "a", "b", "--to", "./x"], "leave TARGET or --to away"),
        (["-r", "nothing/", "--to", "./x"], "begins with 'nothing/'"),
    ],
)
def test_misuse_of_cp(run, arguments, message):
    assert message in run("cp", *arguments, code=2).err


def test_cp_to_s3_and_back(run, birds, seaweed, here):
    bucket = seaweed.make_bucket("cli-tests")
    keys = [f"--to-option={name}={value}" for name, value in seaweed.options().items()]
    run("cp", "-r", "birds/", "--to", f"s3://{bucket}/{os.getpid()}", *keys)
    options = [part for name, value in seaweed.options().items() for part in ("-o", f"{name}={value}")]
    store = ["--storage", f"s3://{bucket}/{os.getpid()}", *options]
    assert run("ls", *store).out.split() == ["birds/list.csv", "birds/train.h5"]
    assert {row["state"] for row in run("verify", *store, "--json").json} == {"ok"}
    run("get", "birds/train.h5", "back.h5", *store)
    assert (here / "back.h5").read_bytes() == CONTENT
    run("rm", "birds/train.h5", "birds/list.csv", *store)
    assert run("ls", *store).out == ""
