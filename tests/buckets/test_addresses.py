"""What is an address, and what is said of those that cannot be used; never a secret among it."""

import http.server
import sys
import threading
from pathlib import Path

import pytest
import vc_contracts
from vc_contracts.bucket.address import is_address, parse, shown
from vc_contracts.bucket.errors import BucketError, scrub

KEY, SECRET = "AKIAFORTESTSONLY0001", "not-a-secret-but-must-not-be-shown"
"""As conftest.py sets them."""


@pytest.mark.parametrize("text", ["s3://bucket/a/b.zarr", "gs://bucket/a/b.zarr"])
def test_an_address_survives_pathlib(text):
    spelled = Path(text)  # which writes one slash
    assert is_address(text) and is_address(spelled)
    assert str(parse(spelled)) == text == shown(spelled)
    assert parse(spelled).beside("c") == parse(text.replace("b.zarr", "c"))


@pytest.mark.parametrize("text", ["a/b.zarr", "/s3/b", "my-s3:/x", "s3", "C:/x", "s3:"])
def test_local_paths_stay_local(text):
    assert not is_address(text)
    assert shown(text) == text


@pytest.mark.parametrize(
    "text", [f"s3://{KEY}:{SECRET}@bucket/key", "s3://bucket", "s3://b/../c", "gs:///key", "s3://x y/k"]
)
def test_what_is_no_place_in_a_bucket_is_refused_without_repeating_secrets(text):
    with pytest.raises(BucketError) as refused:
        parse(text)
    assert SECRET not in str(refused.value) and KEY not in str(refused.value)


@pytest.mark.parametrize(
    "arg",
    [
        "https://host.org/x.h5ad?X-Amz-Signature=topsecret",
        "--screen=http://u:topsecret@host/x",
        "s3a://b/x",
        "file:///x",
    ],
)
def test_other_schemes_are_refused_by_every_command_line(arg, capsys):
    import vc_data.cli.main as vc_data

    with pytest.raises(SystemExit) as left:
        vc_data.main(["inspect", arg])
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert said.count("\n") == 1 and "s3://BUCKET/KEY" in said and "topsecret" not in said


def test_messages_name_scheme_and_host_only():
    said = scrub(f"GET https://h/k?X-Amz-Credential={KEY}&X-Amz-Signature=abc failed\nmore")
    assert "abc" not in said and "more" not in said


def test_a_missing_library_is_one_line(credentials, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(BucketError, match=r"vc-contracts\[cloud\]"):
        vc_contracts.read("s3://bucket/x.zarr", "screen")


def test_no_credentials_is_said_before_anything_is_asked(credentials, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BucketError, match=r"one half of them.*AWS_SECRET_ACCESS_KEY"):
        vc_contracts.check_target("s3://bucket/x.zarr", kind="screen")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(BucketError, match="credentials in the environment, found none"):
        vc_contracts.sha256_tree("s3://bucket/x.zarr")


def test_a_server_that_is_not_there_is_said_after_several_tries(credentials, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(BucketError, match="dropped or refused connection, also after several tries") as refused:
        vc_contracts.read("s3://bucket/x.zarr", "screen")
    assert str(refused.value).startswith("s3://bucket/x.zarr: ")


def test_no_such_bucket_and_nothing_there(bucket):
    with pytest.raises(BucketError, match="no such bucket"):
        vc_contracts.read("s3://never-made/x.zarr", "screen")
    with pytest.raises(BucketError, match="no such bucket"):
        vc_contracts.check_target("s3://never-made/x.zarr", kind="screen")
    with pytest.raises(BucketError, match="nothing there"):
        vc_contracts.read(f"{bucket}/x.json", "splits")


@pytest.fixture
def forbidding(credentials, monkeypatch):
    """A server that answers as Amazon's does to a wrong signature: with the key id and the text to sign."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (
                "<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>"
                f"{KEY}</AWSAccessKeyId><StringToSign>{SECRET}</StringToSign></Error>"
            ).encode()
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_HEAD = do_GET

        def log_message(self, *_) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield
    server.shutdown()
    server.server_close()


def test_permission_denied_is_said_and_no_secret_with_it(forbidding, capsys):
    import vc_data.cli.main as vc_data

    assert vc_data.main(["inspect", "s3://bucket/x.zarr"]) == 2
    said = capsys.readouterr().err
    assert "permission denied" in said and said.count("\n") == 1
    assert KEY not in said and SECRET not in said


@pytest.mark.parametrize(
    "args",
    [
        ["convert", "a.h5ad", "--out-dir", "s3://bucket/screens"],
        ["download", "scperturb_norman19_k562", "--out", "gs://bucket/raw"],
    ],
)
def test_what_takes_no_address_says_so(args, credentials, tmp_path, monkeypatch, capsys):
    import vc_data.cli.main as vc_data

    monkeypatch.chdir(tmp_path)
    assert vc_data.main(args) == 2
    said = capsys.readouterr().err
    assert "expected a local path, found an address" in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_functions_that_write_here_make_no_folder_called_s3(credentials, tmp_path, monkeypatch, world, bucket):
    import vc_data.convert.run

    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="expected a local path, found an address"):
        vc_data.convert.run.convert(world / "demo" / "screen.h5ad", f"{bucket}/screen.zarr")
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]
