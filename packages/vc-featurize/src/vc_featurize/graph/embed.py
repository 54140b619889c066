"""Encoders `spectral`, `node2vec` and `regulon`: from an edge list to a vector per gene.

References:
    Belkin and Niyogi, Neural Computation 2003 (spectral); Grover and Leskovec, KDD 2016 (node2vec);
    Garcia-Alonso et al., Genome Research 2019 (DoRothEA).
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

from vc_featurize.bank import FeatureBank
from vc_featurize.errors import InputError
from vc_featurize.graph.edges import Edges

MIN_NODES = 3


def spectral_features(
    edges: Edges, entities: Sequence[str] | None = None, dim: int = 64, *, revision: str = "", licence: str = "unstated"
) -> FeatureBank:
    """Largest singular vectors, times values, of the adjacency with loops, normalised by degree on both sides.

    Raises:
        InputError: If the network has fewer than three names.
    """
    nodes, adjacency = edges.adjacency()
    if len(nodes) < MIN_NODES or dim < 1:
        raise InputError(f"spectral: expected at least {MIN_NODES} names and dim >= 1, found {len(nodes)} and {dim}.")
    looped = adjacency + sparse.eye_array(len(nodes))
    scale = sparse.diags_array(1 / np.sqrt(looped.sum(axis=1)))
    kept = min(dim, len(nodes) - 1)
    start = np.random.default_rng(0).standard_normal(len(nodes))
    left, values, _ = linalg.svds(sparse.csr_array(scale @ looped @ scale), k=kept, v0=start)
    order = np.argsort(-values, kind="stable")
    left, values = left[:, order], values[order]
    signs = np.where(left[np.abs(left).argmax(axis=0), np.arange(kept)] < 0, -1, 1)
    return bank_of_nodes(nodes, left * values * signs, entities, "spectral", revision, licence)


def node2vec_features(
    edges: Edges,
    entities: Sequence[str] | None = None,
    dim: int = 64,
    *,
    seed: int = 0,
    p: float = 1.0,
    q: float = 1.0,
    revision: str = "",
    licence: str = "unstated",
) -> FeatureBank:
    """Skip-gram over biased random walks, by fastnode2vec on one thread (so that a seed fixes the result).

    Raises:
        InputError: If the extra is not installed.
    """
    try:
        from fastnode2vec import Graph, Node2Vec
    except ImportError as error:
        raise InputError("node2vec needs fastnode2vec: install `vc-featurize[graph]`.") from error
    nodes, adjacency = edges.adjacency()
    half = sparse.coo_array(sparse.triu(adjacency))
    listed = [(nodes[i], nodes[j], float(w)) for i, j, w in zip(*half.coords, half.data, strict=True)]
    graph = Graph(listed, directed=False, weighted=True, verbose=False)
    walks = Node2Vec(graph, dim=dim, walk_length=40, window=5, p=p, q=q, workers=1, seed=seed)
    walks.train(epochs=100, verbose=False)
    vectors = np.stack([walks.wv[node] for node in nodes])
    return bank_of_nodes(nodes, vectors, entities, f"node2vec-p{p}-q{q}-seed{seed}", revision, licence)


def regulon_features(
    edges: Edges, entities: Sequence[str] | None = None, dim: int = 64, *, revision: str = "", licence: str = "unstated"
) -> FeatureBank:
    """Truncated SVD of the signed regulator x target matrix: of a regulator by its targets, of a target by its regulators.

    Every target's column is weighted by the logarithm of how rare its regulators' number is, as in gene sets.
    """
    nodes = edges.nodes()
    row_of = {node: row for row, node in enumerate(nodes)}
    regulators = sorted(set(edges.sources))
    column_of = {name: column for column, name in enumerate(regulators)}
    signed = sparse.csr_array(
        (
            np.concatenate([edges.weights, np.ones(len(regulators))]),
            (
                [*(row_of[t] for t in edges.targets), *(row_of[r] for r in regulators)],
                [*(column_of[s] for s in edges.sources), *range(len(regulators))],
            ),
        ),
        shape=(len(nodes), len(regulators)),
    )
    size = np.bincount([column_of[s] for s in edges.sources], minlength=len(regulators)) + 1
    weighted = signed @ sparse.diags_array(np.log(1 + len(nodes) / size))
    kept = min(dim, min(weighted.shape) - 1)
    if kept < 1:
        raise InputError(f"regulon: expected at least two regulators, found {len(regulators)}.")
    start = np.random.default_rng(0).standard_normal(min(weighted.shape))
    left, values, _ = linalg.svds(weighted.astype(float), k=kept, v0=start)
    order = np.argsort(-values, kind="stable")
    vectors = left[:, order] * values[order]
    vectors *= np.where(vectors[np.abs(vectors).argmax(axis=0), np.arange(kept)] < 0, -1, 1)
    return bank_of_nodes(nodes, vectors, entities, "regulon", revision, licence)


def bank_of_nodes(
    nodes: Sequence[str],
    vectors_nf: np.ndarray,
    entities: Sequence[str] | None,
    encoder_id: str,
    revision: str,
    licence: str,
) -> FeatureBank:
    """A bank of gene vectors; entities that are no node become missing rows.

    Raises:
        InputError: If an entity is repeated or none is a node.
    """
    row_of = {node: row for row, node in enumerate(nodes)}
    names = list(nodes) if entities is None else list(entities)
    if len(set(names)) < len(names):
        raise InputError("entities: expected each name once, found repeats. Drop them.")
    missing = np.array([name not in row_of for name in names], dtype=bool)
    if missing.all():
        raise InputError(f"none of {names[:3]} is in the network (it has e.g. {list(nodes[:3])}).")
    out = np.zeros((len(names), vectors_nf.shape[1]), np.float32)
    out[~missing] = vectors_nf[[row_of[name] for name in names if name in row_of]]
    return FeatureBank(
        vectors_ef=out,
        entities=tuple(names),
        kinds=("gene",) * len(names),
        sources=tuple("" if gone else f"{encoder_id}:{name}" for name, gone in zip(names, missing, strict=True)),
        missing=missing,
        dims=tuple(f"{encoder_id}_{i}" for i in range(out.shape[1])),
        encoder={
            "id": encoder_id,
            "revision": revision,
            "pooling": "embedding of the network's nodes",
            "dtype": "float32",
            "dim": out.shape[1],
            "licence": licence,
        },
        notes=tuple("not in the network" if gone else "" for gone in missing),
    )
