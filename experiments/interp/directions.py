"""A dictionary beside PCA, ICA and random directions of the same number on the same rows of a simulated screen."""

import numpy as np
from vc_interp.features.recover import attribute_changes, average_precision, make_directions

METHODS = ("sae", "sae, whitened", "pca", "ica", "random")
OTHERS = METHODS[2:]
SPEAK = 5  # directions that may speak for a perturbation
TOP = 20  # truly most changed genes of a perturbation
ROWS = 32  # in which a direction is moved


def compare_methods(
    site, stored, made: dict, truth_pg: np.ndarray, labels: np.ndarray, programs_kg: np.ndarray, seed: int
):
    """Matching score and residual attribution of every method, and of chance.

    Args:
        site: Where activations are moved.
        stored: The activations.
        made: Dictionaries by name.
        truth_pg: [p, g] true effects.
        labels: Their perturbations.
        programs_kg: [k, g] of pathways.
        seed: Of draws.
    """
    x_nd = stored.read(0, len(stored))
    out = {}
    for name in METHODS:
        if name in made:
            dec_kd, code_nk = made[name].dec_fd, made[name].encode(x_nd)
        else:
            found = make_directions(name, x_nd, made["sae"].n_features, seed)
            dec_kd = found.dec_kd.astype(np.float32)
            code_nk = ((x_nd - x_nd.mean(axis=0)) @ found.read_dk).astype(np.float32)
        out[name] = score(site, stored, x_nd, dec_kd, code_nk, truth_pg, labels, programs_kg, seed)
    return out | {"chance": {"match": float("nan"), "auprc": TOP / truth_pg.shape[1]}}


def score(site, stored, x_nd, dec_kd, code_nk, truth_pg, labels, programs_kg, seed: int) -> dict[str, float]:
    """How well directions match pathways, and how well the few that a perturbation moves point to its genes."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(stored))[:ROWS])
    sd_k = np.maximum(code_nk.std(axis=0), 1e-6)
    effect_kg = effects_of(site, x_nd[rows], rows, dec_kd, sd_k)
    base_k = code_nk[stored.labels == "control"].mean(axis=0)
    change_pk = np.stack([code_nk[stored.labels == label].mean(axis=0) - base_k for label in labels])
    said_pg = attribute_changes(change_pk, sd_k, effect_kg, SPEAK)
    size_pg = np.abs(truth_pg)
    true_pg = size_pg >= np.sort(size_pg, axis=1)[:, -TOP][:, None]
    return {
        "match": float(np.abs(cosine(programs_kg, effect_kg)).max(axis=1).mean()),
        "auprc": float(np.nanmean(average_precision(said_pg, true_pg))),
    }


def effects_of(site, x_nd, rows, dec_kd: np.ndarray, step_k: np.ndarray) -> np.ndarray:
    """[k, g] change of expression for one unit of each code, by moving the rows along it."""
    before_g = site.decode(x_nd, rows).mean(axis=0)
    moved = (x_nd[None] + (step_k[:, None] * dec_kd)[:, None]).astype(np.float32)
    said = site.decode(moved.reshape(-1, x_nd.shape[1]), np.tile(rows, len(dec_kd)))
    after_kg = said.reshape(len(dec_kd), len(rows), -1).mean(axis=1)
    return (after_kg - before_g) / step_k[:, None]


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines between rows, each centred over genes."""
    a, b = (u - u.mean(axis=1, keepdims=True) for u in (a, b))
    a, b = (u / np.maximum(np.linalg.norm(u, axis=1, keepdims=True), 1e-12) for u in (a, b))
    return a @ b.T


def programs(sim, labels: np.ndarray, truth_pg: np.ndarray) -> np.ndarray:
    """[k, g] mean true effect of the perturbed regulators of each pathway with two or more, less the mean of all."""
    home = dict(zip(sim.world.regulators.tolist(), sim.world.regulator_pathway.tolist(), strict=True))
    index = {name: at for at, name in enumerate(sim.world.gene_names.astype(str))}
    pathway_p = np.array([home.get(index[label], -1) for label in labels])
    centred = truth_pg - truth_pg.mean(axis=0)
    kept = [k for k in np.unique(pathway_p[pathway_p >= 0]) if (pathway_p == k).sum() >= 2]
    return np.stack([centred[pathway_p == k].mean(axis=0) for k in kept])


def truth_of(ready) -> np.ndarray:
    """[p, g] true effects of the perturbations that trained, over the genes of the table."""
    truth = ready.sim.truth[[f"LineA|{label}" for label in ready.labels], list(ready.table.genes)]
    return np.asarray(truth.X, np.float64)
