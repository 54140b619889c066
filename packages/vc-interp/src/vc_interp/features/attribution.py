"""Features to genes: by the gradient of the decoder, and by clamping a feature and decoding.

Both are in the unit of expression, for a feature that goes from 0 to its typical activation (its mean where it is active):

    gradient      J w_f a_f,  with J [g, d] the mean gradient of expression and w_f the feature's direction
    intervention  mean over rows of decode(x - f(x) w_f + a_f w_f) - decode(x - f(x) w_f)

Where the model is linear from the site on they are equal; how far they agree says how linear it is.
"""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from vc_interp.errors import InputError
from vc_interp.files.stored import StoredLatents
from vc_interp.latents import Latents
from vc_interp.sae.dictionary import Dictionary
from vc_interp.sae.measure import Decode

VALUES_AT_ONCE = 1 << 22
"""Numbers of activations or expression that are decoded together: many features at a time for small models."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """Effects of features on genes.

    Attributes:
        effect_fg: [f, g] float32 change of log1p CP10k.
        genes: g names.
        how: `gradient` or `intervention`.
    """

    effect_fg: np.ndarray
    genes: tuple[str, ...]
    how: str

    def as_latents(self, model: str, site: str, names: tuple[str, ...]) -> Latents:
        """The same as latents with a row per gene and a column per feature, which `enrich` reads."""
        kinds = ("gene",) * len(self.genes)
        return Latents(
            values_rd=np.ascontiguousarray(self.effect_fg.T, np.float32), rows=self.genes, kinds=kinds, dims=names,
            site=f"features/{self.how}/{site}", model=model,
        )  # fmt: skip


def typical_activation(stored: StoredLatents, dictionary: Dictionary) -> np.ndarray:
    """[f] mean activation of each feature over the rows where it is active; 0 for dead ones."""
    total_f, active_f = np.zeros(dictionary.n_features), np.zeros(dictionary.n_features)
    for _, x_nd in stored.blocks():
        f_nf = dictionary.encode(x_nd)
        total_f, active_f = total_f + f_nf.sum(axis=0, dtype=np.float64), active_f + (f_nf > 0).sum(axis=0)
    return (total_f / np.maximum(active_f, 1)).astype(np.float32)


def by_gradient(gradient: Latents, dictionary: Dictionary, typical_f: np.ndarray) -> Attribution:
    """Attribution by the mean gradient.

    Args:
        gradient: Rows of kind `gene` over the dimensions of the site (`vc-model latents --gradient`).
        dictionary: The features.
        typical_f: From `typical_activation`.

    Raises:
        InputError: If there are no gene rows, or they are of another width.
    """
    jacobian_gd, genes = gradient.of_kind("gene")
    if not genes or jacobian_gd.shape[1] != dictionary.width:
        raise InputError(
            f"gradient of {gradient.model!r} at {gradient.site!r}: expected rows of genes over {dictionary.width} dimensions, "
            f"found {len(genes)} gene rows over {jacobian_gd.shape[1]}. Write it with the latents of the same site."
        )
    effect_fg = (dictionary.dec_fd @ jacobian_gd.T) * typical_f[:, None]
    return Attribution(effect_fg.astype(np.float32), genes, "gradient")


def by_intervention(
    stored: StoredLatents,
    dictionary: Dictionary,
    typical_f: np.ndarray,
    decode: Decode,
    genes: tuple[str, ...],
    *,
    n_rows: int = 128,
    seed: int = 0,
) -> Attribution:
    """Attribution by clamping each feature to 0 and to its typical activation, in rows drawn at random.

    Args:
        stored: Activations.
        dictionary: The features.
        typical_f: From `typical_activation`.
        decode: The model from the site on.
        genes: What it decodes to.
        n_rows: Rows that are drawn.
        seed: Draws them.
    """
    rows = np.sort(np.random.default_rng([seed, 5]).permutation(len(stored))[:n_rows])
    x_nd = stored.take(rows)
    f_nf = dictionary.encode(x_nd)
    effect_fg = np.zeros((dictionary.n_features, len(genes)), np.float32)
    living_f = np.flatnonzero(typical_f > 0)
    at_once = max(1, VALUES_AT_ONCE // (len(rows) * max(len(genes), stored.width)))
    for start in tqdm(range(0, len(living_f), at_once), desc="interventions", leave=False, disable=None):
        some_k = living_f[start : start + at_once]
        dec_kd, many = dictionary.dec_fd[some_k], np.tile(rows, len(some_k))
        without_knd = x_nd - f_nf.T[some_k, :, None] * dec_kd[:, None]
        with_knd = without_knd + (typical_f[some_k, None] * dec_kd)[:, None]
        said = [decode(values.reshape(-1, stored.width), many) for values in (with_knd, without_knd)]
        effect_fg[some_k] = (said[0] - said[1]).reshape(len(some_k), len(rows), -1).mean(axis=1)
    return Attribution(effect_fg, genes, "intervention")


def agreement(one: Attribution, other: Attribution) -> np.ndarray:
    """[f] correlation over genes of two attributions of the same features; NaN where one of them is constant."""
    a_fg, b_fg = (u.effect_fg - u.effect_fg.mean(axis=1, keepdims=True) for u in (one, other))
    size_f = np.linalg.norm(a_fg, axis=1) * np.linalg.norm(b_fg, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size_f > 1e-12, (a_fg * b_fg).sum(axis=1) / size_f, np.nan)
