"""``cache info``, ``clear``, ``verify`` and ``pin``."""

from pathlib import Path

from datastack_fs.cache.settings import CacheSettings
from datastack_fs.testing.content import noise
from harness.stores import empty_store


def test_a_cache_is_told_checked_pinned_and_cleared(run, request, here):
    connector = empty_store("s3", request)
    content = noise(300_000)
    info = connector.set_resource("a", content)
    connector.use_cache(CacheSettings(str(here / "cache"), free=0))
    connector.read_resources([info])
    connector.read_resources([info])
    facts = run("cache", "info", here / "cache", "--json").json
    assert (facts["blocks"], facts["found_blocks"], facts["fetched_bytes"], facts["pinned"]) == (5, 5, 300_000, 0)
    assert "found bytes     300,000" in run("cache", "info", here / "cache").out
    assert "5 blocks in" in run("cache", "verify", here / "cache").out
    (segment,) = Path(here / "cache").rglob("*.blocks")
    segment.write_bytes(b"?" + segment.read_bytes()[1:])
    assert run("cache", "verify", here / "cache", "--json", code=1).json["damaged"] == 1
    assert run("cache", "verify", here / "cache", "--json").json == {
        "folder": str(here / "cache"),
        "blocks": 4,
        "damaged": 0,
    }
    options = [f"{name}={value}" for name, value in request.getfixturevalue("seaweed").options().items()]
    options += [f"cache={here / 'cache'}", "cache_free=0"]
    given = [word for option in options for word in ("-o", option)]
    assert "a is pinned, 300,000 bytes" in run("cache", "pin", "a", "--storage", connector.url, *given).out
    assert run("cache", "info", here / "cache", "--json").json["pinned"] == 300_148  # with the checksums of pages
    assert "no longer pinned" in run("cache", "pin", "a", "--undo", "--storage", connector.url, *given).out
    assert "removed 300,148 bytes" in run("cache", "clear", here / "cache").out
    assert run("cache", "info", here / "cache", "--json").json["blocks"] == 0
    assert connector.read_resources([info]) == [content]
    assert "there is no cache in" in run("cache", "info", here / "nowhere", code=1).err


def test_the_default_profile_names_the_cache(run, here):
    Path("datastack.yaml").write_text(
        "default: prod\nstorages:\n  prod:\n    url: s3://lab\n    cache: /nowhere/cache\n"
    )
    assert "there is no cache in /nowhere/cache" in run("cache", "info", code=1).err
    Path("datastack.yaml").unlink()
    assert "has no cache: name its folder" in run("cache", "info", code=1).err
