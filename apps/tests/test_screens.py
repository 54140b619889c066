"""Several screens: which split is of which screen, and requests that are refused before anything is fitted."""

import json

import pytest
from vc_apps.ask.fit import fit
from vc_apps.ask.screens import match_splits
from vc_apps.ask.settings import Fit
from vc_apps.outputs import AppError
from vc_contracts.hashing import sha256_tree


@pytest.fixture
def files(tmp_path):
    """Two screens and a split of each, as far as their headers go, and a split of a third one."""
    screens = [tmp_path / f"{name}.zarr" for name in ("mine", "published")]
    for path in screens:
        path.write_text(path.name)
    splits = []
    for name, parents in (
        ("of_mine", {"mine.zarr": sha256_tree(screens[0])}),
        ("of_published", {"under_another_name.zarr": sha256_tree(screens[1])}),
        ("of_stranger", {"stranger.zarr": "0" * 64}),
    ):
        splits.append(tmp_path / f"{name}.json")
        splits[-1].write_text(json.dumps({"contract": {"name": "splits", "version": "1.0", "parents": parents}}))
    return screens, splits


def test_a_split_goes_to_the_screen_that_it_was_made_of(files):
    screens, (mine, published, _) = files
    assert match_splits(screens, [published, mine]) == [mine, published]
    assert match_splits(screens, [published]) == [None, published]
    assert match_splits(screens, []) == [None, None]


def test_a_split_of_another_screen_and_a_second_one_are_refused(files):
    screens, (mine, _, stranger) = files
    with pytest.raises(AppError, match=r"of_stranger.json: expected a split of one of .*mine.zarr.*stranger.zarr"):
        match_splits(screens, [stranger])
    with pytest.raises(AppError, match="expected one split of each screen, found a second one"):
        match_splits(screens, [mine, mine])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weight": ("stranger=0.5",)}, "--weight stranger=0.5: expected NAME=SHARE with one of mine, published"),
        ({"weight": ("mine=2",)}, "and 0 to 1"),
        ({"weight": ("mine",)}, "expected NAME=SHARE"),
        ({"one": True, "weight": ("mine=1",)}, "expected several screens for --weight"),
        ({"twice": True}, "expected screens with different names"),
        ({"none": True}, "expected a screen, found none"),
    ],
)
def test_requests_that_cannot_be_carried_out_are_refused_at_once(files, tmp_path, changes, words):
    (mine, published), _ = files
    screens = (mine, published)
    for key, other in (("one", (mine,)), ("twice", (mine, mine)), ("none", ())):
        screens = other if changes.pop(key, False) else screens
    with pytest.raises(AppError, match=words):
        fit(Fit(screen=screens, out=tmp_path / "model", **changes))
    assert not (tmp_path / "model").exists()
