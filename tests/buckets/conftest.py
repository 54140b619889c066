"""An S3 server on this machine, one for all tests of a process, and a proxy before it that drops connections."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

KEY, SECRET = "AKIAFORTESTSONLY0001", "not-a-secret-but-must-not-be-shown"


@pytest.fixture(scope="session")
def server() -> Iterator[tuple[str, int]]:
    """Host and port of moto."""
    import logging

    from moto import server as moto

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    yield running.get_host_and_port()
    running.stop()


@pytest.fixture
def credentials(monkeypatch, tmp_path) -> None:
    """Credentials in the environment, local copies in a folder of the test, and no long waits."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_SKIP_SIGNATURE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("VC_BUCKET_CACHE", str(tmp_path / "cache"))
    from vc_contracts.bucket import client, local

    for module in (client, local):
        monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
        monkeypatch.setattr(module, "LONGEST_WAIT", 0.05)
    client._open.cache_clear()
    yield
    client._open.cache_clear()


@pytest.fixture
def bucket(server, credentials, monkeypatch, request) -> str:
    """Address of an empty bucket of this test's own."""
    import re
    import urllib.request

    name = f"t-{re.sub('[^a-z0-9]+', '-', request.node.name.lower())[:50].strip('-')}"
    url = f"http://{server[0]}:{server[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    urllib.request.urlopen(urllib.request.Request(f"{url}/{name}", method="PUT")).close()
    return f"s3://{name}"


class Dropping:
    """A proxy that cuts every second long answer off in the middle, the first one too."""

    def __init__(self, upstream: tuple[str, int], after: int) -> None:
        self.upstream, self.after, self.seen, self.dropped = upstream, after, 0, 0
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(self.upstream) as up:
            threading.Thread(target=self._ask, args=(client, up), daemon=True).start()
            self._answer(client, up)

    def _ask(self, client: socket.socket, up: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := client.recv(1 << 16):
                up.sendall(block)

    def _answer(self, client: socket.socket, up: socket.socket) -> None:
        passed, is_long = 0, False
        with contextlib.suppress(OSError):
            while block := up.recv(1 << 16):
                passed += len(block)
                if passed > self.after and not is_long:
                    is_long = True
                    with self._lock:
                        self.seen += 1
                        drops = self.seen % 2 == 1
                        self.dropped += drops
                    if drops:
                        client.sendall(block[: len(block) // 2])
                        break
                client.sendall(block)
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def dropping(server, bucket, monkeypatch) -> Iterator[Dropping]:
    """The same bucket behind connections that break."""
    proxy = Dropping(server, after=700)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
    yield proxy
    proxy.close()


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A folder with a tiny screen, its split, and the file it was made from."""
    import vc_data.cli.main as vc_data

    folder = tmp_path_factory.mktemp("world")
    for args in (
        ["simulate", folder / "demo", "--preset", "tiny"],
        ["convert", folder / "demo" / "screen.h5ad", folder / "demo.zarr"],
        ["split", folder / "demo.zarr", folder / "splits.json"],
    ):
        assert vc_data.main([str(arg) for arg in args]) == 0
    return folder
