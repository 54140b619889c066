"""Edges of a simulated network: by intervention on models, by attention, by correlation, and as the screen measured them."""

import numpy as np
from screens import run
from vc_interp.attention.edges import compare, interventions
from vc_interp.attention.weights import gene_weights, read_factors
from vc_interp.features.recover import average_precision
from vc_interp.files.effects import Effects
from vc_interp.files.stored import open_latents

PRETRAIN, ACTION, DECODE = 300, 1000, 600


def edges(ready) -> dict:
    """AUPRC of the true edges of perturbed regulators."""
    from vc_model.checkpoint import load_checkpoint
    from vc_model.sites.attention import write_attention

    folder, table = ready.folder, ready.table
    if not (folder / "jepa").exists():
        run("vc", "train", "biojepa", ready.screen, ready.splits, "-o", folder / "jepa", "--preset", "tiny",
            "--pretrain-steps", str(PRETRAIN), "--ac-steps", str(ACTION), "--decode-steps", str(DECODE))  # fmt: skip
    jepa = load_checkpoint(folder / "jepa")
    write_attention(folder / "factors.zarr", jepa, cells=32)
    factors = read_factors(open_latents(folder / "factors.zarr"))
    said = {
        "measured": table.delta_pg,
        "mapper": ready.fitted.delta(table.conditions),
        "biojepa": jepa.delta(table.conditions),
    }
    lines = table.conditions.cell_line
    found = {name: interventions(Effects(ready.labels, lines, table.genes, d, name)) for name, d in said.items()}
    first = found["biojepa"]
    place = {gene: at for at, gene in enumerate(factors.genes)}
    weight_rg = gene_weights(factors, first.sources)[:, [place[gene] for gene in table.genes]]
    column = {gene: at for at, gene in enumerate(table.genes)}
    with np.errstate(invalid="ignore"):
        corr = np.nan_to_num(np.corrcoef(ready.fitted.cells.x_ng.T))
    corr_rg = np.abs(corr[[column[source] for source in first.sources]])
    true = ready.targets["true"]
    true_rg = np.array([[b in true.get(a, ()) for b in table.genes] for a in first.sources])
    use = ~first.own_rg
    scores = {f"intervention, {name}": np.abs(value.z_rg) for name, value in found.items()}
    scores |= {"attention, biojepa": weight_rg, "correlation": corr_rg}
    out = {name: float(average_precision(score[use][None], true_rg[use][None])[0]) for name, score in scores.items()}
    agreed = {name: compare(weight_rg, value) for name, value in found.items()}
    return out | {
        "chance": float(true_rg[use].mean()),
        "agree": {name: [a.n_called, a.shared, a.expected, a.spearman] for name, a in agreed.items()},
        "called_true": {name: called_true(value, true_rg, use) for name, value in found.items()},
        "fit": {name: float(np.corrcoef(delta.ravel(), table.delta_pg.ravel())[0, 1]) for name, delta in said.items()},
    }


def called_true(found, true_rg: np.ndarray, use: np.ndarray) -> list[float]:
    """How many edges are called, and the share of them that are true."""
    called = (found.fdr_rg < 0.05) & use
    return [int(called.sum()), float(true_rg[called].mean()) if called.any() else float("nan")]
