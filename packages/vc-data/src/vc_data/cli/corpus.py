"""The commands `vc-data merge` and `vc-data variable`."""

from pathlib import Path
from typing import Annotated

import tyro

from vc_data.errors import OptionError
from vc_data.options import MergeOptions

Files = Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="SCREEN ... OUT.zarr")]
Pairs = Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="SCREEN SPLITS ... PANEL.txt")]


def merge(
    files: Files,
    options: Annotated[MergeOptions, tyro.conf.arg(name="")] = MergeOptions(),  # noqa: B008
) -> None:
    """Merge screens of several data sets onto one panel of genes.

    For example:
      vc-data merge k562.zarr rpe1.zarr both.zarr --panel union
      vc-data merge k562.zarr rpe1.zarr both.zarr --panel genes.txt --gene-table hgnc.tsv.gz --aliases hgnc.tsv.gz

    Args:
        files: The screens, and last the screen to write.
        options: How.
    """
    from vc_data.convert.merge import merge_screens

    if len(files) < 3:
        do = "Pass SCREEN SCREEN ... OUT.zarr."
        raise OptionError("files", "arguments", "two screens and an output", f"{len(files)} names", do)
    report = merge_screens(files[:-1], files[-1], options)
    print("\n".join(report.lines()))
    print(f"wrote {files[-1]}; next: vc-data split {files[-1]} splits.json")


def variable(files: Pairs, n_top: int = 2000, overwrite: bool = False) -> None:
    """List the most variable genes across data sets, chosen on training cells only.

    For example:
      vc-data variable both.zarr splits.json panel.txt --n-top 2000
      vc-data variable k562.zarr k562.json rpe1.zarr rpe1.json panel.txt

    Args:
        files: Screens, each followed by its splits, and last the text file to write, one gene a line.
        n_top: How many genes.
        overwrite: Replace an output that exists.
    """
    from vc_data.contract import check_target, write_whole

    if len(files) < 3:
        do = "Pass SCREEN SPLITS ... PANEL.txt."
        raise OptionError("files", "arguments", "a screen, its splits and an output", f"{len(files)} names", do)
    *inputs, output = files
    check_target(output, overwrite=overwrite, inputs=inputs)
    from vc_data.cli.split import read_pairs
    from vc_data.genes.variable import variable_genes

    with write_whole(output, kind="file", overwrite=overwrite, inputs=inputs) as temporary:
        genes = variable_genes(read_pairs(tuple(inputs)), n_top)
        temporary.write_text("\n".join(genes) + "\n")
    print(f"wrote {len(genes)} genes to {output}; next: vc-data convert FILE.h5ad OUT.zarr --panel {output}")
