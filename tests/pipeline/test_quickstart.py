"""The main job, end to end, as a newcomer runs it."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from vc_apps.cli import main
from vc_apps.settings import Quickstart
from vc_data.options import Columns
from vc_eval.contracts import read_predictions, read_scores
from vc_model.baselines import BASELINES

README = Path(__file__).resolve().parents[2] / "README.md"
SETTINGS = ("JAX_DISABLE_MOST_OPTIMIZATIONS", "OPENBLAS_NUM_THREADS")
"""What the root conftest.py sets, so that tests take less time."""
FLAGS = ["--preset", "tiny", "--repeats", "1", "--bootstrap", "200"]


def _vc(*args: str) -> None:
    """As a user runs it: a process of its own, so that threads, compilation and imports are those of the command."""
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    subprocess.run([sys.executable, "-m", "vc_apps.cli", "quickstart", *args], check=True, env=environment)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("quickstart") / "run"
    _vc(*FLAGS, "--out", str(out))
    return out


def test_everything_that_was_promised_is_there(run):
    names = {path.name for path in run.iterdir()}
    assert {"report.html", "scores.parquet", "scores.json", "challenge.h5ad", "checkpoint", "run.json"} <= names
    assert {path.stem for path in (run / "predictions" / "split-0").iterdir()} == {"anchored", *BASELINES}
    assert not [path for path in run.parent.iterdir() if path != run]


def test_the_table_holds_model_baselines_and_ceiling(run):
    scores, _ = read_scores(run)
    overall = scores[scores["group"] == "all"]
    assert set(overall["model"]) >= {"anchored", "split_half", *BASELINES}
    pearson = overall[(overall["metric"] == "pearson_delta") & (overall["model"] == "anchored")].iloc[0]
    assert pearson["lower"] <= pearson["value"] <= pearson["upper"]
    assert np.isfinite([pearson["baseline"], pearson["ceiling"]]).all()


@pytest.mark.parametrize("kind", ["gain", "calibration"])
def test_figures_of_the_run_need_no_more_than_its_name(run, tmp_path, kind):
    from vc_apps.cli import main

    assert main(["plot", kind, str(run), "-o", str(tmp_path / "figure.svg")]) == 0
    text = (tmp_path / "figure.svg").read_text()
    assert "anchored" in text


def test_its_last_words_are_the_table_as_json_where_asked(run, capsys):
    from vc_apps.quickstart import _say_goodbye

    table, _ = read_scores(run)
    _say_goodbye(Quickstart(out=run, json=True), table, "G1")
    said = json.loads(capsys.readouterr().out)
    rows = table[(table["model"] == "anchored") & (table["group"] == "all")].set_index("metric")
    assert said["out"] == str(run)
    assert said["scores"]["anchored"]["pearson_delta"]["value"] == rows.loc["pearson_delta", "value"]


def test_no_held_out_condition_was_trained_on(run):
    conditions = json.loads((run / "splits" / "split-0.json").read_text())["conditions"]
    parts = {
        part: {c["perturbation"] for c in conditions if c["part"] == part and "+" not in c["perturbation"]}
        for part in ("train", "test")
    }
    assert parts["test"] and not parts["train"] & parts["test"]
    predicted = read_predictions(run / "predictions" / "split-0" / "anchored.h5ad").obs
    tested = {(c["cell_line"], c["perturbation"]) for c in conditions if c["part"] == "test"}
    rows = predicted.loc[~predicted["is_control"]]
    assert set(zip(rows["cell_line"], rows["perturbation"], strict=True)) == tested


def test_the_challenge_file_holds_cells_as_the_challenge_wants_them(run):
    cells = ad.read_h5ad(run / "challenge.h5ad")
    profile = read_predictions(run / "predictions" / "split-0" / "anchored.h5ad")
    assert cells.X.dtype == np.float32 and cells.X.min() >= 0 and cells.X.max() < 15
    assert "non-targeting" in set(cells.obs["target_gene"])
    assert list(cells.var_names) == list(profile.var_names)
    row = np.flatnonzero(~profile.obs["is_control"])[0]
    name, line = profile.obs["perturbation"].iloc[row], profile.obs["cell_line"].iloc[row]
    own = cells[(cells.obs["target_gene"] == name) & (cells.obs["celltype"] == line)]
    expressed = np.asarray((own.X > 0).mean(axis=0)).ravel() > 0.2
    mean_g = np.asarray(own.X.mean(axis=0)).ravel()[expressed]
    np.testing.assert_allclose(mean_g, np.asarray(profile.X[row]).ravel()[expressed], atol=0.02)


def test_predictions_become_counts_that_the_challenge_of_2026_takes(run, tmp_path, monkeypatch, capsys):
    from vc_eval.split.truth import log1p_cp10k
    from vc_eval.vcc2026.submission import SubmissionRules, check_submission

    prediction = run / "predictions" / "split-0" / "anchored.h5ad"
    files = [str(run / "screen.zarr"), str(run / "splits" / "split-0.json"), str(prediction)]
    out = tmp_path / "cells.h5ad"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert main(["submit", *files, "-o", str(out), "--cells", "60"]) == 0
    cells, profile = ad.read_h5ad(out), read_predictions(prediction)
    wanted = profile.obs[~profile.obs["is_control"]]
    perturbations = {str(line): list(part["perturbation"]) for line, part in wanted.groupby("cell_line", observed=True)}
    rules = SubmissionRules(genes=list(profile.var_names), perturbations=perturbations, cells_per_perturbation=60)
    assert check_submission(cells, rules) == []
    first = wanted.iloc[0]
    own = cells[(cells.obs["target_gene"] == first["perturbation"]) & (cells.obs["context"] == first["cell_line"])]
    values = log1p_cp10k(own.X, np.asarray(own.X.sum(axis=1)).ravel()).toarray()
    expressed = (values > 0).mean(axis=0) > 0.3
    gap = values.mean(axis=0) - np.asarray(profile[wanted.index[0]].X).ravel()
    assert expressed.sum() > 20 and abs(gap[expressed].mean()) < 0.03 and np.abs(gap[expressed]).max() < 0.4
    before = out.read_bytes()
    assert main(["submit", *files, "-o", str(out), "--cells", "60"]) == 2, "an existing file is kept"
    capsys.readouterr()
    assert main(["submit", *files, "-o", str(out), "--cells", "60", "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "cells.receipt.json").read_text())
    assert out.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"cells.h5ad", "cells.receipt.json"}


def test_the_report_shows_every_model_and_loads_nothing(run):
    page = (run / "report.html").read_text()
    assert all(name in page for name in ("anchored", "split_half", *BASELINES))
    assert 'src="http' not in page and 'href="http' not in page.replace("https://doi.org", "")


def test_the_saved_model_predicts_the_same(run):
    from vc_model.checkpoint import load_checkpoint
    from vc_model.table.pseudobulk import load_conditions

    model = load_checkpoint(run / "checkpoint")
    test = load_conditions(run / "screen.zarr", run / "splits" / "split-0.json", "test", model.contexts)
    saved = read_predictions(run / "predictions" / "split-0" / "anchored.h5ad")
    mean_pg = np.asarray(saved[~saved.obs["is_control"].to_numpy()].X)
    np.testing.assert_allclose(model.predict(test).mean_pg, mean_pg, atol=1e-5)


def test_what_the_readme_says_to_do_next_runs_as_printed(run, tmp_path, monkeypatch, capsys):
    """Commands and Python below the quickstart; only the names of genes are those of this smaller screen."""
    import vc_model as vm

    page = README.read_text()
    names = dict(
        zip(sorted(set(re.findall(r"G\d{4}", page))), vm.load(run / "model").memory.relatives.targets, strict=False)
    )
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    commands = [
        line for language, text in blocks if not language for line in text.splitlines() if line.startswith("vc ")
    ]
    (example,) = [text for language, text in blocks if language == "py"]
    assert len(commands) >= 3 and len(names) == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(run)

    def printed(text: str) -> str:
        return re.sub(r"G\d{4}", lambda found: names[found[0]], text)

    for command in commands:
        try:
            code = main(shlex.split(printed(command), comments=True)[1:])
        except SystemExit as left:  # --help
            code = left.code
        assert code == 0, f"{command}: {capsys.readouterr().err}"
    assert "target" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"run", "answers", "support.png"}
    found: dict = {}
    exec(compile(printed(example), "README.md", "exec"), found)
    one, other = names.values()
    assert set(found["table"]["perturbation"]) == {one, f"{one}+{other}"}
    assert set(found["table"]["support"]) <= {"seen here", "parts seen here"}


def test_the_same_seed_gives_the_same_bytes(run, tmp_path):
    again = tmp_path / "again"
    _vc(*FLAGS, "--out", str(again))
    assert (again / "scores.parquet").read_bytes() == (run / "scores.parquet").read_bytes()


MINE = """class Mine:
    name = "mine"

    def fit(self, train):
        self.mean_g = train.delta_pg.mean(axis=0)

    def predict(self, conditions):
        return [self.mean_g] * len(conditions)
"""


def test_a_real_screen_runs_with_a_model_of_ones_own_beside_the_others(real_data, tmp_path, capsys):
    fpath, out = real_data / "mcfaline2023_gbm_crispri_500g.h5ad", tmp_path / "run"
    (tmp_path / "mine.py").write_text(MINE)
    plugin = ["--plugin", str(tmp_path / "mine.py")]
    flags = ["--repeats", "1", "--bootstrap", "200", "--member", *plugin]
    assert main(["quickstart", "--data", str(fpath), *flags, "--out", str(out)]) == 0
    scores, _ = read_scores(out)
    assert set(scores["dataset"]) == {fpath.stem}
    assert {"A172", "T98G", "U87MG"} <= set(scores["group"])
    own = scores[(scores["group"] == "all") & (scores["metric"] == "mse_delta")].set_index("model")
    assert np.isfinite(own.loc["mine", ["value", "lower", "upper"]].to_numpy(float)).all()
    assert own.loc["anchored+mine", "value"] <= 1.1 * own.loc[["mine", "anchored"], "value"].max()
    data = json.loads(re.search(r'id="data">(.*?)</script>', (out / "report.html").read_text(), re.DOTALL).group(1))
    assert data["scores"]["all"]["mse_delta"]["mine"] and not {"mine", "anchored+mine"} & set(data["baselines"])
    question = ["predict", str(out / "model"), "--genes", "made-up", "--force", "-o", str(tmp_path / "answers")]
    assert main(question) == 2
    assert "expected the file mine.py with the class Mine" in capsys.readouterr().err
    assert main([*question, *plugin]) == 0
    capsys.readouterr()
    (tmp_path / "mine.py").write_text(MINE.replace("mine", "anchored"))
    assert main(["quickstart", *plugin, "--out", str(tmp_path / "other")]) == 2
    assert "which is built in" in capsys.readouterr().err


def test_one_perturbation_in_several_contexts_is_split_by_context(real_data, tmp_path):
    fpath = real_data / "kang2018_pbmc_ifnb.h5ad"
    flags = ["--repeats", "2", "--bootstrap", "200"]
    assert main(["quickstart", "--data", str(fpath), *flags, "--out", str(tmp_path / "run")]) == 0
    splits = [json.loads((tmp_path / "run" / "splits" / f"split-{i}.json").read_text()) for i in range(2)]
    assert {split["recipe"] for split in splits} == {"by_cell_line"}
    tested = [{c["cell_line"] for c in split["conditions"] if c["part"] == "test"} for split in splits]
    assert len(tested[0] | tested[1]) == 2, "each repeat holds another cell line out"
    assert tested[0] | tested[1] <= set(read_scores(tmp_path / "run")[0]["group"])


def test_help_names_every_setting(capsys):
    with pytest.raises(SystemExit):
        main(["quickstart", "--help"])
    text = capsys.readouterr().out
    names = {*Quickstart.__dataclass_fields__, *Columns.__dataclass_fields__} - {"columns"}
    assert all("--" + name.replace("_", "-") in text for name in names)
