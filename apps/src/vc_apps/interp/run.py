"""Carries out `vc interp`: activations, dictionaries, interventions on the model, tables and the page."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vc_apps.interp.settings import Interp
from vc_apps.outputs import AppError

if TYPE_CHECKING:
    import pandas as pd
    from vc_interp.attention.run import Comparison
    from vc_interp.files.stored import StoredLatents
    from vc_interp.latents import Latents
    from vc_interp.sae.dictionary import Dictionary
    from vc_model.predictor import Fitted
    from vc_model.sites import Site
    from vc_model.table.effects import Conditions, Contexts


def interp(settings: Interp) -> None:
    """Write the folder, whole or not at all.

    Args:
        settings: What the user asked for.

    Raises:
        VcModelError, VcInterpError: The packages' own refusals.
    """
    from vc_contracts.whole import check_target, write_whole

    named = (
        settings.checkpoint,
        settings.screen,
        settings.splits,
        settings.genesets,
        settings.targets,
        settings.essential,
    )
    check_target(
        settings.out, kind="interp", overwrite=settings.overwrite, inputs=[p for p in named if p], make_parent=True
    )
    if settings.dry_run:
        absent = [str(path) for path in named if path is not None and not path.exists()]
        if absent:
            raise AppError(f"{absent[0]}: expected a file to read, found none. Check the path.")
        print(f"would read activations of {settings.checkpoint}, fit a dictionary, and write {settings.out}/")
        return
    with write_whole(settings.out, kind="interp", overwrite=settings.overwrite, make_parent=True) as temporary:
        temporary.mkdir()
        said = _write(settings, temporary)
    print(f"{said}\nwrote {settings.out}/: open {settings.out / 'page.html'}")


def _write(settings: Interp, out: Path) -> str:
    from vc_interp.enrichment import check_gene_sets
    from vc_interp.features.run import Known, describe, write_findings
    from vc_interp.files.networks import read_targets
    from vc_interp.files.stored import open_latents
    from vc_interp.gmt import read_gmt
    from vc_interp.latents import read_latents
    from vc_interp.report.page import read_tables, render
    from vc_interp.sae.train import check_installed
    from vc_model.cli.latents import load_for_sites
    from vc_model.sites import open_site
    from vc_model.sites.batches import control_batches
    from vc_model.sites.open import with_controls
    from vc_model.sites.write import write_gradient, write_site

    gene_sets = None if settings.genesets is None else read_gmt(settings.genesets)
    targets = None if settings.targets is None else read_targets(settings.targets)
    check_installed()
    fitted, conditions = load_for_sites(settings.checkpoint, settings.screen, settings.splits, cells=settings.cells)
    site = open_site(fitted, with_controls(conditions), settings.site or None)
    if gene_sets is not None:
        check_gene_sets(site.genes, gene_sets, str(settings.genesets))
    batches = control_batches(settings.screen, settings.splits, settings.cells)
    write_site(out / "latents.zarr", site, batches=batches)
    write_gradient(out / "gradient.zarr", site)
    stored = open_latents(out / "latents.zarr")
    first, second = (_train(settings, stored, out / f"sae{turn}", settings.seed + turn) for turn in range(2))
    known = Known(
        gene_sets, targets, read_latents(out / "gradient.zarr"), _random(settings, fitted, conditions, out), [second]
    )
    found = describe(stored, first, known, decode=site.decode, genes=site.genes, seed=settings.seed)
    write_findings(out / "features", found)
    comparison = _attention(fitted, conditions, out, settings)
    summary, tables = read_tables(out / "features")
    probes = _probes(settings, stored, site, fitted.contexts, out)
    (out / "page.html").write_text(
        render(
            summary, tables, probes=probes, edges=None if comparison is None else comparison.edges,
            attention=None if comparison is None else asdict(comparison.agreement),
        ),
        encoding="utf-8",
    )  # fmt: skip
    return _say(summary)


def _train(settings: Interp, stored: "StoredLatents", out: Path, seed: int) -> "Dictionary":
    """A dictionary; where nothing else is asked for, of a size that the rows allow."""
    from vc_interp.sae.settings import SaeSettings
    from vc_interp.sae.train import train_sae

    features = settings.features or max(4, min(2 * stored.width, len(stored) // 8))
    k = min(settings.k, features)
    return train_sae(stored, out, SaeSettings(features=features, k=k, passes=settings.passes, seed=seed))


def _random(settings: Interp, fitted: "Fitted", conditions: "Conditions", out: Path) -> "Latents | None":
    """Attribution of a dictionary of the same network with random weights; None for models without weights."""
    from vc_interp.features.attribution import by_intervention, typical_activation
    from vc_interp.files.stored import open_latents
    from vc_model.sites import open_site
    from vc_model.sites.open import kind_of, with_controls
    from vc_model.sites.random import randomised
    from vc_model.sites.write import write_site

    if not settings.random_weights or settings.genesets is None or kind_of(fitted) == "anchored":
        return None
    blank = randomised(fitted, settings.seed + 100)
    site = open_site(blank, with_controls(conditions), settings.site or None)
    write_site(out / "random.zarr", site)
    stored = open_latents(out / "random.zarr")
    made = _train(settings, stored, out / "sae-random", settings.seed)
    typical_f = typical_activation(stored, made)
    found = by_intervention(stored, made, typical_f, site.decode, site.genes, seed=settings.seed)
    return found.as_latents(stored.model, stored.site, made.names)


def _attention(fitted: "Fitted", conditions: "Conditions", out: Path, settings: Interp) -> "Comparison | None":
    """Attention of a BioJEPA beside the effects that it predicts; None for other models or few perturbed genes."""
    import numpy as np
    from vc_interp.attention.run import compare_attention, write_comparison
    from vc_interp.errors import InputError
    from vc_interp.files.effects import Effects
    from vc_interp.files.stored import open_latents
    from vc_interp.gmt import read_gmt
    from vc_model.biojepa.fitted import FittedBioJepa
    from vc_model.sites.attention import write_attention

    if not isinstance(fitted, FittedBioJepa):
        return None
    write_attention(out / "factors.zarr", fitted, cells=settings.cells)
    effects = Effects(
        np.array(conditions.perturbation), conditions.cell_line, fitted.contexts.genes, fitted.delta(conditions),
        str(settings.checkpoint),
    )  # fmt: skip
    gene_sets = None if settings.genesets is None else read_gmt(settings.genesets)
    try:
        found = compare_attention(open_latents(out / "factors.zarr"), effects, gene_sets=gene_sets)
    except InputError as error:
        print(f"attention is left out: {error}")
        return None
    write_comparison(out / "attention", found)
    return found


def _probes(settings: Interp, stored: "StoredLatents", site: "Site", contexts: "Contexts", out: Path) -> "pd.DataFrame":
    """Probes of the rows, and of genes by how they depend on the site."""
    import pandas as pd
    from vc_interp.errors import InputError
    from vc_interp.files.networks import read_names
    from vc_interp.files.stored import open_latents
    from vc_interp.gmt import read_gmt
    from vc_interp.probe.run import probe

    tables = [probe(stored, seed=settings.seed)]
    gene_sets = None if settings.genesets is None else read_gmt(settings.genesets)
    essential = None if settings.essential is None else read_names(settings.essential)
    if gene_sets is not None or essential is not None:
        try:
            genes = probe(
                open_latents(out / "gradient.zarr"), gene_sets=gene_sets, essential=essential,
                covariates=_expression(site.genes, contexts), seed=settings.seed,
            )  # fmt: skip
            tables.append(genes[genes["probe"].str.contains("pathway|essential")])
        except InputError as error:
            print(f"probes of genes are left out: {error}")
    table = pd.concat(tables, ignore_index=True)
    table.to_csv(out / "probes.tsv", sep="\t", index=False, float_format="%.6g")
    return table


def _expression(genes: tuple[str, ...], contexts: "Contexts") -> "pd.DataFrame":
    """Mean expression and detection of every gene in control cells: what tells essential genes without any model."""
    import pandas as pd

    numbers = {"mean": contexts.base_cg.mean(axis=0), "detected": contexts.detected_cg.mean(axis=0)}
    return pd.DataFrame(numbers, index=list(genes))


def _say(summary: dict) -> str:
    """The answer in a few sentences, nulls beside numbers."""
    m = summary["measures"]
    lines = [
        f"{summary['model']} at {summary['site']}: {summary['n_features']} features, {m['explained']:.3f} of the variance, "
        f"{m['l0']:.1f} active a row, {m['dead']} dead; {summary['loss_recovered']:.3f} of what the model says survives; "
        f"matched cosine with another seed {summary['stability']['mean']:.2f}."
    ]
    if "annotated" in summary:
        a = summary["annotated"]
        random = "" if a["random_weights"] is None else f", random weights {a['random_weights']:.3f}"
        lines.append(
            f"{a['share']:.3f} of features annotate to a gene set (permuted genes {a['permuted']:.3f}{random})."
        )
    if "specificity" in summary:
        s = summary["specificity"]
        if not s["regulators"]:
            return "\n".join(
                [*lines, "No perturbed gene has five known targets among the genes: specificity was not asked."]
            )
        lines.append(
            f"{s['share']:.3f} of {s['regulators']} regulators are specific to their targets "
            f"({s['low']:.2f} to {s['high']:.2f}; with targets of others {json.dumps(s['permuted'])}; published 0.062)."
        )
    return "\n".join(lines)
