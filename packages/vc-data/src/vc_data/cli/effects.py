"""The command `vc-data convert-effects`."""

from pathlib import Path
from typing import Annotated

import tyro

from vc_data.effects.options import EffectsOptions


def convert_effects(
    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="TABLE")],
    output: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="EFFECTS.zarr")],
    options: Annotated[EffectsOptions, tyro.conf.arg(name="")],
) -> None:
    """Convert bulk profiles, z-scores, fold changes or ranks (one row a condition) into effects-v1.

    For example:
      vc-data convert-effects l1000.h5ad l1000.zarr --values z --clip 10 --mode-name drug
      vc-data convert-effects logfc.csv effects.zarr --values log_fold_change --base 2 --cell-line-name K562
      vc-data convert-effects ranks.h5ad ranks.zarr --values rank_up --mode-name crispri
      vc-data convert-effects plate.h5ad plate.zarr --values counts --control DMSO --dose dose_uM --mode-name drug
      vc-data convert-effects de.parquet de.zarr --values log_fold_change --base 2 --gene gene --value log2fc --absent zero
      vc-data split ranks.zarr splits.json

    Args:
        source: .h5ad, .zarr, .csv, .tsv (.gz) or .parquet.
        output: The effects-v1 file to write: .zarr or .h5ad.
        options: What the values mean, and where what is.
    """
    import vc_data.effects.convert

    said = vc_data.effects.convert.convert_effects(source, output, options)
    print("\n".join(said))
    if options.dry_run:
        print("nothing was written (--dry-run)")
    else:
        print(f"wrote {output}; next: vc-data split {output} splits.json")
