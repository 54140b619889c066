"""Effects of a library of perturbations: measured ones from a file, or what a fitted model predicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vc_model.plan.errors import PlanError
from vc_model.plan.library import check_known, check_unique
from vc_model.predictor import Fitted
from vc_model.table.effects import Action, Conditions

MOST_GENES = 4000
"""Genes that a bank from a model is kept on; the most variable of its effects."""


@dataclass(frozen=True, eq=False)
class Foretold:
    """What features say of the effects of a bank, its measured ones predicted without themselves.

    Attributes:
        rows: [n] rows of the bank that were measured and have features.
        left_out_nr: [n, r] their components as predicted without them.
        mean_g: [g] mean of the measured effects.
        axes_rg: [r, g] the components.
        new_k: [k] bool, rows of the bank that were predicted and never measured.
        code_kd: [k, d] features of every row.
    """

    rows: np.ndarray
    left_out_nr: np.ndarray
    mean_g: np.ndarray
    axes_rg: np.ndarray
    new_k: np.ndarray
    code_kd: np.ndarray


@dataclass(frozen=True, eq=False)
class EffectBank:
    """Effects of k perturbations on g genes in one context.

    Attributes:
        names: The perturbations, each once.
        genes: The genes.
        delta_kg: [k, g] effects, in one unit.
        sd_kg: [k, g] standard deviations of them, or None where they are not known.
        supported_k: [k] bool, whether the source stands behind each.
        source: Where they come from, in words.
        foretold: Where some were predicted from features (`vc_model.plan.extend`): how well that goes.
    """

    names: tuple[str, ...]
    genes: tuple[str, ...]
    delta_kg: np.ndarray
    sd_kg: np.ndarray | None
    supported_k: np.ndarray
    source: str
    foretold: Foretold | None = None

    @cached_property
    def centred_kg(self) -> np.ndarray:
        """[k, g] effects less their mean over the bank: what all perturbations share identifies none of them."""
        return self.delta_kg - self.delta_kg.mean(axis=0)

    def subset(self, rows: np.ndarray) -> "EffectBank":
        """The given perturbations."""
        rows = np.arange(len(self.names))[rows]
        sd_kg = None if self.sd_kg is None else self.sd_kg[rows]
        names = tuple(self.names[row] for row in rows)
        return EffectBank(names, self.genes, self.delta_kg[rows], sd_kg, self.supported_k[rows], self.source)


def make_bank(names: Sequence[str], genes: Sequence[str], delta_kg: np.ndarray, source: str = "measured") -> EffectBank:
    """A bank of measured effects.

    Raises:
        PlanError: For repeated names or genes, values that are not finite, or fewer than 3 perturbations.
    """
    check_unique(names, f"{source}: perturbations")
    check_unique(genes, f"{source}: genes")
    if len(names) < 3 or not np.isfinite(delta_kg).all():
        raise PlanError(
            f"{source}: expected finite effects of 3 or more perturbations, found {len(names)} or NaN. Drop those."
        )
    return EffectBank(
        tuple(names), tuple(genes), np.asarray(delta_kg, np.float32), None, np.ones(len(names), bool), source
    )


def read_bank(fpath: Path, context: str | None = None) -> EffectBank:
    """A bank from an .h5ad of effects: rows are perturbations (`obs["perturbation"]`), X their effects on genes.

    Args:
        fpath: The file.
        context: Rows of this `obs["cell_line"]`; needed where there are several.

    Raises:
        PlanError: If it is no such file, or the context is unknown or not said.
    """
    from vc_contracts.store import read_anndata

    if not fpath.exists():
        raise PlanError(f"{fpath}: no such file. Give an .h5ad of effects.")
    adata = read_anndata(fpath)
    if "perturbation" not in adata.obs:
        raise PlanError(f'{fpath}: obs["perturbation"]: expected a column of names, found {list(adata.obs)[:8]}.')
    lines = sorted(set(adata.obs["cell_line"].astype(str))) if "cell_line" in adata.obs else []
    if context is not None:
        check_known([context], lines, "context", str(fpath))
        adata = adata[adata.obs["cell_line"].astype(str) == context]
    elif len(lines) > 1:
        raise PlanError(
            f"{fpath}: effects in {len(lines)} contexts ({', '.join(lines[:5])}). Say which with --context."
        )
    stored: Any = adata.X
    x = stored.toarray() if hasattr(stored, "toarray") else np.asarray(stored)
    genes: Any = adata.var.get("gene_name", adata.var_names)
    return make_bank(adata.obs["perturbation"].astype(str).tolist(), [str(g) for g in genes], x, str(fpath.name))


def model_bank(fitted: Fitted, context: str, library: Sequence[Action | str], mode: int = 0) -> EffectBank:
    """What a fitted model says that each action of a library does to a context.

    Args:
        fitted: Any fitted model.
        context: One of its cell lines.
        library: Actions, or names of single targets.
        mode: How single targets are acted on (`vc_model.table.effects.MODES`).

    Raises:
        PlanError: For an unknown context, with the nearest names, or a library of which the model supports nothing.
    """
    check_known([context], set(fitted.contexts.cell_lines), "context", "the model")
    actions = [Action((name,), mode) if isinstance(name, str) else name for name in library]
    check_unique([action.label for action in actions], "library")
    prediction = fitted.predict(Conditions(np.repeat(context, len(actions)), tuple(actions)))
    if not prediction.supported_p.any():
        raise PlanError(
            f"library: the model supports none of its {len(actions)} actions in {context} (e.g. {actions[0].label}). "
            "Give targets that it was trained on or has features of."
        )
    genes = np.array(fitted.contexts.genes)
    keep = np.arange(len(genes))
    if len(keep) > MOST_GENES:
        keep = np.sort(np.argsort(-prediction.delta_pg.var(axis=0))[:MOST_GENES])
    return EffectBank(
        tuple(action.label for action in actions),
        tuple(genes[keep].tolist()),
        prediction.delta_pg[:, keep],
        np.sqrt(prediction.var_pg[:, keep]),
        prediction.supported_p,
        f"predicted in {context}",
    )
