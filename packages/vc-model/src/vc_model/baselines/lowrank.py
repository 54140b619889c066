"""The low-rank linear baseline: delta = A K B_p + b (Ahlmann-Eltze et al., Nature Methods 2025).

A holds the scores of each gene in the main components of the training pseudobulks, B_p the row of A that belongs to the
perturbed gene. K is a two-sided ridge solution. Random A or random B show what the embeddings contribute.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vc_model.stored import stored
from vc_model.table.components import top_eigen
from vc_model.table.effect import BasisEffect, Effect, line_rows, line_weights, sum_of_components
from vc_model.table.effects import Conditions, EffectTable

RANK = 10  # components of A, as published
RIDGE = 0.1  # lambda, as published


@stored
@dataclass(frozen=True, eq=False)
class LowRank(BasisEffect):
    """Fitted A K B_p + b.

    Attributes:
        basis_rg: [10 + l + 1, g], the columns of A and then the row means b of each line (last: mean over lines).
        genes: Names of the perturbable genes.
        coefficient_gk: [g, 10], K B_p of every gene.
        lines: Trained lines.
    """

    basis_rg: np.ndarray
    genes: tuple[str, ...]
    coefficient_gk: np.ndarray
    lines: tuple[str, ...]

    def weigh(self, conditions: Conditions) -> np.ndarray:
        """Sum over targets of K B_p and b; a target that is no measured gene has b alone."""
        return sum_of_components(self._weigh_singles, conditions)

    def _weigh_singles(self, singles: Conditions) -> np.ndarray:
        rank = self.coefficient_gk.shape[1]
        weight_rk = np.zeros((len(singles), len(self.basis_rg)), dtype=np.float32)
        for r, action in enumerate(singles.actions):
            gene = self._row_of.get(action.targets[0])
            if gene is not None:
                weight_rk[r, :rank] = self.coefficient_gk[gene]
        weight_rk[np.arange(len(singles)), rank + line_rows(self.lines, singles)] = 1
        return weight_rk

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.genes)}


def fit_lowrank_ridge(table: EffectTable) -> LowRank:
    """A K B_p + b: A and B from the main components of the training pseudobulks, K by two-sided ridge."""
    return table.once("lowrank_ridge", lambda: _fit(table, lambda a_gk: (a_gk, a_gk)))


def fit_lowrank_ridge_random_genes(table: EffectTable, seed: int = 0) -> Effect:
    """`lowrank_ridge` with random A, a negative control: the readout knows nothing about genes."""
    return _fit(table, lambda a_gk: (_random_like(a_gk, seed), a_gk))


def fit_lowrank_ridge_random_perturbations(table: EffectTable, seed: int = 0) -> Effect:
    """`lowrank_ridge` with random B, a negative control: nothing is known about the perturbed gene."""
    return _fit(table, lambda a_gk: (a_gk, _random_like(a_gk, seed)))


def _fit(table: EffectTable, choose) -> LowRank:
    contexts = table.contexts
    singles = np.flatnonzero(table.single_p)
    # b averages the line's single effects and the control column, which is 0.
    mean_lp = line_weights(table, table.single_p, "conditions")
    count_l = np.bincount(table.line_p[singles], minlength=len(table.trained_lines))
    shrink_l = np.append(count_l / (count_l + 1), np.mean(count_l / (count_l + 1)))
    b_lg = (shrink_l[:, None] * mean_lp).astype(np.float32) @ table.delta_pg
    a_gk, b_gk = choose(table.once("pseudobulk_scores", lambda: _pseudobulk_scores(table)))
    gene_s = np.array(
        [table.gene_position.get(table.conditions.actions[row].targets[0], -1) for row in singles], dtype=np.int64
    )
    known = gene_s >= 0
    rows, gene_s = singles[known], gene_s[known]
    # The control column has B = 0 and therefore no part in the product.
    y_gp = (table.delta_pg[rows] - b_lg[table.line_p[rows]]).T
    left_kp = np.linalg.solve(a_gk.T @ a_gk + RIDGE * np.eye(a_gk.shape[1]), a_gk.T @ y_gp)
    b_pk = b_gk[gene_s]
    k_kk = np.linalg.solve(b_pk.T @ b_pk + RIDGE * np.eye(b_pk.shape[1]), (left_kp @ b_pk).T).T
    return LowRank(
        np.concatenate([a_gk.T.astype(np.float32), b_lg]),
        contexts.genes,
        (b_gk @ k_kk.T).astype(np.float32),
        table.trained_lines,
    )


def _pseudobulk_scores(table: EffectTable) -> np.ndarray:
    """[g, 10] float64 scores of genes in the pseudobulk matrix (genes x training conditions and controls)."""
    contexts = table.contexts
    lines = contexts.positions(table.trained_lines)
    profile_pg = np.concatenate([contexts.input_cg[lines], contexts.input_cg[lines][table.line_p] + table.delta_pg])
    profile_pg = profile_pg - profile_pg.mean(axis=1, keepdims=True)
    vector_pk = top_eigen((profile_pg @ profile_pg.T).astype(np.float64), RANK)[1]
    return (profile_pg.T @ vector_pk.astype(np.float32)).astype(np.float64)


def _random_like(a_gk: np.ndarray, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(a_gk.shape)
