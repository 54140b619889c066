"""The 2026 rule against cell-eval2 0.20.0 on CPU: six members, diagnostics, anchors, scaled scores."""

import dataclasses
import importlib.util
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from vc_eval import vcc2026
from vc_eval.cells.rules import score_pair
from vc_eval.cells.settings import Settings
from vc_eval.vcc2026.anchors import MEMBERS

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("cell_eval2") is None, reason="cell-eval2 is not installed (development group)"
    ),
    pytest.mark.filterwarnings("ignore"),  # those of the peer
]
PEER = {
    "pds_cosine": "pds_cosine",
    "expression_error": "expr_mse_unbiased_capped_norm",
    "direction_fidelity": "de_wilcoxon_direction_fidelity_yield_raw",
    "direction_reach": "de_wilcoxon_direction_reach_raw",
    "sig_jaccard": "de_wilcoxon_sig_jaccard",
    "lfc_nmae": "de_wilcoxon_lfc_nmae",
}
DIAGNOSTICS = (
    "expr_mse_unbiased",
    "expr_mse_unbiased_capped",
    "expr_distance_unbiased",
    "expr_real_mass_ratio",
)


def cells_of(effect_pg, labels, sizes, rng, depth=3000):
    base = np.random.default_rng(9).lognormal(0, 1.6, effect_pg.shape[1])
    blocks = []
    for effect, n in zip(effect_pg, sizes, strict=True):
        share = base * np.exp(effect)
        rate = rng.lognormal(np.log(depth), 0.4, n)[:, None] * (share / share.sum())
        blocks.append(rng.poisson(rate * rng.gamma(5, 0.2, (n, share.size))))
    order = rng.permutation(sum(sizes))
    obs = pd.DataFrame({"target_gene": np.repeat(labels, sizes)[order]}, index=[f"c{i}" for i in range(sum(sizes))])
    genes = pd.DataFrame(index=[f"G{g:03d}" for g in range(effect_pg.shape[1])])
    return anndata.AnnData(scipy.sparse.csr_matrix(np.vstack(blocks).astype(np.float32)[order]), obs=obs, var=genes)


def make_pair(kind, n=8, n_genes=200, cells=40, n_control=120, shared=0.4, seed=0):
    """Real and predicted cells: `kind` says what the prediction knows."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(0, shared, n_genes) * (rng.random(n_genes) < 0.2)  # the shared response
    effect = effect + rng.normal(0, 0.9, (n, n_genes)) * (rng.random((n, n_genes)) < rng.uniform(0, 0.25, (n, 1)))
    targets = rng.choice(n_genes, n, replace=False)
    effect[np.arange(n), targets] = -2.5
    effect[0] = 0  # a perturbation without effect, its own gene included
    labels = [f"G{g:03d}" for g in targets]
    if kind == "unknown_targets":
        labels[:3] = ["not_a_gene_a", "not_a_gene_b", "not_a_gene_c"]
    sizes = [cells] * n
    if kind == "one_cell":
        sizes[2] = 1
    guess = {
        "half_right": 0.5 * effect + rng.normal(0, 1.2, effect.shape) * (rng.random(effect.shape) < 0.15),
        "quiet": np.zeros_like(effect),
        "loud": rng.normal(0, 1.5, effect.shape),
        "shared": np.tile(effect.mean(axis=0), (n, 1)),
    }.get(kind, 0.7 * effect)
    control = np.zeros((1, n_genes))
    real = cells_of(np.vstack([effect, control]), [*labels, "non-targeting"], [*sizes, n_control], rng)
    pred = cells_of(np.vstack([guess, control]), [*labels, "non-targeting"], [*sizes, n_control], rng)
    return real, pred


@pytest.fixture(scope="module")
def peer():
    """cell-eval2 with the competition's preset on CPU."""
    import cell_eval2

    config = cell_eval2.EvalConfig.from_preset("vcc2026")
    return cell_eval2, dataclasses.replace(
        config, pert_col="target_gene", device="cpu", de=dataclasses.replace(config.de, backend="pdex"),
        cache_strict=False, num_threads=1,
    )  # fmt: skip


def per_perturbation(result):
    return result.per_perturbation.pivot(index="perturbation", columns="metric", values="value")


@pytest.mark.parametrize("kind", ["half_right", "quiet", "loud", "shared", "one_cell", "unknown_targets"])
def test_every_member_of_every_perturbation_equals_cell_eval2(peer, kind):
    cell_eval2, config = peer
    real, pred = make_pair(kind)
    result = score_pair(pred, real, rule="vcc2026")
    ours = per_perturbation(result)
    theirs = cell_eval2.compute_metrics(pred, real, config=config)
    table = theirs.to_pandas().pivot(index="perturbation", columns="metric", values="value").reindex(ours.index)
    for name in (*PEER, *DIAGNOSTICS):
        if name != "expression_error":
            expected = table[PEER.get(name, name)].to_numpy() if PEER.get(name, name) in table else np.nan
            np.testing.assert_allclose(
                ours[f"vcc2026/{name}"], np.broadcast_to(expected, len(ours)), rtol=1e-9, atol=1e-12, err_msg=name
            )
    aggregate = cell_eval2.aggregate_metrics(theirs)
    expected = dict(zip(aggregate["metric"], aggregate["mean"], strict=True))
    values = result.aggregate.set_index("metric")["value"]
    for name, theirs_name in PEER.items():
        assert values[f"vcc2026/{name}"] == pytest.approx(expected.get(theirs_name, np.nan), rel=1e-9, nan_ok=True), (
            name
        )


def test_real_halves_equal_cell_eval2(peer):
    cell_eval2, config = peer
    folder = next(
        (p / "shared" / "data" for p in Path(__file__).resolve().parents if (p / "shared" / "data").is_dir()), None
    )
    if folder is None:
        pytest.skip("the folder shared/data is not beside the workspace")
    cells = anndata.read_h5ad(folder / "single_cell" / "schraivogel2020_k562_crispri_tapseq.h5ad")
    rng = np.random.default_rng(0)
    halves = [[], []]
    for rows in cells.obs.groupby("perturbation", observed=True).indices.values():
        drawn = rng.permutation(rows)[:160]
        for half, part in zip(halves, np.array_split(drawn, 2), strict=True):
            half.append(part)
    real, pred = (cells[np.concatenate(half)].copy() for half in halves)
    targets = {name: name if name in cells.var_names else None for name in set(real.obs["perturbation"]) - {"control"}}
    settings = Settings(pert_col="perturbation", control="control", options={"target_genes": targets})
    ours = per_perturbation(score_pair(pred, real, rule="vcc2026", settings=settings))
    config = dataclasses.replace(config, pert_col="perturbation", control="control", target_gene_map=targets)
    theirs = cell_eval2.compute_metrics(pred, real, config=config).to_pandas()
    table = theirs.pivot(index="perturbation", columns="metric", values="value").reindex(ours.index)
    for name in set(PEER) - {"expression_error"}:
        expected = table[PEER[name]] if PEER[name] in table else pd.Series(np.nan, ours.index)
        np.testing.assert_allclose(ours[f"vcc2026/{name}"], expected, rtol=1e-9, atol=1e-12, err_msg=name)
    assert ours["vcc2026/n_significant_real"].sum() > 0


def test_anchors_and_scaled_scores_equal_cell_eval2(peer):
    cell_eval2, config = peer
    from cell_eval2.anchor import compute_replicate_anchor
    from cell_eval2.catalog import CATALOG
    from cell_eval2.scoring import score_one

    real, pred = make_pair("half_right", n_genes=150, cells=80, n_control=160, shared=0.1)
    real.obs["target_gene"] = pd.Categorical(  # the order of categories decides the order of the draws
        real.obs["target_gene"], categories=sorted(set(real.obs["target_gene"]), reverse=True)
    )
    result = score_pair(pred, real, rule="vcc2026", settings=Settings(options={"anchors": "compute"}))
    anchors = result.provenance["contexts"][""]["anchors"]
    baseline = cell_eval2.build_generic_baseline(real, config=config, allow_degenerate=True).agg.to_pandas()
    baseline = baseline.set_index("statistic").loc["mean"]
    replicate = compute_replicate_anchor(real, config=config)[1].to_pandas().set_index("metric")
    values = result.aggregate.set_index("metric")["value"]
    scores = []
    for name, theirs in PEER.items():
        assert anchors["baseline"][name] == pytest.approx(float(baseline[theirs]), rel=1e-9), name
        assert anchors["replicate"][name] == pytest.approx(replicate.loc[theirs, "replicate"], rel=1e-9), name
        assert anchors["replicate_sd"][name] == pytest.approx(replicate.loc[theirs, "replicate_sd"], abs=1e-12), name
        policy = dataclasses.replace(CATALOG[theirs].scoring, anchor=anchors["replicate"][name])
        scores.append(score_one(values[f"vcc2026/{name}"], anchors["baseline"][name], policy))
        assert values[f"vcc2026/{name}_scaled"] == pytest.approx(scores[-1], abs=1e-9), name
    assert values["vcc2026/overall"] == pytest.approx(np.mean(scores), abs=1e-9)


def test_missing_values_score_as_cell_eval2_scores_them(peer):
    from cell_eval2.catalog import CATALOG
    from cell_eval2.scoring import score_one

    anchors = vcc2026.Anchors(
        baseline=dict(zip(MEMBERS, (0.5, 0.99, 0.51, 0.07, 0.03, 1.0), strict=True)),
        replicate=dict(zip(MEMBERS, (0.95, 0.03, 0.8, 0.96, 0.4, 0.4), strict=True)),
        replicate_sd=dict.fromkeys(MEMBERS, 0.0), emission="dispersed", seed=0, split_seeds=(),
    )  # fmt: skip
    for value in (np.nan, np.inf, 0.0, 1.0, -3.0, 50.0):
        ours = vcc2026.scaled_scores(dict.fromkeys(MEMBERS, value), anchors)
        for name, theirs in PEER.items():
            policy = dataclasses.replace(CATALOG[theirs].scoring, anchor=anchors.replicate[name])
            expected = score_one(value, anchors.baseline[name], policy)
            assert ours[f"vcc2026/{name}_scaled"][0] == pytest.approx(expected, abs=1e-12), (name, value)
