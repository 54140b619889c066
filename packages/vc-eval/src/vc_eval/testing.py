"""Tiny synthetic screens, splits and predictions with known effects, for tests here and downstream."""

import json
from typing import cast

import anndata
import numpy as np
import pandas as pd
import scipy.sparse
from vc_contracts.rules import PROMISES

from vc_eval.contracts import CONTROL, Splits
from vc_eval.split.truth import log1p_cp10k


def _header(name: str) -> dict:
    return {
        "name": name,
        "version": "1.0",
        "writer": "vc-eval.testing",
        "writer_version": "0",
        "created": None,
        "parents": {},
        "config": {},
    }


def make_screen(
    *, n_genes: int = 60, n_perturbations: int = 8, n_combos: int = 0, n_cells: int = 30, n_controls: int = 90,
    cell_lines: tuple[str, ...] = ("A",), n_batches: int = 2, effect: float = 1.0, shared_effect: float = 0.0,
    depth: float = 3.0, seed: int = 0,
) -> anndata.AnnData:  # fmt: skip
    """A screen-v1 AnnData of Poisson counts.

    Perturbation k knocks gene k down by 80 % and shifts 20 % of the genes by normal log effects.

    Args:
        n_genes: Genes `G0000`, `G0001`, ...
        n_perturbations: Single targets, the first genes.
        n_combos: Pairs of the first singles; their log effects add up.
        n_cells: Cells per condition.
        n_controls: Control cells per cell line.
        cell_lines: Contexts; effects are shared, baselines are not.
        n_batches: Batches, each with its own gene-wise shift.
        effect: Standard deviation of the log effects; 0 for a null world without knock-down.
        shared_effect: Standard deviation of a log effect common to all perturbations.
        depth: Mean count per gene and cell.
        seed: Seed.
    """
    rng = np.random.default_rng(seed)
    genes = [f"G{k:04d}" for k in range(n_genes)]
    singles = rng.normal(0, effect, (n_perturbations, n_genes)) * (rng.random((n_perturbations, n_genes)) < 0.2)
    if effect > 0:
        singles[np.arange(n_perturbations), np.arange(n_perturbations)] = np.log(0.2)
    common = rng.normal(0, shared_effect, n_genes)
    conditions = [(genes[k], singles[k] + common) for k in range(n_perturbations)]
    conditions += [(f"{genes[k]}+{genes[k + 1]}", singles[k] + singles[k + 1] + common) for k in range(n_combos)]
    batch_shift = rng.normal(0, 0.2, (n_batches, n_genes))
    counts, obs = [], []
    for line in cell_lines:
        base = rng.gamma(1.0, depth, n_genes) + 0.05
        for label, log_effect in [(CONTROL, np.zeros(n_genes)), *conditions]:
            n = n_controls if label == CONTROL else n_cells
            batch = np.sort(rng.integers(0, n_batches, n))
            size = rng.gamma(20, 1 / 20, (n, 1))
            counts.append(rng.poisson(size * base * np.exp(log_effect + batch_shift[batch])))
            obs += [(label, line, f"b{b}") for b in batch]
    frame = pd.DataFrame(obs, columns=["perturbation", "cell_line", "batch"])
    frame["target"] = frame["perturbation"]
    frame["is_control"] = frame["perturbation"] == CONTROL
    frame["mode"] = np.where(frame["is_control"], 8, 0).astype(np.int8)
    frame["dose"] = np.float32(np.nan)
    matrix = scipy.sparse.csr_matrix(np.vstack(counts).astype(np.float32))
    frame["total_counts"] = np.asarray(matrix.sum(axis=1)).ravel().astype(np.float32) + np.float32(1)
    frame["dataset"] = "toy"
    order = (
        frame.assign(perturbed=~frame["is_control"])
        .sort_values(["cell_line", "perturbed", "perturbation", "batch"], kind="stable")
        .index
    )
    frame, matrix = frame.loc[order].reset_index(drop=True), matrix[order.to_numpy()]
    frame.index = pd.Index([f"c{k:06d}" for k in range(len(frame))])
    screen = anndata.AnnData(
        matrix, obs=frame, var=pd.DataFrame({"gene_id": "", "symbol": genes, "measured": True}, index=genes)
    )
    screen.uns["groups"] = _groups(frame)
    screen.uns["alignment"] = "{}"
    screen.uns["contract"] = json.dumps(_header("screen"))
    return screen


def _groups(obs: pd.DataFrame) -> pd.DataFrame:
    keys = ["cell_line", "perturbation", "batch"]
    change = (obs[keys] != obs[keys].shift()).any(axis=1).to_numpy()
    start = np.flatnonzero(change)
    groups = obs[keys].iloc[start].reset_index(drop=True)
    return groups.assign(start=start.astype(np.int64), stop=np.append(start[1:], len(obs)).astype(np.int64))


def make_splits(screen: anndata.AnnData, *, n_test: int = 4, seed: int = 0, shared_controls: bool = False) -> dict:
    """A splits-v1 object: `n_test` perturbations held out in every cell line, controls cut in three within each batch.

    Args:
        screen: From `make_screen`.
        n_test: Perturbations held out; the first of the rest is `unused`.
        seed: Seed.
        shared_controls: Fault for tests: the evaluation list repeats the input list. Readers refuse such a file.
    """
    rng = np.random.default_rng(seed)
    obs = cast("pd.DataFrame", screen.obs)
    perturbations = sorted(set(obs["perturbation"]) - {CONTROL})
    shuffled = list(rng.permutation(perturbations))
    part = dict.fromkeys(shuffled[:n_test], "test") | dict.fromkeys(shuffled[n_test:], "train")
    if len(shuffled) > n_test + 1:
        part[shuffled[n_test]] = "unused"
    conditions = []
    for line, name in sorted(set(zip(obs["cell_line"], obs["perturbation"], strict=True))):
        if name != CONTROL:
            row = {"cell_line": str(line), "perturbation": str(name), "part": part[name]}
            conditions.append(row | ({"why": "kept aside by the toy split"} if part[name] == "unused" else {}))
    controls: dict[str, list[str]] = {"input": [], "reference": [], "evaluation": []}
    for _, cells in obs[obs["is_control"]].groupby(["cell_line", "batch"], observed=True):
        names = rng.permutation(cells.index.to_numpy(str))
        for kind, share in zip(controls, np.array_split(names, 3), strict=True):
            controls[kind] += sorted(share.tolist())
    if shared_controls:
        controls["evaluation"] = list(controls["input"])
    return {
        # Pairs may train whose single genes are held out.
        "contract": _header("splits") | {"config": {"held_out": PROMISES["condition"]}},
        "recipe": "by_perturbation",
        "seed": seed,
        "conditions": conditions,
        "controls": controls,
    }


def make_predictions(
    screen: anndata.AnnData, splits: dict, kind: str = "mean_effect", *, name: str | None = None, sd: float | None = None,
    noise: float = 0.0, seed: int = 0,
) -> anndata.AnnData:  # fmt: skip
    """A predictions-v1 AnnData of profiles for every test condition.

    Args:
        screen: From `make_screen`.
        splits: From `make_splits`.
        kind: `no_change`, `mean_effect` (mean training effect), `truth` (the measured profile and evaluation controls),
            `oracle` (measured batch-matched delta on the input controls) or `random` (effect of a random training
            condition).
        name: Model name; default is `kind`.
        sd: Constant predictive sd, written as layer.
        noise: Standard deviation of normal noise added to the predicted delta.
        seed: Seed of noise and random choice.
    """
    from vc_eval.contracts import read_splits
    from vc_eval.split.truth import make_truth, measured_genes, test_lines

    rng = np.random.default_rng(seed)
    read = read_splits(splits)
    genes = measured_genes(screen)
    rows, obs = [], []
    for line in test_lines(read):
        truth = make_truth(screen, read, line, genes)
        control_g = np.asarray(truth.input.mean(axis=0)).ravel()
        if kind == "truth":
            control_g, predicted = truth.effects.control_g, truth.effects.profile_pg
        else:
            delta_pg = np.zeros_like(truth.effects.delta_pg)
            if kind == "mean_effect":
                delta_pg += truth.train_delta_g
            elif kind == "oracle":
                delta_pg += truth.effects.delta_pg
            elif kind == "random":
                delta_pg += _training_deltas(screen, read, line, genes)[
                    rng.integers(0, 10**6, len(delta_pg)) % _n_train(read, line)
                ]
            elif kind != "no_change":
                raise KeyError(kind)
            predicted = control_g + delta_pg
        predicted = np.maximum(predicted + (rng.normal(0, noise, predicted.shape) if noise else 0.0), 0.0)
        rows += [control_g[None], predicted]
        obs += [(CONTROL, line, True), *((p, line, False) for p in truth.perturbations)]
    frame = pd.DataFrame(obs, columns=["perturbation", "cell_line", "is_control"])
    frame.index = frame.index.astype(str)
    adata = anndata.AnnData(np.vstack(rows).astype(np.float32), obs=frame, var=pd.DataFrame(index=genes))
    if sd is not None:
        adata.layers["sd"] = np.full(adata.shape, sd, np.float32)
    adata.uns.update(
        {
            "space": "log1p_cp10k",
            "unit": "profile",
            "model": name or kind,
            "role": "baseline" if kind in ("mean_effect", "no_change", "random") else "model",
            "contract": json.dumps(_header("predictions")),
        }
    )
    return adata


def _n_train(splits: Splits, line: str) -> int:
    rows = splits.conditions
    return int(((rows["part"] == "train") & (rows["cell_line"] == line)).sum())


def _training_deltas(screen: anndata.AnnData, splits: Splits, line: str, genes: np.ndarray) -> np.ndarray:
    """`[p, g]` training effects of a line against its reference controls."""
    obs = screen.obs
    values = log1p_cp10k(cast("scipy.sparse.csr_array", screen[:, genes].X), obs["total_counts"].to_numpy())
    here = (obs["cell_line"] == line).to_numpy()
    train = splits.conditions.query("part == 'train' and cell_line == @line")["perturbation"]
    control_g = _mean(values, np.isin(obs.index, splits.controls["reference"]) & here)
    means = [_mean(values, (obs["perturbation"] == p).to_numpy() & here) for p in train]
    return np.vstack(means) - control_g


def _mean(values: scipy.sparse.csr_array, rows: np.ndarray) -> np.ndarray:
    return np.asarray(cast("scipy.sparse.csr_array", values[rows]).mean(axis=0)).ravel()
