"""The same model with random weights: what its activations say, the architecture and the cells say alone."""

from dataclasses import replace
from typing import cast

from vc_model.errors import VcModelError
from vc_model.predictor import Fitted
from vc_model.sites.open import kind_of


def randomised(fitted: Fitted, seed: int = 0) -> Fitted:
    """A copy of a network with freshly drawn weights; contexts, cells and descriptions of actions stay.

    Args:
        fitted: `st` or `biojepa`.
        seed: Of the weights.

    Raises:
        VcModelError: If the model has no weights that could be drawn (`anchored`).
    """
    kind = kind_of(fitted)
    if kind == "st":
        from vc_model.st.fitted import FittedSt
        from vc_model.st.mapper import init_mapper

        mapper = cast("FittedSt", fitted)
        return replace(mapper, params=init_mapper(mapper.config, seed, mapper.contexts.base_cg.mean(axis=0)))
    if kind == "biojepa":
        from vc_model.biojepa.fitted import FittedBioJepa
        from vc_model.biojepa.stages import MODULES, init_part

        model = cast("FittedBioJepa", fitted)
        parts = {name: init_part(name, model.config, seed) for name in MODULES if name in model.parts}
        return replace(model, parts=model.parts | parts | {"teacher": parts["encoder"]})
    raise VcModelError(
        f"{fitted.name}: expected a network, whose weights can be drawn anew, found a model without any."
    )
