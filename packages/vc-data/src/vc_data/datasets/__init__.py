"""The public data sets, as `records/*.toml` state them; copies of a data set stand beside their origin."""

import difflib
from collections.abc import Iterable, Sequence
from itertools import combinations

from vc_data.datasets.records import read_all
from vc_data.datasets.registry import Dataset
from vc_data.errors import VcDataError, few

DATASETS: dict[str, Dataset] = read_all()


def get_dataset(key: str) -> Dataset:
    """The data set of a key.

    Raises:
        VcDataError: No such key; names the nearest.
    """
    if key not in DATASETS:
        near = difflib.get_close_matches(key, DATASETS, n=3, cutoff=0.4)
        do = f"Nearest: {few(near)}. " if near else ""
        raise VcDataError(
            "registry", "key", "a data set that `vc-data list` shows", repr(key), do + "Pass one of them."
        )
    return DATASETS[key]


def same_study(keys: Iterable[str]) -> list[tuple[str, str, str]]:
    """Pairs of data sets that hold the same cells; two copies in one corpus leak train into test.

    Args:
        keys: Data sets meant for one corpus; those the registry does not know are taken to be their own study.

    Returns:
        (key, other key, study they share), in the order of `keys`; the same key twice is a pair too.
    """
    listed: Sequence[str] = list(keys)
    studies = {key: DATASETS[key].studies if key in DATASETS else frozenset([key]) for key in listed}
    return [(a, b, study) for a, b in combinations(listed, 2) for study in sorted(studies[a] & studies[b])]
