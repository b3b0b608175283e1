"""Secrets stay out of texts, and come from the environment late."""

import pickle

import pytest

from datastack_fs.credentials import EnvironmentText, expand, redact, redact_options
from datastack_fs.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mongodb://ann:CANARY@host/db", "mongodb://ann:***@host/db"),
        ("https://ann:CANARY@host/x?a=1", "https://ann:***@host/x?a=1"),
        ("https://h/x?X-Amz-Signature=CANARY&b=2", "https://h/x?X-Amz-Signature=***&b=2"),
        ("https://h/x?X-Goog-Credential=CANARY", "https://h/x?X-Goog-Credential=***"),
        ("https://h/x?sig=CANARY&se=1", "https://h/x?sig=***&se=1"),
        (
            "GET https://h/x?token=CANARY failed (mongodb://a:CANARY@h)",
            "GET https://h/x?token=*** failed (mongodb://a:***@h)",
        ),
        ("s3://lab/key=value", "s3://lab/key=value"),
        ("https://h/assign?design=1", "https://h/assign?design=1"),
    ],
)
def test_redacts(text, expected):
    assert redact(text) == expected


def test_redacts_options():
    options = {"key": "CANARY", "secret": "CANARY", "region": "eu", "client": {"password": "CANARY", "x": 1}}
    assert redact_options(options) == {
        "key": "***",
        "secret": "***",
        "region": "eu",
        "client": {"password": "***", "x": 1},
    }
    assert redact_options({"key": EnvironmentText("${KEY}")}) == {"key": "${KEY}"}


def test_environment_text_is_read_when_used(monkeypatch):
    text = EnvironmentText("a-${DS_ONE}-${DS_TWO:-two}")
    assert text.names() == ["DS_ONE"]
    with pytest.raises(ConfigError, match="DS_ONE"):
        text.expand()
    monkeypatch.setenv("DS_ONE", "CANARY")
    assert expand({"x": text, "y": {"z": text}, "n": 3}) == {"x": "a-CANARY-two", "y": {"z": "a-CANARY-two"}, "n": 3}
    assert b"CANARY" not in pickle.dumps(text)
    assert pickle.loads(pickle.dumps(text)).expand() == "a-CANARY-two"
