"""What vc-interp finds where the truth is known, and on a real screen: docs/results/interp.md.

    uv run --no-dev python experiments/interp.py --out docs/results/interp.md

Parts, each kept as JSON in --work so that a stopped run goes on: `planted0` to `planted2` (a dictionary on synthetic activations, beside
sae-lens with its defaults), `world0` to `world4` (simulated screens, a set mapper and a BioJEPA fitted on each), `real` (a public
CRISPRa screen with DoRothEA's regulons). Needs sae-lens (`vc-interp[sae]`). The last command that is missing its JSON is computed,
then the page is written.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats
from vc_interp.attention.edges import compare, interventions
from vc_interp.attention.weights import gene_weights, read_factors
from vc_interp.features.annotate import annotate
from vc_interp.features.attribution import agreement, by_gradient, by_intervention, typical_activation
from vc_interp.features.moved import moved
from vc_interp.features.recover import average_precision, make_directions
from vc_interp.features.specificity import specificity
from vc_interp.files.effects import Effects
from vc_interp.files.networks import read_targets
from vc_interp.files.stored import open_latents
from vc_interp.gmt import read_gmt
from vc_interp.latents import read_latents
from vc_interp.sae.measure import loss_recovered
from vc_interp.sae.settings import SaeSettings
from vc_interp.sae.stability import max_cosine, stability
from vc_interp.sae.train import train_sae
from vc_interp.testing import plant, write_rows

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
WORLDS = 5
SEEDS = 3
SPEAK = 5  # features that may speak for a perturbation
TOP = 20  # truly most changed genes of a perturbation
METHODS = ("sae", "pca", "ica", "random")


def planted(seed: int) -> dict[str, float]:
    """Recovery of 128 directions in 64 dimensions, four in a row: ours, and sae-lens with its defaults at the same steps."""
    import torch
    from sae_lens import saes
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    steps, batch = 2000, 512
    found = plant(40_000, 64, 128, 4.0, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder) / "x.zarr", found.x_nd)
        stored = open_latents(Path(folder) / "x.zarr")
        passes = steps * batch / len(stored)
        settings = SaeSettings(features=128, k=4.0, batch=batch, passes=passes, seed=seed)
        made = train_sae(stored, Path(folder) / "sae", settings)
        out = {
            "ours": float(max_cosine(found.truth_kd, made.dec_fd).mean()),
            "explained": made.record["measures"]["explained"],
        }
    rng = np.random.default_rng(seed)

    def rows():
        while True:
            yield torch.from_numpy(found.x_nd[rng.integers(0, len(found.x_nd), batch)])

    for name, config, kind in (
        ("sae-lens topk", saes.TopKTrainingSAEConfig(d_in=64, d_sae=128, k=4), saes.TopKTrainingSAE),
        ("sae-lens batchtopk", saes.BatchTopKTrainingSAEConfig(d_in=64, d_sae=128, k=4.0), saes.BatchTopKTrainingSAE),
    ):
        torch.manual_seed(seed)
        trainer = SAETrainer(
            cfg=SAETrainerConfig(total_training_samples=steps * batch, train_batch_size_samples=batch, lr_end=3e-5),
            sae=kind(config), data_provider=rows(),
        )  # fmt: skip
        trained = trainer.fit()
        out[name] = float(max_cosine(found.truth_kd, trained.W_dec.detach().numpy()).mean())
    return out


def fit_mapper(screen, splits, table, work: Path, steps: int, cells: int):
    """A set mapper on everything that trains."""
    from vc_model.st import StTraining, fit_st
    from vc_model.table.pseudobulk import load_control_cells

    controls = load_control_cells(screen, splits, table.genes, cells)
    sizes = {"width": 64, "n_layers": 2, "n_heads": 4, "hidden": 128, "set_size": 16, "mlp_layers": 2}
    training = StTraining(steps=steps, n_sets=8, peak_rate=2e-3)
    return fit_st(screen, splits, table, controls, training, work, per_condition=64, **sizes)


def directions_of(name: str, made, x_nd: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions [k, d] of a method and the codes of the rows [n, k]."""
    if name == "sae":
        return made.dec_fd, made.encode(x_nd)
    found = make_directions(name, x_nd, made.n_features, seed)
    return found.dec_kd.astype(np.float32), ((x_nd - x_nd.mean(axis=0)) @ found.read_dk).astype(np.float32)


def effects_of(site, x_nd, rows, dec_kd: np.ndarray, step_k: np.ndarray) -> np.ndarray:
    """[k, g] change of expression for one unit of each code, by moving the rows along it."""
    before = site.decode(x_nd, rows).mean(axis=0)
    out = [
        site.decode(x_nd + step * direction, rows).mean(axis=0) - before
        for direction, step in zip(dec_kd, step_k, strict=True)
    ]
    return np.stack(out) / step_k[:, None]


def compare_methods(
    site, stored, made, truth_pg: np.ndarray, labels: np.ndarray, programs_kg: np.ndarray, seed: int
) -> dict:
    """Matching score and residual attribution of the dictionary beside PCA, ICA and random directions."""
    x_nd = stored.read(0, len(stored))
    rows = np.sort(np.random.default_rng(seed).permutation(len(stored))[:32])
    size_pg = np.abs(truth_pg)
    true_pg = size_pg >= np.sort(size_pg, axis=1)[:, -TOP][:, None]
    out = {}
    for name in METHODS:
        dec_kd, code_nk = directions_of(name, made, x_nd, seed)
        sd_k = np.maximum(code_nk.std(axis=0), 1e-6)
        effect_kg = effects_of(site, x_nd[rows], rows, dec_kd, sd_k)
        base_k = code_nk[stored.labels == "control"].mean(axis=0)
        change_pk = np.stack([code_nk[stored.labels == label].mean(axis=0) - base_k for label in labels])
        rank_pk = np.argsort(np.argsort(-np.abs(change_pk) / sd_k, axis=1), axis=1)
        said_pg = np.where(rank_pk < SPEAK, change_pk, 0) @ effect_kg
        out[name] = {
            "match": float(np.abs(cosine(programs_kg, effect_kg)).max(axis=1).mean()),
            "auprc": float(np.nanmean(average_precision(said_pg, true_pg))),
        }
    out["chance"] = {"match": float("nan"), "auprc": TOP / truth_pg.shape[1]}
    return out


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines between rows, each centred over genes."""
    a, b = (u - u.mean(axis=1, keepdims=True) for u in (a, b))
    a, b = (u / np.maximum(np.linalg.norm(u, axis=1, keepdims=True), 1e-12) for u in (a, b))
    return a @ b.T


def make_dictionaries(folder: Path, stored, site, seed: int, features: int):
    """Two seeds of a dictionary, and what the first one does to genes."""
    settings = SaeSettings(features=features, k=6.0, batch=512, passes=1500 * 512 / len(stored), seed=seed)
    made = train_sae(stored, folder / "sae", settings)
    other = train_sae(stored, folder / "sae-other", replace(settings, seed=seed + 1))
    typical = typical_activation(stored, made)
    return made, other, typical, by_intervention(stored, made, typical, site.decode, site.genes, n_rows=64)


def random_share(folder: Path, fitted, conditions, gene_sets, seed: int, features: int):
    """The attribution of a dictionary of the same network with random weights."""
    from vc_model.sites import open_site
    from vc_model.sites.random import randomised
    from vc_model.sites.write import write_site

    site = open_site(randomised(fitted, seed + 100), conditions)
    write_site(folder / "random.zarr", site)
    stored = open_latents(folder / "random.zarr")
    settings = SaeSettings(features=features, k=6.0, batch=512, passes=1000 * 512 / len(stored), seed=seed)
    made = train_sae(stored, folder / "sae-random", settings)
    found = by_intervention(stored, made, typical_activation(stored, made), site.decode, site.genes, n_rows=64)
    return found.as_latents("random", "random", made.names)


def judge(folder: Path, fitted, conditions, gene_sets, targets, seed: int, features: int = 64) -> dict:
    """Everything that is asked of a set mapper with gene sets and a network."""
    from vc_model.sites import open_site
    from vc_model.sites.open import with_controls
    from vc_model.sites.write import write_gradient, write_site

    everything = with_controls(conditions)
    site = open_site(fitted, everything)
    write_site(folder / "latents.zarr", site)
    write_gradient(folder / "gradient.zarr", site)
    stored = open_latents(folder / "latents.zarr")
    made, other, typical, clamped = make_dictionaries(folder, stored, site, seed, features)
    gradient = by_gradient(read_latents(folder / "gradient.zarr"), made, typical)
    random = random_share(folder, fitted, everything, gene_sets, seed, features)
    noted = annotate(clamped.as_latents("m", "s", made.names), gene_sets, permutations=20, random=random, top=30)
    found = moved(stored, made)
    unit_fg = clamped.effect_fg / np.maximum(typical, 1e-12)[:, None]
    specific = specificity(found.strength() @ unit_fg, found.labels, clamped.genes, targets, min_targets=5)
    said = fitted.delta(conditions)
    whole = specificity(said, np.array(conditions.perturbation), clamped.genes, targets, min_targets=5)
    return {
        "rows": len(stored),
        "measures": made.record["measures"],
        "loss_recovered": loss_recovered(stored, made, site.decode),
        "stability": stability(made, [other]).mean,
        "agreement": float(np.nanmedian(agreement(clamped, gradient))),
        "annotated": [noted.share, float(noted.permuted.mean()), float(noted.permuted.max()), noted.random],
        "specific": [len(specific.table), specific.share, specific.low, specific.high, float(specific.permuted.mean()) if len(specific.permuted) else None],
        "specific_whole": [len(whole.table), whole.share],
        "auroc": float(specific.table["auroc"].mean()) if len(specific.table) else float("nan"),
    }, site, stored, made  # fmt: skip


def open_screen(source: Path, folder: Path):
    """Convert and split a screen; its path, the split's, and the training table."""
    from vc_model.table.pseudobulk import load_tables

    screen, splits = folder / "screen.zarr", folder / "splits.json"
    run("vc-data", "convert", source, screen)
    run("vc-data", "split", screen, splits, "--recipe", "by_perturbation", "--test", "0.1", "--min-cells", "5")
    return screen, splits, load_tables(screen, splits)[0]


def world(seed: int, folder: Path) -> dict:
    """One simulated screen."""
    from vc_data.simulate import PRESETS, simulate

    config = replace(PRESETS["tiny"], n_genes=240, n_pathways=10, n_singles=50, n_pairs=0, cell_lines=("LineA",),
                     cells_per_condition=60, controls_per_line=400, depth_median=6000.0)  # fmt: skip
    sim = simulate(config, seed)
    sim.adata.write_h5ad(folder / "demo.h5ad")
    gmt = "".join(f"{name}\tx\t" + "\t".join(genes) + "\n" for name, genes in sim.gene_sets.items())
    (folder / "sets.gmt").write_text(gmt)
    screen, splits, table = open_screen(folder / "demo.h5ad", folder)
    fitted = fit_mapper(screen, splits, table, folder / "run", 1200, 48)
    names = sim.world.gene_names.astype(str)
    pairs = {(names[a], names[b]) for a, b in zip(sim.world.source, sim.world.target, strict=True)}
    targets: dict[str, set[str]] = {}
    for a, b in pairs:
        targets.setdefault(a, set()).add(b)
    gene_sets = read_gmt(folder / "sets.gmt")
    out, site, stored, made = judge(folder, fitted, table.conditions, gene_sets, targets, seed)
    labels = np.array(table.conditions.perturbation)
    truth = sim.truth[[f"LineA|{label}" for label in labels], list(table.genes)]
    truth_pg = np.asarray(truth.X, np.float64)
    out["methods"] = compare_methods(site, stored, made, truth_pg, labels, programs(sim, labels, truth_pg), seed)
    out["edges"] = edges(folder, screen, splits, table, fitted, pairs)
    return out


def programs(sim, labels: np.ndarray, truth_pg: np.ndarray) -> np.ndarray:
    """[k, g] mean true effect of the perturbed regulators of each pathway, less the mean of all."""
    place = {
        int(gene): int(pathway) for gene, pathway in zip(sim.world.regulators, sim.world.regulator_pathway, strict=True)
    }
    index = {name: at for at, name in enumerate(sim.world.gene_names.astype(str))}
    pathway_p = np.array([place.get(index[label], -1) for label in labels])
    centred = truth_pg - truth_pg.mean(axis=0)
    return np.stack(
        [
            centred[pathway_p == k].mean(axis=0)
            for k in np.unique(pathway_p[pathway_p >= 0])
            if (pathway_p == k).sum() >= 2
        ]
    )


def edges(folder: Path, screen: Path, splits: Path, table, fitted, pairs: set[tuple[str, str]]) -> dict:
    """AUPRC of true edges of perturbed regulators by intervention, attention and correlation."""
    from vc_model.checkpoint import load_checkpoint
    from vc_model.sites.attention import write_attention

    run("vc", "train", "biojepa", screen, splits, "-o", folder / "jepa", "--preset", "tiny",
        "--pretrain-steps", "150", "--ac-steps", "150", "--decode-steps", "60")  # fmt: skip
    jepa = load_checkpoint(folder / "jepa")
    write_attention(folder / "factors.zarr", jepa, cells=32)
    factors = read_factors(open_latents(folder / "factors.zarr"))
    labels, lines = np.array(table.conditions.perturbation), table.conditions.cell_line
    said = {
        "mapper": fitted.delta(table.conditions),
        "biojepa": jepa.delta(table.conditions),
        "measured": table.delta_pg,
    }
    found = {name: interventions(Effects(labels, lines, table.genes, delta, name)) for name, delta in said.items()}
    first = found["biojepa"]
    place = {gene: at for at, gene in enumerate(factors.genes)}
    weight_rg = gene_weights(factors, first.sources)[:, [place[gene] for gene in table.genes]]
    x_ng = fitted.cells.x_ng
    column = {gene: at for at, gene in enumerate(table.genes)}
    with np.errstate(invalid="ignore"):
        corr = np.nan_to_num(np.corrcoef(x_ng.T))
    corr_rg = np.abs(corr[[column[source] for source in first.sources]])
    true_rg = np.array([[(a, b) in pairs for b in table.genes] for a in first.sources])
    use = ~first.own_rg
    scores = {f"intervention, {name}": np.abs(value.z_rg) for name, value in found.items()}
    scores |= {"attention, biojepa": weight_rg, "correlation": corr_rg}
    out = {name: float(average_precision(score[use][None], true_rg[use][None])[0]) for name, score in scores.items()}
    agreed = compare(weight_rg, first)
    return out | {
        "chance": float(true_rg[use].mean()),
        "agree": [agreed.n_called, agreed.shared, agreed.expected, agreed.spearman],
    }


def real(folder: Path) -> dict:
    """Norman 2019, CRISPRa in K562, 500 genes, against DoRothEA and Hallmark."""
    source = SHARED / "single_cell" / "norman2019_k562_crispra_500g.h5ad"
    screen, splits, table = open_screen(source, folder)
    fitted = fit_mapper(screen, splits, table, folder / "run", 1500, 50)
    gene_sets = read_gmt(SHARED / "side" / "genesets" / "hallmark_msigdb_v7.0.gmt")
    targets = read_targets(SHARED / "side" / "genes" / "dorothea_hs_abc_regulons.tsv.gz")
    return judge(folder, fitted, table.conditions, gene_sets, targets, 0)[0]


def run(*command: object) -> None:
    """A command of this workspace, in this process, so that what is compiled is compiled once."""
    from importlib import import_module

    module = {"vc-data": "vc_data.cli.main", "vc": "vc_apps.cli"}[str(command[0])]
    with contextlib.redirect_stdout(sys.stderr):
        code = import_module(module).main([str(part) for part in command[1:]])
    if code:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {code}")


def interval(values: list[float], digits: int = 3) -> str:
    """Mean and its 95 % interval over worlds or seeds (t)."""
    values = [value for value in values if value is not None and np.isfinite(value)]
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else "-"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):.{digits}f} ± {half:.{digits}f}"


def page(parts: dict[str, dict]) -> str:
    """The results page."""
    worlds = [parts[name] for name in sorted(parts) if name.startswith("world")]
    seeds, found = [parts[name] for name in sorted(parts) if name.startswith("planted")], parts.get("real")
    methods = [world["methods"] for world in worlds]
    edge_names = (
        "intervention, measured",
        "intervention, mapper",
        "intervention, biojepa",
        "attention, biojepa",
        "correlation",
        "chance",
    )
    sae_best = np.mean([m["sae"]["match"] for m in methods]) > max(
        np.mean([m[n]["match"] for m in methods]) for n in METHODS[1:]
    )
    paired = [m["sae"]["match"] - max(m[n]["match"] for n in METHODS[1:]) for m in methods]
    gain = [m["sae"]["auprc"] - max(m[n]["auprc"] for n in METHODS[1:]) for m in methods]
    edge_gain = [
        w["edges"]["intervention, biojepa"] - max(w["edges"]["attention, biojepa"], w["edges"]["correlation"])
        for w in worlds
    ]
    lines = [
        "# What features find, where the truth is known",
        "",
        "Made by one command, which takes about half an hour on one core:",
        "",
        "```sh",
        "uv run --no-dev python experiments/interp.py --out docs/results/interp.md",
        "```",
        "",
        f"Numbers are means over seeds or worlds with 95 % intervals (t, n = {len(seeds)} seeds, {len(worlds)} worlds).",
        *unfinished(len(seeds), len(worlds), found is not None),
        "",
    ]  # fmt: skip
    if seeds:
        lines += [
        "## A planted dictionary",
        "",
        "128 directions in 64 dimensions, four in a row on average, 40,000 rows, 2,000 steps of 512: mean over true directions of the",
        "greatest cosine with a found one. sae-lens with its default rate and schedule gets the same rows, steps, size and sparsity.",
        "",
        "| | mean max cosine |",
        "|---|---|",
        f"| `vc-interp sae` (batchtopk) | {interval([s['ours'] for s in seeds])} |",
        f"| sae-lens defaults, topk | {interval([s['sae-lens topk'] for s in seeds])} |",
        f"| sae-lens defaults, batchtopk | {interval([s['sae-lens batchtopk'] for s in seeds])} |",
        "",
        "The gate is 0.9: " + ("held." if np.mean([s["ours"] for s in seeds]) >= 0.9 else "missed."),
        "",
        ]  # fmt: skip
    lines += [
        "## Simulated screens",
        "",
        f"{len(worlds)} worlds of 240 genes, 10 pathways and 50 perturbed genes in one line. A set mapper (width 64) is trained on each, and",
        "a dictionary of 64 features on its residual stream (every control cell under every condition). PCA, ICA and random directions",
        "have as many directions on the same rows. *Matching*: for each pathway the greatest absolute cosine over genes between its program",
        "(mean true effect of its perturbed regulators) and what a direction does when the model's activations are moved along it.",
        f"*Residual attribution*: the {SPEAK} directions that a perturbation moves most, decoded; average precision for its {TOP} truly most changed genes.",
        "",
        "| | matching | AUPRC per perturbation |",
        "|---|---|---|",
        *(f"| {name} | {interval([m[name]['match'] for m in methods])} | {interval([m[name]['auprc'] for m in methods])} |" for name in METHODS),
        f"| chance | - | {interval([m['chance']['auprc'] for m in methods])} |",
        "",
        f"Dictionary less the best of the three, paired over worlds: matching {interval(paired)}, attribution {interval(gain)}."
        + ("" if sae_best else " **The gate (matching above PCA, ICA and random) is missed**: ICA, which also looks for sparse directions, finds pathways as well."),
        "",
        "| of the dictionary | |",
        "|---|---|",
        f"| variance explained | {interval([w['measures']['explained'] for w in worlds])} |",
        f"| active features a row | {interval([w['measures']['l0'] for w in worlds], 1)} |",
        f"| dead of 64 | {interval([w['measures']['dead'] for w in worlds], 1)} |",
        f"| loss recovered when put back into the model | {interval([w['loss_recovered'] for w in worlds])} |",
        f"| matched cosine with another seed | {interval([w['stability'] for w in worlds])} |",
        f"| correlation of intervention and gradient (median feature) | {interval([w['agreement'] for w in worlds])} |",
        f"| features that annotate to a gene set (FDR 5 %) | {interval([w['annotated'][0] for w in worlds])} |",
        f"| the same, permuted gene labels | {interval([w['annotated'][1] for w in worlds])} |",
        f"| the same, model with random weights | {interval([w['annotated'][3] for w in worlds])} |",
        f"| regulators specific to their targets, by features | {interval([w['specific'][1] for w in worlds])} of {np.mean([w['specific'][0] for w in worlds]):.0f} |",
        f"| the same, with targets of other regulators | {interval([w['specific'][4] for w in worlds])} |",
        f"| regulators specific by the model's whole prediction | {interval([w['specific_whole'][1] for w in worlds])} |",
        "| published for Geneformer and scGPT | 0.062 (3 of 48) |",
        "",
        "## Edges",
        "",
        "Average precision for the true edges of the perturbed regulators. Intervention: what the model (or the screen) says perturbing a",
        "gene does, standardised over perturbations; attention: exact implicit weights of the last block of a BioJEPA encoder trained on",
        "the same screen; correlation: of control cells.",
        "",
        "| | AUPRC |",
        "|---|---|",
        *(f"| {name} | {interval([w['edges'][name] for w in worlds])} |" for name in edge_names),
        "",
        f"BioJEPA's interventions less the better of attention and correlation, paired: {interval(edge_gain)}. Of the edges that its "
        f"interventions call, {interval([w['edges']['agree'][1] for w in worlds])} are among as many of the greatest attention weights "
        f"({interval([w['edges']['agree'][2] for w in worlds])} by chance); rank correlation {interval([w['edges']['agree'][3] for w in worlds])}.",
        "",
        *diagnosis(worlds),
    ]  # fmt: skip
    if found:
        lines += [
        "## A real screen",
        "",
        "Norman 2019 (CRISPRa, K562, 500 genes of a public subset), the same mapper and dictionary, Hallmark sets and DoRothEA A to C.",
        "",
        "| | |",
        "|---|---|",
        f"| rows | {found['rows']} |",
        f"| variance explained, loss recovered | {found['measures']['explained']:.3f}, {found['loss_recovered']:.3f} |",
        f"| matched cosine with another seed | {found['stability']:.3f} |",
        f"| features that annotate | {found['annotated'][0]:.3f} |",
        f"| permuted gene labels, mean (greatest of 20) | {found['annotated'][1]:.3f} ({found['annotated'][2]:.3f}) |",
        f"| model with random weights | {found['annotated'][3]:.3f} |",
        f"| regulators specific to their targets | {_share(found)} |",
        "",
        "Perturbed genes with at least five DoRothEA targets among the 500 genes are few, so the interval is wide; read it as such.",
        "",
        ]  # fmt: skip
    return "\n".join(lines)


def unfinished(n_seeds: int, n_worlds: int, has_real: bool) -> list[str]:
    """What the page lacks, in a sentence."""
    missing = [
        *([f"{SEEDS - n_seeds} of {SEEDS} seeds of the planted dictionary"] if n_seeds < SEEDS else []),
        *([f"{WORLDS - n_worlds} of {WORLDS} simulated worlds"] if n_worlds < WORLDS else []),
        *([] if has_real else ["the real screen"]),
    ]
    if not missing:
        return []
    return [
        "",
        f"**Not computed yet: {', '.join(missing)}.** The command goes on where it stopped. Read intervals of so few accordingly.",
    ]


def diagnosis(worlds: list[dict]) -> list[str]:
    """Which gates the means miss, and what the other rows say about why."""
    mean = {name: np.mean([w["edges"][name] for w in worlds]) for name in worlds[0]["edges"] if name != "agree"}
    other = max(mean["attention, biojepa"], mean["correlation"])
    lines = []
    if mean["intervention, biojepa"] <= other:
        lines += [
            "**The gate (BioJEPA's interventions above attention and correlation) is missed.** It was trained for 150 steps a stage on",
            f"one core and calls {np.mean([w['edges']['agree'][0] for w in worlds]):.1f} edges of a world; the mapper's interventions on the same screens are at "
            f"{mean['intervention, mapper']:.3f},",
            f"the measured effects, which no model can be expected to exceed by much, at {mean['intervention, measured']:.3f}. "
            f"A random order gets {mean['chance']:.3f}: regulators of",
            "these small worlds have many targets.",
            "",
        ]
    if mean["attention, biojepa"] <= mean["correlation"]:
        lines += [
            "Attention says less about edges than correlation of control cells does: no edge is called from it.",
            "",
        ]
    return lines


def _share(found: dict) -> str:
    n, share, low, high, permuted = found["specific"]
    if not n:
        return "no perturbed gene has five known targets among the genes"
    return f"{share:.3f} of {n} ({low:.2f} to {high:.2f}); targets of others {permuted:.3f}; published 0.062"


def main() -> None:
    """Compute what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/results/interp.md"))
    parser.add_argument("--work", type=Path, default=Path("interp-work"))
    parser.add_argument("--only", default="", help="some parts, e.g. planted0,world0: nothing else and no page")
    parser.add_argument("--page", action="store_true", help="with --only: write the page of the parts that are there")
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    names = [*(f"planted{at}" for at in range(SEEDS)), *(f"world{at}" for at in range(WORLDS)), "real"]
    for name in [part for part in chosen.only.split(",") if part] if chosen.only or chosen.page else names:
        target = chosen.work / f"{name}.json"
        if target.exists():
            continue
        start = time.time()
        with tempfile.TemporaryDirectory() as folder:
            if name.startswith("planted"):
                found = planted(int(name[7:]))
            else:
                found = real(Path(folder)) if name == "real" else world(int(name[5:]), Path(folder))
        target.write_text(json.dumps(found, indent=1))
        print(f"{name}: {time.time() - start:.0f} s", file=sys.stderr)
    if not chosen.only or chosen.page:
        there = [name for name in names if (chosen.work / f"{name}.json").exists()]
        parts = {name: json.loads((chosen.work / f"{name}.json").read_text()) for name in there}
        chosen.out.write_text(page(parts))


if __name__ == "__main__":
    main()
