"""Everything about the features of one dictionary, in one folder that `vc-interp report` makes a page of."""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vc_interp.features.annotate import Annotation, annotate
from vc_interp.features.attribution import (
    Attribution,
    agreement,
    by_gradient,
    by_intervention,
    typical_activation,
)
from vc_interp.features.moved import Moved, moved
from vc_interp.features.specificity import PUBLISHED, Specificity, specificity
from vc_interp.files.stored import StoredLatents
from vc_interp.latents import Latents, write_latents
from vc_interp.sae.dictionary import Dictionary
from vc_interp.sae.measure import Decode, check_origin, check_same, loss_recovered, measure
from vc_interp.sae.stability import stability

SUMMARY = "summary.json"
TOP_GENES, TOP_ROWS, TOP_SETS = 30, 10, 10
"""Genes, rows and gene sets that are named of a feature."""


@dataclass(frozen=True, eq=False)
class Known:
    """What is known beforehand; every part may be left out.

    Attributes:
        gene_sets: Set name -> genes.
        targets: Regulator -> its targets.
        gradient: Rows of genes over the site's dimensions.
        random: Attribution of a dictionary of a model with random weights.
        others: Dictionaries of other seeds.
    """

    gene_sets: Mapping[str, Set[str]] | None = None
    targets: Mapping[str, Set[str]] | None = None
    gradient: Latents | None = None
    random: Latents | None = None
    others: Sequence[Dictionary] = ()


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found out."""

    summary: dict[str, Any]
    features: pd.DataFrame
    genes: pd.DataFrame
    changes: pd.DataFrame
    lines: pd.DataFrame
    rows: pd.DataFrame
    sets: pd.DataFrame
    regulators: pd.DataFrame
    attributions: tuple[Attribution, ...]


def describe(
    stored: StoredLatents,
    dictionary: Dictionary,
    known: Known,
    *,
    decode: Decode | None = None,
    genes: tuple[str, ...] = (),
    seed: int = 0,
    permutations: int = 20,
) -> Findings:
    """Describe all features.

    Args:
        stored: Activations that the dictionary was trained on.
        dictionary: The features.
        known: Gene sets, networks, gradient, other dictionaries.
        decode: The model from the site on, for interventions.
        genes: What it decodes to.
        seed: Of draws and permutations.
        permutations: Of gene labels.

    Raises:
        InputError: If files do not belong together.
    """
    _check_together(stored, dictionary, known)
    typical_f = typical_activation(stored, dictionary)
    attributions = []
    if decode is not None:
        attributions.append(by_intervention(stored, dictionary, typical_f, decode, genes, seed=seed))
    if known.gradient is not None:
        attributions.append(by_gradient(known.gradient, dictionary, typical_f))
    summary: dict[str, Any] = {
        "model": stored.model, "site": stored.site, "rows": len(stored), "width": stored.width,
        "n_features": dictionary.n_features,
        "architecture": dictionary.record.get("settings", {}).get("architecture", dictionary.architecture),
        "measures": asdict(measure(stored, dictionary)), "seed": seed,
    }  # fmt: skip
    if decode is not None:
        summary["loss_recovered"] = loss_recovered(stored, dictionary, decode, seed=seed)
    found = moved(stored, dictionary) if (stored.labels != "").any() else None
    stable_f = np.full(dictionary.n_features, np.nan)
    if known.others:
        same = stability(dictionary, known.others)
        stable_f = same.cosine_f
        summary["stability"] = {"mean": same.mean, "shared": same.shared, "others": len(known.others)}
    annotation, specific = _judge(dictionary, attributions, found, typical_f, known, summary, seed, permutations)
    names = dictionary.names
    return Findings(
        summary=_strict(summary),
        features=_features(dictionary, typical_f, found, stable_f, attributions, annotation),
        genes=_genes(names, attributions),
        changes=pd.DataFrame() if found is None else found.table(names),
        lines=_lines(names, found),
        rows=_rows(stored, dictionary, typical_f),
        sets=pd.DataFrame() if annotation is None else annotation.table[annotation.table["overlap"] > 0],
        regulators=pd.DataFrame() if specific is None else specific.table,
        attributions=tuple(attributions),
    )


def _strict(value: Any) -> Any:
    """The same with None for what is not finite, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: _strict(one) for key, one in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _check_together(stored: StoredLatents, dictionary: Dictionary, known: Known) -> None:
    """Refuse files of several models.

    Raises:
        InputError: If a dictionary or the gradient is of another model, site or checkpoint.
    """
    for one in (dictionary, *known.others):
        check_same(stored, one)
    if known.gradient is not None:
        gradient = known.gradient
        record = {
            "model": gradient.model,
            "site": gradient.site.removeprefix("gradient/"),
            "checkpoint": (gradient.header.get("config") or {}).get("checkpoint"),
        }
        check_origin(stored, record, "the gradient")


def _judge(
    dictionary: Dictionary,
    attributions: list[Attribution],
    found: Moved | None,
    typical_f: np.ndarray,
    known: Known,
    summary: dict[str, Any],
    seed: int,
    permutations: int,
) -> tuple[Annotation | None, Specificity | None]:
    """Annotation and specificity, with their numbers in the summary; of interventions where there are some."""
    annotation, specific = None, None
    if len(attributions) > 1:
        summary["agreement"] = float(np.nanmedian(agreement(attributions[0], attributions[1])))
    if attributions and known.gene_sets:
        table = attributions[0].as_latents("", "", dictionary.names)
        annotation = annotate(table, known.gene_sets, permutations=permutations, seed=seed, random=known.random)
        summary["annotated"] = {
            "share": annotation.share, "permuted": float(annotation.permuted.mean()),
            "permuted_high": float(annotation.permuted.max(initial=0)), "p_value": annotation.p_value,
            "random_weights": annotation.random,
        }  # fmt: skip
    if attributions and found is not None and known.targets:
        unit_fg = attributions[0].effect_fg / np.maximum(typical_f, 1e-12)[:, None]
        specific = specificity(
            found.strength() @ unit_fg, found.labels, attributions[0].genes, known.targets, seed=seed
        )
        summary["specificity"] = {
            "regulators": len(specific.table), "share": specific.share, "low": specific.low, "high": specific.high,
            "permuted": float(specific.permuted.mean()) if len(specific.permuted) else None, "published": PUBLISHED,
        }  # fmt: skip
    return annotation, specific


def _features(
    dictionary: Dictionary,
    typical_f: np.ndarray,
    found: Moved | None,
    stable_f: np.ndarray,
    attributions: list[Attribution],
    annotation: Annotation | None,
) -> pd.DataFrame:
    table = pd.DataFrame({"feature": dictionary.names, "typical_activation": typical_f, "stability": stable_f})
    table["active_share"] = np.nan if found is None else found.rate_f
    table["moved_by"] = 0 if found is None else (found.fdr_cf < 0.05).sum(axis=0)
    table["dead"] = typical_f == 0
    for attribution in attributions:
        table[f"size_{attribution.how}"] = np.linalg.norm(attribution.effect_fg, axis=1)
    table["agreement"] = agreement(*attributions) if len(attributions) == 2 else np.nan
    if annotation is not None:
        best = annotation.table.drop_duplicates("dimension").set_index("dimension")
        table["best_set"] = table["feature"].map(best["gene_set"].where(best["fdr"] < 0.05)).fillna("")
        table["best_fdr"] = table["feature"].map(best["fdr"])
    return table


def _genes(names: tuple[str, ...], attributions: list[Attribution]) -> pd.DataFrame:
    """The genes that each feature changes most, by the first attribution, with what the other one says."""
    if not attributions:
        return pd.DataFrame()
    first = attributions[0]
    order_fn = np.argsort(-np.abs(first.effect_fg), axis=1, kind="stable")[:, :TOP_GENES]
    at_f, at_g = np.repeat(np.arange(len(names)), order_fn.shape[1]), order_fn.ravel()
    table = pd.DataFrame({"feature": np.array(names)[at_f], "gene": np.array(first.genes)[at_g]})
    for attribution in attributions:
        table[attribution.how] = attribution.effect_fg[at_f, at_g]
    return table[np.abs(table[first.how]) > 0].reset_index(drop=True)


def _lines(names: tuple[str, ...], found: Moved | None) -> pd.DataFrame:
    if found is None:
        return pd.DataFrame()
    n_lines = len(found.names_l)
    return pd.DataFrame(
        {"feature": np.repeat(names, n_lines), "cell_line": np.tile(found.names_l, len(names)),
         "mean_activation": found.base_lf.T.ravel()}
    )  # fmt: skip


def _rows(stored: StoredLatents, dictionary: Dictionary, typical_f: np.ndarray) -> pd.DataFrame:
    """The rows in which each feature is most active."""
    best = np.zeros((0, dictionary.n_features), np.float32)
    place = np.zeros((0, dictionary.n_features), np.int64)
    for start, x_nd in stored.blocks():
        f_nf = dictionary.encode(x_nd).astype(np.float32)
        both = np.concatenate([best, f_nf])
        where = np.concatenate([place, np.broadcast_to(np.arange(start, start + len(f_nf))[:, None], f_nf.shape)])
        order = np.argsort(-both, axis=0, kind="stable")[:TOP_ROWS]
        best, place = np.take_along_axis(both, order, axis=0), np.take_along_axis(where, order, axis=0)
    at_f = np.repeat(np.arange(dictionary.n_features), len(best))
    value, row = best.T.ravel(), place.T.ravel()
    keep = value > 0
    return pd.DataFrame(
        {
            "feature": np.array(dictionary.names)[at_f[keep]],
            "row": stored.rows[row[keep]],
            "cell_line": stored.lines[row[keep]],
            "perturbation": stored.labels[row[keep]],
            "activation": value[keep],
        }
    )


def write_findings(out: Path, found: Findings, *, overwrite: bool = False) -> None:
    """Write a folder of tables, the attributions as latents-v1, and the summary; whole or not at all."""
    from vc_contracts.whole import write_whole

    tables = {
        "features": found.features, "genes": found.genes, "perturbations": found.changes, "lines": found.lines,
        "rows": found.rows, "enrichment": found.sets, "regulators": found.regulators,
    }  # fmt: skip
    with write_whole(out, kind="feature tables", overwrite=overwrite, make_parent=True) as temporary:
        temporary.mkdir()
        for name, table in tables.items():
            if len(table.columns):
                table.to_csv(temporary / f"{name}.tsv", sep="\t", index=False, float_format="%.6g")
        names = tuple(found.features["feature"])
        for attribution in found.attributions:
            latents = attribution.as_latents(str(found.summary["model"]), str(found.summary["site"]), names)
            write_latents(temporary / f"{attribution.how}.zarr", latents)
        (temporary / SUMMARY).write_text(json.dumps(found.summary, indent=1))
