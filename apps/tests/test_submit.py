"""Every broken submission is refused with its own message; attacks are named; archives are proved."""

import io
import tarfile

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from vc_apps.outputs import AppError
from vc_apps.rehearse.expect import expect
from vc_apps.submit.challenge import CONTROL_LABEL, make_challenge, read_gene_names, read_wanted
from vc_apps.submit.check import SubmissionRefused, check, require
from vc_apps.submit.prove import ask_official, pack, reopen
from vc_apps.submit.score import attack_notes, score_cells

GENES = tuple(f"G{at}" for at in range(30))
WANTED = {line: {f"P{at}": 8 for at in range(6)} for line in ("A", "B")}


def make(rule, seed=0, n_control=12, effect=1.0, wanted=WANTED, controls=None):
    """Counts of a challenge: perturbation p moves genes of its own."""
    rng = np.random.default_rng(seed)
    share = np.random.default_rng(99).gamma(1, 1, len(GENES)) + 0.3
    blocks, labels, lines = [], [], []
    with_controls = rule == "vcc2025" if controls is None else controls
    for line, asked in wanted.items():
        groups = [(CONTROL_LABEL, n_control)] * with_controls + list(asked.items())
        for label, n in groups:
            mean = 6 * share
            if label != CONTROL_LABEL:
                at = int(label[1:])
                mean = mean * np.where(np.arange(len(GENES)) % 6 == at, 1 + effect, 1)
            blocks.append(rng.poisson(rng.gamma(4, 0.25, (n, 1)) * mean).astype(np.float32))
            labels += [label] * n
            lines += [line] * n
    column = "context" if rule == "vcc2026" else "celltype"
    obs = pd.DataFrame({"target_gene": labels, column: lines}, index=[str(at) for at in range(len(labels))])
    return anndata.AnnData(sp.csr_matrix(np.concatenate(blocks)), obs=obs, var=pd.DataFrame(index=list(GENES)))


def edit(change):
    def mend(cells):
        matrix = cells.X.toarray()
        changed = change(matrix)
        cells.X = sp.csr_matrix(matrix if changed is None else changed)
        return cells

    return mend


def set_first(value):
    def change(matrix):
        matrix[0, 0] = value

    return edit(change)


def relabel(column, old, new):
    def change(cells):
        cells.obs[column] = cells.obs[column].replace({old: new})
        return cells

    return change


def empty(cells):
    matrix = cells.X.toarray()
    matrix[(cells.obs["target_gene"] == "P0").to_numpy()] = 0
    cells.X = sp.csr_matrix(matrix)
    return cells


def with_control(cells):
    cells.obs.iloc[0, 0] = CONTROL_LABEL
    return cells


def rename_first(cells):
    cells.var_names = ["other", *GENES[1:]]
    return cells


def repeat_first(cells):
    cells.var_names = [GENES[1], *GENES[1:]]
    return cells


def as_float64(cells):
    cells.X = cells.X.astype(np.float64)
    return cells


BROKEN = [
    ("gene_order", lambda cells: cells[:, list(reversed(GENES))].copy(), "both"),
    ("missing_genes", lambda cells: cells[:, list(GENES[1:])].copy(), "both"),
    ("extra_genes", rename_first, "both"),
    ("duplicate_genes", repeat_first, "both"),
    ("no_target_gene", lambda cells: cells.obs.rename(columns={"target_gene": "gene"}), "both"),
    ("unknown_perturbation", relabel("target_gene", "P0", "P0-1"), "both"),
    ("missing_perturbation", relabel("target_gene", "P0", "P1"), "both"),
    ("cells_per_perturbation", lambda cells: cells[1:].copy(), "vcc2026"),
    ("missing_context", lambda cells: cells[(cells.obs.iloc[:, 1] == "A").to_numpy()].copy(), "both"),
    ("unknown_context", lambda cells: relabel(cells.obs.columns[1], "B", "C")(cells), "both"),
    ("controls_present", with_control, "vcc2026"),
    ("controls_absent", lambda cells: cells[(cells.obs["target_gene"] != CONTROL_LABEL).to_numpy()].copy(), "vcc2025"),
    ("not_counts", edit(np.log1p), "vcc2026"),
    ("scale", edit(lambda matrix: matrix + 20.5), "vcc2025"),
    ("not_finite", set_first(np.nan), "both"),
    ("negative", set_first(-1), "both"),
    ("cell_total", set_first(2e6), "vcc2026"),
    ("empty_perturbation", empty, "both"),
    ("dtype", as_float64, "both"),
    ("too_many_stored", lambda cells: cells, "stored"),
    ("too_many_cells", lambda cells: cells, "cells"),
]


@pytest.mark.parametrize("rule", ["vcc2025", "vcc2026"])
@pytest.mark.parametrize(("code", "break_it", "where"), BROKEN)
def test_every_broken_submission_has_its_own_message(rule, code, break_it, where, tmp_path):
    from dataclasses import replace

    if where in ("vcc2025", "vcc2026") and where != rule:
        return
    challenge = make_challenge(rule, GENES, WANTED)
    changed = break_it(make(rule))
    if isinstance(changed, pd.DataFrame):
        changed = anndata.AnnData(make(rule).X, obs=changed, var=make(rule).var)
    limits = {"stored": {"max_stored": 5}, "cells": {"max_cells": 5}}.get(where, {})
    broken = check(changed, replace(challenge, **limits))
    assert code in [one.code for one in broken]
    one = next(one for one in broken if one.code == code)
    assert one.field and one.expected and one.found and one.mend
    assert one.expected in str(one) and one.mend in str(one)
    if not limits:
        changed.write_h5ad(tmp_path / "cells.h5ad")
        with pytest.raises(SubmissionRefused, match=rf"cells.h5ad: {rule}.*\n.*\[{broken[0].code}\]"):
            require(tmp_path / "cells.h5ad", challenge)


@pytest.mark.parametrize("rule", ["vcc2025", "vcc2026"])
def test_a_sound_file_passes_here_and_with_the_official_tool(rule, tmp_path):
    challenge, cells = make_challenge(rule, GENES, WANTED), make(rule)
    assert check(cells, challenge) == []
    cells.write_h5ad(tmp_path / "cells.h5ad")
    pack(tmp_path / "mine.vcc", require(tmp_path / "cells.h5ad", challenge), challenge)
    again = reopen(tmp_path / "mine.vcc")
    assert again.shape == cells.shape
    verdict = ask_official(tmp_path / "cells.h5ad", again, challenge)["verdict"]
    assert verdict == "accepted, same cells" or "not asked" in verdict


def test_a_broken_archive_is_refused(tmp_path):
    path = tmp_path / "mine.vcc"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("cells.h5ad"), io.BytesIO())
    with pytest.raises(AppError, match="archive_layout"):
        reopen(path)
    path.write_bytes(b"no tar")
    with pytest.raises(AppError, match="archive_layout"):
        reopen(path)


def test_lists_of_the_challenge_are_read_and_checked(tmp_path):
    genes, perts = tmp_path / "genes.csv", tmp_path / "perts.csv"
    genes.write_text("gene_name\nA\nB\n")
    assert read_gene_names(genes) == ("A", "B")
    genes.write_text("A\nA\n")
    with pytest.raises(AppError, match="each once"):
        read_gene_names(genes)
    perts.write_text("target_gene,n_cells\nP,3\nnon-targeting,9\n")
    assert read_wanted(perts, ("x", "y"), 400) == {"x": {"P": 3}, "y": {"P": 3}}
    perts.write_text("gene\nP\n")
    with pytest.raises(AppError, match="a column 'target_gene'"):
        read_wanted(perts, ("x",), 400)


@pytest.fixture(scope="module")
def scored():
    challenge = make_challenge("vcc2025", GENES, WANTED)
    real, train = make("vcc2025", seed=1, n_control=40), make("vcc2025", seed=2, n_control=40)

    def score(cells):
        return score_cells(cells, real, train, challenge, n_boot=50)

    return challenge, real, score


def test_a_better_prediction_scores_higher_and_nothing_is_said_of_it(scored):
    *_, score = scored
    good, none = score(make("vcc2025", seed=3)), score(make("vcc2025", seed=3, effect=0))
    assert good.value > none.value and good.lower <= good.value <= good.upper
    assert good.notes == ()


def test_lines_that_were_asked_for_different_perturbations_have_a_score():
    wanted = {"A": WANTED["A"], "B": {"P0": 8, "P3": 8}}
    challenge = make_challenge("vcc2025", GENES, wanted)
    real, train = (make("vcc2025", seed=seed, n_control=40, wanted=wanted) for seed in (1, 2))
    good, none = (make("vcc2025", seed=3, wanted=wanted, effect=effect) for effect in (1, 0))
    found, nothing = (score_cells(cells, real, train, challenge, n_boot=20) for cells in (good, none))
    assert found.n == 8 and np.isfinite(list(found.members.values())).all()
    assert found.value > nothing.value and found.notes == ()


def dropped(cells):
    matrix = cells.X.toarray()
    matrix[(cells.obs["target_gene"] != CONTROL_LABEL).to_numpy(), :10] = 0
    cells.X = sp.csr_matrix(matrix)
    return cells


def copied(cells):
    matrix = cells.X.toarray()
    for label in set(cells.obs["target_gene"]) - {CONTROL_LABEL}:
        rows = np.flatnonzero((cells.obs["target_gene"] == label).to_numpy())
        matrix[rows] = np.rint(matrix[rows].mean(axis=0))
    cells.X = sp.csr_matrix(matrix)
    return cells


def swapped(cells):
    matrix = cells.X.toarray()
    rows = (cells.obs["target_gene"] == CONTROL_LABEL).to_numpy()
    matrix[rows] = matrix[rows][:, ::-1]
    cells.X = sp.csr_matrix(matrix)
    return cells


def scaled(cells):
    matrix = cells.X.toarray()
    rows = (cells.obs["target_gene"] != CONTROL_LABEL).to_numpy()
    matrix[np.ix_(rows, np.arange(3))] *= 60
    cells.X = sp.csr_matrix(matrix)
    return cells


@pytest.mark.parametrize(
    ("attack", "said"),
    [(dropped, "dropped genes"), (copied, "copied cells"), (swapped, "swapped controls"), (scaled, "scaled deltas")],
)
def test_attacks_on_the_score_are_named(scored, attack, said):
    challenge, real, _ = scored
    assert any(note.startswith(said) for note in attack_notes(attack(make("vcc2025", seed=3)), real, challenge))


def test_nothing_is_said_of_an_archive_that_holds_log_values(scored):
    challenge, real, _ = scored
    cells = make("vcc2025", seed=3)
    total = np.asarray(cells.X.sum(axis=1))
    cells.X = sp.csr_matrix(np.log1p(cells.X.toarray() * np.median(total) / np.maximum(total, 1)))
    assert attack_notes(cells, real, challenge) == ()


def test_nothing_is_said_of_few_cells_of_few_counts_that_differ_by_chance():
    rng, genes = np.random.default_rng(0), tuple(f"G{at}" for at in range(500))
    rate = rng.gamma(0.5, 0.3, len(genes))
    labels = [CONTROL_LABEL] * 30 + [name for name in WANTED["A"] for _ in range(8)]
    obs = pd.DataFrame({"target_gene": labels, "celltype": "A"}, index=[str(at) for at in range(len(labels))])
    cells, real = (
        anndata.AnnData(sp.csr_matrix(rng.poisson(rate, (len(labels), len(genes))).astype(np.float32)), obs=obs)
        for _ in range(2)
    )
    assert attack_notes(cells, real, make_challenge("vcc2025", genes, {"A": WANTED["A"]})) == ()
    cells.X = sp.csr_matrix(np.where(np.arange(len(genes)) < 250, 0, cells.X.toarray()))
    said = attack_notes(cells, real, make_challenge("vcc2025", genes, {"A": WANTED["A"]}))
    assert {note.split(":")[0] for note in said} == {"swapped controls", "dropped genes"}


def test_measured_cells_are_no_prediction(scored):
    challenge, real, _ = scored
    assert any("measured ones" in note for note in attack_notes(real, real, challenge))


def test_expected_scores_cover_what_comes_next():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        scores = rng.normal(0.3, 0.1, 6)
        found = expect(scores[:5], np.full(5, 0.01))
        hits += found.lower <= scores[5] <= found.upper
        assert 0 <= found.covered <= found.tried == 5
    assert 0.85 < hits / 300 < 0.99
