"""From a table of effects (effects-v1) and its split to the training table, without any cell.

Replicates of a condition are averaged. How precise a row is comes from its standard errors, else from how replicates
differ, else nobody knows: then noise is taken for one hundredth of the variance over conditions, and what the models'
own terms for unexplained effects find is left to them. Ranks become weights that fall with the rank, so that genes at the
top count and the rest hardly does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vc_model.contracts import FeatureBank, Splits, read_features
from vc_model.contracts.effects import EffectFile, read_effect_splits, read_effects
from vc_model.errors import TableError
from vc_model.table.effects import Action, Conditions, Contexts, EffectTable

DECAY = 200.0  # ranks over which a gene's weight falls by a factor e
UNKNOWN_NOISE = 0.01  # of the variance over conditions, where nothing tells the noise
MANY = 1e6  # control cells behind an effect whose controls are not known: their noise is in the standard error
LEAST = 1e-3  # of the mean noise over genes is the noise of a gene at least


@dataclass(frozen=True, eq=False)
class _Measured:
    """Conditions with their mean effects.

    Attributes:
        conditions: [p] conditions, in the order of the file.
        delta_pg: [p, g] float32 mean over the rows of each.
        noise_g: [g] variance of a row of precision 1.
        precision_p: [p] how many such rows a condition is worth.
    """

    conditions: Conditions
    delta_pg: np.ndarray
    noise_g: np.ndarray
    precision_p: np.ndarray


def load_effects(
    effects: EffectFile | Path | str,
    splits: Splits | Path | str | None,
    features: Sequence[FeatureBank | Path | str] = (),
) -> tuple[EffectTable, Conditions, Conditions]:
    """Make the training table and the conditions to predict; held-out rows play no part in the table.

    Args:
        effects: effects-v1, read or a path.
        splits: splits-v1 of that file, read or a path; None: every condition trains.
        features: features-v1 banks, read or paths.

    Returns:
        train, val, test: As `vc_model.table.pseudobulk.load_tables` gives them.

    Raises:
        ContractError: If a file breaks its contract.
        TableError: If nothing is left to train on.
    """
    file = effects if isinstance(effects, EffectFile) else read_effects(effects)
    if splits is not None and not isinstance(splits, Splits):
        splits = read_effect_splits(splits, file)
    banks = tuple(source if isinstance(source, FeatureBank) else read_features(source) for source in features)
    part_n = _parts(file, splits)
    train = _measure(file, np.flatnonzero(part_n == "train"))
    if len(train.conditions) < 2:
        raise TableError(f"{file.path}: expected two training conditions or more, found {len(train.conditions)}.")
    contexts = _contexts(file, train)
    val, test = (replace(_measure(file, np.flatnonzero(part_n == part)).conditions, contexts=contexts) for part in
                 ("val", "test"))  # fmt: skip
    n_p, many_p = train.precision_p.astype(np.float32), np.full(len(train.conditions), MANY, np.float32)
    table = EffectTable(
        contexts=contexts,
        conditions=replace(train.conditions, contexts=contexts),
        delta_pg=train.delta_pg,
        half_pg=train.delta_pg,
        check_pg=train.delta_pg,
        n_cells_p=n_p,
        n_controls_p=many_p,
        n_half_p=many_p,
        n_check_p=many_p,
        bank=banks[0] if banks else None,
        more_banks=banks[1:],
        notes={"genes_that_some_row_did_not_measure": file.left_out},
    )
    return table, val, test


def load_effect_conditions(effects: Path | str, splits: Path | str, part: str, like: Contexts) -> Conditions:
    """Conditions of one part, for a model that was fitted on effects in the same space.

    Raises:
        TableError: If the space or a cell line is not the model's.
    """
    file = read_effects(effects)
    if file.space != like.space:
        raise TableError(
            f"{file.path}: expected effects in the model's space {like.space!r}, found {file.space!r}. "
            "Fit a model on effects of this kind; spaces are never converted in silence."
        )
    part_n = _parts(file, read_effect_splits(splits, file))
    conditions = _measure(file, np.flatnonzero(part_n == part)).conditions
    like.positions(conditions.cell_line)
    return replace(conditions, contexts=like)


def weights_of_ranks(rank_ng: np.ndarray) -> np.ndarray:
    """[n, g] float32 sign(r) exp(-(|r| - 1) / 200) of ranks (1 rises most, -1 falls most, 0 is not listed)."""
    rank_ng = np.asarray(rank_ng, np.float32)
    return np.sign(rank_ng) * np.exp(-np.maximum(np.abs(rank_ng) - 1, 0) / np.float32(DECAY))


def ranks_of_weights(weight_ng: np.ndarray) -> np.ndarray:
    """[n, g] float32 ranks of predicted weights: rising genes by falling weight from 1, falling ones from -1."""
    weight_ng = np.asarray(weight_ng)
    order_ng = np.argsort(-weight_ng, axis=1, kind="stable")
    place_ng = np.empty(weight_ng.shape, np.float32)
    np.put_along_axis(place_ng, order_ng, np.arange(1, weight_ng.shape[1] + 1, dtype=np.float32)[None], axis=1)
    from_below_ng = place_ng - weight_ng.shape[1] - 1
    return np.where(weight_ng > 0, place_ng, np.where(weight_ng < 0, from_below_ng, 0)).astype(np.float32)


def _parts(file: EffectFile, splits: Splits | None) -> np.ndarray:
    """[n] part of each row."""
    if splits is None:
        return np.full(len(file.obs), "train")
    keys = zip(file.obs["cell_line"].astype(str), file.obs["perturbation"].astype(str), strict=True)
    return np.array([splits.parts[key] for key in keys])


def _measure(file: EffectFile, rows: np.ndarray) -> _Measured:
    obs = file.obs.iloc[rows]
    line_n, label_n, target_n = (obs[key].astype(str).to_numpy() for key in ("cell_line", "perturbation", "target"))
    keys = list(dict.fromkeys(zip(line_n, label_n, strict=True)))
    place = {key: at for at, key in enumerate(keys)}
    at_n = np.array([place[key] for key in zip(line_n, label_n, strict=True)], dtype=np.int64)
    first = np.unique(at_n, return_index=True)[1]
    dose_n = np.nan_to_num(obs["dose"].to_numpy(np.float64))
    mode_n = obs["mode"].to_numpy()
    actions = tuple(Action(tuple(target_n[i].split("+")), int(mode_n[i]), float(dose_n[i])) for i in first)
    labels = tuple(str(label) for _, label in keys)
    conditions = Conditions(np.array([line for line, _ in keys], dtype=object), actions, None, labels)
    value_ng = file.value_ng[rows]
    if file.space == "rank":
        value_ng = weights_of_ranks(value_ng)
    n_p = np.bincount(at_n, minlength=len(keys)).astype(np.float64)
    delta_pg = np.zeros((len(keys), value_ng.shape[1]))
    np.add.at(delta_pg, at_n, value_ng)
    delta_pg /= np.maximum(n_p, 1)[:, None]
    noise_g, precision_p = _noise(value_ng, None if file.se_ng is None else file.se_ng[rows], delta_pg, at_n, n_p)
    return _Measured(conditions, delta_pg.astype(np.float32), noise_g, precision_p)


def _noise(
    value_ng: np.ndarray, se_ng: np.ndarray | None, delta_pg: np.ndarray, at_n: np.ndarray, n_p: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """[g] variance of a row of precision 1, and [p] the precision of each condition."""
    spare = len(at_n) - len(n_p)
    if spare >= max(3, len(n_p) // 4):
        # What replicates say is measured, whatever was stated.
        noise_g = ((value_ng - delta_pg[at_n]) ** 2).sum(axis=0) / spare
        precision_p = n_p
    elif se_ng is not None and se_ng.any():
        variance_pg = np.zeros(delta_pg.shape)
        np.add.at(variance_pg, at_n, se_ng.astype(np.float64) ** 2)
        variance_pg /= (n_p**2)[:, None]
        noise_g = variance_pg.mean(axis=0)
        precision_p = noise_g.mean() / np.maximum(variance_pg.mean(axis=1), 1e-6 * noise_g.mean())
    else:
        size = float(delta_pg.var(axis=0).mean()) if len(n_p) else 0.0
        return np.full(delta_pg.shape[1], max(UNKNOWN_NOISE * size, 1e-12)), np.maximum(n_p, 1.0)
    return np.maximum(noise_g, max(LEAST * float(noise_g.mean()), 1e-12)), precision_p


def _contexts(file: EffectFile, train: _Measured) -> Contexts:
    """What is known of the lines: nothing but their names and the noise of measuring."""
    lines = tuple(sorted(set(file.obs["cell_line"].astype(str))))
    shape = (len(lines), len(file.genes))
    return Contexts(
        genes=file.genes,
        cell_lines=lines,
        input_cg=np.zeros(shape, np.float32),
        base_cg=np.zeros(shape, np.float32),
        sigma2_cg=np.tile(train.noise_g.astype(np.float32), (len(lines), 1)),
        detected_cg=np.zeros(shape, np.float32),
        loadings_cgk=np.zeros((*shape, 0), np.float32),
        basis_gk=np.zeros((len(file.genes), 0), np.float32),
        space=file.space,
        names=file.names,
    )
