"""What a question can be refused for."""

from vc_model.errors import VcModelError


class PlanError(VcModelError):
    """A question that cannot be answered from what was given; the text says what was found and what to change."""
