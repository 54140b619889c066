"""Small questions with known answers."""

import numpy as np
import pytest
from vc_model.plan.library import Library, make_library
from vc_model.plan.query import Scores


@pytest.fixture(scope="module")
def known() -> tuple[Library, Scores]:
    """400 genes whose scores follow two of six features, with hits; a seventh block is noise."""
    rng = np.random.default_rng(0)
    names = [f"G{row}" for row in range(400)]
    x_ef = rng.standard_normal((400, 6))
    score_e = x_ef[:, 0] + x_ef[:, 1] + 0.7 * rng.standard_normal(400)
    library = make_library(names, {"told": (names, x_ef), "noise": (names, rng.standard_normal((400, 5)))})
    return library, Scores(tuple(names), score_e, np.abs(score_e) >= np.quantile(np.abs(score_e), 0.9))


@pytest.fixture(scope="session")
def world():
    """One line, 60 training and 20 held-out perturbations that features tell."""
    from vc_model.testing import make_world

    return make_world(n_train=60, n_test=20, n_genes=120, lines=("line A",), n_cells=300, noise=0.2)


@pytest.fixture(scope="session")
def fitted(world):
    """A kernel regression on features: adds single effects."""
    from dataclasses import replace

    from vc_model.models import fit_models

    model = fit_models(world.train, ["kernel_ridge"])["kernel_ridge"]

    class Careful:
        """The model with a verdict on support, which baselines leave out: targets that are genes, in a trained mode and line."""

        contexts = model.contexts

        def predict(self, conditions):
            table = world.train
            modes, top = {a.mode for a in table.conditions.actions}, max(a.dose for a in table.conditions.actions)
            supported = [
                line in table.trained_lines and set(a.targets) <= set(table.genes) and a.mode in modes and a.dose <= top
                for line, a in zip(conditions.cell_line, conditions.actions, strict=True)
            ]
            return replace(model.predict(conditions), supported_p=np.array(supported, dtype=bool))

    return Careful()
