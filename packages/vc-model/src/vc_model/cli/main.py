"""The command line: `vc-model fit | predict | encode | latents | list`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import tyro

from vc_model.cli.latents import latents

EXAMPLES = """examples:
  vc-model list
  vc-model fit screen.zarr splits.json model --features bank.zarr
  vc-model fit screen.zarr splits.json ridge --model feature_ridge
  vc-model predict model screen.zarr splits.json predictions.zarr
  vc-model encode biojepa screen.zarr splits.json lines.zarr
  vc-model fit screen.zarr splits.json model --contexts lines.zarr
  vc-model latents st screen.zarr splits.json latents.zarr --gradient gradient.zarr
"""


def fit(
    screen: tyro.conf.Positional[Path],
    splits: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    features: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=["--bank"])] = (),
    contexts: Path | None = None,
    model: str = "anchored",
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Fit a model on the training conditions of a split and write a checkpoint.

    Args:
        screen: A screen-v1 file (.zarr or .h5ad), or a table of effects (effects-v1).
        splits: The splits-v1 file of that screen.
        out: Folder to write the checkpoint to.
        features: features-v1 banks of the perturbed entities; several are sources of their own. `vc fit` takes them alike.
        contexts: latents-v1 file of an encoder of unperturbed cells, to describe cell lines with instead of their control
            profiles (`anchored`); `predict` then needs one, too.
        model: Any name of `vc-model list`.
        seed: Of folds, initial weights and random baselines.
        overwrite: Replace an earlier checkpoint at `out`.
    """
    from vc_contracts.whole import check_target

    sources = [screen, splits, *features, *([] if contexts is None else [contexts])]
    check_target(out, kind="checkpoint", overwrite=overwrite, inputs=sources, make_parent=True)
    from vc_model.anchored import Anchored
    from vc_model.checkpoint import save_checkpoint
    from vc_model.contracts import hash_path, read_context_vectors
    from vc_model.errors import VcModelError
    from vc_model.models import make_model
    from vc_model.predictor import Fitted
    from vc_model.table.load import load_any

    chosen = make_model(model, seed)
    if contexts is not None and not isinstance(chosen, Anchored):
        raise VcModelError(f"--contexts: expected --model anchored, found {model!r}. Leave it out.")
    train, _, test = load_any(screen, splits, features)
    if isinstance(chosen, Anchored) and contexts is not None:
        fitted: Fitted = chosen.fit(train, read_context_vectors(contexts))
    else:
        fitted = chosen.fit(train)
    save_checkpoint(
        out,
        fitted,
        parents={path.name: hash_path(path) for path in sources},
        config={"model": model, "seed": seed},
    )
    for note, count in train.notes.items():
        if count:
            print(f"note: {note.replace('_', ' ')}: {count}")
    print(
        f"Wrote {out}: {model} fitted on {len(train)} conditions x {len(train.genes)} genes. "
        f"Next: vc-model predict {out} {screen} {splits} predictions.zarr ({len(test)} test conditions)."
    )


def predict(
    checkpoint: tyro.conf.Positional[Path],
    screen: tyro.conf.Positional[Path],
    splits: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    part: str = "test",
    contexts: Path | None = None,
    cells: int = 0,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Predict the held-out conditions of a split and write a predictions-v1 file.

    Args:
        checkpoint: A folder written by `vc-model fit`.
        screen: The screen-v1 file, of which only control cells are read; or effects-v1, then effects are written.
        splits: The splits-v1 file.
        out: File to write, .zarr or .h5ad.
        part: Which conditions: test, val or train.
        contexts: latents-v1 file that describes the cell lines, for a model that was fitted with one.
        cells: Write so many cells with counts of each condition instead of its profile.
        seed: Of the cells.
        overwrite: Replace earlier predictions at `out`.
    """
    from vc_contracts.whole import check_target

    sources = [checkpoint, screen, splits, *([] if contexts is None else [contexts])]
    from vc_model.contracts.effects import is_effects

    kind = "effects" if is_effects(screen) else "predictions"
    check_target(out, kind=kind, overwrite=overwrite, inputs=sources, make_parent=True)
    from vc_model.emit.output import predict_checkpoint

    name, n = predict_checkpoint(checkpoint, screen, splits, out, part, contexts=contexts, cells=cells, seed=seed)
    print(f"Wrote {out}: {name} on {n} {part} conditions. Next: score it with vc-eval.")


def encode(
    checkpoint: tyro.conf.Positional[Path],
    screen: tyro.conf.Positional[Path],
    splits: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    overwrite: bool = False,
) -> None:
    """Describe the cell lines of a screen by a BioJEPA's encoder and write a latents-v1 file for --contexts.

    Args:
        checkpoint: A BioJEPA checkpoint; pretraining is enough.
        screen: The screen-v1 file; only its `input` control cells are read.
        splits: The splits-v1 file.
        out: File to write, .zarr or .h5ad.
        overwrite: Replace earlier latents at `out`.
    """
    from vc_contracts.whole import check_target

    check_target(out, kind="latents", overwrite=overwrite, inputs=[checkpoint, screen, splits], make_parent=True)
    from vc_model.emit.output import encode_checkpoint

    name, n = encode_checkpoint(checkpoint, screen, splits, out)
    print(f"Wrote {out}: {name} on {n} cell lines. Next: vc-model fit {screen} {splits} model --contexts {out}.")


def list_models(json: bool = False) -> None:
    """List every model with its definition.

    Args:
        json: Print JSON.
    """
    from vc_contracts.command import print_json

    from vc_model.models import MODELS, describe

    if json:
        print_json([{"model": name, "definition": describe(name)} for name in MODELS])
        return
    for name in MODELS:
        print(f"{name:36s} {describe(name)}")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits 2 on a refusal, 130 on Ctrl-C.

    Args:
        arguments: What was typed after `vc-model`; by default the process's own.
    """
    from vc_contracts.bucket.stage import staged
    from vc_contracts.command import run_command, switches

    # The decompositions here are small: threads of OpenBLAS wait for each other longer than they work. numpy is not
    # loaded before this line.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    arguments = switches(arguments, ("vc-model", "vc-contracts"))
    commands = {"fit": fit, "predict": predict, "encode": encode, "latents": latents, "list": list_models}
    commands = {name: staged(function, in_place=("screen",)) for name, function in commands.items()}

    def command() -> None:
        tyro.extras.subcommand_cli_from_dict(
            commands,
            prog="vc-model",
            description=f"Fit perturbation effect models and predict held-out conditions.\n\n{EXAMPLES}",
            args=arguments,
        )

    code = run_command("error", command)
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
