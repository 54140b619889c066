"""Command line of vc-featurize. Imports nothing heavy until a command runs."""

import sys
from pathlib import Path

import tyro
from tyro.conf import Positional

from vc_featurize.errors import InputError

DESCRIPTION = """Turn perturbed genes and compounds into a checked bank of vectors (features-v1).

Examples:
  vc-featurize geneset hallmark.gmt --out genes.zarr
  vc-featurize geneset hallmark.gmt --genes targets.txt --out genes.zarr
  vc-featurize compound drugs.tsv --id-col name --smiles-col smiles --out drugs.zarr
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
    _check_out(out, overwrite, [path for path in (gmt, genes) if path is not None])
    from vc_featurize.geneset import geneset_features
    from vc_featurize.text import read_names, sha256_file

    names = None if genes is None else read_names(genes)
    bank = geneset_features(gmt, names, dim, licence=licence)
    parents = {path.name: sha256_file(path) for path in (gmt, genes) if path is not None}
    _write(out, bank, parents, {"encoder": "geneset", "dim": dim})


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
    _check_out(out, overwrite, [table])
    from vc_featurize.compound import compound_features, read_compound_table
    from vc_featurize.text import sha256_file

    ids, smiles = read_compound_table(table, id_col, smiles_col)
    options = {"radius": radius, "n_bits": n_bits, "counts": not bits, "standardize": standardize}
    bank = compound_features(ids, smiles, **options, licence=licence)
    _write(out, bank, {table.name: sha256_file(table)}, {"encoder": "compound", **options})


def inspect(bank: Positional[Path], /) -> None:
    """Check a bank against features-v1 and say what is in it.

    Args:
        bank: A bank, .zarr or .h5ad.
    """
    from vc_featurize.bank import read_features

    found = read_features(bank)
    print(f"{bank}: {_summary(found)}")
    for key, value in {**found.encoder, "parents": found.header.get("parents", {})}.items():
        print(f"  {key}: {value}")


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 when whole, 2 on a refusal, 130 on Ctrl-C."""
    from vc_contracts.command import run_command

    def command() -> None:
        tyro.extras.subcommand_cli_from_dict(
            {"geneset": geneset, "compound": compound, "inspect": inspect},
            prog="vc-featurize",
            description=DESCRIPTION,
            args=argv,
        )

    return run_command("error", command)


def _check_out(out: Path, overwrite: bool, inputs: list[Path]) -> None:
    from vc_contracts.whole import check_target

    if out.suffix not in (".zarr", ".h5ad"):
        raise InputError(f"--out {out}: expected a name that ends in .zarr or .h5ad.")
    check_target(out, kind="features", overwrite=overwrite, inputs=inputs, make_parent=True)


def _write(out: Path, bank, parents: dict[str, str], config: dict) -> None:
    from vc_featurize.bank import write_features

    write_features(out, bank, parents=parents, config=config)
    for entity, note in [(e, n) for e, n, gone in zip(bank.entities, bank.notes, bank.missing, strict=True) if gone][
        :5
    ]:
        print(f"missing: {entity}: {note}")
    print(f"wrote {out}: {_summary(bank)}. Next: vc-featurize inspect {out}, or give it to a model as features.")


def _summary(bank) -> str:
    n_missing = int(bank.missing.sum())
    return f"{len(bank.entities)} entities ({n_missing} missing) x {len(bank.dims)} dimensions, {bank.encoder['id']}"


if __name__ == "__main__":
    sys.exit(main())
