"""Places behind URLs: files in memory, and a server that speaks S3."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

import fsspec
import pytest

KINDS = ("memory", "s3")


@contextlib.contextmanager
def object_store(kind: str, environment: pytest.MonkeyPatch) -> Iterator[str]:
    """Give the URL of a new, empty place; copies of it go to where `environment` says, which the caller sets."""
    if kind == "memory":
        url = f"memory://{uuid.uuid4().hex}"
        yield url
        system, root = fsspec.url_to_fs(url)
        if system.exists(root):
            system.rm(root, recursive=True)
        return
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment.setenv(name, "test")
    environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # or one of an earlier server is taken
    bucket = f"bucket-{uuid.uuid4().hex}"
    fsspec.filesystem("s3").mkdir(bucket)
    try:
        yield f"s3://{bucket}/place"
    finally:
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        server.stop()


def names(url: str) -> list[str]:
    """Return the files behind a URL, by their paths from there."""
    system, root = fsspec.url_to_fs(url)
    system.invalidate_cache()
    return sorted(path.removeprefix(root).strip("/") for path in system.find(root))
