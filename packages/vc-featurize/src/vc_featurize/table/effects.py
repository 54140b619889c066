"""Encoder `effects`: what a perturbation does in another screen, as features for this one.

The rule against leaks: a gene that a split holds out everywhere must not bring effects of its own, from any screen. A
gene held out in one cell line only may bring its effect in another line, and the bank says that it does. The bank
records the screen it was made of, the line, and the held-out targets that it knows the effects of.
"""

from collections.abc import Collection, Sequence

import numpy as np
from vc_contracts.targets import TargetTable, target_keys

from vc_featurize.bank import FeatureBank
from vc_featurize.errors import InputError

LISTED = 1000  # held-out targets that are named one by one in the bank


def effect_features(
    effects_pg: np.ndarray,
    targets: Sequence[str],
    genes: Sequence[str],
    *,
    line: str,
    revision: str,
    held_out: "Collection[str] | TargetTable" = (),
    link: TargetTable | None = None,
    held_out_lines: Collection[str] | None = None,
    drop_held_out: bool = False,
    kind: str = "gene",
    licence: str = "unstated",
) -> FeatureBank:
    """Effects centred over targets, so that what every perturbation does is no feature of one.

    Args:
        effects_pg: `[p, g]` effects (log fold changes, or weights that fall with rank).
        targets: What was perturbed, each once.
        genes: The measured genes.
        line: Cell line the effects were measured in.
        revision: Sha256 of the screen's file.
        held_out: Targets that the split tests; with their genes, as `vc_contracts.targets` reads them of a screen, other
            names of the same genes are noticed too.
        link: The genes of `targets`, read from their screen.
        held_out_lines: Lines in which they are tested; None: in all, so their effects may be known nowhere.
        drop_held_out: Mark forbidden targets missing instead of refusing the screen.
        kind: `gene` or `compound`.
        licence: Licence of the screen.

    Raises:
        InputError: If held-out effects would leak, or shapes and names do not agree.
    """
    effects_pg = np.asarray(effects_pg, np.float64)
    if effects_pg.shape != (len(targets), len(genes)) or len(set(targets)) < len(targets):
        raise InputError(
            f"effects: expected {len(targets)} distinct targets x {len(genes)} genes, found shape {effects_pg.shape} "
            f"and {len(set(targets))} distinct targets."
        )
    if not np.isfinite(effects_pg.astype(np.float32)).all():
        raise InputError(f"effects of {line}: expected finite float32 values, found others. Fill or drop them.")
    known = _held_out(targets, held_out, link, kind)
    forbidden = set(known) if held_out_lines is None or line in held_out_lines else set()
    if forbidden and not drop_held_out:
        where = "everywhere" if held_out_lines is None else f"in {line}"
        raise InputError(
            f"effects of {line}: the split holds out {len(forbidden)} of these targets {where} "
            f"({sorted(forbidden)[:5]}); their effects would leak into the features. Pass drop_held_out=True, "
            "or use a split that holds out other lines."
        )
    missing = np.array([target in forbidden for target in targets], dtype=bool)
    if missing.all():
        raise InputError(f"effects of {line}: no target is left that the split does not hold out.")
    centred = effects_pg - effects_pg[~missing].mean(axis=0)
    centred[missing] = 0
    return FeatureBank(
        vectors_ef=centred.astype(np.float32),
        entities=tuple(targets),
        kinds=(kind,) * len(targets),
        sources=tuple("" if gone else f"{line}:{target}" for target, gone in zip(targets, missing, strict=True)),
        missing=missing,
        dims=tuple(f"{line}:{gene}" for gene in genes),
        encoder={
            "id": f"effects-{line}",
            "revision": revision,
            "pooling": "effect minus the mean effect over targets that may be known",
            "dtype": "float32",
            "dim": len(genes),
            "licence": licence,
            "line": line,
            "held_out_targets_known": sorted(set(known) - forbidden)[:LISTED],
            "n_held_out_targets_known": len(set(known) - forbidden),
        },
        notes=tuple("held out by the split" if gone else "" for gone in missing),
    )


def _held_out(
    targets: Sequence[str], held_out: Collection[str] | TargetTable, link: TargetTable | None, kind: str
) -> list[str]:
    """Those of the targets that are held out, whatever they are called on the other side."""
    compounds = kind == "compound"
    own = link or TargetTable(frozenset(targets), {}, compounds)
    other = held_out if isinstance(held_out, TargetTable) else TargetTable(frozenset(held_out), {}, compounds)
    keys, held = target_keys([own, other])
    return sorted(target for target in targets if keys.get(target, target) in set(held.values()))
