"""Profiles: their options, and what they refer to in the environment."""

import os
import pickle

import pytest

from datastack_fs import connect
from datastack_fs.errors import (
    ConfigError,
    ReadOnlyStorageError,
    StoragePermissionError,
    UnknownPluginError,
)
from datastack_fs.profile_choice import find_profile


def test_a_bare_word_that_is_no_profile_lists_the_profiles(here, write):
    file = write(here / "datastack.yaml")
    with pytest.raises(UnknownPluginError) as caught:
        connect("prdo")
    assert "no storage 'prdo' (did you mean 'prod'?)" in str(caught.value)
    assert f"profiles in {file}: laptop, prod, scratch" in str(caught.value)
    assert [entry.name for entry in here.iterdir()] == ["datastack.yaml"]


def test_a_profile_connects(here, monkeypatch, write):
    write(here / "datastack.yaml")
    assert connect("scratch").url == "memory://config-tests"
    monkeypatch.setenv("LAB_KEY", "AKIA-of-the-lab")
    monkeypatch.setenv("LAB_SECRET", "hunter2-hunter2")
    connector = connect("prod")
    assert connector.read_only
    assert connector.url == "s3://lab/datasets"
    for text in (repr(connector), repr(vars(connector)), str(pickle.dumps(connector)), repr(find_profile("prod"))):
        assert "hunter2" not in text
        assert "AKIA" not in text


def test_explicit_arguments_win_over_the_profile(here, monkeypatch, write):
    write(here / "datastack.yaml")
    monkeypatch.setenv("LAB_KEY", "k")
    # The profile's own secret is not needed, so that its variable may be missing.
    assert not connect("prod", secret="s", read_only=False).read_only


def test_a_variable_that_is_not_set_names_file_profile_key_and_variable(here, monkeypatch, write):
    file = write(here / "datastack.yaml")
    monkeypatch.setenv("LAB_KEY", "k")
    with pytest.raises(ConfigError) as caught:
        connect("prod")
    assert str(caught.value) == (
        f"{file}:10: storages.prod.options.secret: the environment variable LAB_SECRET is not set"
    )
    assert connect("laptop").url, "the other profiles work"


def test_a_variable_may_have_a_default(here, monkeypatch, write):
    write(here / "datastack.yaml", "storages: {lab: {url: 'memory://${LAB_STORE:-spare}'}}")
    assert connect("lab").url == "memory://spare"
    monkeypatch.setenv("LAB_STORE", "main")
    assert connect("lab").url == "memory://main"


def test_a_secret_in_a_url_stays_in_the_environment(here, monkeypatch, write):
    write(here / "datastack.yaml", "storages: {lab: {url: '${LAB_URL}'}, web: {url: 'https://a:${PW}@host/birds'}}")
    monkeypatch.setenv("LAB_URL", "mongodb://ann:hunter2@127.0.0.1:1/lab")
    monkeypatch.setenv("PW", "hunter2")
    for name in ("lab", "web"):
        connector = connect(name)
        for text in (repr(connector), connector.url, repr(vars(connector)), str(pickle.dumps(connector))):
            assert "hunter2" not in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/${TOKEN}/birds/", "https://host/${TOKEN}/birds/"),
        ("HTTPS://ann:${TOKEN}@host/birds/", "https://host/birds/"),
        ("zip::https://host/${TOKEN}/birds.zip", "zip::https://host/${TOKEN}/birds.zip"),
        ("ftp://ann:${TOKEN}@host/birds", "ftp://ann:***@host/birds"),
    ],
)
def test_a_token_anywhere_in_a_url_stays_in_the_environment(url, shown, monkeypatch):
    monkeypatch.setenv("TOKEN", "hunter2")
    connector = connect({"url": url})
    assert connector.url == shown
    assert "hunter2" not in f"{connector!r} {vars(connector)!r} {pickle.dumps(connector)!r}"


@pytest.mark.filterwarnings("error")
def test_a_mongodb_url_from_the_environment(here, mongod, monkeypatch, write):
    write(here / "datastack.yaml", "storages: {lab: {url: '${LAB_URL}'}}")
    monkeypatch.setenv("LAB_URL", f"{mongod.url}/config-tests?bucket=birds-{os.getpid()}")
    with connect("lab") as connector:
        connector.set_resource("birds/owl.txt", b"hoo")
        with pickle.loads(pickle.dumps(connector)) as copy:
            assert copy.get_resource("birds/owl.txt").read() == b"hoo"
        with connect(os.environ["LAB_URL"]) as same, connect(f"{mongod.url}/config-tests") as another_bucket:
            assert same.has_resource("birds/owl.txt")
            assert not another_bucket.has_resource("birds/owl.txt")
    monkeypatch.delenv("LAB_URL")
    with pytest.raises(ConfigError, match=r"storages\.lab\.url: the environment variable LAB_URL is not set"):
        connect("lab")


def test_credentials_of_s3_from_the_environment(here, seaweed, monkeypatch):
    bucket = seaweed.make_bucket("config-tests")
    options = {"endpoint_url": seaweed.endpoint_url, "key": "${LAB_KEY}", "secret": "${LAB_SECRET}"}
    profile = {"url": "s3://${LAB_BUCKET:-nowhere}/" + str(os.getpid()), "options": options}
    monkeypatch.setenv("LAB_BUCKET", bucket)
    monkeypatch.setenv("LAB_KEY", str(seaweed.key))
    monkeypatch.setenv("LAB_SECRET", str(seaweed.secret))
    with connect(profile) as connector:
        connector.set_resource("birds/owl.txt", b"hoo")
        assert connector.get_resource("birds/owl.txt").read() == b"hoo"
        assert str(seaweed.secret) not in str(pickle.dumps(connector))
    with connect(profile, read_only=True) as connector, pytest.raises(ReadOnlyStorageError):
        connector.delete_resource("birds/owl.txt")
    monkeypatch.setenv("LAB_SECRET", "hunter2")
    with connect(profile) as connector, pytest.raises(StoragePermissionError) as caught:
        connector.get_info("birds/owl.txt")
    assert "hunter2" not in str(caught.value)


def test_references_in_lists_and_nested_options(here, monkeypatch, write):
    text = "storages: {lab: {url: ./x, options: {a: {b: ['${NO_SUCH_VARIABLE}']}}}}"
    file = write(here / "datastack.yaml", text)
    with pytest.raises(ConfigError, match=rf"{file}:1: storages.lab.options.a.b.0: .*NO_SUCH_VARIABLE is not set"):
        connect("lab")


def test_an_unknown_option_of_a_profile(here, write):
    file = write(here / "datastack.yaml", "storages:\n  lab:\n    url: ./x\n    options:\n      fsnc: true\n")
    with pytest.raises(ConfigError) as caught:
        connect("lab")
    assert str(caught.value) == (
        f"{file}:5: storages.lab.options: unknown option 'fsnc' (did you mean 'fsync'?); file:// takes fsync, read_only"
    )
    with pytest.raises(ConfigError, match=r"^unknown option 'fsnc'"):
        connect("./x", fsnc=True)
