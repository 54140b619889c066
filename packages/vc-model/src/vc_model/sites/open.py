"""Which sites each model has."""

from typing import TYPE_CHECKING, cast

import numpy as np

from vc_model.errors import VcModelError
from vc_model.predictor import Fitted
from vc_model.sites.site import Site
from vc_model.table.effects import Action, Conditions

if TYPE_CHECKING:
    from vc_model.anchored.model import FittedAnchored
    from vc_model.biojepa.fitted import FittedBioJepa
    from vc_model.st.fitted import FittedSt

SITES: dict[str, tuple[str, ...]] = {
    "st": ("backbone/state",),
    "biojepa": ("predictor/cell", "encoder/cell", "encoder/gene"),
    "anchored": ("effect/components", "gp/kernel"),
}
"""Kind of model -> its sites, the default first."""


def kind_of(fitted: Fitted) -> str:
    """Key of `SITES` for a fitted model.

    Raises:
        VcModelError: If it has no sites.
    """
    name = type(fitted).__name__
    kinds = {"FittedSt": "st", "FittedBioJepa": "biojepa", "FittedAnchored": "anchored"}
    if name not in kinds:
        known = "; ".join(f"{kind} {', '.join(sites)}" for kind, sites in SITES.items())
        raise VcModelError(
            f"expected a model with sites that activations are read at ({known}), found {getattr(fitted, 'name', name)!r}, which "
            "has none."
        )
    return kinds[name]


def default_site(fitted: Fitted) -> str:
    """The site that is read where none is named."""
    return SITES[kind_of(fitted)][0]


def open_site(fitted: Fitted, conditions: Conditions, site: str | None = None) -> Site:
    """A site of a fitted model over some conditions.

    Args:
        fitted: `st`, `biojepa` or `anchored`.
        conditions: What is done; give `with_controls` of them where rows of unperturbed cells are wanted.
        site: One of `SITES`; the first of the model by default.

    Raises:
        VcModelError: If the model has no such site, or a stage that it needs was not trained.
    """
    kind = kind_of(fitted)
    site = site or SITES[kind][0]
    if site not in SITES[kind]:
        raise VcModelError(f"site: expected one of {list(SITES[kind])} of {fitted.name}, found {site!r}.")
    if kind == "st":
        from vc_model.sites.st import StateSite

        return StateSite(cast("FittedSt", fitted), conditions)
    if kind == "biojepa":
        from vc_model.sites.biojepa import LatentSite

        model = cast("FittedBioJepa", fitted)
        missing = [part for part in ("teacher", "predictor", "decoder") if part not in model.parts]
        if missing:
            raise VcModelError(f"{fitted.name}: expected all four stages, found no {missing}. Train the others first.")
        return LatentSite(model, conditions, site)
    from vc_model.sites.anchored import ConditionSite

    return ConditionSite(cast("FittedAnchored", fitted), conditions, site)


def with_controls(conditions: Conditions) -> Conditions:
    """The conditions, before them one of every line in which nothing is done."""
    lines = list(dict.fromkeys(str(line) for line in conditions.cell_line))
    return Conditions(
        np.array([*lines, *conditions.cell_line], dtype=object),
        (*(Action(()) for _ in lines), *conditions.actions),
        conditions.contexts,
        (*("control" for _ in lines), *conditions.perturbation),
    )
