"""A local S3 server for tests: this process and its children use it instead of the real S3."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest

SECRET = "not-to-be-seen-anywhere"


@contextmanager
def local_s3(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Any]:
    """A client of the server, with one bucket called `bucket`. `folder` is for an empty file of credentials."""
    server_of = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    import boto3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    nothing = folder / "empty"
    nothing.touch()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(nothing),
        "AWS_SHARED_CREDENTIALS_FILE": str(nothing),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    forget_connections()
    client = boto3.client("s3")
    post(client, "/moto-api/reset", "")  # moto keeps the objects in the process, not in the server
    client.create_bucket(Bucket="bucket")
    yield client
    post(client, "/moto-api/reset-auth", "inf")
    forget_connections()
    server.stop()


def forget_connections() -> None:
    """fsspec caches a connection with the credentials and the address that it was made with."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def post(s3: Any, path: str, body: str) -> None:
    """Send a command to the server."""
    import requests

    requests.post(s3.meta.endpoint_url + path, data=body, timeout=10).raise_for_status()
