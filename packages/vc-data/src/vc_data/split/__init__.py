"""What is held out, and which control cells serve which purpose.

One file per family of recipes; each gives a `Splits` (splits-v1), checked for leaks and against its screen.
"""

from vc_data.split.cell_line import by_cell_line, few_shot
from vc_data.split.cell_load import cell_load
from vc_data.split.chemical import by_dose, by_scaffold, read_structures
from vc_data.split.conditions import cut_controls
from vc_data.split.file import Splits, read_splits, write_splits
from vc_data.split.gears import gears
from vc_data.split.leakage import LeakError, check_corpus
from vc_data.split.named import named
from vc_data.split.perturbation import by_perturbation, follow, kfold

__all__ = [
    "LeakError",
    "Splits",
    "by_cell_line",
    "by_dose",
    "by_perturbation",
    "by_scaffold",
    "cell_load",
    "check_corpus",
    "cut_controls",
    "few_shot",
    "follow",
    "gears",
    "kfold",
    "named",
    "read_splits",
    "read_structures",
    "write_splits",
]
