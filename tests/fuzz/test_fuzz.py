"""A short run of the mutation harness; the long one is `python tests/fuzz/harness.py --mutations 5000`."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_refused_or_harmless():
    from harness import fuzz

    counts, bad = fuzz(60, seed=3)
    assert not bad, f"{dict(counts)}\n" + "\n".join(bad)
    assert counts["refused"] > 20
