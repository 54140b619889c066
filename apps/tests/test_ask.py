"""`vc fit`, `vc predict`, `vc support` and `vc rerun`, as typed."""

import json
import shutil
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from vc_apps.cli import main
from vc_apps.commands import COMMANDS, run_of, settings_of
from vc_apps.rerun import read_run

FILES = {"predictions.h5ad", "answers.tsv", "answers.parquet", "genes.parquet", "run.json"}
MINE = """class Mine:
    def fit(self, train):
        self.mean_g = train.delta_pg.mean(axis=0)

    def predict(self, conditions):
        return [self.mean_g] * len(conditions)
"""


def trained(model):
    import vc_model as vm

    return vm.load(model).memory.relatives.targets


def refused(args, capsys):
    assert main(args) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    return lines[-1]


def test_a_question_becomes_a_folder(model, tmp_path, capsys):
    one, two = trained(model)[:2]
    out = tmp_path / "answers"
    assert main(["predict", str(model), "--genes", one, f"{one}+{two}", "made-up", "-o", str(out)]) == 0
    assert {path.name for path in out.iterdir()} >= FILES
    table = pq.read_table(out / "answers.parquet").to_pandas()
    assert len(table) == 6 and set(table["support"]) >= {"seen here", "nowhere"}
    assert not table.loc[table["perturbation"] == "made-up", "answered"].any()
    predicted = ad.read_h5ad(out / "predictions.h5ad")
    assert "made-up" not in set(predicted.obs["perturbation"]) and predicted.layers["sd"].min() >= 0
    assert json.loads((out / "run.json").read_text())["command"] == "predict"
    assert "nothing is known of made-up" in capsys.readouterr().err


def test_all_genes_and_lists(model, tmp_path):
    listed = tmp_path / "pert_counts.csv"
    listed.write_text("target_gene,n\n" + "\n".join(f"{name},5" for name in trained(model)[:4]))
    assert main(["-q", "predict", str(model), "--like", str(listed), "-o", str(tmp_path / "a")]) == 0
    assert pq.read_table(tmp_path / "a" / "answers.parquet").num_rows == 8
    assert main(["-q", "predict", str(model), "--all-genes", "--force", "--report", "-o", str(tmp_path / "b")]) == 0
    assert pq.read_table(tmp_path / "b" / "answers.parquet").num_rows == 160
    assert "report.html" in {path.name for path in (tmp_path / "b").iterdir()}


def test_an_output_is_replaced_only_when_asked_and_only_by_its_like(model, screen, tmp_path, capsys):
    question = ["predict", str(model), "--genes", trained(model)[0], "-o"]
    out = tmp_path / "answers"
    assert main([*question, str(out)]) == 0
    before = (out / "answers.tsv").read_bytes()
    assert "--overwrite" in refused([*question, str(out)], capsys)
    assert main([*question, str(out), "--overwrite"]) == 0
    assert (out / "answers.tsv").read_bytes() == before
    for target in (model, screen):
        refused([*question, str(target), "--overwrite"], capsys)
    assert refused(["fit", str(screen), "-o", str(screen), "--overwrite"], capsys)
    assert "--overwrite" in refused(["fit", str(screen), "-o", str(model)], capsys)


def test_dry_runs_write_nothing(model, screen, tmp_path, capsys):
    assert main(["predict", str(model), "--genes", "made-up", "-o", str(tmp_path / "a"), "--dry-run"]) == 0
    assert "would answer 0 of 2" in capsys.readouterr().out
    assert main(["fit", str(screen), "-o", str(tmp_path / "m"), "--dry-run"]) == 0
    assert main(["quickstart", "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_run_again(model, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    assert main(["-q", "predict", str(model), "--genes", trained(model)[0], "--top", "3", "-o", str(first)]) == 0
    assert main(["-q", "rerun", str(first / "run.json"), "-o", str(again)]) == 0
    assert (again / "answers.tsv").read_bytes() == (first / "answers.tsv").read_bytes()
    (tmp_path / "run.toml").write_text(
        f'command = "predict"\n[settings]\nmodel = "{model}"\ngenes = ["A"]\nout = "x"\ntop = 2\n'
    )
    name, settings = read_run(tmp_path / "run.toml")
    assert (name, settings.genes, settings.top) == ("predict", ("A",), 2)


def test_a_fit_is_run_again_from_the_model_and_settings_travel_as_toml(model, tmp_path):
    from vc_contracts.kinds import header_of

    assert main(["rerun", str(model), "--toml", str(tmp_path / "fit.toml")]) == 0
    assert main(["-q", "rerun", str(tmp_path / "fit.toml"), "-o", str(tmp_path / "again")]) == 0
    assert header_of(tmp_path / "again")["content"] == header_of(model)["content"], "the same numbers to the bit"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"command": "teleport", "settings": {}}', "teleport"),
        ('{"command": "predict", "settings": {"model": "m", "out": "o", "speed": 3}}', "speed"),
        ('{"command": "predict", "settings": {"model": "m", "out": "o", "top": "many"}}', "top|int"),
        ("nothing", "something else"),
    ],
)
def test_what_is_no_run_is_refused(text, words, tmp_path, capsys):
    (tmp_path / "run.json").write_text(text)
    import re

    assert re.search(words, refused(["rerun", str(tmp_path / "run.json")], capsys))


def test_unperturbed_cells_alone_are_a_context(model, screen, tmp_path, capsys):
    source = ad.read_h5ad(screen.parent / "sim" / "screen.h5ad")
    cells = source[source.obs["is_control"].astype(bool)].copy()
    cells.write_h5ad(tmp_path / "mine.h5ad")
    question = ["predict", str(model), "--genes", trained(model)[0], "-o", str(tmp_path / "a")]
    assert main([*question, "--cells", str(tmp_path / "mine.h5ad")]) == 0
    table = pq.read_table(tmp_path / "a" / "answers.parquet").to_pandas()
    assert table["cell_line"].tolist() == ["mine"] and table["new_context"].all()
    assert main([*question[:-1], str(tmp_path / "b"), "--cells", str(screen)]) == 0
    # A whole screen is asked about by its controls alone, and the same numbers come out.
    source.X = sp.csr_matrix(source.X)
    source.X.indptr = source.X.indptr.astype(np.int64)
    (tmp_path / "whole").mkdir()
    source.write_h5ad(tmp_path / "whole" / "mine.h5ad")
    capsys.readouterr()
    assert main([*question[:-1], str(tmp_path / "w"), "--cells", str(tmp_path / "whole" / "mine.h5ad")]) == 0
    assert "others are left out" in capsys.readouterr().err
    whole = pq.read_table(tmp_path / "w" / "answers.parquet").to_pandas()
    pd.testing.assert_frame_equal(whole, table)
    perturbed = source[~source.obs["is_control"].astype(bool)].copy()
    del perturbed.obs["is_control"]
    perturbed.write_h5ad(tmp_path / "perturbed.h5ad")
    said = refused([*question, "--cells", str(tmp_path / "perturbed.h5ad"), "--overwrite"], capsys)
    assert "a label of control cells" in said and "--control-only" in said
    cells.X = np.log1p(cells.X.toarray())
    cells.write_h5ad(tmp_path / "normal.h5ad")
    assert "raw counts" in refused([*question, "--cells", str(tmp_path / "normal.h5ad"), "--overwrite"], capsys)
    assert "no such file" in refused([*question, "--cells", "absent.h5ad", "--overwrite"], capsys)


def test_what_cannot_be_asked_leaves_nothing(model, tmp_path, capsys):
    (tmp_path / "empty.txt").write_text("")
    out = ["-o", str(tmp_path / "a")]
    smiles = tmp_path / "smiles.tsv"
    smiles.write_text("name\tsmiles\nwater\tO\nnone\tnot-a-structure\n")
    for args, words in (
        ([], "expected a question"),
        (["--genes-file", str(tmp_path / "empty.txt")], "empty list"),
        (["--genes", "A", "--mode", "agonist"], "trained one"),
        (["--genes", "A", "--cell-line", "Hela"], "--cells"),
        (["--compounds", str(smiles)], "not-a-structure"),
        (["--genes", "A", "--limit", "3"], "limit"),
        (["--genes", "A+"], "found an empty one"),
        (["--genes", "A+B+C+D+E"], "at most 4 targets, found 5"),
        (["--genes", "A+control"], "found 'control'"),
    ):
        assert words in refused(["predict", str(model), *args, *out], capsys)
    assert "expected a folder" in refused(["predict", str(tmp_path / "no"), "--genes", "A", *out], capsys)
    (tmp_path / "run").mkdir()
    shutil.copytree(model, tmp_path / "run" / "model")
    assert f"The model is {tmp_path / 'run' / 'model'}" in refused(
        ["predict", str(tmp_path / "run"), "--genes", "A", *out], capsys
    )
    assert not (tmp_path / "a").exists()


KILLED = """
import os, signal, sys
from vc_apps.cli import main
from vc_model.ask import blocks, rules
rules.ROWS_AT_ONCE = 8
save = blocks.KeptBlocks.save
def kill(self, number, block):
    save(self, number, block)
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
blocks.KeptBlocks.save = kill
main(sys.argv[1:])
"""


def test_many_questions_killed_go_on_with_the_same_bytes(model, tmp_path, monkeypatch, capsys):
    from vc_model.ask import rules

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    monkeypatch.setattr(rules, "ROWS_AT_ONCE", 8)
    question = ["predict", str(model), "--all-genes", "--force", "-o"]
    done = subprocess.run([sys.executable, "-c", KILLED, *question, str(tmp_path / "a")], capture_output=True)
    assert done.returncode == -9 and not (tmp_path / "a").exists()
    assert len(list((tmp_path / ".a.parts").glob("*.npz"))) == 3
    assert main([*question, str(tmp_path / "a")]) == main([*question, str(tmp_path / "b")]) == 0
    assert "3 blocks of answers were finished before" in capsys.readouterr().err
    for name in FILES - {"run.json"}:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_nobody_reads_a_page_of_thousands(model, tmp_path, capsys):
    (tmp_path / "many.txt").write_text("\n".join(f"N{number}" for number in range(1500)))
    args = ["predict", str(model), "--genes-file", str(tmp_path / "many.txt"), "--report", "-o", str(tmp_path / "a")]
    assert "at most 2,000 conditions, found 3,000" in refused(args, capsys)


def test_support_is_printed_and_drawn(model, tmp_path, capsys):
    assert main(["support", str(model), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["support"] for row in rows} >= {"seen here", "nowhere"}
    assert sum(row["genes"] for row in rows if row["cell_line"] == "LineA") == 80
    for name in ("map.tsv", "map.png", "map.svg"):
        assert main(["support", str(model), "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).stat().st_size > 500
    assert "one of" in refused(["support", str(model), "-o", str(tmp_path / "map.doc")], capsys)
    name = trained(model)[0]
    assert main(["support", str(model), "--genes", name.lower(), "--cell-line", "lineA", "--mode", "agonist"]) == 0
    said = capsys.readouterr()
    assert f"{name} in lineA" in said.out and "Its own: LineA" in said.err and "agonist was never trained" in said.err


def test_a_model_of_ones_own_is_fitted_and_asked(screen, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    mine = ["--plugin", str(tmp_path / "mine.py")]
    assert main(["fit", str(screen), "-o", str(tmp_path / "model"), *mine]) == 0
    question = ["predict", str(tmp_path / "model"), "--genes", "G001", "--force", "-o", str(tmp_path / "a")]
    assert "Give --plugin mine.py" in refused(question, capsys)
    assert main([*question, *mine]) == 0


def test_a_split_holds_out_and_its_part_is_predicted(screen, tmp_path, capsys):
    from vc_data import split as splitting
    from vc_data.screen.file import read_screen

    made = splitting.by_perturbation(read_screen(screen), seed=0, test=0.25, min_cells=10)
    splitting.write_splits(made, tmp_path / "splits.json")
    fit = ["fit", str(screen), "-o", str(tmp_path / "model"), "--model", "mean_effect", "--split"]
    assert main([*fit, str(tmp_path / "splits.json")]) == 0
    files = [str(tmp_path / "model"), str(screen), str(tmp_path / "splits.json")]
    assert main(["predict", *files, "-o", str(tmp_path / "test.h5ad")]) == 0
    tested = {(row["cell_line"], row["perturbation"]) for row in made.conditions if row["part"] == "test"}
    obs = ad.read_h5ad(tmp_path / "test.h5ad").obs.query("~is_control")
    assert set(zip(obs["cell_line"], obs["perturbation"], strict=True)) == tested
    # The package's own command does the same.
    from vc_model.cli.main import main as alone

    alone(["fit", str(screen), str(tmp_path / "splits.json"), str(tmp_path / "other"), "--model", "mean_effect"])
    alone(["predict", str(tmp_path / "other"), *files[1:], str(tmp_path / "other.h5ad")])
    one, other = (ad.read_h5ad(tmp_path / name) for name in ("test.h5ad", "other.h5ad"))
    np.testing.assert_array_equal(one.X, other.X)
    np.testing.assert_array_equal(one.layers["sd"], other.layers["sd"])
    assert "--overwrite" in refused(["predict", *files, "-o", str(tmp_path / "test.h5ad")], capsys)
    assert "SCREEN SPLITS" in refused(["predict", files[0], "--part", "val", "-o", str(tmp_path / "v.h5ad")], capsys)
    before, out = set(tmp_path.iterdir()), str(tmp_path / "new")
    for command in (
        ["train", "st", *files[1:]],
        ["submit", *files[1:], str(tmp_path / "test.h5ad"), "--cells", "20"],
        ["rehearse", files[1]],
        ["interp", *files],
    ):
        capsys.readouterr()
        assert main([*command, "-o", out + (".vcc" if command[0] == "submit" else ""), "--dry-run"]) == 0
        assert capsys.readouterr().out.startswith("would ")
    assert set(tmp_path.iterdir()) == before


def test_every_command_of_the_table_can_be_imported():
    for name in COMMANDS:
        assert callable(run_of(name)) and settings_of(name).__doc__


def test_the_version_names_every_part(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("vc-apps", "vc-model", "vc-eval"))


def test_an_answer_becomes_a_figure(model, tmp_path):
    name = trained(model)[0]
    assert main(["-q", "predict", str(model), "--genes", name, "--force", "-o", str(tmp_path / "a")]) == 0
    figure = ["plot", "volcano", str(tmp_path / "a" / "predictions.h5ad"), "--condition", f"LineA | {name}"]
    assert main([*figure, "-o", str(tmp_path / "v.svg")]) == 0
    assert (tmp_path / "v.svg").stat().st_size > 500
