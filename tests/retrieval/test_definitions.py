"""What a resource definition takes, keeps and shows."""

import pickle
from pathlib import Path

import pytest

from datastack_fs.errors import MaliciousFilePathError
from datastack_fs.retrieval import ResourceDefinition

MD5 = "d41d8cd98f00b204e9800998ecf8427e"


@pytest.mark.parametrize(
    "given",
    [{"checksum": f"md5:{MD5.upper()}"}, {"md5_sum": MD5.upper()}, {"md5_sum": MD5, "checksum": f"md5:{MD5}"}],
    ids=str,
)
def test_an_md5_can_be_given_either_way(given):
    definition = ResourceDefinition("a.gz", "http://host/a.gz", **given)
    assert (definition.checksum, definition.md5_sum) == (f"md5:{MD5}", MD5)
    assert pickle.loads(pickle.dumps(definition)) == definition


@pytest.mark.parametrize(("algorithm", "size"), [("sha256", 32), ("sha1", 20), ("sha512", 64)])
def test_other_checksums(algorithm, size):
    definition = ResourceDefinition("a.gz", "http://host/a.gz", f"{algorithm}:" + "AB" * size)
    assert (definition.checksum, definition.md5_sum) == (f"{algorithm}:" + "ab" * size, None)


@pytest.mark.parametrize("other", [f"md5:{'0' * 32}", f"sha256:{'0' * 64}"])
def test_two_checksums_that_are_not_one_are_refused(other):
    with pytest.raises(ValueError, match="give one of them"):
        ResourceDefinition("a.gz", "http://host/a.gz", other, md5_sum=MD5)


@pytest.mark.parametrize("wrong", ["", "sha1:" + "0" * 64, "crc32:" + "0" * 8, "md5:xyz", MD5])
def test_what_is_no_checksum_is_refused(wrong):
    with pytest.raises(ValueError, match="expected 'sha256:<64 hex digits>'"):
        ResourceDefinition("a.gz", "http://host/a.gz", wrong)


def test_identifiers_are_checked():
    with pytest.raises(MaliciousFilePathError):
        ResourceDefinition("../a.gz", "http://host/a.gz")


def test_a_path_is_a_source():
    assert ResourceDefinition("a.gz", Path("/data/a.gz")).source == "/data/a.gz"


def test_no_secret_is_shown():
    definition = ResourceDefinition("a.gz", "https://ann:CANARY1@host/a.gz?token=CANARY2&X-Amz-Signature=CANARY3")
    assert "CANARY" not in f"{definition!r} {definition} {[definition]}"
    assert "CANARY1" in definition.source
