"""Named conditions are held out, and nothing that would tell of them trains."""

import pytest
from vc_data import split as splitting
from vc_data.errors import OptionError
from vc_data.screen.file import read_screen
from vc_data.testing import small_screen


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("named")
    return read_screen(small_screen(folder, n_singles=8, n_pairs=4, cells_per_condition=8, controls_per_line=20))


def parts(made):
    return {(row["cell_line"], row["perturbation"]): row["part"] for row in made.conditions}


def names_of(screen):
    labels = sorted(set(screen.obs["perturbation"].astype(str)) - {"control"})
    return [name for name in labels if "+" not in name], [name for name in labels if "+" in name]


def test_a_target_is_held_out_with_every_combination_that_contains_it(screen):
    pair = names_of(screen)[1][0]
    target = pair.split("+")[0]
    found = parts(splitting.named(screen, test=[target], min_cells=1))
    for (_, label), part in found.items():
        assert part == ("test" if target in label.split("+") else "train")


def test_a_combination_or_one_cell_line_alone(screen):
    singles, pairs = names_of(screen)
    reversed_pair = "+".join(reversed(pairs[0].split("+")))
    made = splitting.named(screen, test=[reversed_pair], val=[f"LineB | {singles[-1]}"], min_cells=1)
    found = parts(made)
    assert {key for key, part in found.items() if part == "test"} == {(line, pairs[0]) for line in ("LineA", "LineB")}
    held = {key for key, part in found.items() if part == "val"}
    assert ("LineB", singles[-1]) in held and all(line == "LineB" for line, _ in held)
    assert "in that line" in made.config["held_out"]


def test_unknown_names_are_refused_with_the_nearest(screen):
    single = names_of(screen)[0][0]
    with pytest.raises(OptionError, match=single):
        splitting.named(screen, test=[single.lower()], min_cells=1)
    with pytest.raises(OptionError, match="LineA"):
        splitting.named(screen, test=[f"linea|{single}"], min_cells=1)
    with pytest.raises(OptionError, match="at least one name"):
        splitting.named(screen, test=[], min_cells=1)
