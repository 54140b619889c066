"""Is a gene needed to explain how cells respond? By leaving it out, beside matched genes."""

from collections.abc import Sequence

import numpy as np

from vc_model.plan.bank import EffectBank
from vc_model.plan.doubt import permutation_p
from vc_model.plan.errors import PlanError
from vc_model.plan.figures import ranked_intervals
from vc_model.plan.library import check_known
from vc_model.plan.results import Decision, rank_table

N_INPUTS = 100
N_MATCHED = 40
N_DRAWS = 500
LEAST_CONDITIONS = 20
LEAST_GENES = 40
LEVEL = 0.05


def mechanism(gene: str, banks: Sequence[EffectBank], *, seed: int = 0) -> Decision:
    """How much worse the responses of other genes are predicted without one gene, against genes like it.

    Responses are predicted by ridge from the changes of up to 100 input genes; one input is left out by an exact rank-one
    downdate, and each condition is predicted without itself. Conditions that perturb the gene are not scored. Matched are
    the input genes of most similar variance. A gene whose change another input repeats is not necessary in this sense.

    Args:
        gene: The gene in question.
        banks: One bank of effects for each independent data set.
        seed: Of the bootstrap.

    Returns:
        A decision: `necessary` only where the loss rises beyond matched genes in two data sets or more.

    Raises:
        PlanError: If no data set measures the gene, or a data set has fewer than 20 conditions or 40 genes.
    """
    everywhere = {name for bank in banks for name in bank.genes}
    check_known([gene], everywhere, "gene", "the measured genes")
    rows = []
    for bank in (bank for bank in banks if gene in bank.genes):
        if len(bank.names) < LEAST_CONDITIONS:
            raise PlanError(f"{bank.source}: {len(bank.names)} conditions; at least {LEAST_CONDITIONS} are needed.")
        if len(bank.genes) < LEAST_GENES:
            raise PlanError(f"{bank.source}: {len(bank.genes)} genes; at least {LEAST_GENES} are needed.")
        rows.append(_one(gene, bank, np.random.default_rng(seed)))
    passed = [row["p"] <= LEVEL and row["low"] > 0 for row in rows]
    table = rank_table(
        {
            "name": [bank.source for bank in banks if gene in bank.genes],
            "effect": [row["effect"] for row in rows],
            "low": [row["low"] for row in rows],
            "high": [row["high"] for row in rows],
            "evidence": [row["evidence"] for row in rows],
            "doubts": ["" if yes else "no more than matched genes" for yes in passed],
            "support": ["supported"] * len(rows),
            "p": [row["p"] for row in rows],
        },
        np.argsort([-row["effect"] for row in rows]),
    )
    if len(rows) < 2:
        answer = f"One data set: {'its loss rises' if passed[0] else 'its loss does not rise'} without {gene}; two are needed to call it necessary."
    else:
        verdict = "necessary" if sum(passed) >= 2 else "not shown to be necessary"
        answer = f"{gene} is {verdict}: the loss rises beyond matched genes in {sum(passed)} of {len(rows)} data sets."
    return Decision(
        "mechanism",
        f"Is {gene} needed to explain the responses?",
        answer,
        table,
        lambda axes: ranked_intervals(axes, table, "relative rise of the loss without the gene"),
        "Rise of the left-out loss in each data set, 90 % interval over conditions.",
        {"gene": gene, "data sets": len(rows), "matched genes": N_MATCHED},
        ("Necessity for prediction is association, not proof of function.",),
        called=sum(passed) >= 2,
    )


def _one(gene: str, bank: EffectBank, rng: np.random.Generator) -> dict:
    at = bank.genes.index(gene)
    x_kg = bank.centred_kg.astype(np.float64)
    power_g = x_kg.var(axis=0)
    near = np.argsort(np.abs(np.log(power_g + 1e-12) - np.log(power_g[at] + 1e-12)), kind="stable")
    # At least half of the genes are what is explained.
    inputs = near[near != at][: min(N_INPUTS, len(near) // 2) - 1]
    inputs = np.append(at, inputs)
    outputs = np.setdiff1d(np.argsort(-power_g)[:500], inputs)
    scored_k = np.array([gene not in name.split("+") for name in bank.names])
    z_kn = x_kg[:, inputs] / np.maximum(np.sqrt(power_g[inputs]), 1e-9)
    y_km = x_kg[:, outputs]
    ridge = 0.1 * z_kn.shape[1]
    inverse_kk = np.linalg.inv(z_kn @ z_kn.T + ridge * np.eye(len(z_kn)))
    alpha_km = inverse_kk @ y_km
    base_k = _left_out_loss(inverse_kk, alpha_km)
    rise_nk = []
    for column in range(min(N_MATCHED + 1, len(inputs))):
        u_k = inverse_kk @ z_kn[:, column]
        scale = 1 - z_kn[:, column] @ u_k
        without_kk = inverse_kk + np.outer(u_k, u_k) / scale
        without_km = alpha_km + np.outer(u_k, z_kn[:, column] @ alpha_km) / scale
        rise_nk.append(_left_out_loss(without_kk, without_km) - base_k)
    rise_nk = np.array(rise_nk)[:, scored_k] / base_k[scored_k].mean()
    draws = rng.integers(0, scored_k.sum(), (N_DRAWS, scored_k.sum()))
    boot_d = rise_nk[0][draws].mean(axis=1)
    low, high = np.quantile(boot_d, [0.05, 0.95])
    mean_n = rise_nk.mean(axis=1)
    return {
        "effect": float(mean_n[0]),
        "low": float(low),
        "high": float(high),
        "p": float(permutation_p(mean_n[0], mean_n[1:])),
        "evidence": f"matched genes: {mean_n[1:].mean():.2g} on average, {mean_n[1:].max():.2g} at most",
    }


def _left_out_loss(inverse_kk: np.ndarray, alpha_km: np.ndarray) -> np.ndarray:
    """[k] mean squared error of each condition predicted without itself (exact for ridge)."""
    return np.square(alpha_km / np.diag(inverse_kk)[:, None]).mean(axis=1)
