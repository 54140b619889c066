"""`target` and `moa` on real profiles: is the right perturbation, or one of the same mechanism, found?"""

from collections.abc import Iterator
from functools import partial

import anndata
import numpy as np
import pandas as pd
from truth import features
from truth.scores import rank_rows
from vc_model.plan.bank import make_bank
from vc_model.plan.connect import cosines, frame
from vc_model.plan.extend import extend

DATA = features.SHARED


def _dense(file: anndata.AnnData) -> np.ndarray:
    return np.asarray(file.X.toarray() if hasattr(file.X, "toarray") else file.X, dtype=np.float64)


def _column(file: anndata.AnnData, name: str) -> np.ndarray:
    return file.obs[name].astype(str).to_numpy()


def _ours(library_kg: np.ndarray, query_qg: np.ndarray, *, other: bool = True) -> np.ndarray:
    """[q, k] agreement by `vc discover target`, queries of another line or half with their mean as background."""
    bank = make_bank(
        [f"{row}" for row in range(len(library_kg))], [f"{at}" for at in range(library_kg.shape[1])], library_kg
    )
    made = frame(bank, np.arange(library_kg.shape[1]))
    return cosines(made.left_km, made.goal(query_qg, query_qg.mean(axis=0) if other else None)).T


def _plain(library_kg: np.ndarray, query_qg: np.ndarray, *, other: bool = True) -> np.ndarray:
    """[q, k] cosine, nothing removed."""
    return cosines(library_kg, query_qg).T


def _find(test: str, library_kg: np.ndarray, query_qg: np.ndarray, right_qk: np.ndarray, out_qk=None) -> list[dict]:
    rows = []
    for method, how in (("ours", _ours), ("cosine", _plain)):
        # Queries that are rows of the library themselves are of the same assay: nothing but its own mean is taken off.
        score_qk = how(library_kg, query_qg, other=out_qk is None)
        rows += rank_rows(test, method, score_qk if out_qk is None else np.where(out_qk, -np.inf, score_qk), right_qk)
    return rows


FOLDS = 3


def knock_downs(query: str, library: str) -> list[dict]:
    """468 knock-downs: the profile from one line, the library from the other; targets of the library unseen in turn."""
    file = anndata.read_h5ad(DATA / "ranks/replogle2022_k562_rpe1_top1000_up_ranks.h5ad")
    x, lines, names = _dense(file), _column(file, "cell_line"), _column(file, "perturbation")
    # Rank 1 is most up: 1 for it, towards 0 for rank 1,000, and 0 outside.
    effect = np.where(x > 0, 1 - (x - 1) / 1000, 0)
    here, there = np.flatnonzero(lines == query), np.flatnonzero(lines == library)
    right = names[here][:, None] == names[there]
    rows = _find(f"knock-down, {query} -> {library}", effect[there], effect[here], right)
    top = (x > 0) & (x <= 100)
    overlap = top[here].astype(float) @ top[there].T
    rows += rank_rows(f"knock-down, {query} -> {library}", "overlap of 100", overlap, right)
    rows += _unseen(f"unseen knock-down, {query} -> {library}", effect[there], names[there], effect[here], names[here])
    own = np.random.default_rng(0).permutation(len(there))
    rows += rank_rows(
        f"knock-down, {query} -> {library}",
        "ours, labels shuffled",
        _ours(effect[there], effect[here]),
        right[:, own],
    )
    return rows


def _unseen(test: str, effect_kg, names_k, query_qg, names_q) -> list[dict]:
    """Three folds: targets left out of the library are predicted from features and ranked among all."""
    library = features.library(sorted(names_k))
    fold_k = np.random.default_rng(1).integers(0, FOLDS, len(names_k))
    genes = [f"{at}" for at in range(effect_kg.shape[1])]
    rows = []
    for fold in range(FOLDS):
        seen = fold_k != fold
        bank = extend(make_bank(names_k[seen].tolist(), genes, effect_kg[seen]), library)
        made = frame(bank, np.arange(len(genes)))
        asked = np.isin(names_q, names_k[~seen])
        score = cosines(made.left_km, made.goal(query_qg[asked], query_qg.mean(axis=0))).T
        right = names_q[asked][:, None] == np.array(bank.names)
        new = np.isin(np.array(bank.names), names_k[~seen])
        rows += rank_rows(test, "ours, among all", score, right)
        rows += rank_rows(test + ", among unseen", "ours", np.where(new, score, -np.inf), right)
        at = library.rows(bank.names, "bank")
        near = library.features_ed[at][new] @ library.features_ed[at][~new].T
        told = score.copy()
        told[:, new] = score[:, ~new][:, near.argmax(axis=1)]
        rows += rank_rows(test + ", among unseen", "nearest measured by features", np.where(new, told, -np.inf), right)
    return rows


def drugs() -> list[dict]:
    """OP3, sci-Plex and L1000: the same drug in another line, and a drug of the same mechanism (itself left out)."""
    kind = _mechanisms()
    rows = []
    for what, fname, turn in (("OP3", "ranks/op3_pbmc_135drugs_4celltypes_full_ranks.h5ad", -1),
                              ("sci-Plex", "ranks/sciplex3_60drugs_3lines_up_down150.h5ad", 1)):  # fmt: skip
        file = anndata.read_h5ad(DATA / fname)
        x, lines, names = turn * _dense(file), _column(file, "cell_line"), _column(file, "perturbation")
        x = x - x.mean(axis=1, keepdims=True) if turn < 0 else x
        moa = np.array([kind.get(name.lower(), "") for name in names])
        for line in np.unique(lines):
            here, there = np.flatnonzero(lines == line), np.flatnonzero(lines != line)
            rows += _find(f"{what}, same drug in another line", x[there], x[here], names[here][:, None] == names[there])
            rows += _same_mechanism(f"{what}, mechanism", x[here], moa[here], names[here])
    file = anndata.read_h5ad(DATA / "bulk_and_de/l1000_drugbank_consensus_zscores.h5ad")
    names = np.array([str(name).lower() for name in file.obs["name"]])
    moa = np.array([kind.get(name, "") for name in names])
    rows += _same_mechanism("L1000, mechanism", np.clip(_dense(file), -10, 10), moa, names)
    return rows


def _mechanisms() -> dict[str, str]:
    found = {}
    hub = pd.read_csv(features.SIDE / "drugs/repurposing_hub_2020_moa_target.tsv.gz", sep="\t")
    three = pd.read_csv(features.SIDE / "drugs/tahoe_sciplex3_op3_moa.tsv.gz", sep="\t")
    for table, columns in (
        (hub, ("pert_iname",)),
        (three, ("perturbagen", "original_pert_name", "cmap_name", "pert_iname")),
    ):
        for column in columns:
            known = table[[column, "moa"]].dropna()
            for name, moa in zip(known[column].astype(str), known["moa"].astype(str), strict=True):
                found.setdefault(name.lower(), moa.split("|")[0])
    return found


def _same_mechanism(test: str, x: np.ndarray, moa: np.ndarray, names: np.ndarray) -> list[dict]:
    counts = pd.Series(moa[moa != ""]).value_counts()
    asked = np.isin(moa, counts.index[counts >= 2].tolist())
    same = (moa[asked][:, None] == moa) & (moa != "")
    own = names[asked][:, None] == names
    return _find(test, x, x[asked], same & ~own, own)


def halves() -> list[dict]:
    """Screens with replicates: a profile from half of the cells or wells against the library from the other half."""
    rows = []
    for what in ("schraivogel2020_k562_crispri_tapseq", "norman2019_k562_crispra_500g", "mcfaline2023_gbm_crispri_500g",
                 "datlinger2021_jurkat_crisprko_tcrstim", "gasperini2019_k562_crispri_highmoi"):  # fmt: skip
        file = anndata.read_h5ad(DATA / f"single_cell/{what}.h5ad")
        rows += _split(what.split("_")[0], file, "cell_line" if "mcfaline" in what else None, 20)
    file = anndata.read_h5ad(DATA / "bulk_and_de/macpie_drugseq_mcf10a_1000g.h5ad")
    rows += _split("DRUG-seq", file, None, 2)
    return rows


def _split(what: str, file: anndata.AnnData, within: str | None, least: int) -> list[dict]:
    """Effects from two halves that share no cell and no control."""
    rng = np.random.default_rng(0)
    x = _dense(file)
    depth = x.sum(axis=1, keepdims=True)
    x = np.log1p(1e4 * x / np.maximum(depth, 1))
    if "dose_uM" in file.obs:
        label = np.char.add(np.char.add(_column(file, "perturbation"), "@"), _column(file, "dose_uM"))
        label = np.where(file.obs["is_control"].to_numpy(bool), "control", label)
    else:
        label = _column(file, "perturbation")
    line = _column(file, within) if within else np.full(len(label), "")
    rows = []
    for one in np.unique(line):
        half = rng.integers(0, 2, len(label))
        effects: list[dict[str, np.ndarray]] = []
        for side in (0, 1):
            mine = (half == side) & (line == one)
            control = x[mine & (label == "control")].mean(axis=0)
            counts = pd.Series(label[mine]).value_counts()
            names = [str(n) for n in counts.index[counts >= max(1, least // 2)] if n != "control"]
            effects.append({name: x[mine & (label == name)].mean(axis=0) - control for name in names})
        shared = sorted(set(effects[0]) & set(effects[1]))
        if len(shared) >= 5:
            library, query = (np.stack([effects[side][name] for name in shared]) for side in (0, 1))
            rows += _find(f"{what}, other half of the cells", library, query, np.eye(len(shared), dtype=bool))
    return rows


def jobs() -> Iterator:
    """Jobs of the part."""
    yield "drugs", drugs
    yield "halves", halves
    for query, library in (("K562", "RPE1"), ("RPE1", "K562")):
        yield f"knock-downs {query}", partial(knock_downs, query, library)
