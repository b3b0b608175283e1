"""Secrets: kept out of messages, and read from the environment no sooner than a client is made.

An option or URL that came from the environment is held as ``EnvironmentText``: its text still says ``${NAME}``, so
that repr, logs and pickles carry the name and never the value; ``expand`` reads the value where a client needs it.
"""

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

from datastack_fs.errors import ConfigError

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_SECRET_KEY = re.compile(r"(key|secret|token|password|passwd|credential|signature|^sig$|auth)", re.IGNORECASE)
_USER_INFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*://)(?P<user>[^/@\s:]*)(?::[^/\s]*)?@(?=[^\s@]*)")
_QUERY_VALUE = re.compile(
    r"([?&;](?:[\w.\-]*(?:key|secret|token|password|credential|signature|auth)[\w.\-]*|sig)=)[^&\s'\"]+", re.IGNORECASE
)


class EnvironmentText(str):
    """Text with ``${NAME}`` or ``${NAME:-default}`` in it, to be read from the environment when it is used.

    Examples:
        >>> os.environ["BIRDS_TOKEN"] = "s3cret"
        >>> text = EnvironmentText("${BIRDS_TOKEN}")
        >>> str(text), text.expand()
        ('${BIRDS_TOKEN}', 's3cret')
    """

    def names(self) -> list[str]:
        """The variables it needs: those without a default."""
        return [match[1] for match in _REFERENCE.finditer(self) if match[2] is None]

    def expand(self) -> str:
        """The text with each reference replaced by its value.

        Raises:
            ConfigError: a variable is not set.
        """

        def value(match: re.Match[str]) -> str:
            found = os.environ.get(match[1], match[2])
            if found is None:
                raise ConfigError(f"the environment variable {match[1]} is not set")
            return found

        return _REFERENCE.sub(value, self)


def has_reference(text: str) -> bool:
    """Whether the text names an environment variable as ``${NAME}``."""
    return _REFERENCE.search(text) is not None


def expand(value: Any) -> Any:
    """A value, or mapping or list of values, with every ``EnvironmentText`` in it read from the environment."""
    if isinstance(value, EnvironmentText):
        return value.expand()
    if isinstance(value, Mapping):
        return {key: expand(item) for key, item in value.items()}
    if isinstance(value, list):
        return [expand(item) for item in value]
    return value


def redact(text: str) -> str:
    """Text (a URL, or a message with URLs in it) with passwords and secret query values replaced by ``***``.

    Examples:
        >>> redact("mongodb://ann:pw@host/db?bucket=fs&token=abc")
        'mongodb://ann:***@host/db?bucket=fs&token=***'
    """
    text = _USER_INFO.sub(lambda match: f"{match['scheme']}{match['user']}:***@", text)
    return _QUERY_VALUE.sub(r"\1***", text)


def redact_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with the values of secret-looking keys replaced by ``***``, for repr and messages.

    Examples:
        >>> redact_options({"key": "AKIA", "region": "eu"})
        {'key': '***', 'region': 'eu'}
    """
    return {
        name: "***"
        if _SECRET_KEY.search(name) and not isinstance(value, EnvironmentText)
        else (redact_options(value) if isinstance(value, Mapping) else value)
        for name, value in options.items()
    }


def hide_queries(record: logging.LogRecord) -> bool:
    """A filter for loggers of requests: takes out the queries of what they log, since a signed URL is a secret.

    urllib3 logs request lines at level DEBUG.
    """
    if isinstance(record.args, tuple):
        record.args = tuple(
            f"{part.partition('?')[0]}?***" if isinstance(part, str) and "?" in part else part for part in record.args
        )
    return True
