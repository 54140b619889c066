"""The 2026 rule by hand, its invariances, and what it refuses."""

import pickle

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from vc_eval import vcc2026
from vc_eval.cells.rows import RowMatrix
from vc_eval.cells.rules import score_pair
from vc_eval.cells.settings import Settings
from vc_eval.cli.main import main
from vc_eval.errors import VcEvalError
from vc_eval.vcc2026 import anchors, counts, members
from vc_eval.vcc2026.sides import MeasuredSide, RealSide, find_targets

GENES = np.array(["A", "B", "C", "D", "E", "F"])


def real_side(bulk=None, q=None, p=None, lfc=None, target=(-1, -1, -1), jackknife=(0.0, 0.0, 0.0)):
    n, g = len(target), GENES.size
    q = np.ones((n, g)) if q is None else np.array(q, float)
    return RealSide(
        perturbations=tuple("XYZ"[:n]), genes=GENES, bulk_pg=np.zeros((n, g)) if bulk is None else np.array(bulk, float),
        jackknife_p=np.array(jackknife[:n]), origin_g=np.zeros(g), q_value_pg=q,
        p_value_pg=q if p is None else np.array(p, float), lfc_pg=np.ones((n, g)) if lfc is None else np.array(lfc, float),
        tested_g=np.ones(g, bool), target_p=np.array(target), control_jackknife=0.0, control=None,
        control_cpm_g=np.full(g, 10.0), n_cells={},
    )  # fmt: skip


def cells(n=6, n_genes=30, n_cells=12, n_control=40, strength=1.0, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.lognormal(0, 1, n_genes)
    labels = [*(f"G{p:02d}" for p in range(n) for _ in range(n_cells)), *(["non-targeting"] * n_control)]
    effect = np.vstack(
        [np.repeat(rng.normal(0, strength, (n, n_genes)), n_cells, axis=0), np.zeros((n_control, n_genes))]
    )
    counts = rng.poisson(40 * base * np.exp(effect)).astype(np.float32)
    order = rng.permutation(len(labels))
    return anndata.AnnData(
        scipy.sparse.csr_matrix(counts[order]),
        obs=pd.DataFrame({"target_gene": np.array(labels)[order]}, index=[f"c{i}" for i in range(len(labels))]),
        var=pd.DataFrame(index=[f"G{g:02d}" for g in range(n_genes)]),
    )


def values(result, name):
    return result.per_perturbation.query("metric == @name").set_index("perturbation")["value"]


def test_discrimination_compares_directions_and_splits_ties():
    real = real_side(bulk=[[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]])
    predicted = real_side(bulk=[[5, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, -1, 0, 0, 0, 0]])
    # 0: own first, whatever its size. 1: no change is at distance 1 from all: middle rank. 2: own cosine -0.71, between.
    np.testing.assert_allclose(members.pds_cosine(predicted, real), [1, 0.5, 0.5])


def test_targets_of_the_whole_panel_leave_discrimination():
    real = real_side(bulk=[[1, 0, 1, 0, 0, 0], [0, 1, 0, 1, 0, 0]], target=(0, 1))
    spiked = real_side(bulk=[[0, -9, 1, 0, 0, 0], [-9, 0, 0, 1, 0, 0]], target=(0, 1))
    np.testing.assert_array_equal(members.pds_cosine(spiked, real), [1, 1])


def test_fidelity_divides_by_the_longer_list():
    real = real_side(q=[[0, 0, 0, 1, 1, 1]] * 3, lfc=[[1, -1, 1, 1, 1, 1]] * 3)
    predicted = real_side(q=[[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1]], lfc=[[1, 1, 1, 1, 1, 1]] * 3)
    # 1 of 2 calls right, 3 real: 1/3. 4 calls, 3 right: 3/4. Silent: 0.
    np.testing.assert_allclose(members.direction_fidelity(predicted, real), [1 / 3, 3 / 4, 0])
    nothing = real_side()
    assert np.isnan(members.direction_fidelity(nothing, nothing)).all()
    loud = real_side(q=np.zeros((3, 6)), lfc=[[-1, 1, 1, 1, 1, 1]] * 3)
    np.testing.assert_allclose(members.direction_fidelity(loud, nothing), 5 / 6)


def test_a_call_without_direction_is_a_miss_and_a_gene_without_real_direction_does_not_count():
    real = real_side(q=[[0, 0, 1, 1, 1, 1]], lfc=[[1, 0, 1, np.nan, np.inf, 1]], target=(-1,))
    predicted = real_side(q=[[0, 0, 0, 0, 0, 1]], lfc=[[0, 1, 1, 1, 2, 1]], target=(-1,))
    # Genes A, C and E can be judged; A is called with a fold change of 0, C and E are right.
    np.testing.assert_allclose(members.direction_fidelity(predicted, real), [2 / 3])


def test_reach_takes_the_deepest_depth_that_is_pure_enough():
    real = real_side(q=np.zeros((3, 6)), lfc=np.ones((3, 6)))
    p = [[1, 2, 3, 4, 5, 6]] * 3
    wrong_last = [1, 1, 1, 1, 1, -1]
    wrong_first = [-1, 1, 1, 1, 1, 1]
    predicted = real_side(p=p, lfc=[wrong_last, wrong_first, [1] * 6])
    # 5 of 6; never above 5/6 = 0.83 < 0.9; all.
    np.testing.assert_allclose(members.direction_reach(predicted, real), [5 / 6, 0, 1])
    assert np.isnan(members.direction_reach(predicted, real_side())).all()


def test_reach_breaks_equal_p_values_by_fold_change_then_name():
    real = real_side(q=np.zeros((2, 6)), lfc=np.ones((2, 6)), target=(-1, -1))
    predicted = real_side(p=np.ones((2, 6)), lfc=[[1, 2, 3, 4, 5, -0.5], [1, 1, 1, 1, 1, -1]], target=(-1, -1))
    np.testing.assert_allclose(members.direction_reach(predicted, real), [5 / 6, 5 / 6])


def test_jaccard_and_its_empty_union():
    real = real_side(q=[[0, 0, 1, 1, 1, 1], [1] * 6], target=(-1, -1))
    predicted = real_side(q=[[1, 0, 0, 1, 1, 1], [1] * 6], target=(-1, -1))
    np.testing.assert_allclose(members.sig_jaccard(predicted, real), [1 / 3, 1])


def test_the_own_target_leaves_every_gene_set():
    real = real_side(q=[[0, 0, 1, 1, 1, 1]], target=(0,))
    predicted = real_side(q=[[0, 1, 1, 1, 1, 1]], target=(0,))
    np.testing.assert_array_equal(members.significant(real, real), [[False, True, False, False, False, False]])
    np.testing.assert_allclose(members.sig_jaccard(predicted, real), [0])


def test_fold_change_error_needs_ten_genes_and_reads_infinite_predictions_as_no_change():
    wide = {"p_value_pg": np.zeros((2, 12)), "q_value_pg": np.zeros((2, 12)), "tested_g": np.ones(12, bool)}
    lfc = np.vstack([np.full(12, 2.0), [2.0] * 9 + [np.inf] * 3])
    real = RealSide(
        perturbations=("X", "Y"), genes=np.arange(12).astype(str), bulk_pg=np.zeros((2, 12)), jackknife_p=np.zeros(2),
        origin_g=np.zeros(12), lfc_pg=lfc, target_p=np.array([-1, -1]), control_jackknife=0.0, control=None,
        control_cpm_g=np.ones(12), n_cells={}, **wide,
    )  # fmt: skip
    predicted = np.vstack([[1.0] * 11 + [np.inf], np.ones(12)])
    # 11 genes off by 1 and one off by 2, of a total of 24; the second has 9 finite real genes.
    np.testing.assert_allclose(members.lfc_nmae(predicted, real), [13 / 24, np.nan])


def jackknife(matrix_ng, code_n):
    source = counts.Counts(rows=RowMatrix(anndata.AnnData(scipy.sparse.csr_matrix(matrix_ng)), 100), name="x")
    sums = counts.sum_groups(source, code_n, code_n.max() + 1)
    terms = counts.Jackknife(sums, code_n)
    with counts.CountPool(2) as pool:
        for start, block in source.blocks("test"):
            terms.add(start, block, pool)
    return terms.result()


def test_jackknife_equals_leaving_out_every_cell():
    rng = np.random.default_rng(0)
    shapes = ((0.3, 7), (5.0, 40), (200.0, 2), (3.0, 200))
    blocks = [rng.poisson(depth * rng.lognormal(0, 1, 25), (n, 25)).astype(np.float32) for depth, n in shapes]
    code_n = np.repeat(np.arange(len(shapes)), [n for _, n in shapes])
    order = rng.permutation(code_n.size)
    got = jackknife(np.vstack(blocks)[order], code_n[order])
    for p, cells_ng in enumerate(blocks):
        n, sums = len(cells_ng), cells_ng.sum(axis=0, dtype=np.float64)
        left = (sums - cells_ng) / (sums.sum() - cells_ng.sum(axis=1))[:, None]
        v = np.log1p(50_000.0 * left)
        expected = (n - 1) / n * ((v - v.mean(axis=0)) ** 2).sum()
        assert got[p] == pytest.approx(expected, rel=1e-10)


def test_jackknife_of_one_cell_or_no_counts_is_zero():
    matrix = np.zeros((4, 5), np.float32)
    matrix[0] = 3
    np.testing.assert_array_equal(jackknife(matrix, np.array([0, 1, 1, 1])), [0, 0])


def test_jackknife_where_one_cell_holds_every_count():
    matrix = np.zeros((2, 3), np.float32)
    matrix[0] = [1, 2, 5]
    height = np.log1p(50_000.0 * matrix[0] / 8)
    # Without the first cell the profile is 0, without the second it is whole: the spread of 0 and height, halved.
    np.testing.assert_allclose(jackknife(matrix, np.array([0, 0])), [(height**2).sum() / 4])


def test_the_truth_is_perfect_and_a_copy_of_it_beats_the_replicate():
    real = cells(n_cells=20)
    result = score_pair(real, real, rule="vcc2026", settings=Settings(options={"anchors": "compute"}))
    total = result.aggregate.set_index("metric")["value"]
    assert total["vcc2026/pds_cosine"] == 1
    assert total["vcc2026/lfc_nmae"] == 0
    assert total["vcc2026/sig_jaccard"] == 1
    assert total["vcc2026/expression_error_scaled"] == 1
    assert total["vcc2026/overall"] > 1


def test_the_control_itself_has_an_expression_error_of_one():
    real = cells()
    side = vcc2026.prepare_real(real).contexts[""].side
    flat = MeasuredSide(
        perturbations=side.perturbations, genes=side.genes, bulk_pg=np.tile(side.origin_g, (len(side.perturbations), 1)),
        jackknife_p=np.full(len(side.perturbations), side.control_jackknife), origin_g=side.origin_g,
        p_value_pg=side.p_value_pg, q_value_pg=side.q_value_pg, lfc_pg=side.lfc_pg, tested_g=side.tested_g,
    )  # fmt: skip
    terms = members.expression_terms(flat, side)
    assert terms.credit == pytest.approx(0, abs=1e-12)  # one profile for all: no spread, no credit for claimed noise
    # Without credit the numerator keeps the control's own noise, which the denominator takes away.
    extra = len(side.perturbations) * side.control_jackknife / (side.genes.size - 1) / terms.distance_p.sum()
    assert members.expression_ratio(terms) == pytest.approx(1 + extra)


def test_order_of_cells_and_genes_threads_layout_and_predicted_controls_change_nothing():
    real, pred = cells(), cells(seed=1)
    base = score_pair(pred, real, rule="vcc2026").per_perturbation
    rng = np.random.default_rng(3)
    order = rng.permutation(pred.n_obs)
    variants = {
        "cells": pred[order].copy(),
        "genes": pred[:, rng.permutation(pred.n_vars)].copy(),
        "no controls": pred[pred.obs["target_gene"] != "non-targeting"].copy(),
    }
    dense = pred.copy()
    dense.X = dense.X.toarray().astype(np.int32)
    columns = pred.copy()
    columns.X = scipy.sparse.csc_matrix(columns.X)
    variants |= {"dense integers": dense, "columns": columns}
    for name, variant in variants.items():
        pd.testing.assert_frame_equal(
            score_pair(variant, real, rule="vcc2026").per_perturbation, base, rtol=1e-12, obj=name
        )
    one = score_pair(pred, real, rule="vcc2026", settings=Settings(n_threads=1)).per_perturbation
    pd.testing.assert_frame_equal(one, base, check_exact=True)


def test_a_prepared_real_side_gives_the_same_and_can_be_kept():
    real, pred = cells(), cells(seed=1)
    settings = Settings(options={"anchors": "compute", "n_splits": 2})
    kept = pickle.loads(pickle.dumps(vcc2026.prepare_real(real, settings=settings)))
    first, again = vcc2026.score_pair(pred, kept), vcc2026.score_pair(pred, real, settings=settings)
    pd.testing.assert_frame_equal(first.aggregate, again.aggregate)
    given = {"": again.provenance["contexts"][""]["anchors"]}
    handed = vcc2026.score_pair(pred, real, settings=Settings(options={"anchors": given}))
    pd.testing.assert_frame_equal(first.aggregate, handed.aggregate)


def test_contexts_are_scored_apart_and_averaged():
    parts = [cells(seed=s) for s in (0, 5)]
    preds = [cells(seed=s) for s in (1, 6)]
    both = [anndata.concat(side, label="context", keys=["a", "b"], index_unique="-") for side in (parts, preds)]
    joined = score_pair(both[1], both[0], rule="vcc2026", settings=Settings(context_col="context"))
    table = joined.aggregate.pivot(index="metric", columns="context", values="value")
    for context, real, pred in zip("ab", parts, preds, strict=True):
        alone = score_pair(pred, real, rule="vcc2026").aggregate.set_index("metric")["value"]
        pd.testing.assert_series_equal(table[context].sort_index(), alone.sort_index(), check_names=False)
    np.testing.assert_allclose(table[""], table[["a", "b"]].mean(axis=1))


def test_undefined_values_say_why():
    real = cells(strength=0.0)
    result = score_pair(real, real, rule="vcc2026")
    undefined = result.per_perturbation[result.per_perturbation["value"].isna()]
    assert set(undefined["metric"]) == {"vcc2026/lfc_nmae", "vcc2026/direction_reach", "vcc2026/direction_fidelity"}
    assert (undefined["reason"] != "").all()
    assert result.aggregate.set_index("metric").loc["vcc2026/lfc_nmae", "n_undefined"] == 6


def test_split_seeds_are_those_of_the_challenge():
    assert anchors.split_seeds() == (2968811710, 3677149159, 745650761, 2884920346, 2642120001)


def test_halves_are_disjoint_and_of_one_depth():
    labels = pd.Series(["b"] * 5 + ["a"] * 4 + [None])
    first, second = anchors.halves(labels, 1)
    assert not (first & second).any()
    assert sorted(labels[first]) == sorted(labels[second]) == ["a", "a", "b", "b"]


def test_a_scale_without_room_is_refused():
    same = dict.fromkeys(anchors.MEMBERS, 0.5)
    flat = vcc2026.Anchors(
        baseline=same, replicate=same, replicate_sd=same, emission="dispersed", seed=0, split_seeds=()
    )
    with pytest.raises(VcEvalError, match="not worse than the replicate"):
        vcc2026.scaled_scores(same, flat)


def _without(adata, label):
    return adata[adata.obs["target_gene"] != label].copy()


def _changed(adata, value):
    copy = adata.copy()
    copy.X = copy.X.copy()
    copy.X.data[0] = value
    return copy


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda real, pred: (real, _changed(pred, 0.5)), {}, "whole numbers"),
        (lambda real, pred: (real, _changed(pred, -1)), {}, "negative"),
        (lambda real, pred: (real, _changed(pred, np.nan)), {}, "not finite"),
        (lambda real, pred: (real, _changed(pred, 2e6)), {}, "more than 1,000,000"),
        (lambda real, pred: (real, _without(pred, "G01")), {}, "have no cell"),
        (lambda real, pred: (_without(real, "G01"), pred), {}, "not in the real data"),
        (lambda real, pred: (_without(real, "non-targeting"), pred), {}, "no cell is labelled"),
        (lambda real, pred: (real, pred[:, 1:].copy()), {}, "1 genes are missing"),
        (lambda real, pred: (real, pred), {"pert_col": "guide"}, "column 'guide'"),
        (lambda real, pred: (real, pred), {"options": {"anchor": "compute"}}, "unknown options anchor"),
        (lambda real, pred: (real, pred), {"options": {"anchors": "five"}}, "'none', 'compute'"),
        (
            lambda real, pred: (real, pred),
            {"options": {"anchors": "compute", "emission": "x"}},
            "'dispersed' or 'tile'",
        ),
        (lambda real, pred: (real, pred), {"options": {"target_genes": {"*": "no gene"}}}, "no target gene would be"),
    ],
)
def test_wrong_input_is_refused_with_a_reason(change, settings, message):
    real, pred = change(cells(), cells(seed=1))
    with pytest.raises(VcEvalError, match=message):
        score_pair(pred, real, rule="vcc2026", settings=Settings(**settings))


def test_targets_can_be_named_or_declared_absent():
    genes = np.array(["A", "B"])
    np.testing.assert_array_equal(find_targets(["A-1", "z"], genes, {"A-1": "A"}), [0, -1])
    np.testing.assert_array_equal(find_targets(["A", "drug"], genes, {"*": None}), [-1, -1])
    np.testing.assert_array_equal(find_targets(["A", "drug"], genes, {"drug": None}), [0, -1])


def test_the_command_line_scores_and_reports(tmp_path):
    cells(n_cells=20).write_h5ad(tmp_path / "real.h5ad")
    cells(n_cells=20, seed=1).write_h5ad(tmp_path / "pred.h5ad")
    out = tmp_path / "scores"
    files = ["--real", str(tmp_path / "real.h5ad"), "--pred", str(tmp_path / "pred.h5ad"), "--out", str(out)]
    main(["cells", "--rule", "vcc2026", "--set", "anchors=compute", "n_splits=2", *files, "--n-boot", "20", "--quiet"])
    everything = pd.read_parquet(out / "scores.parquet").query("group == 'all'")
    table = everything[everything["model"] == "pred"].set_index("metric")
    expected = score_pair(
        cells(n_cells=20, seed=1), cells(n_cells=20), rule="vcc2026",
        settings=Settings(options={"anchors": "compute", "n_splits": 2}),
    ).aggregate.set_index("metric")["value"]  # fmt: skip
    np.testing.assert_allclose(table.loc[expected.index, "value"], expected)
    assert "Challenge score 2026" in (out / "report.html").read_text()
    value = everything.set_index(["model", "metric"])["value"]
    assert value["no_change", "vcc2026/pds_cosine"] == 0.5
    assert value["mean_effect", "vcc2026/overall"] == pytest.approx(0, abs=1e-12)  # the zero of the scale
    assert value["split_half", "vcc2026/pds_cosine"] >= value["shuffled_labels", "vcc2026/pds_cosine"]
