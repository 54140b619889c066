"""Command line of vc-featurize. Imports nothing heavy until a command runs."""

import sys
from pathlib import Path

import tyro
from tyro.conf import Positional

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
        licence: Licence of the gene sets, recorded in the bank.
        overwrite: Replace an earlier bank at `out`.
    """
    check_out(out, overwrite, [path for path in (gmt, genes) if path is not None])
    from vc_featurize.geneset import geneset_features
    from vc_featurize.text import read_names

    names = None if genes is None else read_names(genes)
    bank = geneset_features(gmt, names, dim, licence=licence)
    inputs = [path for path in (gmt, genes) if path is not None]
    write_bank(out, bank, inputs, {"encoder": "geneset", "dim": dim})


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
    licence: str = "unstated",
    overwrite: bool = False,
) -> None:
    """Encode compounds by their Morgan fingerprints (needs the extra `chem`).

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
        licence: Licence of the structures, recorded in the bank.
        overwrite: Replace an earlier bank at `out`.
    """
    check_out(out, overwrite, [table])
    from vc_featurize.compound import compound_features, read_compound_table

    ids, smiles = read_compound_table(table, id_col, smiles_col)
    options = {"radius": radius, "n_bits": n_bits, "counts": not bits, "standardize": standardize}
    bank = compound_features(ids, smiles, **options, licence=licence)
    write_bank(out, bank, [table], {"encoder": "compound", **options})


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
    from vc_contracts.command import run_command, switches

    argv = switches(argv, ("vc-featurize", "vc-contracts"))

    def command() -> None:
        tyro.extras.subcommand_cli_from_dict(
            {
                "list": list_encoders,
                "protein": protein,
                "guide": guide,
                "compound": compound,
                "geneset": geneset,
                "graph": graph,
                "table": table,
                "inspect": inspect,
                "compare": compare,
            },
            prog="vc-featurize",
            description=DESCRIPTION,
            args=argv,
        )

    return run_command("error", command)


if __name__ == "__main__":
    sys.exit(main())
