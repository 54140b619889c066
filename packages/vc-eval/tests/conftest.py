import pytest
from vc_eval import testing
from vc_eval.split import score

BASELINES = ["mean_effect", "no_change", "random", "cell_eval_mean"]


@pytest.fixture(scope="session")
def world():
    """A screen with effects in two cell lines, its split, and predictions from perfect to none."""
    screen = testing.make_screen(cell_lines=("A", "B"), n_perturbations=14, n_combos=4, n_genes=120)
    splits = testing.make_splits(screen, n_test=8)
    predictions = {
        kind: testing.make_predictions(screen, splits, kind, sd=0.1)
        for kind in ("truth", "oracle", "mean_effect", "no_change", "random")
    }
    return screen, splits, predictions


@pytest.fixture(scope="session")
def scored(world):
    screen, splits, predictions = world
    return score.score_split(screen, splits, predictions, seed=0, n_ceiling=6, n_ceiling_des=1)


@pytest.fixture(scope="session")
def baselines():
    return list(BASELINES)
