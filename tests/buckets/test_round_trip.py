"""What goes into a bucket comes out the same, whatever kind it is and however the connection behaves."""

import logging
import shutil
from pathlib import Path

import pytest
import vc_contracts
import vc_contracts.cli
import vc_data.cli.main as vc_data
from vc_contracts.bucket import local, remote
from vc_contracts.bucket.address import parse
from vc_contracts.bucket.errors import BucketError
from vc_featurize.cli.main import main as vc_featurize

KEY, SECRET = "AKIAFORTESTSONLY0001", "not-a-secret-but-must-not-be-shown"


def run(*args: object) -> int:
    return vc_data.main([str(arg) for arg in args])


@pytest.fixture(scope="module")
def files(world, tmp_path_factory) -> dict[str, Path]:
    """One tiny file of every kind that goes through buckets."""
    from vc_model.checkpoint import save_checkpoint
    from vc_model.contracts import read_screen, read_splits
    from vc_model.models import make_model
    from vc_model.table.pseudobulk import load_tables

    folder = tmp_path_factory.mktemp("files")
    screen = read_screen(world / "demo.zarr")
    table, _, test = load_tables(screen, read_splits(world / "splits.json", screen), [])
    fitted = make_model("mean_effect", 0).fit(table)
    save_checkpoint(folder / "model", fitted)
    (folder / "sets.gmt").write_text("".join(f"S{i}\tx\tG00{i}\tG00{i + 1}\tG00{i + 2}\n" for i in range(1, 6)))
    assert vc_featurize(["geneset", str(folder / "sets.gmt"), "--out", str(folder / "bank.zarr"), "--dim", "2"]) == 0
    from vc_model.contracts import write_predictions
    from vc_model.emit.output import make_prediction_file

    for name in ("predictions.zarr", "predictions.h5ad"):
        write_predictions(folder / name, make_prediction_file(fitted, test))
    return {
        "screen": world / "demo.zarr",
        "splits": world / "splits.json",
        "checkpoint": folder / "model",
        "features": folder / "bank.zarr",
        "predictions": folder / "predictions.zarr",
        "predictions as h5ad": folder / "predictions.h5ad",
    }


KINDS = ["screen", "splits", "checkpoint", "features", "predictions", "predictions as h5ad"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_the_same_after_the_way_there_and_back(kind, files, bucket, tmp_path):
    here, there = files[kind], f"{bucket}/folder/{files[kind].name}"
    assert vc_contracts.cli.main(["copy", str(here), there]) == 0
    assert vc_contracts.sha256_tree(there) == vc_contracts.sha256_tree(here)
    vc_contracts.read(there, kind.split()[0])
    back = tmp_path / here.name
    assert vc_contracts.cli.main(["copy", there, str(back)]) == 0
    assert vc_contracts.sha256_tree(back) == vc_contracts.sha256_tree(here)


def test_commands_read_and_write_addresses_as_files(world, bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("convert", world / "demo" / "screen.h5ad", f"{bucket}/demo.zarr") == 0
    assert run("split", f"{bucket}/demo.zarr", f"{bucket}/splits.json") == 0
    assert run("check", f"{bucket}/demo.zarr", f"{bucket}/splits.json") == 0
    assert run("inspect", f"{bucket}/demo.zarr") == 0
    said = capsys.readouterr()
    assert f"wrote {bucket}/demo.zarr; next: vc-data inspect {bucket}/demo.zarr" in said.out
    assert "cache" not in said.out + said.err
    own = vc_contracts.read(world / "demo.zarr", "screen")
    read = vc_contracts.read(f"{bucket}/demo.zarr", "screen")
    assert (own.X != read.X).nnz == 0 and own.obs.equals(read.obs)
    mine, theirs = (vc_contracts.read(path, "splits") for path in (world / "splits.json", f"{bucket}/splits.json"))
    assert mine["conditions"] == theirs["conditions"]
    # The split names the screen by its hash, which no reader had to take from all of its bytes.
    assert theirs["contract"]["parents"] == {"demo.zarr": vc_contracts.sha256_tree(f"{bucket}/demo.zarr")}
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_the_rule_of_overwriting_is_that_of_local_files(files, bucket, capsys):
    there = f"{bucket}/x.zarr"
    local.upload(files["screen"], there)
    with pytest.raises(BucketError, match="a free name, found something there already"):
        local.upload(files["screen"], there)
    with pytest.raises(BucketError, match="an earlier features to replace, found screen"):
        local.upload(files["features"], there, overwrite=True)
    remote.put(parse(f"{bucket}/mine.txt"), b"of somebody else")
    with pytest.raises(BucketError, match="something else"):
        local.upload(files["splits"], f"{bucket}/mine.txt", overwrite=True)
    assert run("split", there, f"{bucket}/s.json") == 0
    assert run("split", there, f"{bucket}/s.json") == 2
    assert run("split", there, f"{bucket}/s.json", "--overwrite", "--seed", 1) == 0
    local.upload(files["screen"], there, overwrite=True)
    assert vc_contracts.sha256_tree(there) == vc_contracts.sha256_tree(files["screen"])


def test_half_an_upload_is_nothing_and_the_next_one_sends_the_rest(files, bucket, monkeypatch):
    there, sent = f"{bucket}/x.zarr", []
    really_put = remote.put

    def put(address, content, kind=""):
        if len(sent) == 12:
            raise BucketError(str(address), "bucket", "an answer", "a dropped connection", "Type it again.")
        sent.append(address.key)
        return really_put(address, content, kind)

    monkeypatch.setattr(local, "AT_ONCE", 1)
    monkeypatch.setattr(remote, "put", put)
    with pytest.raises(BucketError, match="a dropped connection"):
        local.upload(files["screen"], there)
    monkeypatch.setattr(remote, "put", really_put)
    with pytest.raises(ValueError, match=r"zarr.json: expected the head of a zarr folder"):
        vc_contracts.read(there, "screen")
    # The note of what was sent could not be sent either, so all of it is sent again where it is not known to be the same.
    local._keep(parse(there), *_noted(there, files["screen"]))
    again: list[str] = []
    monkeypatch.setattr(remote, "put", lambda address, *rest: again.append(address.key) or really_put(address, *rest))
    local.upload(files["screen"], there)
    assert not set(sent) & set(again) and len(again) > 1
    vc_contracts.read(there, "screen")


def _noted(there: str, folder: Path) -> tuple[dict, dict]:
    items = remote.items_in(parse(there))
    return {name: list(item) for name, item in items.items()}, {n: vc_contracts.sha256_tree(folder / n) for n in items}


def test_an_upload_that_fails_keeps_what_was_made_and_says_how_to_send_it(world, bucket, monkeypatch, capsys, tmp_path):
    def fail(path, address, **_):
        raise BucketError(str(address), "bucket", "an answer", "a dropped connection", "Try again.")

    monkeypatch.setattr(local, "upload", fail)
    assert run("convert", world / "demo" / "screen.h5ad", f"{bucket}/demo.zarr") == 2
    monkeypatch.undo()
    said = capsys.readouterr().err
    kept, there = said.partition("vc-contracts copy ")[2].split(" sends")[0].split()
    assert there == f"{bucket}/demo.zarr"
    vc_contracts.read(kept, "screen")


def test_damage_is_noticed_and_a_changed_object_is_hashed_anew(files, bucket):
    there = f"{bucket}/x.zarr"
    local.upload(files["screen"], there)
    name = next(name for name in remote.items_in(parse(there)) if name.startswith("X/data/c"))
    bad = bytearray((files["screen"] / name).read_bytes())
    bad[len(bad) // 2] ^= 1
    remote.put(parse(f"{there}/{name}"), bytes(bad))
    assert vc_contracts.sha256_tree(there) != vc_contracts.sha256_tree(files["screen"])
    with pytest.raises(ValueError, match="s3://"):
        vc_contracts.read(there, "screen")


def test_a_folder_that_other_tools_copied_there_is_read_and_hashed(files, bucket):
    there = parse(f"{bucket}/x.zarr")
    for file in files["features"].rglob("*"):
        if file.is_file():
            remote.put(there.child(file.relative_to(files["features"]).as_posix()), file)
    vc_contracts.read(str(there), "features")
    assert vc_contracts.sha256_tree(str(there)) == vc_contracts.sha256_tree(files["features"])


def test_fetching_goes_on_where_it_was_cut_off(files, bucket, dropping, tmp_path):
    there, big = f"{bucket}/big.h5ad", tmp_path / "big.h5ad"
    shutil.copyfile(files["predictions as h5ad"], big)
    local.upload(big, there)
    got = local.fetch(there)
    assert got.read_bytes() == big.read_bytes()
    assert dropping.dropped > 0
    asked = dropping.seen
    assert local.fetch(there) == got
    assert dropping.seen == asked  # nothing is fetched again


def test_reading_in_place_survives_dropped_connections(files, bucket, dropping):
    local.upload(files["screen"], f"{bucket}/x.zarr")
    before = dropping.dropped
    read = vc_contracts.read(f"{bucket}/x.zarr", "screen")
    assert dropping.dropped > before
    assert (read.X != vc_contracts.read(files["screen"], "screen").X).nnz == 0


def test_no_secret_is_logged_or_written(world, bucket, caplog, capsys, tmp_path):
    caplog.set_level(logging.DEBUG)
    assert run("convert", world / "demo" / "screen.h5ad", f"{bucket}/demo.zarr") == 0
    assert run("split", f"{bucket}/demo.zarr", f"{bucket}/splits.json") == 0
    assert run("inspect", f"{bucket}/absent.zarr") == 2
    place = parse(f"{bucket}/demo.zarr")
    held = b"".join(remote.read_bytes(place.child(name)) for name in remote.items_in(place) if "json" in name)
    held += remote.read_bytes(parse(f"{bucket}/splits.json"))
    held += b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    said = capsys.readouterr()
    # What client and server say of each other at DEBUG is theirs; every line of ours is looked at.
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith(("boto", "urllib3", "werkzeug"))]
    text = "\n".join([said.out, said.err, *ours])
    assert KEY not in text and SECRET not in text
    assert KEY.encode() not in held and SECRET.encode() not in held
