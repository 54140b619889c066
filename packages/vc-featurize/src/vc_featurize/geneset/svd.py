"""Encoder `geneset`: a gene's vector is what the gene sets it belongs to have in common.

A GMT file becomes a binary gene x set matrix. Each set's column is divided by the square root of the set's size, so that
every set carries the same weight and a set of two genes ties them closer than a set of two hundred. The truncated
singular value decomposition of that matrix gives the vectors: inner products between genes are kept as well as any
matrix of that width can keep them (Eckart and Young, Psychometrika 1936).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
from scipy import sparse
from scipy.sparse import linalg
from vc_contracts.errors import Refusal
from vc_contracts.text import gmt

from vc_featurize.bank import FeatureBank
from vc_featurize.errors import InputError
from vc_featurize.text import sha256_file

# Below this share of the largest singular value a dimension is rounding noise.
RANK_TOLERANCE = 1e-6
# Up to this many genes or sets, the exact decomposition is quicker than the iterative one.
DENSE_LIMIT = 400
WEIGHTS = {"size": "1/sqrt(set size)", "idf": "log(genes / set size)"}


def read_gmt(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Gene sets by name, in file order; see `vc_contracts.text.gmt.read_gmt`.

    Raises:
        InputError: If the file is no GMT, a set has no name or no genes, or a name occurs twice.
    """
    try:
        return gmt.read_gmt(path)
    except Refusal as error:
        raise InputError(str(error)) from error


def geneset_features(
    gmt_path: str | Path,
    entities: Sequence[str] | None = None,
    dim: int = 64,
    *,
    weight: Literal["size", "idf"] = "size",
    licence: str = "unstated",
) -> FeatureBank:
    """Vectors of genes from the gene sets they are in.

    The decomposition sees all genes of the file, in sorted order, whatever `entities` asks for: a gene's vector depends
    on the gene sets alone. The sign of each dimension is fixed so that its largest entry is positive.

    Args:
        gmt_path: GMT file, plain or gzip.
        entities: Gene symbols to encode; those that no set holds become missing rows. All genes of the file by default.
        dim: Most dimensions to keep; fewer come back where the matrix has a smaller rank.
        weight: Of a set's column: `size`, 1 / sqrt(size); `idf`, log(genes / size), which favours rare sets less.
        licence: Licence of the gene sets, for the encoder record.

    Returns:
        A bank with `vectors_ef` [e, f], f at most `dim`.

    Raises:
        InputError: If the file is no GMT, an entity is repeated, or no entity occurs in any set.
    """
    if dim < 1:
        raise InputError(f"dim: expected at least 1, found {dim}.")
    gmt_path = Path(gmt_path)
    sets = read_gmt(gmt_path)
    genes = sorted({gene for members in sets.values() for gene in members})
    row_of = {gene: row for row, gene in enumerate(genes)}
    if entities is None:
        entities = genes
    if len(set(entities)) < len(entities):
        raise InputError("entities: expected each gene once, found repeated names. Drop the repeats.")
    if not any(entity in row_of for entity in entities):
        raise InputError(
            f"{gmt_path}: none of the {len(entities)} genes asked for (e.g. {list(entities[:3])}) occurs in it "
            f"(it has e.g. {genes[:3]}). Both must use gene symbols."
        )

    gene_vectors_gf = _embed(_weighted_membership(sets, row_of, weight), dim)
    n_sets = dict.fromkeys(genes, 0)
    for members in sets.values():
        for gene in members:
            n_sets[gene] += 1

    n_dims = gene_vectors_gf.shape[1]
    vectors_ef = np.zeros((len(entities), n_dims), np.float32)
    missing = np.array([entity not in row_of for entity in entities], dtype=bool)
    vectors_ef[~missing] = gene_vectors_gf[[row_of[entity] for entity in entities if entity in row_of]]
    return FeatureBank(
        vectors_ef=vectors_ef,
        entities=tuple(entities),
        kinds=("gene",) * len(entities),
        sources=tuple("" if gone else gmt_path.name for gone in missing),
        missing=missing,
        dims=tuple(f"geneset_{i}" for i in range(n_dims)),
        encoder={
            "id": "geneset-svd",
            "revision": sha256_file(gmt_path),
            "pooling": f"truncated SVD of the gene x set matrix, columns weighted by {WEIGHTS[weight]}",
            "dtype": "float32",
            "dim": n_dims,
            "licence": licence,
        },
        notes=tuple(f"in {n_sets[e]} of {len(sets)} sets" if e in n_sets else "in no set" for e in entities),
    )


def _weighted_membership(
    sets: dict[str, tuple[str, ...]], row_of: dict[str, int], weight: Literal["size", "idf"]
) -> sparse.csr_array:
    """Gene x set matrix with the set's weight where the gene is in the set; sets sorted by name, so line order is moot."""
    rows, columns, weights = [], [], []
    for column, name in enumerate(sorted(sets)):
        members = sorted(row_of[gene] for gene in sets[name])
        rows += members
        columns += [column] * len(members)
        own = 1 / np.sqrt(len(members)) if weight == "size" else np.log(len(row_of) / len(members))
        weights += [own] * len(members)
    return sparse.csr_array((weights, (rows, columns)), shape=(len(row_of), len(sets)))


def _embed(weighted_gs: sparse.csr_array, dim: int) -> np.ndarray:
    """Left singular vectors times singular values, largest first: [g, min(dim, rank)]."""
    smaller = min(cast("tuple[int, int]", weighted_gs.shape))
    if smaller <= max(DENSE_LIMIT, dim):
        left_gf, values_f, _ = np.linalg.svd(weighted_gs.toarray(), full_matrices=False)
    else:
        # The start vector is the only free choice of the iteration; fixing it fixes the result.
        start = np.random.default_rng(0).standard_normal(smaller)
        left_gf, values_f, _ = linalg.svds(weighted_gs, k=dim, v0=start)
    order = np.argsort(-values_f, kind="stable")[:dim]
    order = order[values_f[order] > RANK_TOLERANCE * values_f.max()]
    left_gf, values_f = left_gf[:, order], values_f[order]
    largest = np.abs(left_gf).argmax(axis=0)
    signs = np.where(left_gf[largest, np.arange(len(order))] < 0, -1, 1)
    return left_gf * (values_f * signs)
