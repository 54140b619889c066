"""Command line of vc-eval: `options` says what each command takes, a module of this folder does its work."""

import importlib
import sys
from typing import Annotated

_EXAMPLES = """
examples:
  vc-eval cells --real real.h5ad --pred model.h5ad --rule vcc2025 --baseline base.h5ad --out scores
  vc-eval cells --real real.h5ad --pred model.h5ad --profile full --out scores
  vc-eval split --screen screen.zarr --splits split.json --pred anchored.zarr mean_effect.zarr no_change.zarr --out scores
  vc-eval baseline --real train.h5ad --out base.h5ad
  vc-eval score --user scores/agg_results.csv --base base_scores/agg_results.csv --out score.csv
  vc-eval compare scores_a scores_b
  vc-eval prep --rule vcc2025 --pred model.h5ad --genes gene_names.csv --out model.vcc
  vc-eval prep --pred counts.h5ad --genes gene_names.csv --perturbations pert_counts.csv --out model.vcc
  vc-eval report scores --out report.html
  vc-eval plot volcano predictions.zarr --condition TP53 -o tp53.svg
  vc-eval list --family vcc2025
"""
_COMMANDS = {
    "cells": ("Cells", "vc_eval.cli.cells:cells"),
    "split": ("Split", "vc_eval.cli.split:split"),
    "baseline": ("Baseline", "vc_eval.cli.challenge:baseline"),
    "score": ("Score", "vc_eval.cli.challenge:score"),
    "compare": ("Compare", "vc_eval.cli.tables:compare"),
    "report": ("Report", "vc_eval.cli.tables:report"),
    "prep": ("Prep", "vc_eval.cli.challenge:prep"),
    "plot": ("Plot", "vc_eval.cli.plot:plot"),
    "list": ("List", "vc_eval.cli.tables:list_metrics"),
}
"""Name -> (its options in `options`, the function that does the work)."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `vc-eval`: exit code 0 when whole, 2 on refusal, 130 on Ctrl-C."""
    import tyro
    from vc_contracts.bucket.stage import run_staged
    from vc_contracts.command import run_command, switches

    from vc_eval.cli import options

    given = switches(arguments, ("vc-eval", "vc-contracts"))
    if given[:1] == ["run"]:
        _refuse_run(given[1:])
    union = None
    for name, (kind, _) in _COMMANDS.items():
        # pyrefly: ignore[invalid-annotation] a type that tyro reads when the program runs
        option = Annotated[_with_positionals(getattr(options, kind)), tyro.conf.subcommand(name)]
        union = option if union is None else union | option
    command = tyro.cli(
        union,
        args=given,
        prog="vc-eval",
        description="Scores for perturbation predictions, with baselines, ceilings and intervals." + _EXAMPLES,
    )
    work = next(work for kind, work in _COMMANDS.values() if kind == type(command).__name__)
    module, _, function = work.partition(":")
    code = run_command("error", lambda: run_staged(getattr(importlib.import_module(module), function), command))
    if code:
        sys.exit(code)


def _refuse_run(given: list[str]) -> None:
    """The old spelling: say the new one, with the user's own words in it."""
    on_split = any(word.split("=")[0] in ("--screen", "--splits") for word in given)
    name = "split" if on_split else "cells"
    print(
        f"error: `vc-eval run` is now two commands, `cells` (--real) and `split` (--screen, --splits). Type: vc-eval {name} "
        + " ".join(given),
        file=sys.stderr,
    )
    sys.exit(2)


def _with_positionals(kind: type) -> type:
    """Turn the marker "positional" of a field into tyro's, which is too heavy to import at the top."""
    import tyro

    for name, annotation in kind.__annotations__.items():
        if "positional" in getattr(annotation, "__metadata__", ()):
            kind.__annotations__[name] = tyro.conf.Positional[annotation.__origin__]
        elif "-o" in getattr(annotation, "__metadata__", ()):
            kind.__annotations__[name] = Annotated[annotation.__origin__, tyro.conf.arg(aliases=["-o"])]
    return kind


if __name__ == "__main__":
    main()
