"""BioJEPA as published and as repaired, beside `anchored` and every baseline: the same splits, files and metrics.

    uv run python experiments/biojepa/quality.py models simulated:small scores/            # an hour on 2 cores
    uv run python experiments/biojepa/quality.py models ../shared/data/single_cell/norman2019_k562_crispra_500g.h5ad scores/
    uv run python experiments/biojepa/quality.py contexts scores/                          # the encoder as a description of lines
    uv run python experiments/biojepa/quality.py page scores/ docs/log/biojepa.md
    uv run python experiments/biojepa/quality.py ladder simulated:small scores/            # pairs, conditions, a base
    uv run python experiments/biojepa/quality.py ladder-page scores/ docs/results/biojepa.md

`models`: each split holds out other perturbations and is one seed of everything. Every model writes a predictions-v1 file
and vc-eval scores the files. `contexts`: every line of a simulated screen is held out in turn; `anchored` describes lines by
their control profiles, by an encoder that was pretrained without the held-out line's perturbed cells, by the same encoder
before training, or by the trained one with its vectors dealt out among the wrong lines. `ladder`: what the action stage
learns from, one change at a time, from one pretrained encoder; it goes on where it was stopped. Intervals resample
perturbations.
"""

import os
from typing import Annotated

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small decompositions wait for threads longer than they work

import tyro
from contexts import Contexts, run_contexts
from ladder import Ladder, run_ladder
from ladder_page import LadderPage, ladder_page
from models import Models, run_models
from page import Page, page

if __name__ == "__main__":
    commands = {
        "models": (Models, run_models),
        "contexts": (Contexts, run_contexts),
        "page": (Page, page),
        "ladder": (Ladder, run_ladder),
        "ladder-page": (LadderPage, ladder_page),
    }
    command = tyro.extras.subcommand_cli_from_dict(
        {name: Annotated[kind, tyro.conf.arg(name="")] for name, (kind, _) in commands.items()}, description=__doc__
    )
    next(run for kind, run in commands.values() if type(command) is kind)(command)
