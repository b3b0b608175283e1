"""Where the configuration file is found, what is merged over it, and what may stand in it."""

import pytest

from datastack_fs import connect
from datastack_fs.credentials import EnvironmentText
from datastack_fs.errors import (
    ConfigError,
    UnknownPluginError,
)
from datastack_fs.profiles import load_configuration

# Finding it.


@pytest.mark.parametrize("name", ["datastack.yaml", "datastack.yml"])
@pytest.mark.parametrize("folder", [".", "..", "../..", "../../home/.config/datastack-fs"])
def test_the_file_is_found(here, folder, name, write):
    file = write((here / folder / name).resolve())
    assert load_configuration().files == (file,)
    assert connect("laptop").url == (file.parent / "data").as_uri(), "relative to the file"


def test_the_nearest_file_holds(here, write):
    write(here.parent / "datastack.yaml")
    near = write(here / "datastack.toml", 'default = "x"\nstorages.x.url = "memory://near"')
    assert load_configuration().files == (near,)
    assert connect().url == "memory://near"


def test_two_files_in_one_folder_are_refused(here, write):
    write(here / "datastack.yaml")
    write(here / "datastack.toml", "")
    with pytest.raises(ConfigError, match=r"has datastack\.yaml and datastack\.toml: remove all but one"):
        connect("scratch")


def test_a_file_named_by_the_environment(here, tmp_path, monkeypatch, write):
    write(here / "datastack.yaml", "storages: {a: {url: ./a}}")
    file = write(tmp_path / "other" / "lab.yml", "storages: {b: {url: ../b}}")
    monkeypatch.setenv("DATASTACK_CONFIG", str(file))
    assert list(load_configuration().profiles) == ["b"]
    assert connect("b").url == (tmp_path / "b").as_uri()
    monkeypatch.setenv("DATASTACK_CONFIG", "../../other/lab.yml")
    assert list(load_configuration().profiles) == ["b"]


@pytest.mark.parametrize("name", ["nowhere.yaml", ".", "lab.json"])
def test_a_file_named_by_the_environment_that_is_none(here, name, monkeypatch, write):
    write(here / "lab.json", "{}")
    monkeypatch.setenv("DATASTACK_CONFIG", name)
    with pytest.raises(ConfigError, match=r"\$DATASTACK_CONFIG names it"):
        connect("lab")


def test_a_url_reads_no_file(here, write):
    write(here / "datastack.yaml", "broken: [")
    assert connect("memory://config-tests").url == "memory://config-tests"
    assert connect("./birds").url.endswith("/birds")


# Overlays.


def test_an_overlay_is_merged_over_the_file(here, monkeypatch, write):
    base = write(here / "datastack.yaml")
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


def test_an_overlay_of_the_other_kind(here, monkeypatch, write):
    write(here / "datastack.yaml")
    write(here / "datastack.ci.toml", '[storages.laptop]\nurl = "./ci"')
    monkeypatch.setenv("DATASTACK_ENV", "ci")
    assert connect().url == (here / "ci").as_uri()


def test_an_overlay_beside_a_named_file(here, tmp_path, monkeypatch, write):
    monkeypatch.setenv("DATASTACK_CONFIG", str(write(tmp_path / "lab.yaml")))
    write(tmp_path / "lab.ci.yaml", "default: scratch")
    monkeypatch.setenv("DATASTACK_ENV", "ci")
    assert connect().url == "memory://config-tests"


def test_an_error_in_an_overlay_names_the_overlay(here, monkeypatch, write):
    write(here / "datastack.yaml")
    overlay = write(here / "datastack.ci.yaml", "\nstorages:\n  prod:\n    readonly: true")
    monkeypatch.setenv("DATASTACK_ENV", "ci")
    with pytest.raises(ConfigError, match=rf"{overlay}:3: storages\.prod\.readonly: unknown key"):
        connect()


def test_an_overlay_that_is_not_there(here, monkeypatch, write):
    write(here / "datastack.yaml")
    monkeypatch.setenv("DATASTACK_ENV", "prd")
    with pytest.raises(ConfigError, match=r"\$DATASTACK_ENV is 'prd', but .* has no datastack\.prd\.yaml, "):
        connect()


@pytest.mark.parametrize("name", ["../x", "a/b", "a.b", " "])
def test_an_overlay_name_is_a_plain_word(here, name, monkeypatch, write):
    write(here / "datastack.yaml")
    monkeypatch.setenv("DATASTACK_ENV", name)
    with pytest.raises(ConfigError, match=r"\$DATASTACK_ENV is .*: it is a name"):
        connect()


# What it may say.


def test_toml_says_the_same_as_yaml(here, write):
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


def test_yaml_anchors_and_merge_keys(here, write):
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
def test_an_empty_file(here, text, write):
    file = write(here / "datastack.yaml", text)
    assert connect().url == (here / "datasets").as_uri()
    with pytest.raises(UnknownPluginError, match=f"profiles in {file}: none"):
        connect("prod")
