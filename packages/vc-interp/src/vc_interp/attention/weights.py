"""Exact implicit weights of linear attention, never as genes x genes x cells.

    a_ts = phi(q_t)^T phi(k_s) / (phi(q_t)^T sum_s phi(k_s) + 1e-6)      for each head; averaged over heads and cells

Summed over the genes of a set before the product with phi(q), a set costs as much as one gene (Katharopoulos et al. 2020).
Input is what `vc-model latents --attention` writes: a row per gene of a cell, columns q0.. and k0.. of all heads.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from vc_interp.errors import InputError
from vc_interp.files.stored import StoredLatents

EPS = 1e-6
GENES_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Factors:
    """The stored factors of one layer.

    Attributes:
        stored: The file.
        genes: g names.
        n_heads: Heads.
    """

    stored: StoredLatents
    genes: tuple[str, ...]
    n_heads: int

    @property
    def n_cells(self) -> int:
        """Cells in the file."""
        return len(self.stored) // len(self.genes)

    def cells(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """phi(q) and phi(k) of every cell, both [h, g, k]."""
        g, width = len(self.genes), self.stored.width // 2
        for at in range(self.n_cells):
            both = self.stored.read(at * g, (at + 1) * g)
            yield tuple(  # pyrefly: ignore
                half.reshape(g, self.n_heads, -1).transpose(1, 0, 2) for half in (both[:, :width], both[:, width:])
            )


def read_factors(stored: StoredLatents) -> Factors:
    """Recognise a file of factors.

    Raises:
        InputError: If it is none.
    """
    found = re.search(r"/heads(\d+)$", stored.site)
    names = [name.rsplit("|", 2) for name in stored.rows.tolist()]
    if not found or any(len(parts) != 3 for parts in names):
        raise InputError(
            f"{stored.path}: expected factors of linear attention, found activations of {stored.site!r}. Write them with "
            "`vc-model latents ... --attention`."
        )
    first = [parts[2] for parts in names if parts[:2] == names[0][:2]]
    genes, n_heads = tuple(first), int(found[1])
    same = len(names) % len(genes) == 0 and [parts[2] for parts in names] == first * (len(names) // len(genes))
    if not same or stored.width % (2 * n_heads):
        raise InputError(f"{stored.path}: expected the same genes in the same order for every cell. Write it again.")
    return Factors(stored, genes, n_heads)


def set_weights(factors: Factors, gene_sets: Mapping[str, Set[str]]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Mean weight that genes of one set give to all genes of another.

    Returns:
        [s, s] float64, row the reading set, column the one that is read, over the share of genes in that column: 1 is what
        equal weights give; and the names of the sets that have genes here.
    """
    member_gs, names = _members(factors.genes, gene_sets)
    size_s, total_ss = member_gs.sum(axis=0), np.zeros((len(names), len(names)))
    for phi_q, phi_k in factors.cells():
        for q_gk, k_gk in zip(phi_q.astype(np.float64), phi_k.astype(np.float64), strict=True):
            weight_gs = (q_gk @ (k_gk.T @ member_gs)) / (q_gk @ k_gk.sum(axis=0) + EPS)[:, None]
            total_ss += (member_gs.T @ weight_gs) / size_s[:, None]
    uniform_s = size_s / len(factors.genes)
    return total_ss / (factors.n_cells * factors.n_heads) / uniform_s, names


def gene_weights(factors: Factors, sources: Sequence[str]) -> np.ndarray:
    """Mean weight of some genes in the update of every gene, over 1 / g: 1 is what equal weights give.

    Args:
        factors: From `read_factors`.
        sources: r genes that are read.

    Returns:
        [r, g] float32.

    Raises:
        InputError: If a source is not among the genes.
    """
    place = {gene: at for at, gene in enumerate(factors.genes)}
    absent = [gene for gene in sources if gene not in place]
    if absent:
        raise InputError(f"attention: expected sources among the {len(place)} genes, found others: {absent[:5]}.")
    rows, g = np.array([place[gene] for gene in sources]), len(factors.genes)
    total_gr = np.zeros((g, len(rows)))
    for phi_q, phi_k in factors.cells():
        for q_gk, k_gk in zip(phi_q, phi_k, strict=True):
            normaliser_k = k_gk.sum(axis=0, dtype=np.float64)
            for start in range(0, g, GENES_AT_ONCE):
                block = q_gk[start : start + GENES_AT_ONCE].astype(np.float64)
                total_gr[start : start + GENES_AT_ONCE] += (block @ k_gk[rows].T) / (block @ normaliser_k + EPS)[
                    :, None
                ]
    return (total_gr.T * g / (factors.n_cells * factors.n_heads)).astype(np.float32)


def _members(genes: tuple[str, ...], gene_sets: Mapping[str, Set[str]]) -> tuple[np.ndarray, tuple[str, ...]]:
    names = tuple(name for name in sorted(gene_sets) if not set(genes).isdisjoint(gene_sets[name]))
    if not names:
        raise InputError(f"gene sets: expected some with genes of the model (e.g. {list(genes[:3])}), found none.")
    return np.array([[gene in gene_sets[name] for name in names] for gene in genes], dtype=np.float64), names
