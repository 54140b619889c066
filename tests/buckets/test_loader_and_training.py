"""The loader and training on a bucket: the same batches, and a machine that goes on where another was taken away."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import vc_contracts
from vc_contracts.bucket import local, remote
from vc_contracts.bucket.address import parse
from vc_contracts.bucket.errors import BucketError
from vc_data.loader.pipeline import Loader


@pytest.fixture
def there(world, bucket) -> str:
    local.upload(world / "demo.zarr", f"{bucket}/demo.zarr")
    local.upload(world / "splits.json", f"{bucket}/splits.json")
    return bucket


def same(loader: Loader, other: Loader) -> None:
    assert loader.sampler.fingerprint == other.sampler.fingerprint
    for one, two in zip(loader, other, strict=True):
        assert one.keys() == two.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


def test_batches_are_those_of_the_local_screen(world, there, tmp_path):
    own = Loader.open([world / "demo.zarr"], [world / "splits.json"], epochs=1, packed_dir=tmp_path)
    from_bucket = Loader.open([f"{there}/demo.zarr"], [f"{there}/splits.json"], epochs=1)
    same(own, from_bucket)
    items = remote.items_in(parse(f"{there}/demo.zarr.packed"))
    assert {"zarr.json", "stamp.json"} <= items.keys()
    # The packed copy is made once, lies beside the screen, and nothing of it stays here.
    Loader.open([f"{there}/demo.zarr"], [f"{there}/splits.json"], epochs=1)
    assert remote.items_in(parse(f"{there}/demo.zarr.packed")) == items
    assert not list((tmp_path / "cache" / "packed").rglob("*.zarr*"))


def test_batches_come_whole_over_connections_that_break(world, there, dropping, tmp_path):
    own = Loader.open([world / "demo.zarr"], None, epochs=1, packed_dir=tmp_path, mode="cells", batch_size=256)
    from_bucket = Loader.open([f"{there}/demo.zarr"], None, epochs=1, mode="cells", batch_size=256)
    same(own, from_bucket)
    assert dropping.dropped > 1


def test_the_packed_copy_of_another_screen_is_not_taken(there):
    from vc_data.loader.packed import find_fault

    screen, packed = Path(f"{there}/demo.zarr"), Path(f"{there}/demo.zarr.packed")
    assert find_fault(screen, packed) == "no packed copy"
    Loader.open([screen], epochs=1)
    assert find_fault(screen, packed) is None
    remote.put(parse(screen / "obs" / "zarr.json"), b"other")
    assert find_fault(screen, packed) == "packed copy of another screen (hashes differ)"
    remote.delete(parse(packed), ["codes/c/0"])
    assert find_fault(screen, packed) == "packed copy with missing or cut files"


def test_on_a_full_disk_it_is_read_in_place(world, there, monkeypatch, caplog, tmp_path):
    from vc_contracts.bucket import lazy

    own = Loader.open([world / "demo.zarr"], None, epochs=1, packed_dir=tmp_path)
    monkeypatch.setattr(lazy, "SPARE", 1 << 60)
    same(own, Loader.open([f"{there}/demo.zarr"], None, epochs=1))
    assert "it is read in place" in caplog.text
    assert not [path for path in (tmp_path / "cache" / "lazy").rglob("*") if path.is_file()]


def test_where_nothing_may_be_written_the_packed_copy_stays_here(world, there, monkeypatch, caplog, tmp_path):
    from vc_data.loader import pack

    def refuse(path, address, **_):
        raise BucketError(str(address), "bucket", "permission", "permission denied for these credentials", "Ask.")

    monkeypatch.setattr(pack, "upload", refuse)
    own = Loader.open([world / "demo.zarr"], None, epochs=1, packed_dir=tmp_path)
    same(own, Loader.open([f"{there}/demo.zarr"], None, epochs=1))
    assert "permission denied" in caplog.text and "is kept in" in caplog.text


def test_a_bucket_that_goes_away_is_one_refusal(there, dropping):
    loader = Loader.open([f"{there}/demo.zarr"], None, epochs=1, read_threads=0)
    dropping.close()
    with pytest.raises(BucketError, match=r"s3://.*demo.zarr.packed.*a dropped or refused connection"):
        for _ in loader:
            pass


def test_another_machine_goes_on_and_ends_as_if_nothing_had_happened(bucket, tmp_path):
    from vc_model.train.interrupt import InterruptedRun
    from vc_model.train.loop import TrainConfig, train
    from vc_model.train.optimiser import OptimiserConfig
    from vc_model.train.testing import ToyBatches, make_toy_params, make_toy_stage

    config = TrainConfig(steps=6, optimiser=OptimiserConfig(peak_rate=1e-2), log_every=2, save_every=2)

    def go(folder: Path, stop_after: int = 100) -> object:
        asked = iter(range(1, 1000))
        return train(
            make_toy_stage(), *make_toy_params(), ToyBatches(), config, folder, n_genes=24,
            should_stop=lambda: next(asked) >= stop_after,
        )  # fmt: skip

    whole = go(tmp_path / "whole")
    out = f"{bucket}/runs/model"
    work = local.work_place(out).with_name("model.train") / "toy"
    with pytest.raises(InterruptedRun):
        go(work, stop_after=3)
    saves = parse(f"{bucket}/runs/model.train/toy/saves")
    assert {"2.whole.json", "3.whole.json"} <= set(remote.items_in(saves))
    remote.delete(saves, ["3/_CHECKPOINT_METADATA"])  # as if the machine had been taken away in the middle
    shutil.rmtree(tmp_path / "cache")

    work = local.work_place(out).with_name("model.train") / "toy"
    state = go(work)
    import jax

    jax.tree.map(np.testing.assert_array_equal, state.params, whole.params)
    assert (work / "metrics.jsonl").read_text().count("\n") == 3
    assert {name.partition("/")[0] for name in remote.items_in(saves)} == {"4", "4.whole.json", "6", "6.whole.json"}

    # Unfinished work is removed once the output is there.
    with local.delivered(out) as made:
        shutil.copytree(tmp_path / "whole", made)
        (made / "meta.json").write_text("{}")
        shutil.rmtree(work.parent)
    assert not remote.items_in(saves)
    assert "meta.json" in remote.items_in(parse(out))


def test_fit_and_predict_from_and_to_a_bucket_equal_the_local_ones(world, there, tmp_path, monkeypatch):
    from vc_apps.cli import main

    monkeypatch.chdir(tmp_path)
    for screen, splits, out in (
        (world / "demo.zarr", world / "splits.json", tmp_path),
        *[(f"{there}/demo.zarr", f"{there}/splits.json", there)],
    ):
        assert main(["fit", str(screen), "--split", str(splits), "--model", "mean_effect", "-o", f"{out}/model"]) == 0
        assert main(["predict", f"{out}/model", str(screen), str(splits), "-o", f"{out}/predictions.zarr"]) == 0
    own, read = (vc_contracts.read(f"{out}/predictions.zarr", "predictions") for out in (tmp_path, there))
    np.testing.assert_array_equal(own.X, read.X)
    meta = vc_contracts.read(f"{there}/model", "checkpoint")["meta.json"]["contract"]
    assert meta["config"]["settings"]["screen"] == [f"{there}/demo.zarr"]
    assert meta["config"]["settings"]["out"] == f"{there}/model"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("s3:")]


def test_records_name_addresses_and_not_their_local_copies(there):
    import dataclasses

    from vc_apps.outputs import plain
    from vc_contracts.bucket.stage import run_staged

    @dataclasses.dataclass(frozen=True)
    class Settings:
        splits: Path
        out: Path

    typed = Settings(Path(f"{there}/splits.json"), Path(f"{there}/model"))
    told = run_staged(lambda settings: (settings.splits.is_file(), plain(settings)), typed)
    assert told == (True, {"splits": f"{there}/splits.json", "out": f"{there}/model"})
