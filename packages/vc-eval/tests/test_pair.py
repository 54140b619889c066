"""Cells against cells from the command line: files as cell-eval writes them, scores-v1, baseline, comparison, own metrics."""

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from vc_eval import contracts
from vc_eval.cells import inputs, peer_files, rules
from vc_eval.cells.settings import Settings
from vc_eval.cli.main import main
from vc_eval.errors import ContractError, VcEvalError
from vc_eval.metrics import custom
from vc_eval.stats import compare, pair
from vc_eval.vcc2025 import baseline
from vc_eval.vcc2025 import rule as vcc2025

CONTROL = "non-targeting"


def cells(seed=0, *, n_p=6, n_genes=60, n=16, n_control=40, noise=0.0, log=True):
    rng = np.random.default_rng(seed)
    base, effects = rng.gamma(0.6, 1.5, n_genes), rng.normal(0, 1.0, (n_p, n_genes))
    labels = np.array([CONTROL] * n_control + [f"G{p:03d}" for p in range(n_p) for _ in range(n)])
    rate = np.vstack([np.tile(base, (n_control, 1)), np.repeat(base * np.exp(effects), n, axis=0)])
    draw = np.random.default_rng([seed, int(1000 * noise)])
    counts = draw.poisson(np.where(draw.random(rate.shape) < noise, base, rate))
    values = np.log1p(counts / np.maximum(counts.sum(1, keepdims=True), 1) * 1e4) if log else counts
    obs = pd.DataFrame({"target_gene": labels.astype(object)}, index=[f"c{k}" for k in range(labels.size)])
    var = pd.DataFrame(index=pd.Index([f"G{k:03d}" for k in range(n_genes)], dtype=object))
    return anndata.AnnData(scipy.sparse.csr_matrix(values.astype(np.float32)), obs=obs, var=var)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    cells(1).write_h5ad(folder / "real.h5ad")
    cells(1, noise=0.3).write_h5ad(folder / "good.h5ad")
    cells(1, noise=0.8).write_h5ad(folder / "poor.h5ad")
    main(["baseline", "--real", str(folder / "real.h5ad"), "--out", str(folder / "base.h5ad")])
    run(folder, folder / "scores", "--baseline", str(folder / "base.h5ad"))
    return folder


def run(folder, out, *extra, pred=("good", "poor")):
    paths = [str(folder / f"{name}.h5ad") for name in pred]
    main(
        [
            "cells",
            "--real",
            str(folder / "real.h5ad"),
            "--pred",
            *paths,
            "--out",
            str(out),
            "--n-boot",
            "200",
            "--quiet",
            *extra,
        ]
    )


@pytest.fixture(scope="module")
def peer():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("cell_eval")


def test_run_writes_scores_report_and_the_files_of_cell_eval(files):
    scores = files / "scores"
    table, summary = contracts.read_scores(scores)
    added = {"no_change", "mean_effect", "shuffled_labels", "split_half", "interpolated_duplicate"}
    assert set(table["model"]) == {"good", "poor", "cell_eval_mean", *added}
    assert set(table["metric_version"]) == {"cell-eval-0.8.2"}
    means = table[table["group"] == "all"].set_index(["model", "metric"])["value"]
    assert (
        means["good", "vcc2025/overall"] > means["poor", "vcc2025/overall"] > means["cell_eval_mean", "vcc2025/overall"]
    )
    assert means["cell_eval_mean", "vcc2025/overall"] == 0
    assert summary["notes"]["provenance"]["good"]["rule_version"] == "cell-eval-0.8.2"
    csv = pd.read_csv(scores / "good" / "agg_results.csv").set_index("statistic").loc["mean"]
    assert csv["overlap_at_N"] == pytest.approx(means["good", "vcc2025/des"], rel=1e-12)
    assert "good" in (scores / "report.html").read_text()
    assert str(files) not in (scores / "report.html").read_text() + (scores / "scores.json").read_text()


def test_controls_stand_in_every_table_and_say_what_they_should(files, tmp_path):
    table, summary = contracts.read_scores(files / "scores")
    means = table[table["group"] == "all"].set_index(["model", "metric"])["value"]
    for metric in ("vcc2025/des", "vcc2025/pds", "vcc2025/mae", "vcc2025/overall"):  # a shortcut to the same cells
        assert means["mean_effect", metric] == means["cell_eval_mean", metric], metric
    assert means["no_change", "vcc2025/des"] == 0
    assert means["split_half", "vcc2025/pds"] > means["shuffled_labels", "vcc2025/pds"]
    assert means["split_half", "vcc2025/mae"] < means["no_change", "vcc2025/mae"]
    ranges = {row["metric"]: row for row in summary["dynamic_range"]}
    assert ranges["vcc2025/pds"]["median"] > 0
    assert ranges["vcc2025/pds"]["negative"] == "cell_eval_mean"
    assert 'id="ranges"' in (files / "scores" / "report.html").read_text()
    good = table[(table["model"] == "good") & (table["metric"] == "vcc2025/pds")]
    if good["group"].str.startswith("condition:").sum() >= 9:
        assert {"weak", "medium", "strong"} <= set(good["group"])
    run(files, tmp_path / "bare", "--no-controls", pred=("good",))
    assert set(contracts.read_scores(tmp_path / "bare")[0]["model"]) == {"good"}


def test_the_same_inputs_give_the_same_bytes(files, tmp_path, monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    for name in ("one", "two"):
        run(files, tmp_path / name, "--cache", str(tmp_path / "cache"), pred=("good",))
    for name in ("scores.parquet", "scores.json", "results.csv", "agg_results.csv", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert json.loads((tmp_path / "one" / "scores.json").read_text())["contract"]["created"] is None


@pytest.mark.parametrize("profile", ["full", "bio"])
def test_profiles_run_from_the_command_line(files, tmp_path, profile):
    run(files, tmp_path / "out", "--profile", profile, pred=("good",))
    table, _ = contracts.read_scores(tmp_path / "out")
    assert table["metric"].nunique() > 25
    assert (tmp_path / "out" / "report.html").exists()


def test_result_tables_equal_those_of_cell_eval(peer, files, tmp_path):
    run(files, tmp_path / "out", pred=("good",))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = peer.MetricsEvaluator(
            adata_pred=str(files / "good.h5ad"), adata_real=str(files / "real.h5ad"), pert_col="target_gene", num_threads=1,
            outdir=str(tmp_path / "peer"),
        )  # fmt: skip
        evaluator.compute(profile="vcc")
    for name in ("results.csv", "agg_results.csv"):
        ours, theirs = (pd.read_csv(tmp_path / folder / name) for folder in ("out", "peer"))
        assert list(ours.columns) == list(theirs.columns)
        key = ours.columns[0]
        pd.testing.assert_frame_equal(
            ours.sort_values(key, ignore_index=True), theirs.sort_values(key, ignore_index=True), atol=1e-6
        )


# Tables and scaled scores.

values = st.one_of(st.just(np.nan), st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 2))


@settings(deadline=None)
@given(st.lists(values, min_size=1, max_size=12))
def test_statistics_equal_polars_describe(column):
    polars = pytest.importorskip("polars")
    theirs = polars.DataFrame({"x": column}).describe().to_pandas()
    ours = peer_files.describe(pd.DataFrame({"perturbation": range(len(column)), "x": column}))
    assert list(ours["statistic"]) == list(theirs["statistic"])
    np.testing.assert_allclose(ours["x"], theirs["x"].astype(float), atol=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(values, values), min_size=5, max_size=5))
def test_scaled_scores_equal_cell_eval(peer, rows):
    import polars
    from cell_eval._score import score_agg_metrics

    names = ["overlap_at_N", "mae", "discrimination_score_l1", "mse_delta", "de_nsig_counts_real"]
    user, base = (dict(zip(names, column, strict=True)) for column in zip(*rows, strict=True))
    frames = [polars.DataFrame({"statistic": ["mean"], **{k: [v] for k, v in d.items()}}) for d in (user, base)]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = score_agg_metrics(*frames)
    ours = peer_files.score_against_baseline(user, base)
    assert [name for name, _ in ours] == theirs["metric"].to_list()
    np.testing.assert_allclose([value for _, value in ours], theirs["from_baseline"].to_numpy(), rtol=1e-12, atol=1e-12)


def test_score_command_reads_both_programs_files_and_writes_the_peers_layout(files, tmp_path, capsys):
    good, poor = (str(files / "scores" / name / "agg_results.csv") for name in ("good", "poor"))
    main(["score", "--user", good, "--base", good, "--out", str(tmp_path / "zero.csv")])
    zero = pd.read_csv(tmp_path / "zero.csv")
    assert list(zero.columns) == ["metric", "from_baseline"]
    assert list(zero["metric"]) == ["mae", "overlap_at_N", "discrimination_score_l1", "avg_score"]
    main(["score", "--user", good, "--base", poor, "--out", str(tmp_path / "better.csv")])
    assert pd.read_csv(tmp_path / "better.csv")["from_baseline"].iloc[-1] > 0
    assert "avg_score" in capsys.readouterr().out


def test_tables_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(VcEvalError, match="'mae' against 'mse'"):
        peer_files.score_against_baseline({"mae": 1.0}, {"mse": 1.0})
    with pytest.raises(VcEvalError, match="none of the metrics"):
        peer_files.score_against_baseline({"x": 1.0}, {"x": 1.0})
    for text, message in (
        ("a,b\n1,2\n", "'statistic'"),
        ("statistic,mae\ncount,1\n", "row 'mean'"),
        ("statistic,mae\nmean,x\n", "numbers"),
    ):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(ContractError, match=message):
            peer_files.read_mean(tmp_path / "t.csv")


# The mean baseline.


@pytest.mark.parametrize("log", [True, False], ids=["log1p", "counts"])
def test_the_baseline_file_equals_that_of_cell_eval(peer, tmp_path, log):
    real = cells(2, log=log)
    counts = {"G001": 3, "G004": 7}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import polars
        from cell_eval._baseline import build_base_mean_adata

        table = polars.DataFrame({"target_gene": list(counts), "n_cells": list(counts.values())})
        theirs = build_base_mean_adata(real.copy(), counts_df=table)
    n = baseline.write_baseline(tmp_path / "base.h5ad", real, settings=Settings(), counts=counts)
    ours = anndata.read_h5ad(tmp_path / "base.h5ad")
    assert n == ours.n_obs == theirs.n_obs and list(ours.var_names) == list(theirs.var_names)
    for label in (*counts, CONTROL):
        rows = [np.asarray(a[(a.obs["target_gene"] == label).to_numpy()].X.todense()) for a in (ours, theirs)]
        np.testing.assert_allclose(*rows, rtol=3e-7, atol=1e-7)
        assert label == CONTROL or (rows[0] == rows[0][0]).all()
    control = (ours.obs["target_gene"] == CONTROL).to_numpy()
    assert list(ours.obs_names[control]) == list(real.obs_names[(real.obs["target_gene"] == CONTROL).to_numpy()])
    if log:
        expected = real[(real.obs["target_gene"] == CONTROL).to_numpy()].X.toarray()
        np.testing.assert_array_equal(ours[control].X.toarray(), expected)


def test_baseline_counts_are_checked(tmp_path):
    path = tmp_path / "counts.csv"
    path.write_text("target_gene,n_cells\nG000,4\nnon-targeting,9\n")
    assert baseline.read_counts(path, pert_col="target_gene", control=CONTROL) == {"G000": 4}
    for text, message in (
        ("a,b\n1,2\n", "no target_gene"),
        ("target_gene,n_cells\nG0,0\n", "above 0"),
        ("target_gene,n_cells\nG0,1\nG0,1\n", "per perturbation"),
    ):
        path.write_text(text)
        with pytest.raises(ContractError, match=message):
            baseline.read_counts(path, pert_col="target_gene", control=CONTROL)


# Comparing.


def test_a_model_compared_with_itself_differs_by_nothing_and_with_a_worse_one_wins(files, capsys):
    table, _ = contracts.read_scores(files / "scores")
    same = compare.compare_scores(table, table, first_model="good", second_model="good", n_boot=100)
    assert (same["difference"] == 0).all() and (same["p"] == 1).all() and (same["ties"] == same["n"]).all()
    result = compare.compare_scores(table, table, first_model="poor", second_model="good", n_boot=500)
    by_name = result.set_index("metric")
    # Positive is better for the second, also where lower values are better.
    assert by_name.loc["vcc2025/mae", "difference"] == pytest.approx(
        by_name.loc["vcc2025/mae", "first"] - by_name.loc["vcc2025/mae", "second"]
    )
    assert by_name.loc["vcc2025/mae", ["lower", "difference"]].min() > 0 and by_name.loc["vcc2025/mae", "wins"] == 6
    assert ((result["lower"] <= result["difference"]) & (result["difference"] <= result["upper"])).all()
    # Six perturbations: of 64 sign patterns two are as extreme as all positive.
    assert 0.02 < by_name.loc["vcc2025/mae", "p"] < 0.06
    main(["compare", str(files / "scores"), str(files / "scores"), "--models", "poor", "good"])
    assert "6/0/0" in capsys.readouterr().out


def test_comparisons_that_make_no_sense_are_refused(files):
    table, _ = contracts.read_scores(files / "scores")
    with pytest.raises(VcEvalError, match="no model 'x'"):
        compare.compare_scores(table, table, first_model="x", second_model="good")
    with pytest.raises(VcEvalError, match="different data"):
        compare.compare_scores(table, table.assign(dataset="b"), first_model="good", second_model="good")
    with pytest.raises(VcEvalError, match="two versions"):
        compare.compare_scores(table, table.assign(metric_version="9"), first_model="good", second_model="good")


def test_holm_steps_down():
    np.testing.assert_allclose(compare.holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])


# Metrics and pages of a user's own.

OWN = Path(__file__).parents[1] / "README.md"


def test_the_metric_of_the_readme_is_scored_in_both_routes(files, tmp_path, world):
    code = re.search(r"```python\n# my_metric.py\n(.*?)```", OWN.read_text(), re.S).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    (tmp_path / "my_metric.py").write_text(code)
    try:
        run(files, tmp_path / "out", "--plugin", str(tmp_path / "my_metric.py"), pred=("good",))
        table, _ = contracts.read_scores(tmp_path / "out")
        own = table[(table["metric"] == "sign_agreement") & (table["group"] == "all")].iloc[0]
        assert 0.5 < own["value"] <= 1 and own["lower"] <= own["value"] <= own["upper"]
        real, good = (anndata.read_h5ad(files / f"{name}.h5ad") for name in ("real", "good"))
        means = [
            pd.DataFrame(a.X.toarray(), columns=a.var_names).groupby(a.obs["target_gene"].to_numpy()).mean()
            for a in (real, good)
        ]
        signs = [np.sign(m.drop(CONTROL) - m.loc[CONTROL]) for m in means]
        same = (signs[0] == signs[1]).to_numpy().astype(float)
        same[np.arange(6), np.arange(6)] = np.nan  # the perturbed gene
        assert own["value"] == pytest.approx(np.nanmean(same))
        from vc_eval.split.score import score_split

        screen, splits, predictions = world
        scores = score_split(screen, splits, {"truth": predictions["truth"]}, seed=0, n_ceiling=1, n_ceiling_des=0)
        found = scores.conditions.query("metric == 'sign_agreement' and model == 'truth'")["value"]
        assert len(found) and found.between(0, 1).all()
    finally:
        custom.remove_metric("sign_agreement")


def test_metrics_that_fail_or_take_a_name_are_refused():
    from vc_eval.metrics import get_metric
    from vc_eval.metrics.registry import Metric

    own = Metric(
        name="own", title="t", definition="d", direction="higher", best=1.0, chance="0", unit="u", reference="r"
    )
    with pytest.raises(VcEvalError, match="package's own"):
        custom.register_metric(get_metric("vcc2025/des"), lambda p: p.keep_pg.sum(1))
    try:
        for function, message in (
            (lambda p: 1 / 0, "ZeroDivisionError"),
            (lambda p: np.zeros(3), "one value for each of 6"),
        ):
            custom.register_metric(own, function)
            with pytest.raises(VcEvalError, match=message):
                rules.score_pair(cells(1), cells(1))
    finally:
        custom.remove_metric("own")


def test_report_draws_a_page_from_a_folder_of_scores(files, tmp_path, capsys):
    main(["report", str(files / "scores"), "--out", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert "vcc2025 (cell-eval-0.8.2)" in page and "Look at one condition" not in page
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1))
    assert data["scores"]["all"]["vcc2025/des"]["good"][0] > data["scores"]["all"]["vcc2025/des"]["poor"][0]
    assert capsys.readouterr().out.splitlines()[-1].startswith("wrote ")


def test_intervals_hold_the_value_and_only_means_have_one(files):
    result = rules.score_pair(
        files / "good.h5ad", files / "real.h5ad", rule="full", settings=Settings(options={"edistance": False})
    )
    table = pair.summarise_pair({"good": result}, dataset="d", baselines=[], seed=0, n_boot=200)
    rows = table[table["group"] == "all"].set_index("metric")
    assert np.isnan(rows.loc["cell_eval/de_spearman_sig", "lower"])
    assert rows.loc["cell_eval/mae", "lower"] < rows.loc["cell_eval/mae", "value"] < rows.loc["cell_eval/mae", "upper"]


def test_one_context_with_few_cells_has_no_ceiling():
    real = cells(0, n=1, n_control=1)
    with pytest.raises(VcEvalError, match="two cells"):
        vcc2025.split_half(real, settings=Settings())


# The command line refuses in one line and leaves nothing.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pred", "good.h5ad", "--real", "absent.h5ad"], "nothing there"),
        (["--pred", "good.h5ad", "good.h5ad", "--real", "real.h5ad"], "both named 'good'"),
        (["--pred", "good.h5ad", "--real", "real.h5ad", "--rule", "vcc2025", "--profile", "full"], "found both"),
        (["--pred", "good.h5ad", "--real", "real.h5ad", "--control", "none"], "control cells labelled 'none'"),
        (["--pred", "good.h5ad", "--real", "real.h5ad", "--rule", "vcc2026"], "count"),
        (["--pred", "good.h5ad", "--real", "real.h5ad", "--set", "x=1"], "unknown options"),
        (["--pred", "good.h5ad", "--real", "real.h5ad", "--set", "x"], "NAME=VALUE"),
        (["--pred", "good.h5ad", "--real", "real.h5ad", "--plugin", "none.py"], "no file"),
        (["--pred", "good.h5ad", "--real", "real.h5ad", "--model", "none"], "'none'"),
    ],
)
def test_refusals_are_one_line_exit_2_and_nothing_written(files, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    with pytest.raises(SystemExit) as stop:
        main(["cells", *arguments, "--out", str(tmp_path / "out"), "--quiet"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_counts_are_scaled_and_said(files, tmp_path, capsys):
    cells(1, noise=0.3, log=False).write_h5ad(tmp_path / "counts.h5ad")
    main(
        [
            "cells",
            "--real",
            str(files / "real.h5ad"),
            "--pred",
            str(tmp_path / "counts.h5ad"),
            "--out",
            str(tmp_path / "out"),
            "--quiet",
        ]
    )
    assert re.search(r"note: counts, pred: whole counts, scaled to \d+", capsys.readouterr().out)


def test_sides_of_different_depths_are_scored_as_given_and_it_is_said(files, tmp_path, capsys):
    flat = anndata.read_h5ad(files / "real.h5ad")
    options = ["--real", str(files / "real.h5ad"), "--out", str(tmp_path / "out"), "--quiet"]
    main(["cells", *options, "--pred", str(files / "real.h5ad")])
    assert "different depths" not in capsys.readouterr().out
    flat.X = np.log1p(3 * np.expm1(flat.X.toarray() if scipy.sparse.issparse(flat.X) else flat.X))
    flat.write_h5ad(tmp_path / "deep.h5ad")
    main(["cells", *options, "--pred", str(tmp_path / "deep.h5ad"), "--overwrite"])
    assert re.search(r"note: deep: a control cell holds about [\d,]+ counts.*different depths", capsys.readouterr().out)


def test_mean_profiles_are_sent_to_the_other_route(tmp_path, world):
    path = tmp_path / "profiles.zarr"
    world[2]["oracle"].write_zarr(path)
    with pytest.raises(VcEvalError, match="--screen"):
        rules.score_pair(path, cells(1))


def test_a_screen_is_scored_with_its_own_columns(tmp_path, world):
    screen = world[0]
    screen.write_zarr(tmp_path / "screen.zarr")
    main(
        [
            "cells",
            "--real",
            str(tmp_path / "screen.zarr"),
            "--pred",
            str(tmp_path / "screen.zarr"),
            "--out",
            str(tmp_path / "o"),
            "--quiet",
        ]
    )
    table, _ = contracts.read_scores(tmp_path / "o")
    assert set(table["group"]) >= {"all", "A", "B"}
    own = table[(table["metric"] == "vcc2025/mae") & (table["model"] == "screen")]
    assert (own["value"] == 0).all()


def test_help_of_every_command_needs_no_heavy_import():
    code = (
        "import sys\nfrom vc_eval.cli.main import main\n"
        "for name in ('cells', 'split', 'baseline', 'score', 'compare', 'report', 'list'):\n"
        "    try:\n        main([name, '--help'])\n    except SystemExit as stop:\n        assert not stop.code\n"
        "heavy = {'numpy', 'scipy', 'pandas', 'anndata', 'numba', 'zarr', 'pyarrow', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--splits" in done.stdout


def test_files_are_opened_without_reading_x(files):
    adata = inputs.open_cells(files / "real.h5ad")
    assert not scipy.sparse.issparse(adata.X) and not isinstance(adata.X, np.ndarray)
    assert scipy.sparse.issparse(inputs.load_cells(adata).X)
