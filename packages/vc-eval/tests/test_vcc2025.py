"""Parity of `vcc2025` with cell-eval 0.8.2 and pdex 0.3.0, its edge cases, and what must not change it."""

import logging
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from vc_eval.cells import inputs, rows, rules
from vc_eval.cells import ranked as cells
from vc_eval.cells.settings import Settings
from vc_eval.errors import VcEvalError
from vc_eval.vcc2025 import rule as vcc2025

CONTROL = "non-targeting"
PEER_COLUMNS = {"vcc2025/des": "overlap_at_N", "vcc2025/mae": "mae", "vcc2025/pds": "discrimination_score_l1"}


@pytest.fixture(scope="module")
def peer():
    """cell-eval and pdex, quiet; skipped where they are not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("cell_eval")
        import cell_eval
        import pdex
    logging.getLogger("cell_eval").setLevel(logging.ERROR)
    return cell_eval, pdex


def make(values, labels, genes=None):
    values = values if scipy.sparse.issparse(values) else np.asarray(values)
    genes = [f"G{k:03d}" for k in range(values.shape[1])] if genes is None else genes
    obs = pd.DataFrame({"target_gene": np.asarray(labels, object)}, index=[f"c{k}" for k in range(len(labels))])
    return anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=pd.Index(list(genes), dtype=object)))


def screen(seed=0, *, n_p=6, n_genes=80, n=20, n_control=50, log=True, noise=0.0, dtype=np.float32):
    """Poisson counts with effects; `noise` replaces that share of values by another draw."""
    labels = np.array([CONTROL] * n_control + [f"G{p:03d}" for p in range(n_p) for _ in range(n)])
    rng = np.random.default_rng(seed)
    base = rng.gamma(0.6, 1.5, n_genes)
    effects = rng.normal(0, 1.2, (n_p, n_genes)) * (rng.random((n_p, n_genes)) < 0.3)
    rate = np.vstack([np.tile(base, (n_control, 1)), np.repeat(base * np.exp(effects), n, axis=0)])
    draw = np.random.default_rng([seed, int(noise * 1000)])
    counts = draw.poisson(rate * draw.gamma(10, 0.1, (len(labels), 1)))
    other = draw.poisson(np.tile(base, (len(labels), 1)))
    counts = np.where(draw.random(counts.shape) < noise, other, counts)
    values = np.log1p(counts / np.maximum(counts.sum(1, keepdims=True), 1) * 1e4) if log else counts
    order = draw.permutation(len(labels))
    return make(scipy.sparse.csr_matrix(values[order].astype(dtype)), labels[order])


def ours(pred, real, rule="vcc2025", **kwargs):
    frame = rules.score_pair(pred.copy(), real.copy(), rule=rule, settings=Settings(**kwargs)).per_perturbation
    return frame.set_index(["metric", "perturbation"])


def theirs(peer, pred, real, tmp_path, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = peer[0].MetricsEvaluator(
            adata_pred=pred.copy(), adata_real=real.copy(), pert_col="target_gene", num_threads=1,
            outdir=str(tmp_path / "peer"), **kwargs,
        )  # fmt: skip
        results, aggregate = evaluator.compute(profile="vcc", write_csv=False, break_on_error=True)
    return results.to_pandas().set_index("perturbation").sort_index(), aggregate.to_pandas()


def assert_same(mine, peer_results):
    for metric, column in PEER_COLUMNS.items():
        part, expected = mine.loc[metric].sort_index(), peer_results[column]
        assert list(part.index) == list(expected.index)
        if metric == "vcc2025/mae":
            np.testing.assert_allclose(part["value"], expected, atol=1e-6)
            continue
        # The peer's value lies inside our interval, and an interval without width is the value: exactly.
        assert ((part["lower"] - 1e-12 <= expected) & (expected <= part["upper"] + 1e-12)).all(), metric
        certain = part["lower"] == part["upper"]
        np.testing.assert_allclose(part["value"][certain], expected[certain], atol=1e-12, err_msg=metric)


def assert_same_table(peer, adata):
    genes = adata.var_names.to_numpy(str)
    labels = adata.obs["target_gene"].to_numpy(str)
    table = cells.read_side(adata.copy(), labels, genes, name="real", settings=Settings()).table()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = peer[1].pdex(
            adata.copy(), groupby="target_gene", mode="ref", reference=CONTROL, is_log1p=True, epsilon=0.0, threads=1
        )
    for column, value in (("statistic", table.u_pg), ("p_value", table.p_value_pg), ("fdr", table.q_value_pg)):
        np.testing.assert_array_equal(frame[column].to_numpy().reshape(value.shape), value, err_msg=column)
    lfc = frame["log2_fold_change"].to_numpy().reshape(table.lfc_pg.shape)
    finite = np.isfinite(lfc)
    np.testing.assert_array_equal(finite, np.isfinite(table.lfc_pg))
    np.testing.assert_array_equal(lfc[~finite], table.lfc_pg[~finite])
    np.testing.assert_allclose(table.lfc_pg[finite], lfc[finite], atol=1e-4)


@st.composite
def small_screens(draw):
    """Log1p values with zeros, ties, constant and all-zero genes, single cells; a fraction is always among them."""
    n_genes, n_p = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    sizes = [draw(st.integers(1, 8)) for _ in range(n_p + 1)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([[0, 0.5], [0, 0, 0.7, 1.3], [0.0, 0.25, 0.5, 1.75, 3.5], None]))
    shape = (sum(sizes), n_genes)
    values = rng.choice(levels, shape) if levels else rng.exponential(1.0, shape) * (rng.random(shape) < 0.6)
    values[:, rng.random(n_genes) < 0.15] = 0
    values[0, 0] = 0.5
    labels = np.repeat([CONTROL, "G000", "G001", "other"][: n_p + 1], sizes)
    order = rng.permutation(len(labels))
    layout, dtype = draw(st.sampled_from([(scipy.sparse.csr_matrix, np.float32), (np.asarray, np.float64)]))
    return make(layout(values[order].astype(dtype)), labels[order])


@settings(deadline=None)
@given(adata=small_screens())
def test_u_p_and_fdr_equal_pdex_to_the_last_bit(peer, adata):
    assert_same_table(peer, adata)


@pytest.mark.parametrize(("log", "dtype"), [(True, np.float32), (True, np.float64), (False, np.float32)])
def test_scores_and_tables_equal_cell_eval_on_simulated_screens(peer, tmp_path, log, dtype):
    real = screen(3, log=log, dtype=dtype)
    pred = screen(3, log=log, noise=0.4, dtype=dtype)
    assert_same(ours(pred, real), theirs(peer, pred, real, tmp_path)[0])
    if log:
        assert_same_table(peer, pred)


def test_fewer_and_more_cells_and_other_controls_on_the_predicted_side(peer, tmp_path):
    real, pred = screen(1), screen(1, n=33, n_control=17, noise=0.3)
    assert_same(ours(pred, real), theirs(peer, pred, real, tmp_path)[0])


def real_file(name, n_perturbations=8):
    folder = next((p / "shared/data/single_cell" for p in Path(__file__).parents if (p / "shared/data").is_dir()), None)
    if folder is None:
        pytest.skip("shared/data is not beside the workspace")
    adata = anndata.read_h5ad(folder / name)
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    kept = np.isin(labels, ["control", *sorted(set(labels) - {"control"})[:n_perturbations]])
    labels = np.where(labels == "control", CONTROL, labels)[kept]
    return make(scipy.sparse.csr_matrix(adata.X[kept]), labels, adata.var_names.astype(str))


@pytest.mark.parametrize(
    "name",
    [
        "norman2019_k562_crispra_500g.h5ad",
        "mcfaline2023_gbm_crispri_500g.h5ad",
        "srivatsan2020_a549_dexamethasone.h5ad",
        "datlinger2021_jurkat_crisprko_tcrstim.h5ad",
        "kang2018_pbmc_ifnb.h5ad",
        "schraivogel2020_k562_crispri_tapseq.h5ad",
        "zhao2021_glioblastoma_panobinostat.h5ad",
        "gasperini2019_k562_crispri_highmoi.h5ad",
    ],
)
def test_scores_equal_cell_eval_on_real_files(peer, tmp_path, name):
    whole = real_file(name, n_perturbations=4)
    rng = np.random.default_rng(0)
    if whole.n_obs > 3000:
        whole = whole[np.sort(rng.choice(whole.n_obs, 3000, replace=False))].copy()
    if whole.n_vars > 1000:
        whole = whole[:, np.sort(rng.choice(whole.n_vars, 1000, replace=False))].copy()
    labels = whole.obs["target_gene"].to_numpy(str)
    half = np.zeros(whole.n_obs, bool)
    for label in set(labels):
        rows = np.flatnonzero(labels == label)
        half[rng.permutation(rows)[: max(1, rows.size // 2)]] = True
    whole = whole[np.isin(labels, [x for x in set(labels) if (labels == x).sum() > 1])].copy()
    half = half[np.isin(labels, list(set(whole.obs["target_gene"])))]
    real, pred = whole[half].copy(), whole[~half].copy()
    assert_same(ours(pred, real), theirs(peer, pred, real, tmp_path)[0])


# Edge cases of metrics.md A15, each against cell-eval itself.


def edge(name):
    real = screen(5, n_p=4)
    pred, labels = real.copy(), real.obs["target_gene"].to_numpy(str)
    rng = np.random.default_rng(0)
    control = np.flatnonzero(labels == CONTROL)
    dense = real.X.toarray()
    if name == "prediction resampled from control":
        dense[labels != CONTROL] = dense[rng.choice(control, (labels != CONTROL).sum())]
    elif name == "perturbation without real DE genes":
        both = dense.copy()
        both[labels == "G001"] = both[rng.choice(control, (labels == "G001").sum())]
        real.X = scipy.sparse.csr_matrix(both)
    elif name == "genes named unlike the labels":
        real.var_names = pred.var_names = [f"X{k}" for k in range(real.n_vars)]
    elif name == "all-zero gene and gene zero in one group":
        both = dense.copy()
        both[:, 10] = 0
        both[labels == "G002", 11:20] = 0
        both[labels == CONTROL, 20:40] = 0
        real.X = scipy.sparse.csr_matrix(both)
        dense = screen(5, n_p=4, noise=0.5).X.toarray()[np.argsort(rng.random(real.n_obs))]
        dense = np.where(both == 0, 0, dense)
    elif name == "other controls":
        dense[control] = dense[rng.permutation(np.flatnonzero(labels == "G003"))[rng.integers(0, 20, control.size)]]
    elif name == "whole counts against log1p":
        dense = screen(5, n_p=4, log=False).X.toarray()
        pred = screen(5, n_p=4, log=False)
    elif name == "one cell per perturbation":
        kept = np.sort(np.concatenate([control, [np.flatnonzero(labels == p)[0] for p in set(labels) - {CONTROL}]]))
        return real, pred[kept].copy()
    pred.X = scipy.sparse.csr_matrix(dense)
    return real, pred


@pytest.mark.parametrize(
    "name",
    [
        "prediction is the truth", "prediction resampled from control", "perturbation without real DE genes",
        "genes named unlike the labels", "all-zero gene and gene zero in one group", "other controls",
        "whole counts against log1p", "one cell per perturbation",
    ],
)  # fmt: skip
def test_edge_cases_equal_cell_eval(peer, tmp_path, name):
    real, pred = edge(name)
    mine = ours(pred, real)
    assert_same(mine, theirs(peer, pred, real, tmp_path)[0])
    value = mine["value"]
    if name == "prediction is the truth":
        assert (value["vcc2025/pds"] == 1).all() and (value["vcc2025/mae"] == 0).all()
        assert set(value["vcc2025/des"]) <= {0.0, 1.0}
        assert (value["vcc2025/des"] == 1).any()
    if name == "prediction resampled from control":
        assert value["vcc2025/des"].max() < 0.1
    if name == "perturbation without real DE genes":
        assert value["vcc2025/des", "G001"] == 0.0


def test_changing_the_predicted_controls_moves_all_but_mae():
    real, pred = edge("other controls")
    before, after = ours(real, real)["value"], ours(pred, real)["value"]
    assert (before["vcc2025/mae"] == after["vcc2025/mae"]).all()
    assert (before["vcc2025/des"] != after["vcc2025/des"]).any()


def test_counts_taken_as_they_are_equal_cell_eval(peer, tmp_path):
    real, pred = screen(2, log=False), screen(2, log=False, noise=0.3)
    expected, _ = theirs(peer, pred, real, tmp_path, allow_discrete=True)
    assert_same(ours(pred, real, allow_counts=True), expected)


def test_one_context_after_the_other_equals_cell_eval_on_each(peer, tmp_path):
    parts = {"A": (screen(1), screen(1, noise=0.3)), "B": (screen(2, n_p=4), screen(2, n_p=4, noise=0.3))}
    for context, pair in parts.items():
        for adata in pair:
            adata.obs["line"] = context
    real, pred = (anndata.concat([parts[c][k] for c in "AB"], index_unique="-") for k in (0, 1))
    result = rules.score_pair(pred, real, settings=Settings(context_col="line"))
    for context, pair in parts.items():
        frame = result.per_perturbation
        mine = frame[frame["context"] == context].set_index(["metric", "perturbation"])
        assert_same(mine, theirs(peer, pair[1], pair[0], tmp_path)[0])
    overall = result.aggregate.set_index(["context", "metric"])["value"]
    expected = (overall["A", "vcc2025/des"] + overall["B", "vcc2025/des"]) / 2
    assert overall["", "vcc2025/des"] == pytest.approx(expected, abs=1e-15)


def test_half_against_half_equals_the_ceiling_of_cell_eval(peer, tmp_path):
    real = screen(4, n=21)
    result = vcc2025.split_half(real, settings=Settings(seed=7))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = peer[0].MetricsEvaluator(
            adata_pred=None,
            adata_real=real.copy(),
            pert_col="target_gene",
            num_threads=1,
            outdir=str(tmp_path / "peer"),
        )
        expected, _ = evaluator.compute_ceiling(profile="vcc", write_csv=False, seed=7)
    mine = result.per_perturbation.set_index(["metric", "perturbation"])
    assert_same(mine, expected.to_pandas().set_index("perturbation").sort_index())


# What the matrix holds (metrics.md A2).


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([[0.0, 1.0], [2.0, 3.0]], "counts"),
        ([[0.0, 1.0005], [2.0, 3.0]], "counts"),
        ([[0.0, 1.5], [2.0, 3.0]], "log1p"),
        ([[0.0, 1.5], [2.0, 14.9999]], "log1p"),
        ([[0.0, 1.5], [2.0, 15.0]], None),
        ([[0.0, 1.5], [2.0, -0.1]], None),
    ],
)
@pytest.mark.parametrize("layout", [scipy.sparse.csr_matrix, scipy.sparse.csc_matrix, np.asarray])
def test_scale_is_found_as_cell_eval_finds_it(peer, values, found, layout):
    from cell_eval.utils import guess_is_lognorm

    adata = make(layout(np.array(values)), [CONTROL, "p"])
    labels, genes = adata.obs["target_gene"].to_numpy(str), adata.var_names.to_numpy(str)

    def read():
        return cells.read_side(adata, labels, genes, name="real", settings=Settings()).scale.found

    if found is None:
        with pytest.raises(ValueError, match="Invalid scale"):
            guess_is_lognorm(adata)
        with pytest.raises(VcEvalError, match=r"X (has fractions and reaches 15|holds negative)"):
            read()
    else:
        assert guess_is_lognorm(adata) == (found == "log1p")
        assert read() == found


def test_log1p_where_counts_are_asked_for_is_refused():
    with pytest.raises(VcEvalError, match=r"real .*counts were asked for .*as log1p"):
        ours(screen(0, log=False), screen(0), allow_counts=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_values_that_cannot_be_expression_are_refused_with_cell_and_gene(bad):
    real = screen(0)
    pred = real.copy()
    dense = pred.X.toarray()
    dense[7, 3] = bad
    pred.X = scipy.sparse.csr_matrix(dense)
    with pytest.raises(VcEvalError, match=r"pred .*cell 'c7', gene 'G003'"):
        ours(pred, real)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16, np.float16, np.float64, bool])
def test_every_dtype_is_read(dtype):
    real = screen(0, log=False)
    expected = ours(real, real)["value"]
    dense = np.minimum(real.X.toarray(), 1 if dtype is bool else 2000).astype(dtype)
    real.X = dense if dtype is np.float16 else scipy.sparse.csr_matrix(dense)  # scipy stores no float16
    values = ours(real, real)["value"]
    assert (values["vcc2025/mae"] == 0).all()
    if dtype is not bool:
        pd.testing.assert_series_equal(values, expected)


# What must not change a number.


def shuffled(adata, seed=0):
    return adata[np.random.default_rng(seed).permutation(adata.n_obs)].copy()


def variants(real, pred, tmp_path):
    yield "cell order", (shuffled(real), shuffled(pred)), {}
    for layout in (
        scipy.sparse.csc_matrix,
        scipy.sparse.csr_array,
        scipy.sparse.csc_array,
        scipy.sparse.csr_matrix.toarray,
    ):
        pair = (real.copy(), pred.copy())
        for adata in pair:
            adata.X = layout(adata.X)
        yield getattr(layout, "__name__", "layout"), pair, {}
    stored = pred.copy()
    stored.X = scipy.sparse.csr_matrix(np.where(stored.X.toarray() == 0, 1, stored.X.toarray()))
    stored.X.data[pred.X.toarray().ravel() == 0] = 0
    assert (stored.X.data == 0).any()
    yield "stored zeros", (real, stored), {}
    yield "threads", (real, pred), {"n_threads": 3}
    yield "genes permuted on one side", (real, pred[:, ::-1].copy()), {}
    categories = pred.copy()
    categories.obs["target_gene"] = pd.Categorical(
        categories.obs["target_gene"], [*sorted(set(pred.obs["target_gene"])), "unused"]
    )
    yield "unused categories", (real, categories), {}
    pred.write_h5ad(tmp_path / "pred.h5ad")
    real.write_zarr(tmp_path / "real.zarr")
    yield "files", (inputs.open_cells(tmp_path / "real.zarr"), inputs.open_cells(tmp_path / "pred.h5ad")), {}
    dense = pred.copy()
    dense.X = dense.X.toarray()
    dense.write_h5ad(tmp_path / "dense.h5ad")
    yield "dense file", (real, inputs.open_cells(tmp_path / "dense.h5ad")), {}
    columns = pred.copy()
    columns.X = scipy.sparse.csc_matrix(columns.X)
    columns.write_h5ad(tmp_path / "columns.h5ad")
    yield "column file", (real, inputs.open_cells(tmp_path / "columns.h5ad")), {}


@pytest.mark.parametrize("log", [True, False], ids=["log1p", "counts"])
def test_no_bit_depends_on_order_layout_threads_memory_or_file(tmp_path, log, monkeypatch):
    real, pred = screen(6, log=log), screen(6, log=log, noise=0.4)
    expected = rules.score_pair(pred, real).per_perturbation
    monkeypatch.setattr(rows, "BLOCK_BYTES", 5000)  # many blocks of rows
    for name, (other_real, other_pred), extra in variants(real, pred, tmp_path):
        found = rules.score_pair(other_pred, other_real, settings=Settings(**extra)).per_perturbation
        pd.testing.assert_frame_equal(found, expected, check_exact=True, obj=name)


@pytest.mark.parametrize("log", [True, False], ids=["log1p", "counts"])
def test_no_bit_depends_on_how_many_passes_the_memory_takes(tmp_path, log, monkeypatch):
    """Without memory every gene is a pass of its own, and every row of a column store: so a small screen suffices."""
    real, pred = (screen(6, log=log, noise=noise, n_p=3, n_genes=12, n=6, n_control=9) for noise in (0.0, 0.4))
    expected = rules.score_pair(pred, real).per_perturbation
    columns = pred.copy()
    columns.X = scipy.sparse.csc_matrix(columns.X)
    columns.write_h5ad(tmp_path / "columns.h5ad")
    monkeypatch.setattr(rows, "BLOCK_BYTES", 300)  # several blocks of rows in each pass
    for other in (pred, inputs.open_cells(tmp_path / "columns.h5ad")):
        found = rules.score_pair(other, real, settings=Settings(memory_mb=0)).per_perturbation
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_permuting_all_genes_changes_nothing_but_the_order_of_ties():
    real, pred = screen(6), screen(6, noise=0.4)
    order = np.random.default_rng(1).permutation(real.n_vars)
    before, after = ours(pred, real), ours(pred[:, order], real[:, order])
    np.testing.assert_allclose(after["value"]["vcc2025/mae"], before["value"]["vcc2025/mae"], rtol=1e-12)
    for metric in ("vcc2025/des", "vcc2025/pds"):
        pd.testing.assert_frame_equal(before.loc[metric, ["lower", "upper"]], after.loc[metric, ["lower", "upper"]])


def test_relabelling_perturbations_relabels_the_scores():
    real, pred = screen(6), screen(6, noise=0.4)
    names = {f"G{k:03d}": f"G{(k * 5 + 2) % 6:03d}" for k in range(6)}
    expected = ours(pred, real).loc[["vcc2025/des", "vcc2025/mae"], "value"]
    for adata in (real, pred):
        adata.obs["target_gene"] = [names.get(x, x) for x in adata.obs["target_gene"]]
    found = ours(pred, real).loc[["vcc2025/des", "vcc2025/mae"], "value"]
    for (metric, label), value in expected.items():
        assert found[metric, names[label]] == value


# The cached real side.


def test_the_cache_gives_the_same_bytes_and_is_keyed_by_content(tmp_path, monkeypatch):
    real, pred = screen(6), screen(6, noise=0.4)
    cache = tmp_path / "cache"
    expected = rules.score_pair(pred, real).per_perturbation
    first = rules.score_pair(pred, real, settings=Settings(cache=cache)).per_perturbation
    files = list(cache.iterdir())
    assert len(files) == 1
    reads = []
    original = cells.read_side
    monkeypatch.setattr("vc_eval.cells.cache.read_side", lambda *a, **k: reads.append(k["name"]) or original(*a, **k))
    second = rules.score_pair(pred, real, settings=Settings(cache=cache)).per_perturbation
    assert reads == []
    for found in (first, second):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    changed = real.copy()
    changed.X[0, 0] = 3.25
    rules.score_pair(pred, changed, settings=Settings(cache=cache))
    assert len(list(cache.iterdir())) == 2
    files[0].write_bytes(files[0].read_bytes()[:200])  # damaged: computed anew
    pd.testing.assert_frame_equal(
        rules.score_pair(pred, real, settings=Settings(cache=cache)).per_perturbation, expected, check_exact=True
    )
    assert reads == ["real", "real"]


# The leaderboard of 2025.


def test_leaderboard_rule_pools_the_fdr_and_clips_infinite_fold_changes():
    real, pred = edge("all-zero gene and gene zero in one group")
    labels = pred.obs["target_gene"].to_numpy(str)
    side = cells.read_side(pred, labels, pred.var_names.to_numpy(str), name="pred", settings=Settings())
    table = vcc2025.side_table(side, "vcc2025-leaderboard")
    import scipy.stats

    flat = table.p_value_pg.ravel()
    np.testing.assert_allclose(table.q_value_pg.ravel(), scipy.stats.false_discovery_control(flat), rtol=1e-12)
    plain = side.table().lfc_pg
    assert np.isneginf(plain).any() and np.isposinf(plain).any()
    np.testing.assert_allclose(table.lfc_pg[np.isneginf(plain)], -np.log2(20))
    np.testing.assert_allclose(table.lfc_pg[np.isposinf(plain)], np.log2(20))
    mine = ours(pred, real, rule="vcc2025-leaderboard")["value"]
    assert set(mine.index.get_level_values("metric")) == {f"vcc2025-leaderboard/{m}" for m in ("des", "mae", "pds")}
    assert (mine["vcc2025-leaderboard/pds"] == ours(pred, real)["value"]["vcc2025/pds"]).all()


@pytest.mark.filterwarnings("ignore")
def test_leaderboard_rule_equals_the_v1_preset_of_cell_eval2():
    import dataclasses

    peer = pytest.importorskip("cell_eval2")
    config = peer.EvalConfig.from_preset("v1")
    config = dataclasses.replace(
        config, metrics="vcc", pert_col="target_gene", device="cpu", cache_strict=False, num_threads=1,
        de=dataclasses.replace(config.de, backend="pdex"),
    )  # fmt: skip
    for real, pred in ((screen(3), screen(3, noise=0.4)), edge("all-zero gene and gene zero in one group")):
        results = peer.compute_metrics(pred.copy(), real.copy(), config=config).to_pandas()
        theirs = results.pivot(index="perturbation", columns="metric", values="value")
        mine = ours(pred, real, rule="vcc2025-leaderboard")
        assert_same(mine.rename(index=lambda name: name.replace("-leaderboard", ""), level="metric"), theirs)


# Bad input.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r, p: (r, p[:, :-1].copy()), r"genes differ: 1 only in real .*'G079'"),
        (lambda r, p: (r, p[p.obs["target_gene"] != "G002"].copy()), r"labels .* differ: 1 only in real .*'G002'"),
        (lambda r, p: (r[r.obs["target_gene"] != CONTROL].copy(), p), r"real .*control cells labelled 'non-targeting'"),
        (lambda r, p: (r, make(p.X, ["x"] * p.n_obs)), r"pred .*control cells"),
        (lambda r, p: (r, make(p.X, [None, *p.obs["target_gene"][1:]])), r"no label at 1 cells, first 'c0'"),
        (lambda r, p: (r, anndata.AnnData(p.X, var=p.var)), r"expected the column 'target_gene' in obs, found none"),
        (lambda r, p: (r, make(p.X, p.obs["target_gene"], ["G000", *p.var_names[:-1]])), r"gene 'G000' occurs twice"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_pairs_that_do_not_fit_are_refused_by_name(change, message):
    real, pred = change(screen(0), screen(0, noise=0.2))
    with pytest.raises(VcEvalError, match=message):
        rules.score_pair(pred, real)


def test_unknown_rules_options_and_files_are_refused(tmp_path):
    real = screen(0)
    with pytest.raises(VcEvalError, match="expected one of vcc2025"):
        rules.score_pair(real, real, rule="vcc2024")
    with pytest.raises(VcEvalError, match="unknown options"):
        rules.score_pair(real, real, settings=Settings(options={"x": 1}))
    (tmp_path / "text.h5ad").write_text("no")
    for path, message in (
        (tmp_path / "none.h5ad", "nothing there"),
        (tmp_path / "text.h5ad", "an AnnData that can be read"),
    ):
        with pytest.raises(VcEvalError, match=message):
            rules.score_pair(path, real)


def test_arrays_are_scored_like_the_file_they_came_from():
    real, pred = screen(0), screen(0, noise=0.2)
    pair = [
        inputs.make_cells(a.X.toarray(), a.obs["target_gene"].to_numpy(), a.var_names.to_numpy()) for a in (pred, real)
    ]
    pd.testing.assert_frame_equal(
        rules.score_pair(*pair).per_perturbation, rules.score_pair(pred, real).per_perturbation
    )
    with pytest.raises(VcEvalError, match="expected \\(n, g\\)"):
        inputs.make_cells(np.ones((3, 2)), ["a"] * 2, ["x", "y"])


def test_a_rule_of_your_own_is_found_by_name():
    def count_cells(pred, real, *, settings):
        return pred.n_obs + real.n_obs

    rules.register_rule("cells", count_cells)
    try:
        assert rules.score_pair(screen(0), screen(0), rule="cells") == 2 * screen(0).n_obs
        with pytest.raises(VcEvalError, match="taken"):
            rules.register_rule("cells", count_cells)
    finally:
        del rules._RULES["cells"]
