"""Stores behind URLs for tests: in memory, with failures, on a local S3 server."""

import logging
import os
import urllib.request

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from kdet import storage


class Flaky(MemoryFileSystem):
    """Fails the first ``faults`` transfers, cuts off the first ``cuts`` that it does."""

    protocol, store, pseudo_dirs = "flaky", {}, [""]
    faults = cuts = calls = 0

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.replace("flaky://", "memory://"))

    def _fail(self):
        Flaky.calls += 1
        if Flaky.faults > 0:
            Flaky.faults -= 1
            raise ConnectionResetError("Connection reset by peer")

    def get_file(self, rpath, lpath, **kwargs):
        self._fail()
        super().get_file(rpath, lpath, **kwargs)
        if Flaky.cuts > 0:
            Flaky.cuts -= 1
            os.truncate(lpath, 1)

    def put_file(self, lpath, rpath, **kwargs):
        self._fail()
        super().put_file(lpath, rpath, **kwargs)


@pytest.fixture(autouse=True)
def clean_stores(tmp_path, monkeypatch):
    """An empty cache, empty stores, no pauses."""
    monkeypatch.setenv("KDET_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(storage, "FIRST_PAUSE", 0.0)
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    Flaky.faults = Flaky.cuts = Flaky.calls = 0
    for kind in (MemoryFileSystem, Flaky):
        kind.store.clear()
        kind.pseudo_dirs[:] = [""]
    storage._known.clear()
    storage._added[:] = [0, 0]


def put(url, content):
    with fsspec.open(url, "wb") as file:
        file.write(content)


def get(url):
    with fsspec.open(url, "rb") as file:
        return file.read()


def put_folder(folder, url):
    for path in folder.iterdir():
        put(f"{url}/{path.name}", path.read_bytes())


@pytest.fixture
def s3(monkeypatch):
    """The file system of a local S3 server with one bucket, ``s3://bucket``."""
    reason = "s3fs and moto, which play an S3 server, are not installed"
    s3fs = pytest.importorskip("s3fs", reason=reason)
    server = pytest.importorskip("moto.server", reason=reason).ThreadedMotoServer(port=0)
    monkeypatch.setattr(logging.getLogger("werkzeug"), "disabled", True)
    server.start()
    try:
        host, port = server.get_host_and_port()
        # its store outlives it
        reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset).close()
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(key, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": f"http://{host}:{port}"})
        s3fs.S3FileSystem.clear_instance_cache()
        system = fsspec.filesystem("s3")
        system.mkdir("bucket")
        yield system
    finally:
        server.stop()
