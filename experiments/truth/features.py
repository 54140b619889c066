"""Features of genes from the side information at hand: gene sets, networks, families, sequences, dependency."""

from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import anndata
import numpy as np
import pandas as pd
from vc_model.plan.library import Library, make_library, read_gmt, set_features

Source = tuple[list[str], np.ndarray]  # genes, and the vector of each
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SIDE = SHARED / "side"
_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
FITNESS = ("coessential", "codependency", "dependency", "markers")
"""Sources made from fitness screens that include K562: left out wherever fitness is the target."""


@cache
def sources() -> dict[str, Source]:
    """Block name -> (genes, vectors)."""
    made = {
        "go": set_features(read_gmt(SIDE / "genesets/go_biological_process_2021_enrichr.gmt")),
        "pathways": set_features(
            [
                *read_gmt(SIDE / "genesets/reactome_msigdb_v6.2.gmt"),
                *read_gmt(SIDE / "genesets/kegg_2016_enrichr.gmt"),
                *read_gmt(SIDE / "genesets/hallmark_msigdb_v7.0.gmt"),
            ]
        ),
        "coessential": set_features(_modules(), 60),
        "codependency": _codependents(),
        "families": set_features(_homologues(), 50),
        "regulons": set_features(_regulons(), 50),
        "string": set_features(_string(), 50),
        "sequence": _dipeptides(),
        **_depmap(),
    }
    return {name: (list(genes), vectors) for name, (genes, vectors) in made.items()}


def library(
    names: list[str], *, without: tuple[str, ...] = (), extra: Mapping[str, Source] = MappingProxyType({})
) -> Library:
    """A library with every source that is not left out and knows enough of it, and with others."""
    known = {name: source for name, source in sources().items() if name not in without} | dict(extra)
    return make_library(names, {name: s for name, s in known.items() if np.isin(names, s[0]).mean() > 0.05})


def essentiality() -> Source:
    """How essential a gene is: in DepMap, in blood lines, in mice; whether it has close relatives."""
    table = pd.read_parquet(SIDE / "genes/egbench_gene_essentiality_and_families.parquet")
    table = table.dropna(subset=["gene_symbol"]).drop_duplicates("gene_symbol")
    columns = ("gene_effect", "blood_dependent_fraction", "official_common_essential", "strongly_selective")
    values = [table[name].fillna(0).to_numpy(float) for name in columns]
    values += [
        np.log1p(table["cluster_size"].fillna(1).to_numpy(float)),
        table["impc_viability_call"].fillna("").eq("lethal").to_numpy(float),
    ]
    return table["gene_symbol"].astype(str).tolist(), _scaled(np.column_stack(values))


def scores_of(fpath: Path) -> Source:
    """Scores of another screen, and how far they are from its median, since a gene that matters there may matter elsewhere."""
    table = pd.read_parquet(fpath).drop_duplicates("gene")
    score_e = table["score"].fillna(table["score"].median()).to_numpy(float)
    z_e = (score_e - np.median(score_e)) / score_e.std()
    return table["gene"].astype(str).tolist(), _scaled(np.column_stack([z_e, np.abs(z_e), np.minimum(z_e**2, 9)]))


def _scaled(values_ef: np.ndarray) -> np.ndarray:
    return (values_ef - values_ef.mean(axis=0)) / np.maximum(values_ef.std(axis=0), 1e-9)


@cache
def essentials() -> frozenset[str]:
    """Core-essential genes (CEGv2)."""
    return frozenset(pd.read_csv(SIDE / "genes/core_essential_CEGv2.tsv", sep="\t").iloc[:, 0].astype(str))


def _pairs(table: pd.DataFrame) -> list[list[str]]:
    a, b = table.columns[:2]
    table = table.dropna(subset=[a, b])
    both = pd.concat([table[[a, b]], table[[b, a]].set_axis([a, b], axis=1)]).astype(str)
    return [[gene, *group] for gene, group in both.groupby(a)[b].agg(list).items()]


def _homologues() -> list[list[str]]:
    return _pairs(pd.read_parquet(SIDE / "genes/egbench_human_homology_edges.parquet"))


def _codependents() -> tuple[list[str], np.ndarray]:
    table = pd.read_parquet(SIDE / "genes/egbench_corum_codependency.parquet")
    wide = table.pivot_table(index="gene_symbol", columns="complex_id", values="r").fillna(0)
    return wide.index.astype(str).tolist(), ((wide - wide.mean()) / wide.std()).to_numpy()


def _string() -> list[list[str]]:
    table = pd.read_csv(SIDE / "networks/string_shs27k_actions_by_symbol.tsv.gz", sep="\t")
    return _pairs(table.iloc[:, :2])


def _regulons() -> list[list[str]]:
    table = pd.read_csv(SIDE / "genes/dorothea_hs_abc_regulons.tsv.gz", sep="\t")
    return [list(map(str, group)) for _, group in table.groupby("tf")["target"]]


def _modules() -> list[list[str]]:
    table = pd.read_csv(SIDE / "genes/wainberg2021_coessential_modules.tsv.gz", sep="\t", dtype=str)
    members = table.iloc[:, list(table.columns).index("Genes") :]
    return [row[pd.notna(row)].tolist() for row in members.to_numpy()]


def _dipeptides() -> tuple[list[str], np.ndarray]:
    import gzip

    genes, sequences = [], []
    with gzip.open(SIDE / "proteins/human_proteins_subset.fasta.gz", "rt") as fd:
        for record in fd.read().split(">")[1:]:
            head, *lines = record.split("\n")
            genes.append(head.split()[0].split("|")[0])
            sequences.append("".join(lines))
    at = {pair: column for column, pair in enumerate(a + b for a in _ACIDS for b in _ACIDS)}
    counts = np.zeros((len(genes), len(at) + 1))
    for row, text in enumerate(sequences):
        for pair in pairwise(text):
            if (column := at.get("".join(pair))) is not None:
                counts[row, column] += 1
        counts[row, -1] = np.log(len(text))
    counts[:, :-1] = np.sqrt(counts[:, :-1] / counts[:, :-1].sum(axis=1, keepdims=True))
    return genes, (counts - counts.mean(axis=0)) / np.maximum(counts.std(axis=0), 1e-9)


def _depmap() -> dict[str, Source]:
    file = anndata.read_h5ad(SHARED / "screens/depmap26q1_crispr_marker_dependency.h5ad")
    genes = file.obs_names.astype(str).tolist()
    mean_e = file.obs["mean_effect"].to_numpy(float)
    mean_ef = np.stack([mean_e, mean_e < -0.5, mean_e < -1], axis=1)
    effects = np.nan_to_num(np.asarray(file.X, dtype=float))
    return {"dependency": (genes, (mean_ef - mean_ef.mean(0)) / mean_ef.std(0)), "markers": (genes, effects)}
