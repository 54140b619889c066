import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from vc_eval import contracts, testing
from vc_eval.errors import ContractError


@pytest.fixture
def screen():
    return testing.make_screen(n_genes=8, n_perturbations=4, n_cells=4, n_controls=12)


def set_obs(column, value, row=-1):
    def damage(screen):
        values = screen.obs[column].to_numpy(copy=True).astype(object)
        values[row] = value
        screen.obs[column] = values

    return damage


def set_x(value):
    def damage(screen):
        screen.X.data[0] = value

    return damage


def set_header(**change):
    def damage(adata):
        adata.uns["contract"] = json.dumps(json.loads(adata.uns["contract"]) | change)

    return damage


def stored_zero(screen):
    screen.X.data[0] = 0


def dense(screen):
    screen.X = screen.X.toarray()


def groups_gap(screen):
    screen.uns["groups"] = screen.uns["groups"].iloc[1:]


def groups_disagree(screen):
    screen.uns["groups"] = screen.uns["groups"].assign(batch="other")


def without(place, key):
    def damage(adata):
        holder = getattr(adata, place)
        del holder[key]

    return damage


SCREEN_DAMAGE = {
    "no header": (without("uns", "contract"), "contract"),
    "header is not JSON": (lambda a: a.uns.__setitem__("contract", "{"), "JSON"),
    "no version": (set_header(version=None), "version"),
    "another contract": (set_header(name="features"), "'features'"),
    "newer major": (set_header(version="2.0"), "Update to read"),
    "missing column": (without("obs", "batch"), "no 'batch'"),
    "missing var column": (without("var", "measured"), "no 'measured'"),
    "negative count": (set_x(-1), "negative"),
    "fraction": (set_x(0.5), "fraction"),
    "not finite": (set_x(np.inf), "finite"),
    "stored zero": (stored_zero, "stored zeros"),
    "dense": (dense, "CSR"),
    "control disagrees": (set_obs("is_control", True), "is_control"),
    "mode": (set_obs("mode", 9), "0..8"),
    "total is zero": (set_obs("total_counts", 0.0), "total_counts"),
    "total is NaN": (set_obs("total_counts", np.nan), "total_counts"),
    "groups leave a gap": (groups_gap, "tile"),
    "groups disagree": (groups_disagree, "batch"),
    "no groups": (without("uns", "groups"), "groups"),
}


@pytest.mark.parametrize(("damage", "message"), SCREEN_DAMAGE.values(), ids=SCREEN_DAMAGE)
def test_damaged_screen_is_refused(screen, damage, message):
    contracts.read_screen(screen)
    damage(screen)
    with pytest.raises(ContractError, match=message):
        contracts.read_screen(screen)


def test_screen_without_control_or_with_doubled_names_is_refused(screen):
    with pytest.raises(ContractError, match="no control cell"):
        contracts.read_screen(screen[~screen.obs["is_control"]].copy())
    screen.obs.index = ["c"] * screen.n_obs
    with pytest.raises(ContractError, match="repeated: 'c'"):
        contracts.read_screen(screen)


@pytest.mark.parametrize("suffix", [".zarr", ".h5ad"])
def test_files_read_like_objects(screen, tmp_path, suffix):
    path = tmp_path / f"screen{suffix}"
    screen.write_zarr(path) if suffix == ".zarr" else screen.write_h5ad(path)
    read = contracts.read_screen(path)
    np.testing.assert_array_equal(read.X.toarray(), screen.X.toarray())
    newer = json.loads(read.uns["contract"]) | {"version": "1.7", "unknown": 1}
    read.uns["contract"] = json.dumps(newer)
    read.obs["unknown"] = 1
    contracts.read_screen(read)  # a newer minor version and unknown fields are accepted


def test_absent_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(ContractError, match="nothing there"):
        contracts.read_screen(tmp_path / "absent.zarr")
    (tmp_path / "text.h5ad").write_text("no")
    with pytest.raises(ContractError, match="can be read"):
        contracts.read_predictions(tmp_path / "text.h5ad")


def set_part(part):
    return lambda s: s["conditions"][0].update(part=part)


SPLIT_DAMAGE = {
    "part": (set_part("holdout"), "holdout"),
    "recipe": (lambda s: s.update(recipe=""), "recipe"),
    "repeat": (lambda s: s["conditions"].append(s["conditions"][0]), "repeated"),
    "unknown condition": (lambda s: s["conditions"][0].update(perturbation="X"), "others"),
    "missing condition": (lambda s: s["conditions"].pop(0), "missing"),
    "empty test": (lambda s: [c.update(part="train") for c in s["conditions"]], "one or more in 'test'"),
    "empty train": (lambda s: [c.update(part="test") for c in s["conditions"]], "one or more in 'train'"),
    "overlap": (lambda s: s["controls"]["input"].append(s["controls"]["evaluation"][0]), "share no cell"),
    "empty controls": (lambda s: s["controls"].update(input=[]), "one or more"),
    "unknown control": (lambda s: s["controls"]["input"].append("nobody"), "nobody"),
    "no controls": (lambda s: s.pop("controls"), "controls"),
    "header": (lambda s: s["contract"].update(name="screen"), "'screen'"),
}


@pytest.mark.parametrize(("damage", "message"), SPLIT_DAMAGE.values(), ids=SPLIT_DAMAGE)
def test_damaged_splits_are_refused(screen, damage, message):
    splits = testing.make_splits(screen, n_test=2)
    contracts.read_splits(splits, screen)
    damage(splits)
    with pytest.raises(ContractError, match=message):
        contracts.read_splits(splits, screen)


def test_splits_file(screen, tmp_path):
    path = tmp_path / "split.json"
    path.write_text(json.dumps(testing.make_splits(screen, n_test=2)))
    assert (contracts.read_splits(path, screen).conditions["part"] == "test").sum() == 2
    path.write_text("{")
    with pytest.raises(ContractError, match="JSON"):
        contracts.read_splits(path)


def uns(key, value):
    return lambda a: a.uns.__setitem__(key, value)


def repeat_profile(a):
    a.obs["perturbation"] = [*a.obs["perturbation"][:-1], a.obs["perturbation"].iloc[-2]]


def without_control(a):
    a.obs["perturbation"] = ["G0009", *a.obs["perturbation"][1:]]
    a.obs["is_control"] = False


PREDICTION_DAMAGE = {
    "space": (uns("space", "log2"), "log2"),
    "unit": (uns("unit", "well"), "well"),
    "model": (uns("model", ""), "model"),
    "column": (without("obs", "cell_line"), "no 'cell_line'"),
    "not finite": (lambda a: a.X.__setitem__((0, 0), np.nan), "finite"),
    "negative": (lambda a: a.X.__setitem__((0, 0), -0.1), "negative"),
    "negative sd": (lambda a: a.layers["sd"].__setitem__((0, 0), -1), "sd"),
    "genes twice": (lambda a: setattr(a, "var_names", ["G"] * a.n_vars), "repeated: 'G'"),
    "profile twice": (repeat_profile, "twice"),
    "no control row": (without_control, "control row"),
    "header": (set_header(name="screen"), "'screen'"),
}


@pytest.mark.parametrize(("damage", "message"), PREDICTION_DAMAGE.values(), ids=PREDICTION_DAMAGE)
@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_damaged_predictions_are_refused(screen, damage, message):
    adata = testing.make_predictions(screen, testing.make_splits(screen, n_test=2), sd=0.1)
    contracts.read_predictions(adata)
    damage(adata)
    with pytest.raises(ContractError, match=message):
        contracts.read_predictions(adata)


def test_sparse_predictions_are_accepted(screen):
    adata = testing.make_predictions(screen, testing.make_splits(screen, n_test=2))
    adata.X = scipy.sparse.csr_matrix(adata.X)
    contracts.read_predictions(adata)


def scores_table():
    row = dict.fromkeys(("value", "lower", "upper", "baseline", "ceiling"), 0.5) | {"n": 3, "metric_version": "1"}
    base = {"model": "m", "dataset": "d", "split": "s", "group": "all"}
    return pd.DataFrame([base | row | {"metric": "b"}, base | row | {"metric": "a", "lower": np.nan, "upper": np.nan}])


def write(folder, table):
    contracts.write_scores(folder, table, parents={"x": "0"}, config={"seed": 0}, summary={"model": "m"})


def test_scores_round_trip_in_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    write(tmp_path / "one", scores_table())
    write(tmp_path / "two", scores_table().iloc[::-1])
    for name in ("scores.parquet", "scores.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    table, summary = contracts.read_scores(tmp_path / "one")
    assert table["metric"].tolist() == ["a", "b"] and summary == {"model": "m"}
    assert table.dtypes["n"] == np.int64 and np.isnan(table["lower"][0])
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["scores.json", "scores.parquet"]


def test_scores_header_takes_its_time_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    write(tmp_path, scores_table())
    assert json.loads((tmp_path / "scores.json").read_text())["contract"]["created"] == "1970-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="n"), "no n"),
        (lambda t: t.assign(lower=0.6), "inside"),
        (lambda t: pd.concat([t, t]), "twice"),
    ],
)
def test_damaged_scores_are_refused_on_both_sides(tmp_path, change, message):
    with pytest.raises(ContractError, match=message):
        write(tmp_path / "new", change(scores_table()))
    assert not (tmp_path / "new").exists()
    write(tmp_path / "old", scores_table())
    change(scores_table()).to_parquet(tmp_path / "old" / "scores.parquet")
    with pytest.raises(ContractError, match=message):
        contracts.read_scores(tmp_path / "old")


def test_unreadable_scores_are_refused(tmp_path):
    write(tmp_path, scores_table())
    (tmp_path / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(ContractError, match="parquet"):
        contracts.read_scores(tmp_path)
    (tmp_path / "scores.json").unlink()
    with pytest.raises(ContractError, match="nothing there"):
        contracts.read_scores(tmp_path)


def test_folder_hash_is_the_one_of_the_contract(tmp_path):
    import hashlib

    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"1")
    (tmp_path / "a").write_bytes(b"2")
    one, two = (hashlib.sha256(x).hexdigest() for x in (b"2", b"1"))
    assert contracts.sha256_tree(tmp_path) == hashlib.sha256(f"a\0{one}\nb/x\0{two}\n".encode()).hexdigest()
    assert contracts.sha256_tree(tmp_path / "a") == one


def test_scores_of_two_versions_of_the_data_are_not_compared(tmp_path, monkeypatch):
    def scored(name, **parents):
        config = {"truth": ["screen.zarr"]} if parents else {}
        contracts.write_scores(tmp_path / name, scores_table(), parents=parents, config=config, summary={})
        return tmp_path / name

    one, same = (scored(name, **{"screen.zarr": "a" * 64, f"{name}.zarr": name * 16}) for name in ("aaaa", "bbbb"))
    other = scored("cccc", **{"screen.zarr": "b" * 64})
    contracts.check_same_truth(one, same)
    contracts.check_same_truth(one, scored("older"))
    with pytest.raises(ContractError, match=r"another content of 'screen\.zarr'"):
        contracts.check_same_truth(one, other)
    monkeypatch.setenv("VC_TRUST_CONTENT", "1")
    contracts.check_same_truth(one, other)
