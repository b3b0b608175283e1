"""A broken configuration file: the error names file, line and key."""

import pytest

from datastack_fs import connect
from datastack_fs.errors import (
    ConfigError,
)
from datastack_fs.profiles import load_configuration

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


def test_yaml_aliases_cannot_make_billions(here, write):
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


def test_a_file_that_cannot_be_read(here):
    (here / "datastack.yaml").symlink_to(
        "/proc/self/mem"
    )  # a regular file whose first byte is nobody's, not root's either
    with pytest.raises(ConfigError, match=r"datastack\.yaml: can't be read: Input/output error"):
        connect()


@pytest.mark.parametrize("url", ["data", "zip::birds.zip"])
def test_a_profile_url_that_is_a_bare_word(here, url, write):
    file = write(here / "datastack.yaml", f"storages:\n  lab:\n    url: {url}\n")
    bare = url.rpartition("::")[2]
    with pytest.raises(ConfigError, match=rf"{file}:3: storages\.lab\.url: '{bare}' is no URL; a folder is \./{bare}"):
        connect("lab")


def test_an_error_in_the_file_shows_no_secret(here, write):
    write(here / "datastack.yaml", "storages:\n  p:\n    url: ./x\n    secret: hunter2\n    read_only: hunter2\n")
    with pytest.raises(ConfigError) as caught:
        connect()
    chain = []
    error = caught.value
    while error is not None:
        chain.append(f"{error} {error!r}")
        error = error.__cause__
    assert "hunter2" not in "".join(chain)


def test_a_profile_shows_no_secret(here, write):
    write(here / "datastack.yaml", "storages: {p: {url: 'mongodb://a:hunter2@h/d', options: {secret: hunter2}}}")
    assert "hunter2" not in repr(load_configuration())
