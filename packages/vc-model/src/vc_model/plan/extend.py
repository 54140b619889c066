"""A bank of measured effects with more of the library: what was never perturbed is predicted from features."""

import numpy as np

from vc_model.plan.bank import EffectBank, Foretold
from vc_model.plan.errors import PlanError
from vc_model.plan.library import Library
from vc_model.plan.surrogate import fit_posterior, left_out

LEAST_KNOWN = 20
MOST_FOR_VARIANCES = 300
"""Measured effects that the variances of each of many components are estimated on: time grows with the cube."""


def extend(bank: EffectBank, library: Library, *, rank: int = 30, seed: int = 0) -> EffectBank:
    """The bank with the entities of a library that it lacks, their effects predicted from features.

    The main components of the measured effects are predicted one by one (`vc_model.plan.surrogate`). Each measured effect
    is also predicted without itself, from which a question learns how far to trust the others.

    Args:
        bank: Measured effects.
        library: More entities, with features; those of the bank among them.
        rank: Components.
        seed: Of subsampling.

    Raises:
        PlanError: If fewer than 20 of the bank have features, or the bank was predicted itself.
    """
    if bank.sd_kg is not None:
        raise PlanError("bank: expected measured effects to extend, found predicted ones. Ask the model for more.")
    at = {name: row for row, name in enumerate(bank.names)}
    known = [name for name in bank.names if name in library.position and library.known_e[library.position[name]]]
    new = [name for name in library.names if name not in at]
    if len(known) < LEAST_KNOWN:
        raise PlanError(
            f"features: know {len(known)} of the {len(bank.names)} measured perturbations; {LEAST_KNOWN} are needed."
        )
    rows = np.array([at[name] for name in known])
    mean_g = bank.delta_kg[rows].mean(axis=0, dtype=np.float64)
    u_nr, s_r, v_rg = np.linalg.svd(bank.delta_kg[rows] - mean_g, full_matrices=False)
    rank = min(rank, len(s_r))
    from_rows, to_rows = library.rows(known, "bank"), library.rows(new, "library")
    parts, x_md = library.parts(from_rows), library.features_ed[to_rows]
    code_mr, out_nr = np.zeros((len(new), rank)), np.zeros((len(known), rank))
    for component in range(rank):
        posterior = fit_posterior(
            parts, u_nr[:, component], prior_b=library.prior_b, seed=seed, most=MOST_FOR_VARIANCES
        )
        code_mr[:, component] = posterior.mean(x_md) * s_r[component]
        out_nr[:, component] = left_out(posterior, parts, u_nr[:, component]) * s_r[component]
    code_kd = np.zeros((len(bank.names) + len(new), library.features_ed.shape[1]))
    code_kd[rows], code_kd[len(bank.names) :] = library.features_ed[from_rows], x_md
    new_k = np.arange(len(code_kd)) >= len(bank.names)
    delta_mg = (mean_g + code_mr @ v_rg[:rank]).astype(np.float32)
    return EffectBank(
        (*bank.names, *new),
        bank.genes,
        np.concatenate([bank.delta_kg, delta_mg]),
        None,
        np.append(bank.supported_k, library.known_e[to_rows]),
        f"{bank.source}; unmeasured ones from features",
        Foretold(rows, out_nr, mean_g, v_rg[:rank], new_k, code_kd),
    )
