"""Downloads against a real HTTP server on 127.0.0.1 that misbehaves on order."""

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from vc_data.datasets.registry import RemoteFile
from vc_data.download.fetch import DownloadError, download, fetch
from vc_data.download.transfer import DownloadSettings
from vc_data.errors import OutputError

BODY = b"\x89HDF\r\n\x1a\n" + bytes(i * 31 % 251 for i in range(700_000))
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()
SHA256 = "sha256:" + hashlib.sha256(BODY).hexdigest()
QUICK = DownloadSettings(timeout_s=5.0, retries=2, backoff_s=0.01, progress=False)
IMPATIENT = DownloadSettings(timeout_s=0.3, retries=2, backoff_s=0.01, progress=False)

Behaviour = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        path = self.path.partition("?")[0]
        server.requests.append((path, self.headers.get("Range"), self.headers.get("If-Range")))
        queue = server.behaviours.get(path, [])
        behaviour = queue.pop(0) if len(queue) > 1 else queue[0] if queue else answer(404)
        behaviour(self, server.body)
        self.close_connection = True

    def log_message(self, *args):
        pass

    def head(self, status: int, length: int | None, **headers: str):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()

    def asked_from(self) -> int:
        given = self.headers.get("Range")
        return int(given.removeprefix("bytes=").rstrip("-")) if given else 0


def serve(handler: Handler, body: bytes, *, etag: str = '"one"', cut: int | None = None, stall: bool = False):
    """A well-behaved server: Range, If-Range, ETag; `cut` ends (or stalls) the connection at that byte."""
    start, version = handler.asked_from(), handler.headers.get("If-Range")
    start = start if version in (None, etag) else 0
    more = {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
    handler.head(206 if start else 200, len(body) - start, ETag=etag, **more)
    handler.wfile.write(body[start : cut or len(body)])
    handler.wfile.flush()
    if stall:
        handler.server.released.wait(200)


def cut_at(n: int, **more) -> Behaviour:
    return lambda handler, body: serve(handler, body, cut=n, **more)


def answer(status: int, content: bytes = b"", kind: str = "application/octet-stream", **headers: str) -> Behaviour:
    def behave(handler: Handler, body: bytes):
        handler.head(status, len(content), Content_Type=kind, **headers)
        handler.wfile.write(content)

    return behave


def ignore_range(handler: Handler, body: bytes):
    handler.head(200, len(body))
    handler.wfile.write(body)


def redirect(to: str) -> Behaviour:
    return lambda handler, body: handler.head(302, 0, Location=to)


@pytest.fixture
def server(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.daemon_threads = True
    found.body, found.behaviours, found.requests, found.released = BODY, {}, [], threading.Event()
    found.url = f"http://127.0.0.1:{found.server_port}"
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield found
    found.released.set()
    found.shutdown()
    found.server_close()
    thread.join()


def remote(server, *paths: str, checksum: str | None = MD5, n_bytes: int | None = len(BODY), name: str = "a.h5ad"):
    urls = tuple(server.url + path for path in paths or ("/a",))
    return RemoteFile(name=name, urls=urls, n_bytes=n_bytes, checksum=checksum)


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


WHOLE = {"a.h5ad", "a.h5ad.download.json"}


def test_whole_file_with_a_record_and_nothing_else(server, tmp_path):
    server.behaviours["/a"] = [serve]
    done = fetch(remote(server), tmp_path, settings=QUICK)
    assert done.path.read_bytes() == BODY
    assert done.fetched and done.checksum == MD5 and done.checked_against == "registry"
    assert listing(tmp_path) == WHOLE
    record = json.loads((tmp_path / "a.h5ad.download.json").read_text())
    assert record["url"] == server.url + "/a" and record["n_bytes"] == len(BODY) and record["checksum"] == MD5


def test_second_call_makes_no_request(server, tmp_path):
    server.behaviours["/a"] = [serve]
    fetch(remote(server), tmp_path, settings=QUICK)
    again = fetch(remote(server), tmp_path, settings=QUICK)
    assert not again.fetched and len(server.requests) == 1


def test_cut_connection_resumes_where_it_ended(server, tmp_path):
    server.behaviours["/a"] = [cut_at(400_000), cut_at(650_000), serve]
    assert fetch(remote(server), tmp_path, settings=QUICK).path.read_bytes() == BODY
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for _, asked, _ in server.requests[1:]]
    assert 300_000 < starts[0] <= 400_000 < starts[1] <= 650_000
    assert {version for _, _, version in server.requests[1:]} == {'"one"'}


def test_stalled_connection_is_given_up_and_resumed(server, tmp_path):
    server.behaviours["/a"] = [cut_at(400_000, stall=True), serve]
    assert fetch(remote(server), tmp_path, settings=IMPATIENT).path.read_bytes() == BODY
    assert len(server.requests) == 2 and server.requests[1][1].startswith("bytes=")


def test_many_cuts_that_each_bring_bytes_are_no_failure_in_a_row(server, tmp_path):
    server.behaviours["/a"] = [cut_at(n) for n in range(100_000, 700_000, 100_000)] + [serve]
    assert fetch(remote(server), tmp_path, settings=QUICK).path.read_bytes() == BODY
    assert len(server.requests) == 7 > QUICK.retries


def test_server_without_range_starts_over_cleanly(server, tmp_path):
    server.behaviours["/a"] = [cut_at(400_000), ignore_range]
    assert fetch(remote(server), tmp_path, settings=QUICK).path.read_bytes() == BODY
    assert server.requests[1][1] is not None


def test_server_without_range_that_always_cuts_is_given_up(server, tmp_path):
    def half(handler, body):
        handler.head(200, len(body))
        handler.wfile.write(body[:300_000])

    server.behaviours["/a"] = [half]
    with pytest.raises(DownloadError, match="failed 3 times in a row"):
        fetch(remote(server), tmp_path, settings=QUICK)
    # The first attempt brings bytes; then as many failures in a row as are allowed, and one more.
    assert len(server.requests) == QUICK.retries + 1
    assert not (tmp_path / "a.h5ad").exists()


def test_file_that_changed_meanwhile_starts_over(server, tmp_path):
    new = BODY[:50] + b"changed" + BODY[57:]
    server.behaviours["/a"] = [cut_at(400_000), lambda handler, body: serve(handler, new, etag='"two"')]
    done = fetch(remote(server, checksum=None), tmp_path, settings=QUICK)
    assert done.path.read_bytes() == new
    assert server.requests[1][2] == '"one"'


def test_other_range_than_asked_starts_over(server, tmp_path):
    def shifted(handler, body):
        handler.head(206, 10, Content_Range=f"bytes 5-14/{len(body)}")
        handler.wfile.write(body[5:15])

    server.behaviours["/a"] = [cut_at(400_000), shifted, serve]
    assert fetch(remote(server), tmp_path, settings=QUICK).path.read_bytes() == BODY
    assert server.requests[2][1] is None


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (answer(202), "HTTP 202: host challenge"),
        (answer(202, b"wait"), "HTTP 202: host challenge"),
        (answer(204), "HTTP 204"),
        (answer(404, b"no"), "HTTP 404"),
        (answer(403, b"no"), "HTTP 403: login"),
        (answer(400, b"pay"), "HTTP 400: billing"),
        (answer(500), "failed 3 times in a row, last: HTTP 500"),
        (answer(503, Retry_After="0"), "last: HTTP 503"),
        (answer(200, b"<html>prove that you are human</html>", "text/html; charset=utf-8"), "host challenge"),
        (answer(200, b"  <!doctype html>" + BODY[17:]), "host challenge or another file"),
        (answer(200, b'{"message": "x"}' + BODY[16:]), "host challenge or another file"),
        (answer(200), "serves 0 bytes"),
        (answer(200, BODY[:-1]), "serves 700,007 bytes, expected 700,008"),
        (answer(200, BODY, Content_Encoding="gzip"), "encoded"),
        (redirect("/page"), "text/html"),
    ],
)
def test_what_is_no_file_is_refused_and_leaves_nothing(server, tmp_path, behaviour, reason):
    server.behaviours |= {"/a": [behaviour], "/page": [answer(200, b"<html></html>", "text/html")]}
    with pytest.raises(DownloadError) as caught:
        fetch(remote(server), tmp_path, settings=QUICK)
    message = str(caught.value)
    assert reason in message and server.url + "/a" in message and "by hand" in message
    assert listing(tmp_path) == set()


def test_empty_answer_of_unknown_size_is_refused(server, tmp_path):
    server.behaviours["/a"] = [answer(200)]
    with pytest.raises(DownloadError, match="empty answer"):
        fetch(remote(server, n_bytes=None), tmp_path, settings=QUICK)


def test_answer_without_size_is_refused_where_nothing_else_tells_a_cut(server, tmp_path):
    def endless(handler, body):
        handler.head(200, None)
        handler.wfile.write(body)

    server.behaviours["/a"] = [endless]
    with pytest.raises(DownloadError, match="states no size"):
        fetch(remote(server, n_bytes=None, checksum=None), tmp_path, settings=QUICK)
    assert fetch(remote(server, n_bytes=None), tmp_path, settings=QUICK).path.read_bytes() == BODY


def test_more_bytes_than_expected_are_refused(server, tmp_path):
    def longer(handler, body):
        handler.head(200, None)
        handler.wfile.write(body + b"more")

    server.behaviours["/a"] = [longer]
    with pytest.raises(DownloadError, match="sent 700,012 bytes"):
        fetch(remote(server), tmp_path, settings=QUICK)
    assert listing(tmp_path) == set()


def test_wrong_bytes_at_the_end_never_get_the_name(server, tmp_path):
    wrong = BODY[:-3] + b"bad"
    server.behaviours["/a"] = [lambda handler, body: serve(handler, wrong)]
    with pytest.raises(DownloadError, match="wrong bytes"):
        fetch(remote(server), tmp_path, settings=QUICK)
    assert listing(tmp_path) == set() and len(server.requests) == 1


def test_wrong_joined_pieces_get_one_fresh_transfer(server, tmp_path):
    part = tmp_path / "a.h5ad.part"
    part.mkdir()
    (part / "bytes").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(200_000))
    server.behaviours["/a"] = [serve]
    assert fetch(remote(server), tmp_path, settings=QUICK).path.read_bytes() == BODY
    assert [asked for _, asked, _ in server.requests] == ["bytes=200008-", None]
    assert listing(tmp_path) == WHOLE


def test_mirrors_are_tried_in_turn(server, tmp_path):
    wrong = BODY[:-3] + b"bad"
    server.behaviours |= {
        "/gone": [answer(404)],
        "/ill": [answer(500)],
        "/wrong": [lambda handler, body: serve(handler, wrong)],
        "/good": [serve],
    }
    done = fetch(remote(server, "/gone", "/ill", "/wrong", "/good"), tmp_path, settings=QUICK)
    assert done.path.read_bytes() == BODY
    paths = [path for path, _, _ in server.requests]
    assert paths == ["/gone", *["/ill"] * 3, "/wrong", "/good"]
    assert json.loads((tmp_path / "a.h5ad.download.json").read_text())["url"].endswith("/good")


def test_mirror_goes_on_where_the_first_address_ended(server, tmp_path):
    server.behaviours |= {"/a": [cut_at(400_000), answer(404)], "/b": [serve]}
    assert fetch(remote(server, "/a", "/b"), tmp_path, settings=QUICK).path.read_bytes() == BODY
    path, asked, version = server.requests[-1]
    assert path == "/b" and asked.startswith("bytes=") and version is None


def test_unchecked_bytes_of_two_addresses_are_never_joined(server, tmp_path):
    server.behaviours |= {"/a": [cut_at(400_000), answer(404)], "/b": [serve]}
    fetch(remote(server, "/a", "/b", checksum=None), tmp_path, settings=QUICK)
    assert server.requests[-1] == ("/b", None, None)


def test_unstated_checksum_is_recorded_and_enforced(server, tmp_path):
    server.behaviours["/a"] = [serve]
    file = remote(server, checksum=None, n_bytes=None)
    done = fetch(file, tmp_path, settings=QUICK)
    assert done.checksum == SHA256 and done.checked_against == "first download"
    done.path.unlink()
    assert fetch(file, tmp_path, settings=QUICK).checksum == SHA256
    done.path.unlink()
    other = BODY[:100] + b"other" + BODY[105:]
    server.behaviours["/a"] = [lambda handler, body: serve(handler, other)]
    with pytest.raises(DownloadError, match="wrong bytes"):
        fetch(file, tmp_path, settings=QUICK)
    assert listing(tmp_path) == {"a.h5ad.download.json"}


def test_file_placed_by_hand_is_checked_and_recorded(server, tmp_path):
    (tmp_path / "a.h5ad").write_bytes(BODY)
    done = fetch(remote(server, checksum=None), tmp_path, settings=QUICK)
    assert not done.fetched and done.checksum == SHA256 and server.requests == []
    assert json.loads((tmp_path / "a.h5ad.download.json").read_text())["url"] == "placed by hand"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(BODY[:-1], "700,007"), (BODY[:-3] + b"bad", "checksum"), (b"<html>" + BODY[6:], "host challenge")],
)
def test_another_file_in_its_place_is_refused_and_kept(server, tmp_path, content, reason):
    (tmp_path / "a.h5ad").write_bytes(content)
    with pytest.raises(DownloadError, match=reason):
        fetch(remote(server), tmp_path, settings=QUICK)
    assert (tmp_path / "a.h5ad").read_bytes() == content and server.requests == []


def test_too_small_disk_is_refused_before_the_first_request(server, tmp_path, small):
    data = small(RemoteFile(name="big.h5ad", urls=(server.url + "/a",), n_bytes=10**18))
    with pytest.raises(OutputError, match="free disk"):
        download(data, tmp_path, settings=QUICK)
    assert server.requests == [] and listing(tmp_path) == set()


def test_too_small_disk_is_refused_when_only_the_server_knows_the_size(server, tmp_path):
    server.behaviours["/a"] = [lambda handler, body: handler.head(200, 10**18)]
    with pytest.raises(OutputError, match="free disk"):
        fetch(remote(server, n_bytes=None), tmp_path, settings=QUICK)


def test_second_process_on_the_same_file_is_refused(server, tmp_path):
    part = tmp_path / "a.h5ad.part"
    part.mkdir()
    handle = os.open(part, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(DownloadError, match="one that is running"):
        fetch(remote(server), tmp_path, settings=QUICK)
    os.close(handle)
    server.behaviours["/a"] = [serve]
    assert fetch(remote(server), tmp_path, settings=QUICK).fetched


CLIENT = """
import sys
from pathlib import Path
from vc_data.download.fetch import fetch
from vc_data.datasets.registry import RemoteFile
url, n_bytes, checksum, folder = sys.argv[1:]
fetch(RemoteFile(name="a.h5ad", urls=(url,), n_bytes=int(n_bytes), checksum=checksum), Path(folder))
"""


def interrupt(server, folder: Path, number: int) -> int:
    """Start a client on a server that stalls after 400,000 bytes, and send it a signal there; bytes it kept."""
    server.behaviours["/a"] = [cut_at(400_000, stall=True), serve]
    words = [sys.executable, "-c", CLIENT, server.url + "/a", str(len(BODY)), MD5, str(folder)]
    client = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    kept = folder / "a.h5ad.part" / "bytes"
    until = time.monotonic() + 120
    while time.monotonic() < until and not (kept.exists() and kept.stat().st_size >= 300_000):
        assert client.poll() is None
        time.sleep(0.02)
    for _ in range(10):
        # A signal that arrives inside a destructor is lost to Python; people press Ctrl-C again.
        client.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(6)
            break
    assert client.returncode not in (None, 0)
    assert 300_000 <= kept.stat().st_size <= 400_000
    assert kept.read_bytes() == BODY[: kept.stat().st_size]
    return kept.stat().st_size


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_client_resumes_without_losing_a_byte(server, tmp_path, number):
    n_kept = interrupt(server, tmp_path, number)
    assert not (tmp_path / "a.h5ad").exists()
    if number == signal.SIGINT:
        assert listing(tmp_path) == {"a.h5ad.part", "a.h5ad.part/bytes", "a.h5ad.part/source.json"}
    done = fetch(remote(server), tmp_path, settings=QUICK)
    assert done.path.read_bytes() == BODY
    assert [asked for _, asked, _ in server.requests] == [None, f"bytes={n_kept}-"]
    assert listing(tmp_path) == WHOLE


@pytest.mark.parametrize("place", ["tmpab12cd", "bytes", "a.h5ad"])
def test_kill_after_the_last_byte_needs_no_request(server, tmp_path, place):
    part = tmp_path / "a.h5ad.part"
    part.mkdir()
    (part / place).write_bytes(BODY)
    (part / "tmpempty").touch()
    (part / ".source.json.tmp-1").write_text("half")
    done = fetch(remote(server), tmp_path, settings=QUICK)
    assert done.path.read_bytes() == BODY and server.requests == [] and listing(tmp_path) == WHOLE


def test_only_the_default_files_unless_named(server, tmp_path, small):
    server.behaviours |= {"/a": [serve], "/b": [serve]}
    main = RemoteFile(name="a.h5ad", urls=(server.url + "/a",), checksum=MD5)
    extra = RemoteFile(name="b.h5ad", urls=(server.url + "/b",), checksum=MD5, optional=True)
    data = small(main, extra)
    assert [file.path.name for file in download(data, tmp_path / "x", settings=QUICK)] == ["a.h5ad"]
    named = download(data, tmp_path / "x", files=["b.h5ad"], settings=QUICK)
    assert [file.path.name for file in named] == ["b.h5ad"]
    every = download(data, tmp_path / "x", files=["all"], settings=QUICK)
    assert [(file.path.name, file.fetched) for file in every] == [("a.h5ad", False), ("b.h5ad", False)]
    with pytest.raises(DownloadError, match=r"a\.h5ad, b\.h5ad"):
        download(data, tmp_path / "x", files=["c.h5ad"], settings=QUICK)


def test_access_only_data_set_says_how_to_get_it(tmp_path, small):
    with pytest.raises(DownloadError, match="ask the authors"):
        download(small(access="ask the authors"), tmp_path)


def test_command_line_fetches_and_refuses(server, tmp_path, small, monkeypatch, capsys):
    from vc_data.cli.main import main
    from vc_data.datasets import DATASETS

    server.behaviours["/a"] = [cut_at(400_000), serve]
    monkeypatch.setitem(DATASETS, "small", small(remote(server)))
    monkeypatch.setitem(DATASETS, "gone", small(remote(server, "/gone")))
    quick = ["--timeout-s", "5", "--backoff-s", "0.01", "--no-progress"]
    assert main(["download", "small", "--out", str(tmp_path / "x"), *quick]) == 0
    assert (tmp_path / "x" / "a.h5ad").read_bytes() == BODY
    assert "whole in" in capsys.readouterr().out.splitlines()[-1]
    assert main(["download", "gone", "--out", str(tmp_path / "y"), *quick]) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1 and "HTTP 404" in error and listing(tmp_path / "y") == set()
    assert main(["download", "smal"]) == 2 and "'small'" in capsys.readouterr().err


@pytest.fixture
def small():
    from vc_data.datasets.registry import Dataset
    from vc_data.options import Columns

    def make(*files: RemoteFile, access: str = ""):
        words = dict.fromkeys(("title", "citation", "doi", "licence", "perturbations"), "x")
        columns = Columns(perturbation="gene", control=("ctrl",), mode_name="crispri")
        return Dataset(key="small", columns=columns, files=files, access=access, **words)

    return make
