"""Tables as commands write them."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vc_interp.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def check_table(out: Path, overwrite: bool, inputs: Iterable[Path]) -> None:
    """Refuse a target that is no new table.

    Raises:
        InputError: If the name does not end in .tsv or .txt.
        OutputError: If something stands there.
    """
    from vc_contracts.whole import check_target

    if out.suffix not in (".tsv", ".txt"):
        raise InputError(f"--out {out}: expected a name that ends in .tsv or .txt.")
    check_target(out, overwrite=overwrite, inputs=inputs, make_parent=True)


def write_table(table: "pd.DataFrame", out: Path) -> None:
    """Tab-separated, whole or not at all."""
    from vc_contracts.text.names import safe_table
    from vc_contracts.whole import write_whole

    with write_whole(out, overwrite=True, make_parent=True) as temporary:
        safe_table(table).to_csv(temporary, sep="\t", index=False, float_format="%.6g")
