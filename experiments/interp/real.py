"""Real screens of ../shared/data, against published gene sets and networks of regulators."""

from collections.abc import Mapping, Set
from pathlib import Path

import numpy as np
from judge import judge
from screens import SHARED, Ready, fit

REAL = {
    "Datlinger": ("datlinger2021_jurkat_crisprko_tcrstim.h5ad", ("--cell-line", "cell_line,stimulation")),
    "Norman": ("norman2019_k562_crispra_500g.h5ad", ()),
    "McFaline": ("mcfaline2023_gbm_crispri_500g.h5ad", ()),
}
"""Screens whose perturbed genes have known targets among the measured ones: name -> file and how it is converted."""
RANKS = "replogle2022_k562_rpe1_top1000_up_ranks.h5ad"


def networks() -> dict[str, Mapping[str, Set[str]]]:
    """DoRothEA A to C (regulons of transcription factors) and STRING's actions (of any kind)."""
    from vc_interp.files.networks import read_targets

    return {
        "DoRothEA": read_targets(SHARED / "side" / "genes" / "dorothea_hs_abc_regulons.tsv.gz"),
        "STRING": read_targets(SHARED / "side" / "networks" / "string_shs27k_actions_by_symbol.tsv.gz"),
    }


def real(name: str, folder: Path) -> dict:
    """The same questions as of a simulated screen."""
    from vc_interp.gmt import read_gmt

    folder.mkdir(parents=True, exist_ok=True)
    file, options = REAL[name]
    table, fitted = fit(SHARED / "single_cell" / file, folder, *options)
    sets = read_gmt(SHARED / "side" / "genesets" / "hallmark_msigdb_v7.0.gmt")
    return judge(Ready(folder, table, fitted, sets, networks()), folder, 0)[0]


def measured_ranks() -> dict:
    """What no model can be expected to exceed: the measured effects of 468 knock-downs (ranks of the 1,000 most raised genes)."""
    import anndata
    from vc_interp.features.specificity import specificity

    adata = anndata.read_h5ad(SHARED / "ranks" / RANKS)
    rank_cg = np.asarray(adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X, np.float64)
    effect_cg = np.where(rank_cg > 0, 1001 - rank_cg, 0)
    labels = adata.obs["perturbation"].astype(str).to_numpy()
    out = {}
    for name, targets in networks().items():
        found = specificity(effect_cg, labels, tuple(adata.var_names.astype(str)), targets, min_targets=5)
        table = found.table
        out[name] = {
            "n": len(table), "specific": int(table["specific"].sum()), "interval": [found.low, found.high],
            "permuted": float(found.permuted.mean()), "names": [str(row.regulator) for row in table.itertuples() if row.specific],
        }  # fmt: skip
    return out
