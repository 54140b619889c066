"""`vc discover VERB` as typed, on a folder like the one that `vc quickstart` writes."""

import json
import re
import shlex
import shutil
from functools import cache
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from vc_apps.cli import main
from vc_apps.discover import settings
from vc_apps.discover.run import VERBS

COLUMNS = ["rank", "name", "effect", "low", "high", "evidence", "doubts", "support"]


@pytest.fixture(scope="session")
def work(screen, tmp_path_factory) -> Path:
    """A folder with run/, as the quickstart leaves it, and the files of their own that the examples of --help name."""
    from vc_data import split as splitting
    from vc_data.screen.file import read_screen
    from vc_featurize.bank import write_features
    from vc_featurize.geneset import geneset_features

    folder = tmp_path_factory.mktemp("discover")
    run = folder / "run"
    (run / "splits").mkdir(parents=True)
    (run / "screen.zarr").symlink_to(screen)
    (run / "simulated").symlink_to(screen.parent / "sim")
    adata = ad.read_h5ad(run / "simulated/screen.h5ad")
    targets = sorted({part for name in adata.obs["perturbation"].astype(str) for part in name.split("+")} - {"control"})
    bank = geneset_features(run / "simulated/pathways.gmt", targets)
    write_features(run / "features.zarr", bank, config={"genesets": "pathways.gmt"})
    made = splitting.by_perturbation(read_screen(screen), seed=0, test=0.3, min_cells=5)
    splitting.write_splits(made, run / "splits/split-0.json", parents={})
    fitted = ["-q", "fit", str(screen), "--split", str(run / "splits/split-0.json"), "-o", str(run / "checkpoint")]
    assert main(fitted) == 0
    (run / "model").symlink_to("checkpoint")
    _own_files(folder, adata, targets)
    return folder


def _own_files(folder: Path, adata: ad.AnnData, targets: list[str]) -> None:
    """The user's own tables of the examples."""
    rng = np.random.default_rng(0)
    genes = list(adata.var_names)
    scores(genes[:24], rng).to_csv(folder / "measured.csv", index=False)
    (folder / "genes.txt").write_text("\n".join(genes) + "\n")
    shutil.copy(folder / "run/simulated/pathways.gmt", folder / "pathways.gmt")
    truth = ad.read_h5ad(folder / "run/simulated/truth.h5ad")
    truth = truth[~truth.obs["perturbation"].astype(str).str.contains("+", regex=False)].copy()
    truth.obs["cell_line"] = truth.obs["cell_line"].astype(str).replace({"LineA": "K562"})
    truth.write_h5ad(folder / "effects.h5ad")
    effect = np.asarray(truth.X)[0]
    for fname, line in (("a.h5ad", "K562"), ("b.h5ad", "LineB")):
        one = truth[(truth.obs["cell_line"] == line).to_numpy()].copy()
        # Enough conditions for a data set of its own.
        more = ad.AnnData(rng.standard_normal((20, len(genes))).astype(np.float32), var=one.var)
        more.obs["perturbation"] = [f"more {at}" for at in range(20)]
        ad.concat([one, more], join="inner").write_h5ad(folder / fname)
    for fname in ("wanted.csv", "profile.csv"):
        pd.DataFrame({"gene": genes, "value": effect}).to_csv(folder / fname, index=False)
    control = (adata.obs["cell_line"] == "LineA").to_numpy() & adata.obs["is_control"].to_numpy(bool)
    adata[control].copy().write_h5ad(folder / "resistant.h5ad")
    strong = str(adata.obs["perturbation"][~adata.obs["is_control"].to_numpy(bool)].iloc[0])
    adata[(adata.obs["perturbation"] == strong).to_numpy()].copy().write_h5ad(folder / "sensitive.h5ad")
    pool = genes[:20]
    pairs = [(a, b) for at, a in enumerate(pool) for b in pool[at + 1 :]][:150]
    strength = dict(zip(pool, rng.standard_normal(len(pool)), strict=True))
    pairs = pd.DataFrame(pairs, columns=["gene_a", "gene_b"])
    value = [6 * strength[a] * strength[b] + 0.3 * rng.standard_normal() for a, b in pairs.to_numpy()]
    pairs.assign(score=value).to_csv(folder / "pairs.csv", index=False)
    scores(targets, rng).to_csv(folder / "viability.csv", index=False)
    lines = [f"L{at}" for at in range(30)]
    base = pd.DataFrame(rng.standard_normal((30, 40)), columns=[f"M{at}" for at in range(40)])
    pd.DataFrame({"name": lines, "score": 2 * base["M3"] + rng.standard_normal(30)}).to_csv(
        folder / "sensitivity.csv", index=False
    )
    base.insert(0, "line", lines)
    base.to_csv(folder / "expression.csv", index=False)


def scores(names, rng) -> pd.DataFrame:
    return pd.DataFrame({"gene": names, "score": rng.standard_normal(len(names))})


def _examples() -> list[str]:
    """Every command line in the docstrings of the verbs."""
    classes = [cls for cls in vars(settings).values() if isinstance(cls, type) and cls in VERBS]
    found = [line for cls in classes for line in re.findall(r"^\s*(vc discover .*)$", cls.__doc__ or "", re.MULTILINE)]
    return sorted(set(found))


def _known(work: Path, line: str) -> str:
    """The example with names that this run knows: the quickstart has genes G0001 and MED1 by chance of its seed."""
    table = pd.read_csv(work / "measured.csv")
    names = _trained(work)
    line = line.replace("--gene G0001", f"--gene {pd.read_csv(work / 'wanted.csv')['gene'].iloc[0]}")
    line = line.replace("--query G0001", f"--query {table['gene'].iloc[0]}")
    line = line.replace("MED1", str(pd.read_csv(work / "wanted.csv")["gene"].iloc[0]))
    return line.replace("G0001", names[0])


@cache
def _trained(work: Path) -> list[str]:
    from vc_apps.discover.sources import read_run

    actions = read_run(work / "run").conditions.actions
    return sorted({action.label for action in actions if len(action.targets) == 1})


def test_every_verb_has_an_example():
    assert {line.split()[2] for line in _examples()} == {cls.__name__.lower() for cls in VERBS}


@pytest.fixture(scope="module")
def answers(work, tmp_path_factory) -> dict[str, Path]:
    """One example of each verb, carried out: verb -> its answer."""
    made = {}
    for line in _examples():
        verb = line.split()[2]
        # The tiny screen has too few singles for a head of viability.
        if verb in made or "--viability" in line:
            continue
        args = shlex.split(_known(work, line))[1:]
        made[verb] = tmp_path_factory.mktemp(verb) / "answer"
        args[args.index("-o") + 1] = str(made[verb])
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(work)
            assert main(["-q", *args]) == 0, line
    return made


def test_the_examples_of_help_give_whole_answers(answers):
    assert set(answers) == {cls.__name__.lower() for cls in VERBS}
    for verb, answer in answers.items():
        table = pd.read_parquet(answer / "table.parquet")
        assert list(table.columns[: len(COLUMNS)]) == COLUMNS and len(table)
        assert len(pd.read_csv(answer / "table.csv")) == len(table)
        assert set(table["support"]) <= {"supported", "extrapolation", "no support"}
        assert table["rank"].tolist() == list(range(1, len(table) + 1))
        record = json.loads((answer / "answer.json").read_text())
        assert record["verb"] == verb and record["answer"].endswith((".", ")"))
        page = (answer / "page.html").read_text()
        assert "<svg" in page and "default-src 'none'" in page


def test_what_nobody_could_check_is_not_called_or_doubted(answers):
    """The tiny screen held out no eight pairs, so that nobody knows whether what a model says of pairs is real."""
    records = {verb: json.loads((answers[verb] / "answer.json").read_text()) for verb in ("combo", "escape")}
    assert not records["combo"]["called"] and "8 are needed" in records["combo"]["answer"]
    assert any("8 are needed" in text for text in records["escape"]["doubts"])


REFUSALS = {
    "unknown gene": ("target --run run --like NOSUCH", r"nearest"),
    "unknown context": ("escape --run run --given GENE --context LineX", r"context: 1 not in the model: LineX"),
    "too few genes": ("target --effects effects.h5ad --context K562 --signature few.csv", r"at least 20 are needed"),
    "nothing to reach": ("target --effects effects.h5ad --context K562 --signature zero.csv", r"all .* numbers are 0"),
    "goal is the start": ("target --run run --start resistant.h5ad --goal resistant.h5ad", r"goal equals the start"),
    "no overlap": ("next --scores measured.csv --library genes.txt --features other.gmt", r"another species"),
    "NaN": ("next --scores nan.csv --library genes.txt", r"finite numbers"),
    "duplicate genes": ("next --scores twice.csv --library genes.txt", r"more than once"),
    "equal scores": ("next --scores equal.csv --library genes.txt", r"nothing can be learned"),
    "budget above library": ("next --scores measured.csv --library genes.txt --budget 5000", r"budget 5000.*library has"),
    "no model": ("combo", r"no model"),
    "no support": ("safety --run run --library strangers.txt --panels pathways.gmt", r"supports none"),
    "no pair columns": ("lethal --pairs measured.csv", r"expected columns gene_a, gene_b and a score, found .'gene', 'score'"),
    "pair without a score": ("lethal --pairs nanpairs.csv", r"expected finite numbers, found 1"),
    "pair without a name": ("lethal --pairs unnamed.csv", r"expected names, found 1 rows without"),
    "threshold below all": ("lethal --pairs pairs.csv --below -99", r"0 of 150 .* a twentieth of the scores lies below"),
    "unknown query": ("lethal --pairs pairs.csv --query G0x", r"nearest"),
    "lineage in words": ("biomarker --response sensitivity.csv --baseline words.csv --adjust kind", r"lineage as 0 and 1"),
    "no panel file": ("safety --run run --panels nowhere.gmt", r"no such file"),
    "few pairs": ("lethal --pairs fewpairs.csv", r"50 or more measured pairs"),
    "no shared line": ("biomarker --response measured.csv --baseline expression.csv", r"shares no cell line"),
    "unknown panel genes": ("safety --run run --panels other.gmt", r"none of .* has 3 genes"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSALS)
def test_bad_input_is_one_clear_line_and_nothing_is_written(what, work, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for entry in work.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    measured = pd.read_csv(work / "measured.csv")
    pd.read_csv(work / "wanted.csv").head(5).to_csv("few.csv", index=False)
    pd.read_csv(work / "wanted.csv").assign(value=0.0).to_csv("zero.csv", index=False)
    measured.assign(score=[np.nan, *measured["score"][1:]]).to_csv("nan.csv", index=False)
    pd.concat([measured, measured.head(1)]).to_csv("twice.csv", index=False)
    measured.assign(score=1.0).to_csv("equal.csv", index=False)
    pd.read_csv(work / "pairs.csv").head(10).to_csv("fewpairs.csv", index=False)
    pairs = pd.read_csv(work / "pairs.csv")
    pairs.assign(score=[np.nan, *pairs["score"][1:]]).to_csv("nanpairs.csv", index=False)
    pairs.assign(gene_b=[None, *pairs["gene_b"][1:]]).to_csv("unnamed.csv", index=False)
    pd.read_csv(work / "expression.csv").assign(kind="blood").to_csv("words.csv", index=False)
    Path("strangers.txt").write_text("one\ntwo\nthree\n")
    genes = [gene.lower() for gene in (work / "genes.txt").read_text().split()]
    Path("other.gmt").write_text(
        "".join(f"set{at}\tx\t" + "\t".join(genes[at : at + 20]) + "\n" for at in range(0, 80, 5))
    )
    line, said = REFUSALS[what]
    args = shlex.split(line.replace("GENE", _trained(work)[0]) if "GENE" in line else line)
    assert main(["-q", "discover", *args, "-o", "answer"]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert re.search(said, error[-1]), error
    assert not Path("answer").exists()


def test_an_answer_is_replaced_only_when_asked(work, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(work)
    args = ["-q", "discover", "biomarker", "--response", "sensitivity.csv", "--baseline", "expression.csv", "-o"]
    args.append(str(tmp_path / "answer"))
    assert main([*args, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["called"] and said["table"][0]["name"] == "M3"
    assert main(args) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*args, "--overwrite"]) == 0


def test_a_killed_loop_of_next_resumes_with_the_same_choices(work, tmp_path, monkeypatch):
    monkeypatch.chdir(work)
    line = "discover next --scores measured.csv --library genes.txt --features pathways.gmt --batch 8 --state"
    picked = []
    for out in ("one", "two"):
        assert main(["-q", *shlex.split(line), str(tmp_path / "campaign"), "-o", str(tmp_path / out)]) == 0
        picked.append(pd.read_csv(tmp_path / out / "table.csv")["name"].tolist())
    assert picked[0] == picked[1]
    shutil.rmtree(tmp_path / "campaign")
    assert main(["-q", *shlex.split(line), str(tmp_path / "campaign"), "-o", str(tmp_path / "three")]) == 0
    assert pd.read_csv(tmp_path / "three/table.csv")["name"].tolist() == picked[0]
