"""Targets that regulate nothing: can they be told beforehand, and is it worth shrinking their predictions?

    uv run python experiments/quality/no_effect.py all run/no-effect docs/log/no-effect.md
    uv run python experiments/quality/no_effect.py scores run/no-effect world --world-seed 25
    uv run python experiments/quality/no_effect.py scores run/no-effect norman2019_k562_crispra_500g

For every unseen single target the prediction of `anchored` is compared with four changes of it, the perturbed gene left out:

- `gated`: times P / (half of the mean P) where that is below 1, as far as a gate lets it, P the probability of any effect. P is logistic, with a normal prior, in the
  target's control expression and detection, the size of its co-expression, the number of its entries in the banks, and the size of its prediction; it
  learns from out-of-fold rows, is crossed over targets, and the gate (`vc_model.anchored.gate`) is judged on targets left out.
- `share`: the same with the least-squares share, whether the gate lets it through or not.
- `oracle`: nothing for the targets that truly do nothing, the prediction for the others. No P can know more.
- `zero`: no change at all, which is what has to be won against.

A training target has an effect where its mean squared effect on other genes, in units of the noise of measuring, is above 1 by two standard
deviations, as mirrored from the rows below 1.
"""

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import anndata
import numpy as np
import pandas as pd
from command import run_parts
from fair import CELLS, SCREENS
from sources import tables_of
from vc_data.simulate import SimulatorConfig, write_simulation
from vc_eval.stats.differences import resampled
from vc_model.anchored import Anchored
from vc_model.anchored.gate import fit_gate, least_squares_share
from vc_model.baselines.singles import noise_weights
from vc_model.doubt.noise import cell_floor, measured_noise
from vc_model.table.effects import Conditions, EffectTable
from vc_model.table.folds import BINS, known_actions, recall, target_groups

WORLD = replace(SimulatorConfig(), n_genes=1000, n_pathways=30, n_singles=100, n_pairs=24, controls_per_line=600)
CHOSEN_ON = ("norman", "datlinger", "kang", "zhao")
FIRST_FRESH = 25  # worlds from this seed on were not looked at while choosing
UNSEEN = BINS.index("unseen")
SILENT = 5e-4  # mean squared true effect on other genes below which a target does nothing
PRIOR_SD = 0.5  # of a coefficient per standard deviation of its feature
FEWEST = 20
N_FOLDS = 5
CHANGES = ("gated", "share", "oracle", "zero")


@dataclass(frozen=True)
class Logistic:
    """Probability of any effect.

    Attributes:
        mean_f: [f] means of the features.
        scale_f: [f] what centred features are multiplied by; 0 for one that does not vary.
        weight_f: [1 + f] intercept and coefficients.
    """

    mean_f: np.ndarray
    scale_f: np.ndarray
    weight_f: np.ndarray

    def __call__(self, x_mf: np.ndarray) -> np.ndarray:
        """[m] probabilities."""
        return 1 / (1 + np.exp(-self.weight_f[0] - (x_mf - self.mean_f) * self.scale_f @ self.weight_f[1:]))


def fit_logistic(x_mf: np.ndarray, y_m: np.ndarray) -> Logistic:
    """Posterior mode by Newton's method; the intercept is free."""
    mean_f, sd_f = x_mf.mean(axis=0), x_mf.std(axis=0)
    scale_f = np.divide(1, sd_f, out=np.zeros_like(sd_f), where=sd_f > 1e-6)
    one_mf = np.column_stack([np.ones(len(x_mf)), (x_mf - mean_f) * scale_f])
    prior_f = np.array([0.01, *np.full(x_mf.shape[1], 1 / PRIOR_SD**2)])
    weight_f = np.zeros(len(prior_f))
    for _ in range(30):
        p_m = 1 / (1 + np.exp(-one_mf @ weight_f))
        hessian = (one_mf * (p_m * (1 - p_m))[:, None]).T @ one_mf + np.diag(prior_f)
        weight_f = weight_f - np.linalg.solve(hessian, one_mf.T @ (p_m - y_m) + prior_f * weight_f)
    return Logistic(mean_f, scale_f, weight_f)


def features(conditions: Conditions, table: EffectTable, delta_qg: np.ndarray) -> np.ndarray:
    """[q, 6] what is known of single targets before they are perturbed."""
    contexts, column = table.contexts, table.gene_position
    at = {name: row for bank in table.banks for row, name in enumerate(bank.entities)}
    out_qf = np.zeros((len(conditions), 6))
    line_q = contexts.positions(conditions.cell_line)
    for row, action in enumerate(conditions.actions):
        gene, (target,) = column.get(action.targets[0], -1), action.targets
        if gene >= 0:
            out_qf[row, 0] = contexts.input_cg[line_q[row], gene]
            out_qf[row, 1] = contexts.detected_cg[line_q[row], gene]
            out_qf[row, 2] = np.linalg.norm(contexts.loadings_cgk[line_q[row], gene])
        for bank in table.banks if target in at else ():
            known = target in bank.entities and not bank.missing_e[bank.entities.index(target)]
            out_qf[row, 3] += np.count_nonzero(bank.vectors_ef[bank.entities.index(target)]) if known else 0
            out_qf[row, 4] += known
    out_qf[:, 3] = np.log1p(out_qf[:, 3])
    out_qf[:, 5] = np.log((delta_qg**2).mean(axis=1) + 1e-9)
    return out_qf


def own_genes(conditions: Conditions, table: EffectTable) -> np.ndarray:
    """[q, g] bool, the perturbed genes."""
    own_qg = np.zeros((len(conditions), len(table.genes)), bool)
    for row, action in enumerate(conditions.actions):
        own_qg[row, [table.gene_position[target] for target in action.targets if target in table.gene_position]] = True
    return own_qg


def judge(train: EffectTable, oof, test: Conditions, delta_qg: np.ndarray, truths, free) -> pd.DataFrame:
    """One row per unseen single: squared errors x 1000 of the prediction and its changes, and the probability.

    Args:
        train: Training effects.
        oof: Out-of-fold predictions of `anchored` on them.
        test: Held-out conditions.
        delta_qg: [q, g] their predictions.
        truths: (cell line, perturbation) -> [g] measured effects, NaN where excluded.
        free: The same without noise, or None.
    """
    at = np.flatnonzero(oof.bin_m == UNSEEN)
    asked = np.flatnonzero(known_actions(train).bins(test) == UNSEEN)
    asked = np.array([row for row in asked if (test.cell_line[row], test.perturbation[row]) in truths], dtype=int)
    if len(at) < FEWEST or len(asked) == 0:
        return pd.DataFrame()
    rows = oof.row_m[at]
    held, conditions = train.conditions.subset(rows), test.subset(asked)
    out_mg, out_qg = own_genes(held, train), own_genes(conditions, train)
    said_mg, said_qg = np.where(out_mg, 0, oof.delta_mg["anchored"][at]), np.where(out_qg, 0, delta_qg[asked])
    ratio_m = _in_noise(train, rows, out_mg)
    below_m = ratio_m[ratio_m < 1]
    limit = 1 + 2 * np.sqrt(np.mean((1 - below_m) ** 2)) if len(below_m) >= 5 else np.inf
    any_m = (ratio_m > limit).astype(float)
    x_mf, fold_m = features(held, train, said_mg), target_groups(held) % N_FOLDS
    p_m = np.zeros(len(at))
    for fold in np.unique(fold_m):
        p_m[fold_m == fold] = fit_logistic(x_mf[fold_m != fold], any_m[fold_m != fold])(x_mf[fold_m == fold])
    usual = max(float(p_m.mean()), 1e-9)
    error_mg = np.where(out_mg, 0, train.check_pg[rows] - said_mg)
    judged = error_mg, said_mg * shrinkage(p_m, usual)[:, None], noise_weights(train)[rows]
    shares = {"gated": fit_gate(*judged, fold_m, target_groups(held)), "share": least_squares_share(*judged)}
    p_q = fit_logistic(x_mf, any_m)(features(conditions, train, said_qg))
    keys = list(zip(conditions.cell_line.tolist(), conditions.perturbation, strict=True))
    truth_qg = np.array([(truths if free is None else free)[key] for key in keys])
    truth_qg = np.where(out_qg | np.isnan(truth_qg), 0, truth_qg)
    size_q = (truth_qg**2).mean(axis=1)
    silent_q = size_q < SILENT if free is not None else np.zeros(len(keys), bool)
    factors = {name: 1 + share * shrinkage(p_q, usual) for name, share in shares.items()}
    factors |= {"anchored": np.ones(len(keys)), "oracle": np.where(silent_q, 0, 1), "zero": np.zeros(len(keys))}
    errors = {name: 1000 * ((said_qg * by_q[:, None] - truth_qg) ** 2).mean(axis=1) for name, by_q in factors.items()}
    frame = pd.DataFrame({"cell_line": conditions.cell_line, "perturbation": conditions.perturbation, **errors})
    return frame.assign(silent=silent_q, p=p_q, base=any_m.mean(), gate=shares["gated"])


def shrinkage(p_q: np.ndarray, usual: float) -> np.ndarray:
    """[q] what a full share adds to a factor of 1: nothing from half of the usual probability on."""
    return np.minimum(p_q / (0.5 * usual), 1) - 1


def _in_noise(train: EffectTable, rows: np.ndarray, own_mg: np.ndarray) -> np.ndarray:
    """[m] mean squared measured effect on other genes, in units of the noise of measuring."""
    noise_mg = measured_noise(train, cell_floor(train), rows)
    use_mg = (noise_mg > 1e-8) & ~own_mg
    square_mg = np.divide(train.check_pg[rows] ** 2, noise_mg, out=np.zeros_like(noise_mg), where=use_mg)
    return square_mg.sum(axis=1) / np.maximum(use_mg.sum(axis=1), 1)


def scores(folder: Path, name: str, splits: int, seed: int) -> None:
    """Fit and judge the splits of one screen or world; one parquet."""
    frames = []
    with tempfile.TemporaryDirectory() as temporary:
        place, world = Path(temporary), name == "world"
        kind, recipe = ("", "by_perturbation") if world else SCREENS[name]
        if world:
            write_simulation(WORLD, seed, place / "sim")
        source = str(place / "sim" / "screen.h5ad") if world else f"../shared/data/{kind}/{name}.h5ad"
        asked = SimpleNamespace(
            genesets=place / "sim" / "pathways.gmt" if world else None, cell_line=None, recipe=recipe, splits=splits,
            test=0.25, min_cells=20, world_seed=seed,
        )  # fmt: skip
        truth = anndata.read_h5ad(place / "sim" / "truth.h5ad") if world else None
        for at, (train, test, truths) in enumerate(tables_of(source, asked, place)):
            if at >= splits:
                break
            delta_qg, oof = Anchored().fit(train).predict(test).delta_pg, recall(train, "anchored")
            frames.append(judge(train, oof, test, delta_qg, *effects_of(train, truths, truth)).assign(split=at))
            print(name, seed, at, len(frames[-1]), flush=True)
    keep(folder, name, seed, pd.concat(frames))


def keep(folder: Path, name: str, seed: int, found: pd.DataFrame) -> None:
    """Write the rows of one screen."""
    folder.mkdir(parents=True, exist_ok=True)
    label = f"{name}-{seed}" if name == "world" else name
    found.assign(screen=name, seed=seed).to_parquet(folder / f"{label}.parquet")


def effects_of(train: EffectTable, truths, truth: anndata.AnnData | None) -> tuple[dict, dict | None]:
    """(Line, perturbation) -> [g] measured effects over the table's genes, and the true ones."""
    measured = {}
    for one in truths:
        column = [train.gene_position[gene] for gene in one.genes]
        for row, label in enumerate(one.perturbations):
            effect_g = np.full(len(train.genes), np.nan)
            effect_g[column] = np.where(one.excluded_pg[row], np.nan, one.effects.delta_pg[row])
            measured[one.cell_line, label] = effect_g
    if truth is None:
        return measured, None
    free = truth.to_df()[list(train.genes)]
    return measured, {key: free.loc[f"{key[0]}|{key[1]}"].to_numpy() for key in measured}


def page(folder: Path) -> str:
    """Gains by screen, and how the probability holds in the worlds."""
    found = pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))], ignore_index=True)
    fresh = np.where(
        found["screen"] == "world", found["seed"] >= FIRST_FRESH, ~found["screen"].str.startswith(CHOSEN_ON)
    )
    found["group"] = found["screen"].str.split("_").str[0] + np.where(fresh, ", untouched", ", chosen on")
    found["split"] = found["split"].astype(str) + "/" + found["seed"].astype(str)
    head = [
        "screen",
        "unseen singles",
        "do nothing",
        "MSE x 1000",
        *(f"gain, {name}" for name in CHANGES[:3]),
        "gates open",
    ]
    text = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    keys = ["split", "cell_line", "perturbation"]
    for group, part in found.groupby("group", sort=True):
        own = part.set_index(keys)
        row = [group, len(part), f"{part['silent'].mean():.2f}" if part["screen"].iloc[0] == "world" else "?"]
        row.append(f"{part['anchored'].mean():.2f}")
        for name in CHANGES[:3]:
            value, low, high = resampled(own["anchored"] - own[name])
            row.append("?" if name == "oracle" and row[2] == "?" else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]")
        gates = part.groupby(["screen", "split"])["gate"].first()
        text.append("| " + " | ".join(map(str, [*row, f"{(gates > 0).sum()} of {len(gates)}"])) + " |")
    worlds = found[found["screen"] == "world"]
    text += ["", "Of the targets that do nothing, won against no change, and their MSE x 1000:", ""]
    text += [
        "| worlds | no change | anchored | gated | share | won by anchored | won by gated |",
        "|---|---|---|---|---|---|---|",
    ]
    for group, part in worlds[worlds["silent"]].groupby("group"):
        mean = [f"{part[name].mean():.3f}" for name in ("zero", "anchored", "gated", "share")]
        won = [f"{(part[name] < part['zero']).mean():.2f}" for name in ("anchored", "gated")]
        text.append("| " + " | ".join([str(group), *mean, *won]) + " |")
    text += ["", "Whether the probability holds (an effect: above the limit of silence in truth):", ""]
    text += ["| worlds | stated | targets | mean stated | had an effect |", "|---|---|---|---|---|"]
    for (group, cut), part in worlds.groupby(["group", pd.cut(worlds["p"], [0, 0.25, 0.5, 0.75, 1])], observed=True):
        text.append(f"| {group} | {cut} | {len(part)} | {part['p'].mean():.2f} | {(~part['silent']).mean():.2f} |")
    return "\n".join(text) + "\n"


def main() -> None:
    """Run one of the parts."""
    screens = [(name, 2, 0) for name, (kind, recipe) in SCREENS.items() if (kind, recipe) == (CELLS, "by_perturbation")]
    run_parts(__doc__, 2, scores, [*screens, *(("world", 2, seed) for seed in range(20, 30))], page, "\n| screen |")


if __name__ == "__main__":
    main()
