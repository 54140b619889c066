"""checkpoint-v1: vc-model writes one, and refuses what has been damaged since.

The folder holds an orbax item, which only the model's own package can make, so the broken ones are damaged copies.
"""

import gc
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus.base import HEADER_FAULTS
from test_contracts import is_refusal
from vc_model.checkpoint import load_checkpoint, save_checkpoint
from vc_model.errors import TableError
from vc_model.models import make_model

READER = "vc_model.checkpoint:load_checkpoint"


@pytest.fixture(scope="module")
def checkpoint(world, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "valid"
    save_checkpoint(path, make_model("feature_ridge").fit(world.train), metrics={"pearson_delta": 0.5})
    return path


@pytest.fixture
def copy(checkpoint, tmp_path) -> Path:
    return shutil.copytree(checkpoint, tmp_path / "damaged")


def edit(name: str, change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = json.loads((path / name).read_text())
        change(content)
        (path / name).write_text(json.dumps(content))

    return damage


def set_header(content: dict, changes: dict) -> None:
    merged = {**content["contract"], **changes}
    content["contract"] = {key: value for key, value in merged.items() if value is not None}


def change_shape(content: dict) -> None:
    next(iter(content["arrays"].values()))[0][0] += 1


def cut_json(path: Path) -> None:
    path.write_text(path.read_text()[:-10])


BROKEN = {
    **{
        name: (edit("meta.json", lambda c, x=changes: set_header(c, x)), words)
        for name, (changes, words) in HEADER_FAULTS.items()
    },
    "no_header": (edit("meta.json", lambda c: c.pop("contract")), ("contract",)),
    "no_params": (lambda p: shutil.rmtree(p / "params"), ("params",)),
    "no_config": (lambda p: (p / "config.json").unlink(), ("config.json",)),
    "no_meta": (lambda p: (p / "meta.json").unlink(), ("meta.json",)),
    "config_cut": (lambda p: cut_json(p / "config.json"), ("config.json",)),
    "meta_cut": (lambda p: cut_json(p / "meta.json"), ("meta.json",)),
    "unknown_model": (edit("config.json", lambda c: c.update(model="oracle")), ("model",)),
    "no_model": (edit("config.json", lambda c: c.pop("model")), ("model",)),
    "unknown_class": (edit("config.json", lambda c: c["objects"][0].update({"class": "Oracle"})), ("config.json",)),
    "shape_that_differs": (edit("config.json", change_shape), ("params", "arrays")),
    "array_not_in_params": (
        edit("config.json", lambda c: c["arrays"].update(extra=[[2], "float32"])),
        ("params", "arrays"),
    ),
    "array_not_in_config": (edit("config.json", lambda c: c["arrays"].popitem()), ("params", "arrays")),
    "no_genes": (edit("meta.json", lambda c: c.pop("genes")), ("genes",)),
    "other_genes": (edit("meta.json", lambda c: c["genes"].reverse()), ("genes",)),
    "other_cell_lines": (edit("meta.json", lambda c: c.update(cell_lines=["nobody"])), ("cell_lines",)),
}


def test_a_fresh_one_is_read_and_predicts_the_same(checkpoint, world):
    fitted = make_model("feature_ridge").fit(world.train)
    np.testing.assert_array_equal(
        load_checkpoint(checkpoint).predict(world.test).delta_pg, fitted.predict(world.test).delta_pg
    )


def test_a_biojepa_is_read_and_predicts_the_same(biojepa, world, tmp_path):
    save_checkpoint(tmp_path / "biojepa", biojepa)
    config = json.loads((tmp_path / "biojepa" / "config.json").read_text())
    found, expected = load_checkpoint(tmp_path / "biojepa").predict(world.test), biojepa.predict(world.test)
    assert config["model"] == "biojepa" and np.abs(expected.delta_pg).max() > 0
    np.testing.assert_array_equal(found.delta_pg, expected.delta_pg)
    np.testing.assert_array_equal(found.var_pg, expected.var_pg)


def test_a_biojepa_after_its_first_stage_is_read_and_refuses_to_predict(biojepa, world, tmp_path):
    parts = {name: biojepa.parts[name] for name in ("encoder", "teacher", "maskpred")}
    pretrained = replace(biojepa, parts=parts, stages=("pretrain",), spread=None)
    save_checkpoint(tmp_path / "pretrained", pretrained)
    found = load_checkpoint(tmp_path / "pretrained")
    np.testing.assert_array_equal(found.encode_contexts(), biojepa.encode_contexts())
    with pytest.raises(TableError, match="all four stages trained"):
        found.predict(world.test)


@pytest.mark.parametrize("name", ["array_not_in_params", "array_not_in_config", "shape_that_differs", "other_genes"])
def test_refuses_a_damaged_biojepa(name, biojepa, tmp_path):
    path = tmp_path / "biojepa"
    save_checkpoint(path, biojepa)
    damage, words = BROKEN[name]
    damage(path)
    with pytest.raises(Exception, match="|".join(words)) as refusal:
        load_checkpoint(path)
    assert is_refusal(refusal.value, READER) and str(path) in str(refusal.value)


def test_a_fresh_one_holds_the_items_of_the_page(checkpoint):
    config, meta = (json.loads((checkpoint / name).read_text()) for name in ("config.json", "meta.json"))
    assert (checkpoint / "params").is_dir()
    assert config["model"] == "feature_ridge"
    assert {"contract", "genes", "cell_lines", "metrics", "commit"} <= set(meta)
    assert (meta["contract"]["name"], meta["contract"]["version"]) == ("checkpoint", "1.0")
    assert meta["metrics"] == {"pearson_delta": 0.5}


def test_a_greater_minor_version_with_unknown_keys_is_read(copy):
    edit(
        "meta.json",
        lambda c: (set_header(c, {"version": "1.9", "unknown": 1, "content": None}), c.update(unknown=[None])),
    )(copy)
    edit("config.json", lambda c: c.update(unknown=1))(copy)
    (copy / "unknown.txt").write_text("x")
    assert load_checkpoint(copy) is not None


@pytest.mark.parametrize("name", BROKEN)
def test_refuses(name, copy):
    damage, words = BROKEN[name]
    damage(copy)
    with pytest.raises(Exception) as refusal:
        load_checkpoint(copy)
    assert is_refusal(refusal.value, READER), f"{type(refusal.value)}: {refusal.value}"
    message = str(refusal.value)
    assert str(copy) in message
    assert any(word in message for word in words), f"none of {words} in: {message}"


def test_refuses_what_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("absent", "file", "empty"):
        with pytest.raises(Exception, match=name) as refusal:
            load_checkpoint(tmp_path / name)
        assert is_refusal(refusal.value, READER), f"{name}: {type(refusal.value)}: {refusal.value}"


# A failed restore leaves orbax event loops behind, which complain when they are collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cut_file_is_never_a_foreign_error(copy):
    """Every file of the folder, cut in half: refused, or of no consequence."""
    foreign, refused = [], []
    for part in sorted(p for p in copy.rglob("*") if p.is_file() and p.stat().st_size > 1):
        whole = part.read_bytes()
        part.write_bytes(whole[: len(whole) // 2])
        try:
            load_checkpoint(copy)
        except Exception as error:
            name = str(part.relative_to(copy))
            (refused if is_refusal(error, READER) else foreign).append(f"{name}: {type(error).__name__}: {error}"[:160])
        part.write_bytes(whole)
    gc.collect()
    assert not foreign, "foreign errors:\n" + "\n".join(foreign)
    assert len(refused) >= 3
