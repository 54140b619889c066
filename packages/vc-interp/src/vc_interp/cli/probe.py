"""`vc-interp probe`: what can be read from latents, beside chance."""

from pathlib import Path

from tyro.conf import Positional


def probe(
    latents: Positional[Path],
    /,
    out: Path,
    genesets: Path | None = None,
    essential: Path | None = None,
    nonessential: Path | None = None,
    covariates: Path | None = None,
    seed: int = 0,
    json: bool = False,
    overwrite: bool = False,
) -> None:
    """Probe latents of genes or cells by cross-validation: dimension, pathways, essential genes, perturbation, line, batch.

    Example: vc-interp probe genes.zarr --genesets kegg.gmt --essential core.tsv --out probes.tsv

    Args:
        latents: Latents of genes or cells (latents-v1).
        out: The table to write, tab-separated.
        genesets: Gene sets in GMT form.
        essential: Names of essential genes, one a line or the first column of a table.
        nonessential: Names of genes known not to be; every other gene by default.
        covariates: Table of genes and numbers (say, mean expression): essential genes by these alone, and by both.
        seed: Of draws and folds.
        json: Print the table as JSON.
        overwrite: Replace an earlier table.
    """
    from vc_interp.cli.tables import check_table, write_table

    check_table(out, overwrite, [p for p in (latents, genesets, essential, nonessential, covariates) if p is not None])
    from vc_interp.files.networks import read_names, read_numbers
    from vc_interp.files.stored import open_latents
    from vc_interp.gmt import read_gmt
    from vc_interp.probe.run import probe as ask

    table = ask(
        open_latents(latents),
        gene_sets=None if genesets is None else read_gmt(genesets),
        essential=None if essential is None else read_names(essential),
        nonessential=None if nonessential is None else read_names(nonessential),
        covariates=None if covariates is None else read_numbers(covariates),
        seed=seed,
    )
    write_table(table, out)
    if json:
        from vc_contracts.command import print_json

        print_json(table.to_dict("records"))
        return
    for row in table.itertuples(index=False):
        print(f"{row.probe:40s} {row.value:8.3f}   by chance {row.chance:.3f}")
    print(f"wrote {out}.")
