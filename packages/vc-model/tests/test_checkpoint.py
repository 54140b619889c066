import json
import shutil
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from vc_model.anchored import Anchored, AnchoredConfig
from vc_model.anchored.gp import GPConfig
from vc_model.checkpoint import load_checkpoint, save_checkpoint
from vc_model.errors import CheckpointError, ContractError
from vc_model.models import MODELS, fit_models
from vc_model.stored import stored
from vc_model.testing import make_world

CONFIG = AnchoredConfig(gp=GPConfig(context=False))


@pytest.fixture(scope="module")
def world():
    return make_world(n_train=30, n_test=8, n_genes=40, n_combos=30, n_test_combos=10, interaction=0.4)


@pytest.fixture(scope="module")
def fitted(world):
    return Anchored(CONFIG).fit(world.train)


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "model"
    save_checkpoint(path, fitted, metrics={"mse": 0.5}, commit="abc", parents={"screen.zarr": "0"})
    return path


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def assert_same(one, other):
    for name in ("delta_pg", "mean_pg", "var_pg"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_predictions_after_loading_are_equal_to_the_bit(saved, fitted, world):
    loaded = load_checkpoint(saved)
    assert_same(loaded.predict(world.test), fitted.predict(world.test))
    assert loaded.config == CONFIG
    meta = json.loads((saved / "meta.json").read_text())
    assert (meta["metrics"], meta["commit"], meta["contract"]["name"]) == ({"mse": 0.5}, "abc", "checkpoint")
    assert meta["genes"] == list(world.train.genes)


def test_every_baseline_survives_a_round_trip(world, tmp_path):
    for name, model in fit_models(world.train, [name for name in MODELS if name != "anchored"]).items():
        save_checkpoint(tmp_path / name, model)
        assert_same(load_checkpoint(tmp_path / name).predict(world.test), model.predict(world.test))


def test_arrays_lie_in_memory_as_they_did_because_the_last_bit_of_a_product_depends_on_it(world, tmp_path):
    model = fit_models(world.train, ["knn"])["knn"]
    save_checkpoint(tmp_path / "knn", model)
    before, after = arrays_of(model), arrays_of(load_checkpoint(tmp_path / "knn"))
    assert [array.strides for array in before] == [array.strides for array in after]
    assert any(array.flags.fnc for array in before), "one of them has to lie by columns"


def arrays_of(part):
    if isinstance(part, np.ndarray):
        return [part]
    if is_dataclass(part):
        part = tuple(getattr(part, field.name) for field in fields(part))
    return [array for one in part for array in arrays_of(one)] if isinstance(part, tuple | list) else []


def test_an_array_that_many_parts_share_is_stored_once(saved):
    config = json.loads((saved / "config.json").read_text())
    shapes = [entry[0] for entry in config["arrays"].values()]
    # The effects that the Gaussian process has solved for; control profiles are those of model and features.
    assert shapes.count([60, 40]) == 1
    assert shapes.count([1, 40, 4]) == 1


@pytest.mark.parametrize("item", ["params", "config.json", "meta.json"])
def test_a_missing_item_is_refused(copy, item):
    shutil.rmtree(copy / item) if item == "params" else (copy / item).unlink()
    with pytest.raises(CheckpointError, match=item):
        load_checkpoint(copy)


def _reshape(config):
    next(iter(config["arrays"].values()))[0][0] += 1


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(model="oracle"),
        lambda config: config["arrays"].popitem(),
        lambda config: config["arrays"].update(extra=[[2], "float32"]),
        _reshape,
        lambda config: config["objects"][0].update({"class": "Oracle"}),
        lambda config: config["objects"][-1]["fields"].pop("spread"),
        lambda config: config.update(root=3),
        lambda config: config.pop("objects"),
    ],
)
def test_a_config_that_does_not_fit_the_parameters_is_refused(copy, change, monkeypatch):
    monkeypatch.setenv("VC_TRUST_CONTENT", "1")  # otherwise the hash of the content is what refuses
    edit(copy / "config.json", change)
    with pytest.raises(CheckpointError):
        load_checkpoint(copy)


def test_a_checkpoint_that_does_not_tell_modules_is_read(copy, fitted, world, monkeypatch):
    """Those written before modules were told."""
    monkeypatch.setenv("VC_TRUST_CONTENT", "1")
    edit(copy / "config.json", lambda config: [entry.pop("module") for entry in config["objects"]])
    assert_same(load_checkpoint(copy).predict(world.test), fitted.predict(world.test))


def test_a_checkpoint_cannot_have_anything_imported_or_made_that_is_not_marked(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("VC_TRUST_CONTENT", "1")
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    for name, module in (
        ("Planted", "planted"),
        ("Planted", "..planted"),
        ("Planted", "table.planted"),
        ("Planted", 3),
        ("Popen", "subprocess"),
        ("EffectTable", "table.effects"),
    ):
        edit(
            copy / "config.json",
            lambda config, entry={"class": name, "module": module}: config["objects"][0].update(entry),
        )
        with pytest.raises(CheckpointError):
            load_checkpoint(copy)
    assert not (tmp_path / "ran").exists()


def test_two_stored_classes_cannot_share_a_name():
    with pytest.raises(TypeError, match=r"FeatureMap is stored by vc_model\.table\.features"):
        stored(type("FeatureMap", (), {}))


def test_a_wrong_header_is_refused(copy):
    edit(copy / "meta.json", lambda meta: meta["contract"].update(version="2.0"))
    with pytest.raises(ContractError, match="version"):
        load_checkpoint(copy)


def test_nothing_is_left_of_a_failed_save(fitted, tmp_path):
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / "model", fitted, metrics={"bad": {1, 2}})
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_another_version_is_refused_with_its_fields():
    from vc_model.checkpoint import _Reader

    entry = {"class": "Action", "module": "table.effects", "fields": {"targets": {"tuple": ["A"]}, "strata": 1}}
    with pytest.raises(ValueError, match=r"Action with \['strata'\], as another version of vc-model wrote it"):
        _Reader({}, [entry])
