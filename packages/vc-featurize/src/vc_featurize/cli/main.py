"""Command line of vc-featurize. Imports nothing heavy until a command runs."""

import sys
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

from vc_featurize.cli.compounds import compound
from vc_featurize.cli.output import check_out, summary, write_bank
from vc_featurize.cli.sequences import guide, protein
from vc_featurize.cli.sources import compare, graph, list_encoders, table

DESCRIPTION = """Turn perturbed genes and compounds into a checked bank of vectors (features-v1).

Examples:
  vc-featurize geneset hallmark.gmt --out genes.zarr
  vc-featurize geneset hallmark.gmt --genes targets.txt --out genes.zarr
  vc-featurize compound drugs.tsv --id-col name --smiles-col smiles --out drugs.zarr
  vc-featurize protein human.fasta.gz --genes targets.txt --out proteins.zarr
  vc-featurize inspect genes.zarr
"""


def geneset(
    gmt: Positional[Path],
    /,
    out: Path,
    genes: Path | None = None,
    dim: int = 64,
    weight: Literal["size", "idf"] = "size",
    licence: str = "unstated",
    overwrite: bool = False,
) -> None:
    """Encode genes by the gene sets they are in (truncated SVD).

    Example: vc-featurize geneset hallmark.gmt --out genes.zarr

    Args:
        gmt: Gene sets: name, description, genes; tab-separated, one set per line.
        out: The bank to write, .zarr or .h5ad.
        genes: Text file with one gene symbol per line; all genes of the GMT by default.
        dim: Most dimensions to keep.
        weight: Of a set: size, 1 / sqrt(size); idf, log(genes / size).
        licence: Licence of the gene sets, recorded in the bank.
        overwrite: Replace an earlier bank at `out`.
    """
    check_out(out, overwrite, [path for path in (gmt, genes) if path is not None])
    from vc_featurize.geneset import geneset_features
    from vc_featurize.text import read_names

    names = None if genes is None else read_names(genes)
    bank = geneset_features(gmt, names, dim, weight=weight, licence=licence)
    inputs = [path for path in (gmt, genes) if path is not None]
    write_bank(out, bank, inputs, {"encoder": "geneset", "dim": dim, "weight": weight})


def inspect(bank: Positional[Path], /, json: bool = False) -> None:
    """Check a bank against features-v1 and say what is in it.

    Args:
        bank: A bank, .zarr or .h5ad.
        json: Print JSON.
    """
    from vc_contracts.command import print_json

    from vc_featurize.bank import read_features

    found = read_features(bank)
    if json:
        parts = {"entities": len(found.entities), "missing": int(found.missing.sum()), "dim": len(found.dims)}
        print_json({"bank": str(bank), **parts, "encoder": found.encoder, "parents": found.header.get("parents", {})})
        return
    print(f"{bank}: {summary(found)}")
    for key, value in {**found.encoder, "parents": found.header.get("parents", {})}.items():
        print(f"  {key}: {value}")


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 when whole, 2 on a refusal, 130 on Ctrl-C."""
    from vc_contracts.bucket.stage import staged
    from vc_contracts.command import run_command, switches

    argv = switches(argv, ("vc-featurize", "vc-contracts"))

    others = (protein, guide, compound, geneset, graph, table, inspect, compare)
    commands = {"list": list_encoders} | {function.__name__: function for function in others}

    def command() -> None:
        tyro.extras.subcommand_cli_from_dict(
            {name: staged(function) for name, function in commands.items()},
            prog="vc-featurize",
            description=DESCRIPTION,
            args=argv,
        )

    return run_command("error", command)


if __name__ == "__main__":
    sys.exit(main())
