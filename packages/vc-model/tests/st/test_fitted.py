"""The mapper behind the interface of every model: fitted on a screen, saved, loaded, anchored, its residuals cached."""

import numpy as np
import pytest
from vc_model.checkpoint import load_checkpoint, save_checkpoint
from vc_model.contracts import read_context_vectors
from vc_model.sites import open_site
from vc_model.sites.write import write_site
from vc_model.st import StTraining, fit_st
from vc_model.table.effects import Action
from vc_model.table.pseudobulk import load_control_cells, load_tables


@pytest.fixture
def parts(tiny):
    screen, splits, _ = tiny()
    train, _, test = load_tables(screen, splits)
    return screen, splits, train, test, load_control_cells(screen, splits, train.genes, 20)


TINY = {"set_size": 4, "width": 8, "n_layers": 1, "n_heads": 2, "hidden": 8}


def test_fit_predict_save_load_and_cache(parts, tmp_path):
    screen, splits, train, test, controls = parts
    fitted = fit_st(screen, splits, train, controls, StTraining(steps=3), tmp_path / "run", **TINY)
    prediction = fitted.predict(test)
    assert prediction.mean_pg.shape == (len(test), len(train.genes)) and (prediction.mean_pg >= 0).all()
    assert not prediction.supported_p.any()  # neither trained nor with features
    assert fitted.supported([Action(("G0",), 0)]).all()
    save_checkpoint(tmp_path / "model", fitted)
    again = load_checkpoint(tmp_path / "model")
    assert again.name == "st"
    np.testing.assert_array_equal(again.predict(test).mean_pg, prediction.mean_pg)
    n_rows = write_site(tmp_path / "latents.zarr", open_site(again, test))
    assert n_rows == sum(len(controls.of(line)[0]) for line in test.cell_line)
    assert set(read_context_vectors(tmp_path / "latents.zarr")) == set(test.cell_line)


class Plus:
    """A model whose means are a fixed step above the controls'."""

    def __init__(self, contexts):
        self.contexts = contexts

    def predict(self, conditions):
        base = self.contexts.base_cg[self.contexts.positions(conditions.cell_line)]
        return type("P", (), {"mean_pg": base * 1.1})()


def test_with_a_closed_gate_an_anchored_mapper_is_its_anchor(parts, tmp_path):
    from dataclasses import replace

    from vc_model.st.actions import make_actions
    from vc_model.st.config import preset
    from vc_model.st.fitted import FittedSt
    from vc_model.st.mapper import init_mapper

    _, _, train, test, controls = parts
    actions, anchor = make_actions(train.conditions.actions), Plus(train.contexts)
    cfg = preset("tiny", n_genes=len(train.genes), n_perturbations=len(actions.known), feature_width=actions.width,
                 anchored=True, **TINY)  # fmt: skip
    params = init_mapper(cfg, 0)
    params["output"]["layers"]["1"]["bias"] += 0.5
    fitted = FittedSt(cfg, params, train.contexts, controls, actions, anchor, gate=0.0)
    wanted = anchor.predict(test).mean_pg - train.contexts.base_cg[train.contexts.positions(test.cell_line)]
    np.testing.assert_allclose(fitted.delta(test), wanted, atol=1e-6)
    assert np.abs(replace(fitted, gate=1.0).delta(test) - wanted).max() > 0.1
