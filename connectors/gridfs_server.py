"""The MongoDB server and database behind a GridFS filesystem, and the URLs that name them."""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from datastack_fs.connectors.gridfs_bucket import Document
from datastack_fs.connectors.gridfs_errors import translated
from datastack_fs.credentials import EnvironmentText, expand, redact
from datastack_fs.processes import PerProcess

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

URL_VARIABLE: Final = "DATASTACK_MONGODB_URL"
DEFAULT_URL: Final = EnvironmentText(f"${{{URL_VARIABLE}}}")
DEFAULT_BUCKET: Final = "fs"
FAREWELL: Final = 1.0
"""Seconds for ending the sessions at a server."""

_PROTOCOL = "gridfs://"
_SERVERS = re.compile(r"(?P<servers>(?:[^/@]+@)?[^/@:,]+:\d+(?:,[^/@:,]+:\d+)*)/(?P<database>[^/]+)(?:/(?P<path>.*))?")
_BUCKET = re.compile(r"(?<=[?&])bucket=[^&]*&?")


def server_in(path: str) -> tuple[str | None, str]:
    """Splits ``gridfs://host:port/database/folder/file`` into the server's URL and the name; others have no server.

    Examples:
        >>> server_in("gridfs://127.0.0.1:27017/lab/birds/owl.h5")
        ('mongodb://127.0.0.1:27017/lab', 'birds/owl.h5')
        >>> server_in("gridfs://birds/owl.h5")
        (None, 'birds/owl.h5')
    """
    if not path.startswith(_PROTOCOL):
        return None, path.removeprefix("gridfs::").strip("/")
    path = path[len(_PROTOCOL) :]
    server = _SERVERS.fullmatch(path)
    if server is None:
        return None, path.strip("/")
    return f"mongodb://{server['servers']}/{server['database']}", (server["path"] or "").strip("/")


def path_of(name: str) -> str:
    """The URL of a name: ``server_in`` finds the name in it, and no server."""
    return f"{_PROTOCOL}/{name}" if _SERVERS.fullmatch(name) else _PROTOCOL + name


def bucket_in(url: str) -> str:
    """The bucket that a URL names as ``?bucket=``, where its text is known, or the default one.

    Examples:
        >>> bucket_in("mongodb://127.0.0.1/lab?w=1&bucket=birds")
        'birds'
    """
    known = url if not isinstance(url, EnvironmentText) or any(map(_is_unset, url.names())) else url.expand()
    return parse_qs(urlsplit(known).query).get("bucket", [DEFAULT_BUCKET])[-1]


class MongoServer:
    """A database of a MongoDB server; each process connects by itself, on first use.

    Args:
        url: ``mongodb://`` or ``mongodb+srv://``; an ``EnvironmentText`` is read when a client is made.
        database: instead of the one in the URL.
        options: keyword arguments of ``MongoClient``.
        defaults: the same, for what the URL does not say.
    """

    def __init__(
        self, url: str, *, database: str | None, options: Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> None:
        self._databases = PerProcess(partial(_connect, url, database, options, defaults), _disconnect)
        weakref.finalize(self, self._databases.close)

    def database(self) -> Database[Document]:
        """The database, of this process's client."""
        return self._databases.get()

    def client(self) -> MongoClient[Document]:
        """This process's client."""
        return self.database().client

    def close(self) -> None:
        """Ends this process's connections; a later use connects anew."""
        self._databases.close()


def _connect(
    url: str, database: str | None, options: Mapping[str, Any], defaults: Mapping[str, Any]
) -> Database[Document]:
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    text = _expanded(url)
    name = database or unquote(urlsplit(text).path.lstrip("/"))
    if not name:
        raise ValueError(f"{redact(url)} names no database: write mongodb://host:port/database")
    said = {key.lower() for key, _ in parse_qsl(urlsplit(text).query)}
    unsaid = {key: value for key, value in defaults.items() if key.lower() not in said}
    try:
        client: MongoClient[Document] = MongoClient(
            text, **{"appname": "datastack-fs", **unsaid, **options, "tz_aware": True}
        )
        return client[name]
    except PyMongoError as error:
        raise translated(error, redact(text)) from error


def _disconnect(database: Database[Document]) -> None:
    """Ends the sessions at a server that answers; one that is gone isn't waited for, as the driver itself would."""
    import pymongo

    client = database.client
    with pymongo.timeout(FAREWELL if client.topology_description.known_servers else 0.001):
        client.close()


def _expanded(url: str) -> str:
    if url == DEFAULT_URL and _is_unset(URL_VARIABLE):
        raise ValueError(f"no MongoDB server: give url='mongodb://host:port/database', or set {URL_VARIABLE}")
    text: str = expand(url)
    if not text.startswith(("mongodb://", "mongodb+srv://")):
        raise ValueError(f"{redact(text)} is no MongoDB URL: it begins with mongodb:// or mongodb+srv://")
    return _BUCKET.sub("", text).rstrip("?&")  # MongoDB's driver knows no such option


def _is_unset(variable: str) -> bool:
    return not os.environ.get(variable)
