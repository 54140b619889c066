"""What is known of a public data set: where it lies, how its cells are read, which traps it has.

The records themselves are in `records/`, one file for each study or layout. Fetching is in `download/`.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vc_data.options import Columns

if TYPE_CHECKING:
    import pandas as pd

    from vc_data.options import ConvertOptions


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file of a data set and the addresses that serve the same bytes."""

    name: str
    """Name on disk; no folders."""
    urls: tuple[str, ...]
    """Tried in turn."""
    n_bytes: int | None = None
    """Exact size, where the host states it."""
    approx_bytes: int | None = None
    """Size to plan with, where the exact one is not stated."""
    checksum: str | None = None
    """'md5:...' or 'sha256:...' as the host states it; None: recorded at the first download and enforced from then."""
    optional: bool = False
    """Fetched only when it is named."""

    @property
    def size(self) -> int:
        """Bytes to plan with; 0 where nobody says."""
        return self.n_bytes or self.approx_bytes or 0


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One public data set, or one copy of it."""

    key: str
    """Name on the command line and in `obs["dataset"]`."""
    title: str
    citation: str
    doi: str
    licence: str
    """As the host states it; says so where none is stated."""
    organism: str = "human"
    n_cells: int | None = None
    n_genes: int | None = None
    n_controls: int | None = None
    perturbations: str
    """How many and of what kind, for people."""
    columns: Columns
    """Where obs and var hold what; `columns.mode_name` is how all its perturbations act."""
    convert: dict = field(default_factory=dict)
    """Further keywords of `ConvertOptions`."""
    guide: str | None = None
    """obs column with the guides."""
    guide_source: str = ""
    """Where the guide sequences or structures are published."""
    dose_unit: str | None = None
    values: str = "raw counts"
    """What X holds: 'raw counts', or what was done to them."""
    files: tuple[RemoteFile, ...] = ()
    access: str = ""
    """How to get what no fixed address serves."""
    mirror_of: tuple[str, ...] = ()
    """Keys of the data sets whose cells this one repeats."""
    traps: tuple[str, ...] = ()
    """What has cost people time; 'confirm' marks what the host does not state."""
    fix_label: Callable[[str], str | None] | None = None
    """Source label -> label; None drops the cell."""
    fix_dose: Callable[[object], float | None] | None = None
    """Value of the dose column -> number in `dose_unit`."""

    @property
    def studies(self) -> frozenset[str]:
        """Keys of the origins whose cells it holds."""
        return frozenset(self.mirror_of or (self.key,))

    @property
    def size(self) -> int:
        """Bytes of the files that are fetched by default."""
        return sum(file.size for file in self.files if not file.optional)

    def convert_options(self) -> "ConvertOptions":
        """How `convert` reads its .h5ad, after `tidy_obs`."""
        from vc_data.options import ConvertOptions

        return ConvertOptions(columns=self.columns, dataset=self.key, **self.convert)


def tidy_obs(
    dataset: Dataset, obs: "pd.DataFrame", *, seen: Set[str] = frozenset()
) -> tuple["pd.DataFrame", list[str]]:
    """Repair labels and doses as the data set needs it.

    Rows stay where they are; a cell that must not be used loses its label, and `convert` drops and counts it.

    Args:
        dataset: The data set, for its rules.
        obs: Cells as in the file. Not changed.
        seen: Names of cells read before, from another file of the same data set: those lose their label.

    Returns:
        The repaired table, and one statement per repair.
    """
    obs, statements = obs.copy(), []
    column = dataset.columns.perturbation
    label = obs[column].astype(object)
    if dataset.fix_label is not None:
        given = label[label.notna()]
        fixed = {text: dataset.fix_label(str(text)) for text in given.unique()}
        label = label.map(fixed)
        changed = sum(str(text) != new for text, new in fixed.items() if new is not None)
        dropped = int((given.map(fixed).isna()).sum())
        statements.append(f"labels rewritten for {dataset.key}: {changed}; cells without a usable label: {dropped}")
    repeated = obs.index.isin(list(seen))
    if repeated.any():
        label[repeated] = None
        statements.append(f"cells that another file of {dataset.key} holds too: {int(repeated.sum())}")
    obs = obs.assign(**{str(column): label})
    if dataset.fix_dose is not None and dataset.columns.dose in obs:
        values = obs[dataset.columns.dose].astype(object)
        numbers = {value: dataset.fix_dose(value) for value in values.dropna().unique()}
        obs = obs.assign(**{str(dataset.columns.dose): values.map(numbers)})
        statements.append(f"doses read as numbers, in {dataset.dose_unit}")
    return obs, statements
