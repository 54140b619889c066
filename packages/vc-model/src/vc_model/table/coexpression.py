"""Which genes go together in control cells: their correlation with main components that all lines share."""

import numpy as np

N_COMPONENTS = 16  # co-expression components kept


def coexpression(
    sample: list[tuple[int, np.ndarray]], n_lines: int, n_genes: int, basis_gk: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of genes with principal components of standardised control cells, per line.

    The directions are shared by all lines, so that a gene's loadings mean the same in each of them.
    """
    standard = []
    for line in range(n_lines):
        x = np.concatenate([block for at, block in sample if at == line])
        x = x - x.mean(axis=0)
        spread = x.std(axis=0)
        standard.append(x / np.where(spread > 1e-6, spread, np.inf).astype(np.float32))
    if basis_gk is None:
        x = np.concatenate(standard)
        values, vectors = np.linalg.eigh((x @ x.T).astype(np.float64))
        keep = np.argsort(values)[::-1][:N_COMPONENTS]
        basis_gk = np.zeros((n_genes, N_COMPONENTS), dtype=np.float32)
        good = values[keep] > 1e-6 * max(values.max(), 1e-12)
        basis_gk[:, : len(keep)] = (x.T @ vectors[:, keep].astype(np.float32)) * np.where(
            good, 1 / np.sqrt(np.maximum(values[keep], 1e-12)), 0
        ).astype(np.float32)
    loadings = []
    for x in standard:
        score = x @ basis_gk
        spread = score.std(axis=0)
        score = score / np.where(spread > 1e-6, spread, np.inf).astype(np.float32)
        loadings.append(x.T @ score / len(x))
    return np.stack(loadings).astype(np.float32), basis_gk
