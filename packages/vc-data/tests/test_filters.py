"""Which cells are left out on request, against the definition written out again over dense arrays."""

import json

import numpy as np
import pandas as pd
import pytest
from vc_data.convert.run import convert
from vc_data.errors import ControlError, OptionError, TooFewError
from vc_data.options import ConvertOptions, Filters
from vc_data.screen.file import read_screen
from vc_data.testing import make_foreign, write_foreign


@pytest.fixture(scope="module")
def knocked():
    """Targets at different depths: GENE0 nearly gone, GENE1 half, GENE2 as in controls; a target that is no gene."""
    adata = make_foreign(cells_per_group=30, seed=3)
    rng = np.random.default_rng(0)
    label = adata.obs["target_gene"].astype(str).to_numpy()
    counts = np.array(adata.X)
    counts[:, :3] += rng.poisson(20, (len(label), 3))
    for gene, share in (("GENE0", 0.05), ("GENE1", 0.5), ("GENE1+GENE0", 0.05)):
        for name in gene.split("+"):
            column = int(name[-1])
            counts[label == gene, column] = rng.binomial(counts[label == gene, column], share)
    adata.X = counts
    extra = np.flatnonzero(label == "GENE2")[::3]
    label[extra] = "ENHANCER"
    adata.obs["target_gene"] = pd.Categorical(label)
    adata.obs["total_counts_all_genes"] = counts.sum(axis=1) + 50.0
    return adata


def run(adata, tmp_path, **filters):
    write_foreign(adata, tmp_path / "a.h5ad")
    report = convert(
        tmp_path / "a.h5ad", tmp_path / "a.zarr", ConvertOptions(filters=Filters(**filters), overwrite=True)
    )
    return read_screen(tmp_path / "a.zarr"), report


def expected(adata, limit=None, cell_limit=None, *, unjudged=False, least=0):
    """Names of the cells that stay, by loops."""
    x = np.array(adata.X) / adata.obs["total_counts_all_genes"].to_numpy()[:, None]
    label, line = (adata.obs[c].astype(str).to_numpy() for c in ("target_gene", "cell_line"))
    genes, keep = adata.var["gene_name"].tolist(), label == "non-targeting"
    for one_line in np.unique(line):
        base = x[(line == one_line) & (label == "non-targeting")].mean(axis=0)
        for one in set(label) - {"non-targeting"}:
            rows = np.flatnonzero((line == one_line) & (label == one))
            columns = [genes.index(target) for target in one.split("+") if target in genes]
            if not columns:
                keep[rows] = unjudged
            elif limit is None or max(x[rows][:, c].mean() / base[c] for c in columns) < limit:
                own = np.max([x[rows, c] / base[c] for c in columns], axis=0)
                keep[rows] = own < (np.inf if cell_limit is None else cell_limit)
            if keep[rows].sum() < least:
                keep[rows] = False
    return set(adata.obs_names[keep])


@pytest.mark.parametrize(
    "asked",
    [
        {"max_residual": 0.3},
        {"max_cell_residual": 0.5},
        {"max_residual": 0.7, "max_cell_residual": 0.4, "min_cells": 20},
        {"max_residual": 0.7, "keep_unjudged": True},
    ],
)
def test_on_target_filters_are_those_of_the_definition(knocked, tmp_path, asked):
    screen, report = run(knocked, tmp_path, **asked)
    names = {
        "max_residual": "limit",
        "max_cell_residual": "cell_limit",
        "keep_unjudged": "unjudged",
        "min_cells": "least",
    }
    wanted = expected(knocked, **{names[key]: value for key, value in asked.items()})
    assert set(screen.obs_names) == wanted and 0 < len(wanted) < knocked.n_obs
    assert sum(report.dropped_cells.values()) == knocked.n_obs - len(wanted)
    filters = json.loads(screen.uns["filters"])
    assert (
        filters["settings"]["max_residual"] == asked.get("max_residual") and filters["dropped"] == report.dropped_cells
    )
    residual = {(row["cell_line"], row["perturbation"]): row["residual"] for row in filters["on_target"]}
    assert residual["K562", "GENE0"] < 0.15 and 0.3 < residual["K562", "GENE1"] < 0.7 < residual["K562", "GENE2"]
    assert not any(label == "ENHANCER" for _, label in residual)


def test_without_filters_nothing_is_dropped_or_said(knocked, tmp_path):
    screen, report = run(knocked, tmp_path)
    assert screen.n_obs == knocked.n_obs and not report.dropped_cells and "filters" not in screen.uns


def test_blocks_do_not_change_what_is_measured(knocked, tmp_path, monkeypatch):
    whole, _ = run(knocked, tmp_path, max_residual=0.3)
    monkeypatch.setattr("vc_data.convert.filters.BLOCK_ROWS", 7)
    blocks, _ = run(knocked, tmp_path, max_residual=0.3)
    assert whole.uns["filters"] == blocks.uns["filters"] and whole.obs_names.tolist() == blocks.obs_names.tolist()


def test_small_conditions_are_dropped(knocked, tmp_path):
    screen, report = run(knocked, tmp_path, min_cells=30)
    assert "ENHANCER" not in set(screen.obs["perturbation"].astype(str))
    assert report.dropped_cells == {"condition with fewer than 30 cells": 40}


def test_batches_without_controls(knocked, tmp_path):
    adata = knocked.copy()
    control = (adata.obs["target_gene"] == "non-targeting") & (adata.obs["gem_group"] == "b2")
    adata = adata[~(control & (adata.obs["cell_line"] == "K562")).to_numpy()].copy()
    _, report = run(adata, tmp_path)
    assert any(
        "1 batches without control cells of their line ('K562/b2'): 120 cells, kept" in s for s in report.statements
    )
    screen, report = run(adata, tmp_path, batches_without_controls="drop")
    assert report.dropped_cells == {"batch without control cells": 120}
    left = screen.obs[screen.obs["cell_line"] == "K562"]
    assert set(left["batch"].astype(str)) == {"b1"}
    with pytest.raises(ControlError, match=r"K562/b2.*--batches-without-controls keep or drop"):
        run(adata, tmp_path, batches_without_controls="refuse")


def test_limits_that_make_no_sense(knocked, tmp_path):
    with pytest.raises(OptionError, match="--max-residual"):
        run(knocked, tmp_path, max_residual=0)
    with pytest.raises(TooFewError, match="Relax the filters"):
        run(knocked, tmp_path, min_cells=10_000)
    activated = knocked.copy()
    activated.obs["perturbation_type"] = "CRISPRa"
    with pytest.raises(OptionError, match="--mode-name crispri"):
        run(activated, tmp_path, max_residual=0.3)


def test_guides_are_kept(knocked, tmp_path):
    adata = knocked.copy()
    adata.obs["guide"] = [f"{label}_{i % 2}" for i, label in enumerate(adata.obs["target_gene"])]
    adata.obs.loc[adata.obs_names[0], "guide"] = None
    screen, report = run(adata, tmp_path)
    given = adata.obs.loc[screen.obs_names, "guide"].fillna("").astype(str)
    assert screen.obs["guide"].astype(str).tolist() == given.tolist()
    assert any("guide column: 'guide' (guessed)" in line for line in report.statements)
    write_foreign(adata, tmp_path / "a.h5ad")
    from vc_data.options import Columns

    convert(tmp_path / "a.h5ad", tmp_path / "b.zarr", ConvertOptions(columns=Columns(guide="none")))
    assert "guide" not in read_screen(tmp_path / "b.zarr").obs
