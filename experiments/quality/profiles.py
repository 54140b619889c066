"""Screens of compounds whose values are no counts: how each file is read, in which space, and its scaffold splits.

The model works on mean profiles, so nothing in it needs counts; what is written here is what `vc_data` and
`vc_eval` do for counts: means, effects against three disjoint thirds of the controls, and noise.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from vc_data.split.chemical import murcko
from vc_eval.split.truth import Effects, top_genes
from vc_featurize.bank import write_features
from vc_featurize.compound import compound_features
from vc_model.contracts import read_features
from vc_model.table.effects import Action, Conditions, Contexts, EffectTable

LEVEL3, CONSENSUS = "l1000_ht115_350compounds_level3", "l1000_drugbank_consensus_zscores"
SPACES = {
    LEVEL3: "normalised log2 intensity (L1000 level 3), mean over about two wells of a compound",
    CONSENSUS: "consensus z-scores clipped to [-10, 10]; no control wells exist, so the score itself is the effect",
}
CLIP = 10.0
ZERO = 20.0  # level of consensus profiles without an effect, so that none is negative; it cancels in effects
MANY = 1e6  # controls behind an effect that no control mean was subtracted from
N_COMPONENTS = 16


@dataclass(frozen=True, kw_only=True)
class ProfileTruth:
    """What `vc_eval.split.evaluate.profile_scores` asks of measured conditions; see `vc_eval.split.truth.LineTruth`."""

    cell_line: str
    perturbations: list[str]
    genes: np.ndarray
    effects: Effects
    noise_var_pg: np.ndarray
    excluded_pg: np.ndarray
    target_p: np.ndarray
    train_delta_g: np.ndarray

    @cached_property
    def top_by_delta(self) -> np.ndarray:
        """`[p, k]` genes with the largest effects."""
        return top_genes(np.abs(self.effects.delta_pg), self.excluded_pg)

    @property
    def top_by_test(self) -> np.ndarray:
        """The same: two wells are too few for a test."""
        return self.top_by_delta

    @property
    def weight_pg(self) -> np.ndarray:
        """Undefined without cells."""
        return np.full(self.excluded_pg.shape, np.nan)


def is_known(source: str) -> bool:
    """Whether the file is read here."""
    return Path(source).stem in SPACES


def space_of(source: str) -> str:
    """What the values of a source are."""
    return SPACES.get(Path(source).stem, "mean log1p CP10k over cells (or wells)")


def read_smiles(obs: pd.DataFrame) -> dict[str, str]:
    """Compound -> SMILES, of compounds that have one."""
    rows = obs[~obs["is_control"].astype(bool)]
    pairs = zip(rows["perturbation"].astype(str), rows["smiles"].astype(str), strict=True)
    return {name: smiles for name, smiles in sorted(set(pairs)) if smiles not in ("", "nan", "None")}


def tables(fpath: Path, n_splits: int, test: float) -> Iterator[tuple[EffectTable, Conditions, list[ProfileTruth]]]:
    """Yield training table, held-out conditions and truth for splits that hold out whole scaffolds."""
    adata = anndata.read_h5ad(fpath)
    structures = read_smiles(adata.obs)
    with tempfile.TemporaryDirectory() as folder:
        bank = compound_features(list(structures), list(structures.values()))
        bank = read_features(write_features(Path(folder) / "features.zarr", bank, config={}))
    scaffold_of = {name: murcko(smiles) or name for name, smiles in structures.items()}
    for seed in range(n_splits):
        rng = np.random.default_rng(seed)
        held: set[str] = set()
        for scaffold in rng.permutation(sorted(set(scaffold_of.values()))):
            members = {name for name, own in scaffold_of.items() if own == scaffold}
            if len(held | members) <= test * len(scaffold_of):
                held |= members
        yield _table(adata, fpath.stem, sorted(set(scaffold_of) - held), sorted(held), bank, rng)


def _table(
    adata: anndata.AnnData, name: str, train: list[str], held: list[str], bank, rng: np.random.Generator
) -> tuple[EffectTable, Conditions, list[ProfileTruth]]:
    x_ng = np.asarray(adata.X, np.float64)
    label_n, batch_n = adata.obs["perturbation"].astype(str).to_numpy(), adata.obs["batch"].astype(str).to_numpy()
    genes, line = tuple(adata.var["gene_name"].astype(str)), str(adata.obs["cell_line"].iloc[0])
    wells = {compound: np.flatnonzero(label_n == compound) for compound in (*train, *held)}
    n_p = np.array([len(wells[compound]) for compound in (*train, *held)], float)
    if name == CONSENSUS:
        x_ng = ZERO + np.clip(x_ng, -CLIP, CLIP)
        profile_pg = np.stack([x_ng[rows].mean(axis=0) for rows in wells.values()])
        control_g = np.full(len(genes), ZERO)
        delta = dict.fromkeys(("reference", "input", "evaluation", "both"), profile_pg - control_g)
        control = dict.fromkeys(delta, control_g)
        n_control = dict.fromkeys(delta, MANY)
        variance_g = np.ones(len(genes))  # a z-score's, by its definition
    else:
        # Wells of one plate share its level: it is taken out by the plate's controls of each role.
        profile_pg = np.stack([x_ng[rows].mean(axis=0) for rows in wells.values()])
        role_n = np.full(len(label_n), -1)
        for batch in np.unique(batch_n):
            rows = np.flatnonzero(adata.obs["is_control"].to_numpy(bool) & (batch_n == batch))
            role_n[rng.permutation(rows)] = np.arange(len(rows)) % 3
        delta, control, n_control = {}, {}, {}
        for role, codes in (("reference", [0]), ("input", [1]), ("evaluation", [2]), ("both", [0, 1])):
            is_role_n = np.isin(role_n, codes)
            control[role] = x_ng[is_role_n].mean(axis=0)
            n_control[role] = float(is_role_n.sum())
            level = {
                batch: x_ng[is_role_n & (batch_n == batch)].mean(axis=0)
                if (is_role_n & (batch_n == batch)).any()
                else control[role]
                for batch in np.unique(batch_n)
            }
            matched_ng = np.stack([level[batch] for batch in batch_n])
            delta[role] = np.stack([(x_ng[rows] - matched_ng[rows]).mean(axis=0) for rows in wells.values()])
        controls = x_ng[role_n >= 0]
        centre = pd.DataFrame(controls).groupby(batch_n[role_n >= 0]).transform("mean").to_numpy()
        variance_g = ((controls - centre) ** 2).sum(axis=0) / max(
            len(controls) - len(np.unique(batch_n[role_n >= 0])), 1
        )
    contexts = Contexts(
        genes,
        (line,),
        control["input"][None].astype(np.float32),
        control["both"][None].astype(np.float32),
        np.maximum(variance_g, 1e-6)[None].astype(np.float32),
        np.ones((1, len(genes)), np.float32),
        np.zeros((1, len(genes), N_COMPONENTS), np.float32),
        np.zeros((len(genes), N_COMPONENTS), np.float32),
    )
    n, m = len(train), len(held)

    def conditions(compounds: list[str]) -> Conditions:
        return Conditions(np.full(len(compounds), line), tuple(Action((c,)) for c in compounds), contexts)

    table = EffectTable(
        contexts,
        conditions(train),
        delta["both"][:n].astype(np.float32),
        delta["reference"][:n].astype(np.float32),
        delta["input"][:n].astype(np.float32),
        n_p[:n].astype(np.float32),
        np.full(n, n_control["both"], np.float32),
        np.full(n, n_control["reference"], np.float32),
        np.full(n, n_control["input"], np.float32),
        bank,
    )
    truth = ProfileTruth(
        cell_line=line,
        perturbations=held,
        genes=np.array(genes),
        effects=Effects(profile_pg=profile_pg[n:], control_g=control["evaluation"], delta_pg=delta["evaluation"][n:]),
        noise_var_pg=variance_g * (1 / n_p[n:] + 1 / n_control["evaluation"])[:, None],
        excluded_pg=np.zeros((m, len(genes)), bool),
        target_p=np.full(m, -1),
        train_delta_g=delta["reference"][:n].mean(axis=0),
    )
    return table, conditions(held), [truth]
