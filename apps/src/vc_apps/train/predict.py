"""`vc predict`: any checkpoint, the conditions of a split, one predictions-v1 file."""

from vc_apps.outputs import AppError
from vc_apps.train.settings import Predict


def predict(settings: Predict) -> None:
    """Predict one part of a split and write the file.

    Raises:
        AppError: If the target is no file name of the contract.
        VcModelError: If an input is refused.
    """
    if settings.out.suffix not in (".zarr", ".h5ad"):
        raise AppError(f"--out {settings.out}: expected a name that ends in .zarr or .h5ad.")
    from vc_model.emit.output import predict_checkpoint

    name, n = predict_checkpoint(settings.checkpoint, settings.screen, settings.splits, settings.out, settings.part)
    print(f"wrote {settings.out}: {name} on {n} {settings.part} conditions. Next: score it with vc-eval")
