"""Perturbation effect models: every baseline, and the anchored model that has to beat them.

Reads screen-v1, splits-v1 and features-v1, writes predictions-v1 and checkpoint-v1 (docs/contracts). The front doors:

    vc_model.table.pseudobulk.load_tables      screen and split -> training table and conditions
    vc_model.models.fit_models           table -> fitted models by name
    vc_model.emit.output.make_prediction_file fitted model and conditions -> predictions-v1
    vc_model.checkpoint                  save and load any fitted model
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("vc-model")
except PackageNotFoundError:  # run from its source folder, not installed
    __version__ = "0"
