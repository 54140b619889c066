"""The command `compound`: fingerprints, descriptors and networks for structures."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from vc_featurize.cli.output import check_out, write_bank
from vc_featurize.cli.sequences import Dtype
from vc_featurize.errors import InputError

if TYPE_CHECKING:
    from vc_featurize.network.rules import Weights
    from vc_featurize.run.encoder import SequenceEncoder

FEW = 5_000
"""Compounds below which starting processes takes longer than they save."""


def compound(
    table: Positional[Path],
    /,
    out: Path,
    smiles_col: str = "smiles",
    id_col: str = "perturbation",
    radius: int = 2,
    n_bits: int = 2048,
    bits: bool = False,
    standardize: bool = True,
    encoder: Literal["morgan", "atompair", "descriptors", "chemmrl", "smiles", "minimol"] = "morgan",
    weights: str = "",
    revision: str = "",
    code: str = "",
    online: bool = False,
    dtype: Dtype = "float32",
    budget: int = 2048,
    work: Path | None = None,
    scheduler: str | None = None,
    licence: str = "unstated",
    jobs: int = 0,
    overwrite: bool = False,
) -> None:
    """Encode compounds by fingerprints, descriptors (extra `chem`) or a network (extras `torch`, `onnx`).

    Example: vc-featurize compound drugs.tsv --id-col name --smiles-col smiles --out drugs.zarr

    Args:
        table: Table with a header line, tab-separated (comma-separated when named .csv).
        out: The bank to write, .zarr or .h5ad.
        smiles_col: Column with the SMILES.
        id_col: Column with the compound's id, as in the targets of the screen.
        radius: Bonds around each atom; 2 is ECFP4.
        n_bits: Length of the fingerprint.
        bits: Presence of each substructure instead of its count.
        standardize: Take off counter-ions and neutralise charges first.
        encoder: morgan, atompair and descriptors need no weights; chemmrl and smiles are networks of transformers.
        weights: Folder or hub id of the network's weights.
        revision: Commit of a hub id, or the expected hash of a folder.
        code: Commit (of a folder: its hash) of the modelling code that may run.
        online: Allow a download.
        dtype: What a network computes in.
        budget: Tokens a batch.
        work: Folder for finished shards; a run that was cut off goes on there (every encoder but morgan).
        scheduler: Address of a Dask scheduler (every encoder but morgan).
        licence: Licence of the structures, recorded in the bank.
        jobs: Processes for Morgan fingerprints; 0: those of the machine, one where compounds are few.
        overwrite: Replace an earlier bank at `out`.
    """
    check_out(out, overwrite, [table])
    from vc_featurize.compound import compound_features, read_compound_table
    from vc_featurize.network.rules import Weights

    ids, smiles = read_compound_table(table, id_col, smiles_col)
    if encoder != "morgan":
        from vc_featurize.run.encode import encode_bank

        chosen = _encoder(encoder, Weights(path=weights, revision=revision, code=code, online=online), dtype, licence)
        bank = encode_bank(chosen, ids, smiles, "compound", budget=budget, work=work, scheduler=scheduler)
        write_bank(out, bank, [table], {"encoder": encoder, "budget": budget})
        return
    options = {"radius": radius, "n_bits": n_bits, "counts": not bits, "standardize": standardize}
    bank = compound_features(ids, smiles, **options, licence=licence, jobs=jobs or _processors(len(ids)))
    write_bank(out, bank, [table], {"encoder": "compound", **options})


def _processors(n: int) -> int:
    return len(os.sched_getaffinity(0)) if n > FEW and hasattr(os, "sched_getaffinity") else 1


def _encoder(name: str, weights: "Weights", dtype: str, licence: str) -> "SequenceEncoder":
    from vc_featurize.compound.networks import MiniMolEncoder, chemmrl_encoder, smiles_encoder
    from vc_featurize.compound.rdkit_vectors import RdkitEncoder

    if name == "atompair":
        return RdkitEncoder("atompair")
    if name == "descriptors":
        return RdkitEncoder("descriptors")
    if name == "minimol":
        return MiniMolEncoder()
    if not weights.path:
        raise InputError(f"--encoder {name}: expected --weights with a folder or id, found none.")
    if name == "chemmrl":
        return chemmrl_encoder(weights, dtype=dtype)
    return smiles_encoder(weights, licence=licence, dtype=dtype)
