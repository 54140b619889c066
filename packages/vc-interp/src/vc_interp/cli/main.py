"""Command line of vc-interp. Imports nothing heavy until a command runs."""

import sys
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

from vc_interp.cli.attention import attention
from vc_interp.cli.features import features
from vc_interp.cli.probe import probe
from vc_interp.cli.report import report
from vc_interp.cli.sae import sae
from vc_interp.cli.tables import check_table, write_table

DESCRIPTION = """Find out what a perturbation model has learnt, from its latents (latents-v1).

Examples:
  vc-interp sae latents.zarr sae --k 8
  vc-interp features latents.zarr sae --gradient gradient.zarr --genesets hallmark.gmt --out features
  vc-interp attention factors.zarr --effects predictions.zarr --out attention
  vc-interp probe genes.zarr --genesets kegg.gmt --out probes.tsv
  vc-interp report features --out page.html
  vc-interp enrich latents.zarr --genesets hallmark.gmt --out table.tsv
  vc-interp enrich latents.zarr --genesets hallmark.gmt --out table.tsv --top 100 --max-fdr 0.05
  vc-interp inspect latents.zarr
"""


def enrich(
    latents: Positional[Path],
    /,
    genesets: Path,
    out: Path,
    top: int = 50,
    background: Literal["annotated", "all"] = "annotated",
    min_size: int = 5,
    max_size: int = 500,
    max_fdr: float = 1.0,
    overwrite: bool = False,
) -> None:
    """Test which gene sets the ends of each latent dimension are made of.

    Example: vc-interp enrich latents.zarr --genesets hallmark.gmt --out table.tsv

    Args:
        latents: Latents with gene rows, .zarr or .h5ad.
        genesets: Gene sets in GMT form: name, description, genes; tab-separated.
        out: The table to write, tab-separated.
        top: Most genes to select per end of a dimension.
        background: Gene rows that are in at least one set (annotated), or all gene rows (all).
        min_size: Leave out sets with fewer genes in the background.
        max_size: Leave out sets with more genes in the background.
        max_fdr: Write only rows up to this false discovery rate; the correction covers all tests all the same.
        overwrite: Replace an earlier table at `out`.
    """
    check_table(out, overwrite, [latents, genesets])
    from vc_interp.enrichment import enrich as enrich_latents
    from vc_interp.gmt import read_gmt
    from vc_interp.latents import read_latents

    table = enrich_latents(
        read_latents(latents),
        read_gmt(genesets),
        top=top,
        background=background,
        min_size=min_size,
        max_size=max_size,
    )
    n_tests, n_found = len(table), int((table["fdr"] <= 0.05).sum())
    write_table(table[table["fdr"] <= max_fdr], out)
    print(
        f"wrote {out}: {n_found} of {n_tests} tests at FDR 5 %, background {table['background'].iloc[0]} genes "
        f"({background}). Next: sort or filter the columns dimension, end, gene_set, fdr."
    )


def inspect(latents: Positional[Path], /, json: bool = False) -> None:
    """Check a latents file against latents-v1 and say what is in it.

    Args:
        latents: Latents, .zarr or .h5ad.
        json: Print JSON.
    """
    from vc_contracts.command import print_json

    from vc_interp.latents import read_latents

    found = read_latents(latents)
    if json:
        counts = {kind: found.kinds.count(kind) for kind in sorted(set(found.kinds))}
        print_json(
            {"latents": str(latents), "rows": counts, "dims": len(found.dims), "model": found.model, "site": found.site}
        )
        return
    kinds = ", ".join(f"{found.kinds.count(kind)} {kind}" for kind in sorted(set(found.kinds)))
    print(f"{latents}: {len(found.rows)} rows ({kinds}) x {len(found.dims)} dimensions")
    print(f"  model: {found.model}")
    print(f"  site: {found.site}")


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 when whole, 2 on a refusal, 130 on Ctrl-C."""
    from vc_contracts.bucket.stage import staged
    from vc_contracts.command import run_command, switches

    argv = switches(argv, ("vc-interp", "vc-contracts"))

    functions = (sae, features, attention, probe, report, enrich, inspect)
    commands = {function.__name__: function for function in functions}

    def command() -> None:
        tyro.extras.subcommand_cli_from_dict(
            {name: staged(function) for name, function in commands.items()},
            prog="vc-interp",
            description=DESCRIPTION,
            args=argv,
        )

    return run_command("error", command)


if __name__ == "__main__":
    sys.exit(main())
