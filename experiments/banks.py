"""Which bank predicts: one command makes docs/results/banks.md.

    python experiments/banks.py --data ../shared/data --out docs/results/banks.md

(a) 468 knock-downs of K562 as ranks: how many of the 100 most up-regulated genes of an unseen knock-down are found
(overlap@100), in ten random folds and with whole families left out; every bank alone, all together by evidence, each
left out, a random bank, a shuffled bank, and with the same genes' effects in RPE1. (b) Compounds: does the nearest
compound share the mechanism. (c) Guides: is a guide's vector closer to the other guide of its gene than by its gene alone.
Weights are fitted on training folds only. Intervals are 95 %, by bootstrap over knock-downs or compounds.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

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
from vc_model.baselines.evidence import cosine_kernel, fit_evidence, predict_evidence, radial_kernel

TOP, DECAY = 100, 200.0  # genes that are compared; the rank over which an effect's weight falls by e
SETS = {
    "GO process": "go_biological_process_2021_enrichr.gmt",
    "Reactome": "reactome_msigdb_v6.2.gmt",
    "KEGG": "kegg_2016_enrichr.gmt",
    "hallmark": "hallmark_msigdb_v7.0.gmt",
}


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


def make_kernels(data: Path, targets: list[str]) -> dict[str, np.ndarray]:
    """A kernel per bank; targets that a bank does not know are like nothing in it."""
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
    return {name: cosine_kernel(v, ~v.any(axis=1)) for name, v in vectors.items()}


def other_line(data: Path, ranks: np.ndarray, targets: list[str], genes: list[str]) -> FeatureBank:
    """Effects in RPE1 as a bank: allowed, because the split holds targets out in K562 only; the bank records it."""
    fpath = data / "ranks/replogle2022_k562_rpe1_top1000_up_ranks.h5ad"
    return effect_features(
        rank_weight(ranks), targets, genes, line="RPE1", revision=sha256_file(fpath), held_out=targets,
        held_out_lines=["K562"], licence="CC BY 4.0",
    )  # fmt: skip


class Task:
    """Overlap@100 of unseen knock-downs under given folds."""

    def __init__(self, ranks: np.ndarray, fold_n: np.ndarray) -> None:
        """Take the ranks `[n, g]` and the fold of each row."""
        self.effects, self.truth = rank_weight(ranks), (ranks > 0) & (ranks <= TOP)
        self.fold_n = fold_n
        self._starts: dict = {}

    def score(self, kernels: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, float]]:
        """Overlap per knock-down, and the mean weight of each bank over folds."""
        stack = np.stack(list(kernels.values())) if kernels else np.zeros((1, len(self.fold_n), len(self.fold_n)))
        overlap, weights = np.zeros(len(self.fold_n)), []
        for fold in np.unique(self.fold_n):
            train, test = np.flatnonzero(self.fold_n != fold), np.flatnonzero(self.fold_n == fold)
            inner, cross = stack[:, train][:, :, train], stack[:, test][:, :, train]
            effects = self.effects[train]
            evidence = fit_evidence(inner, effects - effects.mean(axis=0), steps=25)
            weights.append(evidence.weights_b)
            predicted = predict_evidence(evidence, inner, cross, effects)
            best = np.argpartition(-predicted, TOP, axis=1)[:, :TOP]
            overlap[test] = np.take_along_axis(self.truth[test], best, axis=1).mean(axis=1)
        return overlap, dict(zip(kernels, np.mean(weights, axis=0), strict=False))

    def neighbours(self, kernel: np.ndarray, k: int = 10) -> np.ndarray:
        """Overlap of the mean effect of the k most alike training knock-downs."""
        overlap = np.zeros(len(self.fold_n))
        for fold in np.unique(self.fold_n):
            train, test = np.flatnonzero(self.fold_n != fold), np.flatnonzero(self.fold_n == fold)
            near = np.argsort(-kernel[np.ix_(test, train)], axis=1, kind="stable")[:, :k]
            best = np.argpartition(-self.effects[train][near].mean(axis=1), TOP, axis=1)[:, :TOP]
            overlap[test] = np.take_along_axis(self.truth[test], best, axis=1).mean(axis=1)
        return overlap


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


def knockdowns(data: Path, say: Callable[[str], None], quick: bool) -> None:
    """Part (a)."""
    adata = anndata.read_h5ad(data / "ranks/replogle2022_k562_rpe1_top1000_up_ranks.h5ad")
    x = np.asarray(adata.X.todense()) if hasattr(adata.X, "todense") else np.asarray(adata.X)
    line, label = adata.obs["cell_line"].to_numpy(), adata.obs["perturbation"].astype(str).to_numpy()
    targets = label[line == "K562"].tolist()
    row = {name: i for i, name in enumerate(label[line == "RPE1"])}
    ranks, other = x[line == "K562"], x[line == "RPE1"][[row[t] for t in targets]]
    kernels = make_kernels(data, targets)
    bank = other_line(data, other, targets, adata.var_names.tolist())
    with_other = {**kernels, "effects in RPE1": radial_kernel(bank.vectors_ef, bank.missing)}
    rng = np.random.default_rng(0)
    task = Task(ranks, rng.permutation(len(targets)) % 10)
    apart = Task(ranks, families(data, targets, kernels))
    say("## Knock-downs of K562, unseen genes: overlap@100\n")
    say(
        "| banks | kernel, weights by evidence | 10 nearest | families left out, kernel | weight |\n|---|---|---|---|---|"
    )
    flat = np.zeros((len(targets), len(targets)))
    say(
        f"| none: mean effect | {interval(task.neighbours(flat, 10**6))} | - | {interval(apart.neighbours(flat, 10**6))} | - |"
    )
    everything, weights = task.score(kernels)
    joined, joined_weights = task.score(with_other)
    say(f"| **all without RPE1** | **{interval(everything)}** | - | {interval(apart.score(kernels)[0])} | - |")
    say(f"| **all with RPE1** | **{interval(joined)}** | - | {interval(apart.score(with_other)[0])} | - |")
    order = rng.permutation(len(targets))
    vectors = rng.standard_normal((len(targets), 64))
    go = kernels["GO process"]
    singles = {
        **with_other,
        "random bank": cosine_kernel(vectors, np.zeros(len(targets), bool)),
        "shuffled GO": go[np.ix_(order, order)],
    }
    for name, kernel in singles.items():
        alone, near = task.score({name: kernel})[0], task.neighbours(kernel)
        weight = weights.get(name, joined_weights.get(name))
        shown = "-" if weight is None else f"{weight:.3f}"
        say(
            f"| {name} alone | {interval(alone)} | {interval(near)} | {interval(apart.score({name: kernel})[0])} | {shown} |"
        )
    say("\nLeft out one at a time (difference to all without RPE1, paired):\n\n| left out | difference |\n|---|---|")
    for name in list(kernels)[: 2 if quick else None]:
        less = task.score({key: kernel for key, kernel in kernels.items() if key != name})[0]
        say(f"| {name} | {interval(less - everything)} |")


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
    from vc_featurize.compound.networks import MiniMolEncoder, smiles_encoder
    from vc_featurize.compound.rdkit_vectors import RdkitEncoder
    from vc_featurize.network.rules import Weights

    obs = anndata.read_h5ad(data / "bulk_and_de/l1000_drugbank_consensus_zscores.h5ad", backed="r").obs
    hub = pd.read_csv(data / "side/drugs/repurposing_hub_2020_moa_target.tsv.gz", sep="\t")
    hub = hub.dropna(subset=["moa", "smiles"]).assign(key=hub["pert_iname"].str.casefold()).drop_duplicates("key")
    moa = dict(zip(hub["key"], hub["moa"], strict=True))
    rows = obs.assign(key=obs["name"].astype(str).str.casefold(), smiles=obs["smiles"].astype(str))
    rows = rows[rows["key"].isin(moa) & (rows["smiles"].str.len() > 1)].drop_duplicates("key")
    names, smiles = rows["key"].tolist(), rows["smiles"].tolist()
    encoders = [RdkitEncoder("morgan"), RdkitEncoder("atompair"), RdkitEncoder("descriptors")]
    if (data / "models/rxn-albert").is_dir():
        encoders.append(smiles_encoder(Weights(path=str(data / "models/rxn-albert"))))
    encoders.append(MiniMolEncoder())
    say("\n## Compounds: does the nearest one share the mechanism (hit@1)\n")
    say("| bank | hit@1 | difference to Morgan |\n|---|---|---|")
    first = None
    for encoder in encoders:
        bank = encode_bank(encoder, names, smiles, "compound")
        vectors = bank.vectors_ef.astype(np.float64)
        if encoder.identity["id"].startswith("descriptors"):
            vectors = (vectors - vectors.mean(axis=0)) / np.maximum(vectors.std(axis=0), 1e-9)
        hits = hit_at_one(vectors, [moa[name] for name in names])
        first = hits if first is None else first
        say(f"| {encoder.identity['id']} | {interval(hits)} | {interval(hits - first)} |")
    say(
        f"\n{len(names)} compounds of the L1000 consensus file with a mechanism, {len(first)} of them shared by another."
    )


def guides(data: Path, say: Callable[[str], None]) -> None:
    """Part (c)."""
    from vc_featurize.guide.kmer import KmerEncoder

    library = pd.read_csv(data / "side/guides/mcfaline2023_kinome_crispri_guides.tsv", sep="\t")
    library = library.drop_duplicates("protospacer")
    bank = encode_bank(KmerEncoder(4, 20), library["guide"].tolist(), library["protospacer"].tolist(), "guide")
    vectors = bank.vectors_ef.astype(np.float64) - bank.vectors_ef.mean(axis=0)
    hits = hit_at_one(vectors, library["gene"].astype(str).tolist())
    mixed = hit_at_one(vectors, np.random.default_rng(0).permutation(library["gene"].astype(str)).tolist())
    say("\n## Guides: does the vector of a guide say more than its gene\n")
    say(f"The nearest guide by k-mers is of the same gene: {interval(hits)}; with genes shuffled {interval(mixed)}.")
    say(
        "Guides of one gene overlap on the genome, which is enough to explain this. That is the gene again: the files at"
    )
    say(
        "hand hold no effects per guide of two guides of one gene, so no signal beyond the gene is shown, and none is claimed."
    )


def main() -> None:
    """Run all parts and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/banks.md"))
    parser.add_argument("--quick", action="store_true", help="leave only two banks out")
    args = parser.parse_args()
    lines = [
        "# Which bank predicts what",
        "",
        "Made by `python experiments/banks.py`. Numbers with 95 % intervals.",
        "",
    ]

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)

    compounds(args.data, say)
    guides(args.data, say)
    knockdowns(args.data, say, args.quick)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
