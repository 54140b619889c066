"""Encoding banks beside the plain ways to do it: a network one text at a time and in fixed batches, Morgan by RDKit's own threads.

    uv run --no-dev python bench/featurize.py                        # all parts
    uv run --no-dev python bench/featurize.py --part network --sequences 400
    uv run --no-dev python bench/featurize.py --part morgan --smiles 100000
    uv run --no-dev python bench/featurize.py --part memory

network: a small ESM-2 with random weights (6 layers, 320 wide, as esm2_t6_8M) on sequences whose lengths are distributed like
those of the human proteome (log-normal, median 415 residues, cut at 1,022), and rxn-albert's real weights on real SMILES where
they are at hand. Fixed batches are tried by hand in several sizes, sorted by length, and the best one is the peer.
morgan: RDKit parses with two threads (MultithreadedSmilesMolSupplier) and fingerprints with as many; ours also checks, writes
canonical SMILES, parses these again and, on the second line, standardises.
memory: resident memory at the peak of encoding n and 4 n texts.
All parts run in turns in one process; the least of three times counts.
"""

import argparse
import csv
import gzip
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
LETTERS = np.array(list("LAGVSERTIDPKQNFYMHWC"))
SIZES = (1, 2, 4, 8, 16, 32, 64)


def least(works: dict[str, Callable[[], object]], turns: int = 3) -> dict[str, float]:
    """Name -> the least of its times in s; all take turns."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(turns):
        for name, work in works.items():
            begun = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - begun)
    return {name: min(times) for name, times in taken.items()}


def tiny_esm2(folder: Path) -> Path:
    """A checkpoint of ESM-2's smallest size with random weights."""
    import torch
    import transformers

    letters = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO", ".", "-", "<null_1>", "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(letters))
    torch.manual_seed(0)
    config = transformers.EsmConfig(
        vocab_size=33, hidden_size=320, num_hidden_layers=6, num_attention_heads=20, intermediate_size=1280,
        position_embedding_type="rotary", token_dropout=True, mask_token_id=32, pad_token_id=1,
    )  # fmt: skip
    transformers.EsmModel(config, add_pooling_layer=False).save_pretrained(folder)
    transformers.EsmTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def sequences(n: int) -> list[str]:
    rng = np.random.default_rng(0)
    lengths = np.clip(np.exp(rng.normal(np.log(415), 0.75, n)), 40, 1022).astype(int)
    return ["".join(rng.choice(LETTERS, length)) for length in lengths]


def smiles_at_hand(n: int) -> list[str]:
    """n SMILES of real drugs; the same ones again where there are fewer, written from another atom."""
    from rdkit.Chem import MolFromSmiles, MolToSmiles

    with gzip.open(SHARED / "side" / "drugs" / "repurposing_hub_2020_moa_target.tsv.gz", "rt") as file:
        own = list(dict.fromkeys(row["smiles"] for row in csv.DictReader(file, delimiter="\t") if row["smiles"]))
    own = [text for text in own if MolFromSmiles(text) is not None]
    made = list(own)
    while len(made) < n:
        molecules = (MolFromSmiles(text) for text in own)
        made += [MolToSmiles(m, doRandom=True) for m in molecules]
    return made[:n]


def network(name: str, encoder: Callable[[Sequence[str]], np.ndarray], texts: list[str]) -> None:
    from vc_featurize.run.encode import BUDGET, encode_shard

    texts = sorted(texts, key=len)

    def fixed(size: int) -> Callable[[], None]:
        def work() -> None:
            for start in range(0, len(texts), size):
                encoder(texts[start : start + size])

        return work

    # pyrefly: ignore[bad-argument-type] an encoder of ours
    works: dict[str, Callable[[], object]] = {"ours": lambda: encode_shard(encoder, texts, BUDGET)}
    works |= {f"fixed {size}": fixed(size) for size in SIZES}
    times = least(works)
    best = min(SIZES[1:], key=lambda size: times[f"fixed {size}"])
    print(f"{name}: {len(texts)} texts, {sum(map(len, texts)):,} characters; seconds: "
          + ", ".join(f"{key} {value:.2f}" for key, value in times.items()))  # fmt: skip
    print(f"  one by one / ours {times['fixed 1'] / times['ours']:.2f} (goal 2); best fixed batch ({best}) / ours "
          f"{times[f'fixed {best}'] / times['ours']:.2f} (goal 0.9)")  # fmt: skip


def networks(n: int) -> None:
    import torch
    from vc_featurize.network.rules import Weights
    from vc_featurize.network.transformer import TransformerEncoder
    from vc_featurize.protein.esm import esm2_encoder

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as folder:
        network("ESM-2", esm2_encoder(Weights(path=str(tiny_esm2(Path(folder)))), device="cpu"), sequences(n))
    albert = SHARED / "models" / "rxn-albert"
    if albert.is_dir():
        network("rxn-albert", TransformerEncoder(Weights(path=str(albert)), device="cpu"), smiles_at_hand(4 * n))


def by_rdkit(fpath: Path, threads: int) -> int:
    """RDKit alone: how many were fingerprinted."""
    from rdkit.Chem import MultithreadedSmilesMolSupplier
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    found = [m for m in MultithreadedSmilesMolSupplier(str(fpath), numWriterThreads=threads, titleLine=False) if m]
    generator = GetMorganGenerator(radius=2, fpSize=2048, includeChirality=True)
    return len(generator.GetCountFingerprints(found, numThreads=threads))


def morgan(n: int) -> None:
    from rdkit import RDLogger
    from vc_featurize.compound import compound_features

    RDLogger.DisableLog("rdApp.*")  # pyrefly: ignore[missing-attribute] made by boost
    texts = smiles_at_hand(n)
    ids = [f"c{row}" for row in range(n)]
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        fpath = Path(folder) / "x.smi"
        fpath.write_text("".join(f"{text} c{row}\n" for row, text in enumerate(texts)))
        times = least(
            {
                "RDKit": lambda: by_rdkit(fpath, threads),
                "ours": lambda: compound_features(ids, texts, standardize=False, jobs=threads),
                "ours, standardised": lambda: compound_features(ids, texts, jobs=threads),
            },
            turns=2,
        )
    print(f"morgan: {n:,} SMILES, {threads} threads; seconds: "
          + ", ".join(f"{key} {value:.1f}" for key, value in times.items()))  # fmt: skip
    print(f"  RDKit / ours {times['RDKit'] / times['ours']:.2f}, standardised "
          f"{times['RDKit'] / times['ours, standardised']:.2f} (goal 1)")  # fmt: skip


PEAK = """
import sys
import numpy as np
from vc_featurize.run.encode import encode_unique

class Wide:
    identity, dim = {"id": "wide"}, 1280
    def prepare(self, text): return text, ""
    def length(self, text): return len(text) + 2
    def __call__(self, texts): return np.ones((len(texts), 1280), np.float32)

texts = [f"{row:08d}" for row in range(int(sys.argv[1]))]
def kb(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])

start = kb("VmRSS")
encode_unique(Wide(), texts, work=sys.argv[2])
print((kb("VmHWM") - start) / 1024)
"""


def memory(n: int) -> None:
    for size in (n, 4 * n):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", PEAK, str(size), folder]
            peak = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f"memory: {size:,} x 1,280 vectors ({size * 5120 / 2**20:.0f} MiB): {peak:.0f} MiB more at the peak")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["network", "morgan", "memory"])
    parser.add_argument("--sequences", type=int, default=300)
    parser.add_argument("--smiles", type=int, default=100_000)
    parser.add_argument("--vectors", type=int, default=20_000)
    given = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    if given.part in (None, "network"):
        networks(given.sequences)
    if given.part in (None, "morgan"):
        morgan(given.smiles)
    if given.part in (None, "memory"):
        memory(given.vectors)
