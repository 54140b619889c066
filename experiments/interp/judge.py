"""Everything that is asked of a set mapper with gene sets and networks: dictionary, annotation, specificity, and their nulls."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from vc_interp.features.annotate import annotate
from vc_interp.features.attribution import agreement, by_gradient, by_intervention, typical_activation
from vc_interp.features.moved import moved
from vc_interp.features.specificity import specificity
from vc_interp.files.stored import open_latents
from vc_interp.latents import read_latents
from vc_interp.sae.dictionary import read_dictionary
from vc_interp.sae.measure import loss_recovered
from vc_interp.sae.settings import SaeSettings
from vc_interp.sae.stability import stability
from vc_interp.sae.train import train_sae

FEATURES, ACTIVE, STEPS, BATCH = 64, 6.0, 1500, 512


def settings_for(stored, seed: int, whiten: bool = False) -> SaeSettings:
    """The dictionary of this experiment."""
    passes = STEPS * BATCH / len(stored)
    return SaeSettings(features=FEATURES, k=ACTIVE, batch=BATCH, passes=passes, seed=seed, whiten=whiten)


def dictionary(stored, path: Path, settings: SaeSettings):
    """Trained, or as an earlier call left it."""
    return read_dictionary(path) if path.exists() else train_sae(stored, path, settings)


def open_state(ready, folder: Path):
    """The site over every condition and the control rows, and its activations on disk."""
    from vc_model.sites import open_site
    from vc_model.sites.open import with_controls
    from vc_model.sites.write import write_site

    site = open_site(ready.fitted, with_controls(ready.table.conditions))
    write_site(folder / "latents.zarr", site)
    return site, open_latents(folder / "latents.zarr")


def judge(ready, folder: Path, seed: int):
    """The numbers, and site, activations and dictionaries for what else is asked of them."""
    from vc_model.sites.write import write_gradient

    site, stored = open_state(ready, folder)
    write_gradient(folder / "gradient.zarr", site)
    made = dictionary(stored, folder / "sae", settings_for(stored, seed))
    other = dictionary(stored, folder / "sae-other", settings_for(stored, seed + 1))
    whitened = dictionary(stored, folder / "sae-whitened", settings_for(stored, seed, whiten=True))
    typical = typical_activation(stored, made)
    clamped = by_intervention(stored, made, typical, site.decode, site.genes, n_rows=64)
    gradient = by_gradient(read_latents(folder / "gradient.zarr"), made, typical)
    random = random_attribution(ready, folder, seed)
    noted = annotate(clamped.as_latents("m", "s", made.names), ready.gene_sets, permutations=20, random=random, top=30)
    said = {"sae": unit_effects(stored, made, clamped, typical)}
    typical_w = typical_activation(stored, whitened)
    clamped_w = by_intervention(stored, whitened, typical_w, site.decode, site.genes, n_rows=64)
    said["sae, whitened"] = unit_effects(stored, whitened, clamped_w, typical_w)
    noted_w = annotate(clamped_w.as_latents("m", "s", whitened.names), ready.gene_sets, permutations=20, top=30)
    return {
        "rows": len(stored),
        "measures": made.record["measures"],
        "whitened": whitened.record["measures"],
        "loss_recovered": loss_recovered(stored, made, site.decode),
        "loss_recovered_whitened": loss_recovered(stored, whitened, site.decode),
        "stability": stability(made, [other]).mean,
        "agreement": float(np.nanmedian(agreement(clamped, gradient))),
        "moved": [share_moved(stored, one) for one in (made, whitened)],
        "annotated": [noted.share, float(noted.permuted.mean()), float(noted.permuted.max()), noted.random],
        "annotated_whitened": [noted_w.share, float(noted_w.permuted.mean()), float(noted_w.permuted.max())],
        "specific": {name: specific(ready, said, clamped.genes, known) for name, known in ready.targets.items()},
    }, site, stored, {"sae": made, "sae, whitened": whitened}  # fmt: skip


def share_moved(stored, made) -> float:
    """Share of perturbations that move at least one feature (FDR 5 %)."""
    return float((moved(stored, made).fdr_cf < 0.05).any(axis=1).mean())


def unit_effects(stored, made, clamped, typical: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[c, g] what the features that each condition moves decode to, and the conditions' labels."""
    found = moved(stored, made)
    return found.strength() @ (clamped.effect_fg / np.maximum(typical, 1e-12)[:, None]), found.labels


def specific(ready, said: dict, genes: tuple[str, ...], targets) -> dict:
    """Regulators specific to their targets by the features, by the whole prediction, and as the screen measured them."""
    table = ready.table
    asked = said | {
        "prediction": (ready.fitted.delta(table.conditions), ready.labels),
        "measured": (table.delta_pg, ready.labels),
    }
    out = {}
    for name, (effect_cg, labels) in asked.items():
        one = specificity(effect_cg, labels, genes, targets, min_targets=5)
        n = len(one.table)
        out[name] = {
            "n": n,
            "specific": int(one.table["specific"].sum()) if n else 0,
            "share": one.share,
            "interval": [one.low, one.high],
            "permuted": float(one.permuted.mean()) if len(one.permuted) else None,
            "auroc": float(one.table["auroc"].mean()) if n else None,
            "names": [str(row.regulator) for row in one.table.itertuples() if row.specific],
        }
    return out


def random_attribution(ready, folder: Path, seed: int):
    """The attribution of a dictionary of the same network with random weights."""
    from vc_model.sites.random import randomised

    blank = replace(ready, fitted=randomised(ready.fitted, seed + 100))
    (folder / "random").mkdir(exist_ok=True)
    site, stored = open_state(blank, folder / "random")
    made = dictionary(stored, folder / "sae-random", settings_for(stored, seed))
    found = by_intervention(stored, made, typical_activation(stored, made), site.decode, site.genes, n_rows=64)
    return found.as_latents("random", "random", made.names)
