"""Profiles, the configuration file, and connect(), open_resource() and open_dataset()."""

import os
import pickle
import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import datastack_fs
from datastack_fs import connect, open_dataset, open_resource
from datastack_fs.config import find_profile
from datastack_fs.connectors import FileStorageConnector, MemoryStorageConnector
from datastack_fs.credentials import EnvironmentText
from datastack_fs.errors import (
    ConfigError,
    ReadOnlyStorageError,
    ResourceNotFoundError,
    StoragePermissionError,
    UnknownPluginError,
)
from datastack_fs.profiles import load_configuration

VARIABLES = ("DATASTACK_CONFIG", "DATASTACK_ENV", "DATASTACK_STORAGE")

CONFIG = """
    default: laptop
    storages:
      laptop:
        url: ./data
      prod:
        url: s3://lab/datasets
        options:
          endpoint_url: http://127.0.0.1:1
          key: ${LAB_KEY}
          secret: ${LAB_SECRET}
        read_only: true
      scratch:
        url: memory://config-tests
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working folder and a home without configuration."""
    folder = tmp_path / "project" / "scripts"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / ".config"))
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return folder


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(text).lstrip())
    return file


# What connect() takes.


@pytest.mark.parametrize("storage", ["./birds", Path("birds"), "../scripts/birds", "file:birds", "birds/"])
def test_a_path(storage, here):
    connector = connect(storage)
    assert isinstance(connector, FileStorageConnector)
    assert connector.url == (here / "birds").as_uri()
    assert not (here / "birds").exists(), "connecting makes no folder"


def test_a_path_object_is_never_a_url(here):
    assert connect(Path("zip::memory:")).url == (here / "zip::memory:").as_uri()


def test_a_path_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert connect("~/birds").url == connect(Path("~/birds")).url == (tmp_path / "birds").as_uri()


def test_a_url_with_options():
    connector = connect("memory://config-tests", read_only=True)
    assert isinstance(connector, MemoryStorageConnector)
    assert connector.read_only


def test_nothing_is_the_default_folder(here):
    assert connect().url == (here / "datasets").as_uri()


def test_a_connector_is_returned_as_it_is():
    connector = MemoryStorageConnector("config-tests")
    assert connect(connector) is connector
    with pytest.raises(TypeError, match="connected already: it takes no options"):
        connect(connector, read_only=True)


@pytest.mark.parametrize("storage", [3, b"./birds", ["./birds"]])
def test_another_type_is_misuse(storage):
    with pytest.raises(TypeError, match="URL, profile name, path, mapping or connector"):
        connect(storage)


class Settings(Mapping):
    """A mapping that is no dict, as Hydra's are."""

    def __init__(self, **values):
        self.values_ = values

    def __getitem__(self, key):
        return self.values_[key]

    def __iter__(self):
        return iter(self.values_)

    def __len__(self):
        return len(self.values_)


@pytest.mark.parametrize(
    "mapping",
    [
        {"url": "memory://config-tests", "read_only": True},
        {"url": "memory://config-tests", "options": {"read_only": True}},
        {"url": "memory://config-tests", "options": {}, "read_only": True},
        Settings(url="memory://config-tests", options=Settings(read_only=True)),
    ],
)
def test_a_mapping(mapping):
    connector = connect(mapping)
    assert connector.url == "memory://config-tests"
    assert connector.read_only
    assert not connect(mapping, read_only=False).read_only, "explicit arguments win"


def test_a_mapping_with_the_options_in_it():
    assert connect({"url": Path("birds"), "fsync": False}).url.endswith("/birds")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "a storage mapping has a url; found the keys none"),
        ({"uri": "s3://lab"}, "a storage mapping has a url; found the keys uri"),
        ({"url": 3}, "a storage mapping has a url"),
        ({"url": "birds"}, "'birds' is no URL; a folder is ./birds"),
        ({"url": "./birds", "options": 3}, "options of a storage mapping are keys and values, not int"),
        ({"url": "./birds", "options": {}, "fsync": True}, "unknown option 'fsync'; a storage mapping takes"),
        ({"url": "./birds", "read_only": "yes"}, "read_only of a storage mapping is true or false, not str"),
        ({"url": "./birds", "key": "a"}, "unknown option 'key'; file:// takes fsync, read_only"),
        ({"url": "./birds", "fsync": "${NO_SUCH_VARIABLE}"}, "NO_SUCH_VARIABLE is not set"),
    ],
)
def test_a_broken_mapping(mapping, message):
    with pytest.raises(ConfigError) as caught:
        connect(mapping)
    assert message in str(caught.value)


def test_a_bare_word_without_a_configuration_file(here):
    with pytest.raises(UnknownPluginError) as caught:
        connect("prod")
    assert str(caught.value).startswith(
        "no storage 'prod': it is no profile, no URL (s3://bucket) and no path (./prod); no datastack.yaml"
    )
    assert list(here.iterdir()) == []


# Profiles.


def test_a_bare_word_that_is_no_profile_lists_the_profiles(here):
    file = write(here / "datastack.yaml", CONFIG)
    with pytest.raises(UnknownPluginError) as caught:
        connect("prdo")
    assert "no storage 'prdo' (did you mean 'prod'?)" in str(caught.value)
    assert f"profiles in {file}: laptop, prod, scratch" in str(caught.value)
    assert [entry.name for entry in here.iterdir()] == ["datastack.yaml"]


def test_a_profile_connects(here, monkeypatch):
    write(here / "datastack.yaml", CONFIG)
    assert connect("scratch").url == "memory://config-tests"
    monkeypatch.setenv("LAB_KEY", "AKIA-of-the-lab")
    monkeypatch.setenv("LAB_SECRET", "hunter2-hunter2")
    connector = connect("prod")
    assert connector.read_only
    assert connector.url == "s3://lab/datasets"
    for text in (repr(connector), repr(vars(connector)), str(pickle.dumps(connector)), repr(find_profile("prod"))):
        assert "hunter2" not in text
        assert "AKIA" not in text


def test_explicit_arguments_win_over_the_profile(here, monkeypatch):
    write(here / "datastack.yaml", CONFIG)
    monkeypatch.setenv("LAB_KEY", "k")
    # The profile's own secret is not needed, so that its variable may be missing.
    assert not connect("prod", secret="s", read_only=False).read_only


def test_a_variable_that_is_not_set_names_file_profile_key_and_variable(here, monkeypatch):
    file = write(here / "datastack.yaml", CONFIG)
    monkeypatch.setenv("LAB_KEY", "k")
    with pytest.raises(ConfigError) as caught:
        connect("prod")
    assert str(caught.value) == (
        f"{file}:10: storages.prod.options.secret: the environment variable LAB_SECRET is not set"
    )
    assert connect("laptop").url, "the other profiles work"


def test_a_variable_may_have_a_default(here, monkeypatch):
    write(here / "datastack.yaml", "storages: {lab: {url: 'memory://${LAB_STORE:-spare}'}}")
    assert connect("lab").url == "memory://spare"
    monkeypatch.setenv("LAB_STORE", "main")
    assert connect("lab").url == "memory://main"


def test_a_secret_in_a_url_stays_in_the_environment(here, monkeypatch):
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
def test_a_mongodb_url_from_the_environment(here, mongod, monkeypatch):
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


def test_references_in_lists_and_nested_options(here, monkeypatch):
    text = "storages: {lab: {url: ./x, options: {a: {b: ['${NO_SUCH_VARIABLE}']}}}}"
    file = write(here / "datastack.yaml", text)
    with pytest.raises(ConfigError, match=rf"{file}:1: storages.lab.options.a.b.0: .*NO_SUCH_VARIABLE is not set"):
        connect("lab")


def test_an_unknown_option_of_a_profile(here):
    write(here / "datastack.yaml", "storages: {lab: {url: ./x, options: {fsnc: true}}}")
    with pytest.raises(ConfigError, match=r"unknown option 'fsnc' \(did you mean 'fsync'\?\); file:// takes fsync"):
        connect("lab")


# The default.


def test_the_default_profile(here):
    write(here / "datastack.yaml", CONFIG)
    assert connect().url == (here / "data").as_uri()
    assert connect(fsync=False).url == (here / "data").as_uri()


def test_the_environment_wins_over_the_default_profile(here, monkeypatch):
    write(here / "datastack.yaml", CONFIG)
    monkeypatch.setenv("DATASTACK_STORAGE", "scratch")
    assert connect().url == "memory://config-tests"
    monkeypatch.setenv("DATASTACK_STORAGE", "memory://elsewhere")
    assert connect().url == "memory://elsewhere"
    monkeypatch.setenv("DATASTACK_STORAGE", "prdo")
    with pytest.raises(UnknownPluginError, match=r"\$DATASTACK_STORAGE: no storage 'prdo'"):
        connect()
    monkeypatch.setenv("DATASTACK_STORAGE", "")
    assert connect().url == (here / "data").as_uri()


# Where the file is found.


@pytest.mark.parametrize("name", ["datastack.yaml", "datastack.yml"])
@pytest.mark.parametrize("folder", [".", "..", "../..", "../../home/.config/datastack-fs"])
def test_the_file_is_found(here, folder, name):
    file = write((here / folder / name).resolve(), CONFIG)
    assert load_configuration().files == (file,)
    assert connect("laptop").url == (file.parent / "data").as_uri(), "relative to the file"


def test_the_nearest_file_holds(here):
    write(here.parent / "datastack.yaml", CONFIG)
    near = write(here / "datastack.toml", 'default = "x"\nstorages.x.url = "memory://near"')
    assert load_configuration().files == (near,)
    assert connect().url == "memory://near"


def test_two_files_in_one_folder_are_refused(here):
    write(here / "datastack.yaml", CONFIG)
    write(here / "datastack.toml", "")
    with pytest.raises(ConfigError, match=r"has datastack\.yaml and datastack\.toml: remove all but one"):
        connect("scratch")


def test_a_file_named_by_the_environment(here, tmp_path, monkeypatch):
    write(here / "datastack.yaml", "storages: {a: {url: ./a}}")
    file = write(tmp_path / "other" / "lab.yml", "storages: {b: {url: ../b}}")
    monkeypatch.setenv("DATASTACK_CONFIG", str(file))
    assert list(load_configuration().profiles) == ["b"]
    assert connect("b").url == (tmp_path / "b").as_uri()
    monkeypatch.setenv("DATASTACK_CONFIG", "../../other/lab.yml")
    assert list(load_configuration().profiles) == ["b"]


@pytest.mark.parametrize("name", ["nowhere.yaml", ".", "lab.json"])
def test_a_file_named_by_the_environment_that_is_none(here, name, monkeypatch):
    write(here / "lab.json", "{}")
    monkeypatch.setenv("DATASTACK_CONFIG", name)
    with pytest.raises(ConfigError, match=r"\$DATASTACK_CONFIG names it"):
        connect("lab")


def test_a_url_reads_no_file(here):
    write(here / "datastack.yaml", "broken: [")
    assert connect("memory://config-tests").url == "memory://config-tests"
    assert connect("./birds").url.endswith("/birds")


# Overlays.


def test_an_overlay_is_merged_over_the_file(here, monkeypatch):
    base = write(here / "datastack.yaml", CONFIG)
    overlay = write(
        here / "datastack.test.yaml",
        """
        default: scratch
        storages:
          prod:
            options: {endpoint_url: http://127.0.0.1:2, region: '${REGION}'}
          extra: {url: ./extra}
        """,
    )
    monkeypatch.setenv("DATASTACK_ENV", "test")
    configuration = load_configuration()
    assert configuration.files == (base, overlay)
    assert configuration.default == "scratch"
    assert list(configuration.profiles) == ["laptop", "prod", "scratch", "extra"]
    prod = configuration.profiles["prod"]
    assert prod.url == "s3://lab/datasets"
    assert prod.read_only
    assert prod.options == {
        "endpoint_url": "http://127.0.0.1:2",
        "region": "${REGION}",
        "key": "${LAB_KEY}",
        "secret": "${LAB_SECRET}",
    }
    monkeypatch.setenv("LAB_KEY", "k")
    monkeypatch.setenv("LAB_SECRET", "s")
    with pytest.raises(ConfigError, match=rf"{overlay}:4: storages\.prod\.options\.region: .*REGION is not set"):
        connect("prod")


def test_an_overlay_of_the_other_kind(here, monkeypatch):
    write(here / "datastack.yaml", CONFIG)
    write(here / "datastack.ci.toml", '[storages.laptop]\nurl = "./ci"')
    monkeypatch.setenv("DATASTACK_ENV", "ci")
    assert connect().url == (here / "ci").as_uri()


def test_an_overlay_beside_a_named_file(here, tmp_path, monkeypatch):
    monkeypatch.setenv("DATASTACK_CONFIG", str(write(tmp_path / "lab.yaml", CONFIG)))
    write(tmp_path / "lab.ci.yaml", "default: scratch")
    monkeypatch.setenv("DATASTACK_ENV", "ci")
    assert connect().url == "memory://config-tests"


def test_an_error_in_an_overlay_names_the_overlay(here, monkeypatch):
    write(here / "datastack.yaml", CONFIG)
    overlay = write(here / "datastack.ci.yaml", "\nstorages:\n  prod:\n    readonly: true")
    monkeypatch.setenv("DATASTACK_ENV", "ci")
    with pytest.raises(ConfigError, match=rf"{overlay}:3: storages\.prod\.readonly: unknown key"):
        connect()


def test_an_overlay_that_is_not_there(here, monkeypatch):
    write(here / "datastack.yaml", CONFIG)
    monkeypatch.setenv("DATASTACK_ENV", "prd")
    with pytest.raises(ConfigError, match=r"\$DATASTACK_ENV is 'prd', but .* has no datastack\.prd\.yaml, "):
        connect()


@pytest.mark.parametrize("name", ["../x", "a/b", "a.b", " "])
def test_an_overlay_name_is_a_plain_word(here, name, monkeypatch):
    write(here / "datastack.yaml", CONFIG)
    monkeypatch.setenv("DATASTACK_ENV", name)
    with pytest.raises(ConfigError, match=r"\$DATASTACK_ENV is .*: it is a name"):
        connect()


# What may stand in a file.


def test_toml_says_the_same_as_yaml(here):
    write(
        here / "datastack.toml",
        """
        default = "laptop"
        [storages.laptop]
        url = "./data"
        [storages.prod]
        url = "s3://lab/datasets"
        read_only = true
        options.key = "${LAB_KEY}"
        options.endpoint_url = "http://127.0.0.1:1"
        [storages.prod.options.nested]
        secret = "${LAB_SECRET}"
        """,
    )
    configuration = load_configuration()
    assert configuration.default == "laptop"
    prod = configuration.profiles["prod"]
    assert isinstance(prod.options["key"], EnvironmentText)
    assert prod.read_only
    assert prod.options["nested"] == {"secret": "${LAB_SECRET}"}
    assert str(prod.places["options", "nested", "secret"]).endswith("datastack.toml:10")


def test_yaml_anchors_and_merge_keys(here):
    write(
        here / "datastack.yaml",
        """
        storages:
          a: &shared
            url: ./a
            options: {fsync: false}
          b:
            <<: *shared
            url: ./b
        """,
    )
    configuration = load_configuration()
    assert configuration.profiles["b"].url == "./b"
    assert configuration.profiles["b"].options == {"fsync": False}


@pytest.mark.parametrize("text", ["", "# nothing\n", "storages: {}\n", "default: null\n"])
def test_an_empty_file(here, text):
    file = write(here / "datastack.yaml", text)
    assert connect().url == (here / "datasets").as_uri()
    with pytest.raises(UnknownPluginError, match=f"profiles in {file}: none"):
        connect("prod")


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

BROKEN = {
    # name: (file, text, line, key, other parts of the message)
    "unknown key": (".yaml", "storages: {}\nstorage: {}\n", 2, "storage", ["did you mean 'storages'?"]),
    "unknown key far off": (".yaml", "version: 3\n", 1, "version", ["known keys: default, storages"]),
    "unknown profile key": (
        ".yaml",
        "storages:\n  prod:\n    ulr: s3://lab\n    url: s3://lab\n",
        3,
        "storages.prod.ulr",
        ["did you mean 'url'?", "known keys: url, options, read_only"],
    ),
    "options beside url": (
        ".yaml",
        "storages:\n  p:\n    url: ./x\n    key: a\n",
        4,
        "storages.p.key",
        ["unknown key"],
    ),
    "url missing": (".yaml", "storages:\n  prod:\n    options: {}\n", 2, "storages.prod.url", ["is missing"]),
    "url a number": (".yaml", "storages:\n  prod:\n    url: 3\n", 3, "storages.prod.url", ["must be text"]),
    "url a list": (".yaml", "storages:\n  prod:\n    url: [./x]\n", 3, "storages.prod.url", ["must be text"]),
    "url empty": (".yaml", "storages:\n  prod:\n    url: ''\n", 3, "storages.prod.url", ["is empty"]),
    "url null": (".yaml", "storages:\n  prod:\n    url:\n", 3, "storages.prod.url", ["must be text"]),
    "read_only a text": (
        ".yaml",
        "storages:\n  p:\n    url: ./x\n    read_only: maybe\n",
        4,
        "storages.p.read_only",
        ["must be true or false", "known keys: url, options, read_only"],
    ),
    "read_only a number": (
        ".yaml",
        "storages:\n  p:\n    url: ./x\n    read_only: 1\n",
        4,
        "storages.p.read_only",
        ["must be true or false"],
    ),
    "options a list": (
        ".yaml",
        "storages:\n  p:\n    url: ./x\n    options: [a]\n",
        4,
        "storages.p.options",
        ["must be keys and values"],
    ),
    "options empty": (
        ".yaml",
        "storages:\n  p:\n    url: ./x\n    options:\n",
        4,
        "storages.p.options",
        ["keys and values"],
    ),
    "profile a text": (".yaml", "storages:\n  prod: s3://lab\n", 2, "storages.prod", ["must be keys and values"]),
    "storages a list": (".yaml", "storages:\n  - url: ./x\n", 1, "storages", ["must be keys and values", "known keys"]),
    "default a list": (".yaml", "\ndefault: [a]\n", 2, "default", ["must be text"]),
    "default unknown": (
        ".yaml",
        "storages:\n  prod: {url: ./x}\ndefault: prd\n",
        3,
        "default",
        ["no profile 'prd'", "did you mean 'prod'?", "profiles: prod"],
    ),
    "profile named like a path": (".yaml", "storages:\n  a/b: {url: ./x}\n", 2, "storages.a/b", ["a name has letters"]),
    "profile named like a url": (".yaml", "storages:\n  's3://x': {url: ./x}\n", 2, "storages.s3://x", ["a name has"]),
    "key given twice": (".yaml", "storages: {}\ndefault: a\nstorages: {}\n", 3, "storages", ["is given twice"]),
    "inner key given twice": (
        ".yaml",
        "storages:\n  p:\n    url: ./x\n    options:\n      key: a\n      key: b\n",
        6,
        "storages.p.options.key",
        ["is given twice"],
    ),
    "key given twice in a list": (
        ".yaml",
        "storages:\n  p:\n    url: ./x\n    options:\n      o: [{a: 1, a: 2}]\n",
        5,
        "storages.p.options.o.0.a",
        ["is given twice"],
    ),
    "key a number": (".yaml", "storages:\n  1: {url: ./x}\n", 2, "1", ["is not text; write it in quotes"]),
    "key a truth value": (".yaml", "storages: {}\nyes: 1\n", 2, "yes", ["is not text"]),
    "key a list": (".yaml", "storages: {}\n? [a]\n: 1\n", 2, "a list", ["is not text"]),
    "reference without a name": (
        ".yaml",
        "storages:\n  p:\n    url: ./x\n    options:\n      key: ${MY-KEY}\n",
        5,
        "storages.p.options.key",
        ["names no variable", "${NAME:-default}"],
    ),
    "reference without an end": (".yaml", "storages:\n  p:\n    url: s3://${B\n", 3, "storages.p.url", ["no variable"]),
    "bad indentation": (".yaml", "storages:\n  p:\n    url: ./x\n   options: {}\n", 4, "", ["expected"]),
    "list not closed": (".yaml", "storages: [\n", 2, "", ["expected"]),
    "tab": (".yaml", "storages:\n\tp: 1\n", 2, "", ["cannot start any token"]),
    "python object": (".yaml", "a:\n  !!python/object/apply:os.system ['true']\n", 2, "", ["python/object"]),
    "unknown alias": (".yaml", "storages: *nothing\n", 1, "nothing", ["undefined alias"]),
    "alias of itself": (".yaml", "storages: &a\n  p: *a\n", 1, "", ["contains itself"]),
    "list alias of itself": (".yaml", "storages:\n  p: &a\n    - *a\n", 2, "", ["contains itself"]),
    "two documents": (".yaml", "a: 1\n---\nb: 1\n", 2, "", ["single document"]),
    "a list": (".yaml", "- a\n- b\n", 1, "", ["expected keys and values, found a list"]),
    "a text": (".yaml", "\nhello\n", 2, "", ["found a single value"]),
    "date that is none": (
        ".yaml",
        "storages:\n  p:\n    url: 2024-13-45\n",
        3,
        "storages.p.url",
        ["write it in quotes"],
    ),
    "control character": (".yaml", "a: 1\nb: \x07\n", 2, "", ["does not allow"]),
    "toml syntax": (".toml", "default = 'a'\nstorages = \n", 2, "", ["Invalid value"]),
    "toml given twice": (".toml", "[storages.p]\nurl = 'a'\nurl = 'b'\n", 3, "", ["overwrite"]),
    "toml table given twice": (".toml", "[storages.p]\nurl='a'\n[storages.p]\nurl='b'\n", 3, "", ["twice"]),
    "toml unfinished": (".toml", "default = 'a'\nx = [\n", 3, "", []),
    "toml unknown key": (
        ".toml",
        "[storages.prod]\nurl = './x'\nreadonly = true\n",
        3,
        "storages.prod.readonly",
        ["did you mean 'read_only'?", "known keys: url, options, read_only"],
    ),
    "toml inline table": (
        ".toml",
        "default = 'p'\n[storages]\np = { url = 3 }\n",
        3,
        "storages.p.url",
        ["must be text"],
    ),
    "toml quoted names": (".toml", "[storages.'p']\n\"url\" = 3\n", 2, "storages.p.url", ["must be text"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_names_file_line_and_key(here, name):
    ending, text, line, key, parts = BROKEN[name]
    file = here / f"datastack{ending}"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        connect()
    message = str(caught.value)
    assert message.startswith(f"{file}:{line}: "), message
    assert key in message.removeprefix(f"{file}:{line}: ")
    for part in parts:
        assert part in message
    assert "\n" not in message


def test_yaml_aliases_cannot_make_billions(here):
    file = write(here / "datastack.yaml", LAUGHS)
    with pytest.raises(ConfigError, match=rf"{file}:\d+: more than 10,000 entries"):
        connect()


def test_a_file_that_is_not_utf8(here):
    (here / "datastack.yaml").write_bytes(b"storages: {}\ndefault: \xff\n")
    with pytest.raises(ConfigError, match=r"datastack\.yaml:2: not UTF-8 text"):
        connect()


def test_a_byte_order_mark_is_no_error(here):
    (here / "datastack.yaml").write_bytes(b"\xef\xbb\xbfstorages: {a: {url: ./a}}\n")
    assert connect("a").url == (here / "a").as_uri()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(here):
    write(here / "datastack.yaml", CONFIG).chmod(0)
    with pytest.raises(ConfigError, match=r"datastack\.yaml: can't be read: Permission denied"):
        connect()


@pytest.mark.parametrize("url", ["data", "zip::birds.zip"])
def test_a_profile_url_that_is_a_bare_word(here, url):
    file = write(here / "datastack.yaml", f"storages:\n  lab:\n    url: {url}\n")
    bare = url.rpartition("::")[2]
    with pytest.raises(ConfigError, match=rf"{file}:3: storages\.lab\.url: '{bare}' is no URL; a folder is \./{bare}"):
        connect("lab")


def test_an_error_in_the_file_shows_no_secret(here):
    write(here / "datastack.yaml", "storages:\n  p:\n    url: ./x\n    secret: hunter2\n    read_only: hunter2\n")
    with pytest.raises(ConfigError) as caught:
        connect()
    chain = []
    error = caught.value
    while error is not None:
        chain.append(f"{error} {error!r}")
        error = error.__cause__
    assert "hunter2" not in "".join(chain)


def test_a_profile_shows_no_secret(here):
    write(here / "datastack.yaml", "storages: {p: {url: 'mongodb://a:hunter2@h/d', options: {secret: hunter2}}}")
    assert "hunter2" not in repr(load_configuration())


# Resources and datasets.


@pytest.fixture
def birds(here):
    connector = connect("memory://config-tests")
    connector.set_resource("birds/owl.txt", b"hoo")
    yield connector
    for name in list(connector.list_resources()):
        connector.delete_resource(name)


def test_open_resource_by_url(birds):
    with open_resource("memory://config-tests/birds/owl.txt") as resource:
        assert (resource.read(), resource.identifier) == (b"hoo", "birds/owl.txt")


def test_open_resource_by_path(here):
    (here / "owl.txt").write_bytes(b"hoo")
    for path in ("owl.txt", "./owl.txt", here / "owl.txt", f"file://{here}/owl.txt"):
        with open_resource(path) as resource:
            assert resource.read() == b"hoo"
            assert resource.local_path == str(here / "owl.txt")


@pytest.mark.parametrize("storage", ["memory://config-tests", "scratch", {"url": "memory://config-tests"}])
def test_open_resource_by_identifier(birds, here, storage):
    write(here / "datastack.yaml", CONFIG)
    assert open_resource("birds/owl.txt", storage=storage).read() == b"hoo"
    assert open_resource("birds/owl.txt", storage=birds).read() == b"hoo"


def test_a_resource_that_is_not_there(birds):
    with pytest.raises(ResourceNotFoundError, match=r"birds/wren\.txt is not in memory://config-tests"):
        open_resource("memory://config-tests/birds/wren.txt")


def test_open_resource_refuses_unknown_options(birds):
    with pytest.raises(ConfigError, match="unknown option 'sample'; memory:// takes read_only"):
        open_resource("memory://config-tests/birds/owl.txt", sample="images")


@pytest.fixture
def dataset(here):
    np.save(here / "birds.npy", np.arange(6).reshape(3, 2))
    return here / "birds.npy"


def test_open_dataset(dataset):
    for url in (dataset, "birds.npy", f"file://{dataset}"):
        assert [sample.tolist() for sample, *_ in open_dataset(url)] == [[0, 1], [2, 3], [4, 5]]


def test_open_dataset_by_format(dataset):
    dataset.rename("birds.bin")
    assert len(open_dataset("birds.bin", format="npy")) == 3
    with pytest.raises(UnknownPluginError, match="no format 'numpy'"):
        open_dataset("birds.bin", format="numpy")


def test_open_dataset_in_a_store(dataset):
    assert len(open_dataset("birds.npy", storage="../scripts/")) == 3
    assert len(open_dataset("birds.npy", storage=connect("../scripts/"))) == 3


def test_open_dataset_hands_options_to_connector_and_format(dataset):
    iterator = open_dataset(dataset, fsync=False, read_only=True, targets=[7, 8, 9])
    assert iterator.targets().tolist() == [7, 8, 9]


def test_open_dataset_refuses_unknown_options_naming_both(dataset):
    with pytest.raises(ConfigError) as caught:
        open_dataset(dataset, colour="red")
    message = str(caught.value)
    assert message.startswith("unknown option 'colour'; file:// takes fsync, read_only; npy takes ")


def test_open_dataset_with_a_connector_takes_the_formats_options(dataset):
    connector = connect("../scripts/")
    with pytest.raises(ConfigError, match="'fsync'; a connector that is there already takes none; npy takes"):
        open_dataset("birds.npy", storage=connector, fsync=True)


def test_a_store_that_takes_any_option_leaves_the_formats_to_the_format(dataset):
    store = f"local://{dataset.parent}"
    iterator = open_dataset("birds.npy", storage=store, auto_mkdir=False, targets=[7, 8, 9])
    assert iterator.targets().tolist() == [7, 8, 9]
    dataset.rename("birds.bin")
    iterator = open_dataset("birds.bin", storage=store, format="npy", targets=[7, 8, 9])
    assert iterator.targets().tolist() == [7, 8, 9]


def test_a_dataset_that_cannot_be_opened_leaves_no_file_open(dataset):
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        with pytest.raises(ConfigError):
            open_dataset(dataset, colour="red")
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_the_public_functions_are_these():
    assert datastack_fs.connect is connect
