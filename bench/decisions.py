"""Time every verb of `vc discover` on a library of 20,000 genes.

    uv run python bench/decisions.py                  # 20,000 genes; the table of bench/README.md
    uv run python bench/decisions.py --genes 2000     # a quick look

Verbs on tables get effects of 2,000 perturbations on 1,000 genes, 500 measured scores, or 20,000 measured pairs of 200 genes;
verbs that ask a model get one that is as quick as a table (a linear map of features), so that the time is the verb's own.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import tyro


@dataclass(frozen=True)
class Settings:
    """How large."""

    genes: int = 20_000
    """Genes of the library."""
    verbs: tuple[str, ...] = ()
    """Only questions whose name begins with one of these."""


def main(settings: Settings) -> None:
    """Time the verbs and print a table."""
    print("| verb | seconds |\n|---|---|")
    for verb, ask in questions(settings.genes).items():
        if settings.verbs and not verb.startswith(settings.verbs):
            continue
        start = time.perf_counter()
        ask()
        print(f"| {verb} | {time.perf_counter() - start:.1f} |", flush=True)


def questions(n: int) -> dict[str, Callable[[], object]]:
    """Verb -> a call that answers it."""
    from vc_model.plan.bank import make_bank
    from vc_model.plan.biomarker import biomarker
    from vc_model.plan.combo import combo
    from vc_model.plan.escape import escape
    from vc_model.plan.extend import extend
    from vc_model.plan.lethal import lethal
    from vc_model.plan.library import make_library
    from vc_model.plan.mechanism import mechanism
    from vc_model.plan.moa import moa
    from vc_model.plan.network import network
    from vc_model.plan.propose import propose
    from vc_model.plan.query import Scores
    from vc_model.plan.rounds import Plan
    from vc_model.plan.safety import safety
    from vc_model.plan.steer import steer
    from vc_model.plan.target import target
    from vc_model.table.effects import Action

    rng = np.random.default_rng(0)
    names, genes = [f"G{at}" for at in range(n)], [f"G{at}" for at in range(1000)]
    code = rng.standard_normal((n, 300))
    library = make_library(names, {"one": (names, code[:, :150]), "two": (names, code[:, 150:])})
    n_bank = min(2000, n // 2)
    effect = code[:n_bank, :30] @ rng.standard_normal((30, 1000))
    bank = make_bank(names[:n_bank], genes, effect)
    wide = extend(bank, library)
    profile = effect[7] + rng.standard_normal(1000)
    scores = Scores(tuple(names[: min(500, n // 4)]), code[: min(500, n // 4), 0])
    a, b = np.triu_indices(min(200, n), 1)
    pairs = pd.DataFrame(
        {"gene_a": np.array(names)[a], "gene_b": np.array(names)[b], "score": 2 * rng.standard_normal(len(a))}
    ).sample(frac=0.75, random_state=0)
    model, singles = quick_model(names), [Action((name,), 0) for name in names]
    goal = rng.standard_normal(200)
    return {
        "next, 96 of the library": lambda: propose(library, scores, Plan(batch=96)),
        "target, unmeasured ones from features": lambda: target(tuple(genes), profile, extend(bank, library)),
        "target, effects at hand": lambda: target(tuple(genes), profile, wide),
        "moa, effects at hand": lambda: moa(tuple(genes), profile, wide),
        "lethal, 200 genes measured in pairs": lambda: lethal(pairs, below=-3.0),
        "lethal, the library with features": lambda: lethal(pairs, library, below=-3.0),
        "combo, 780 pairs": lambda: combo(model, "line A", singles[:40], goal_g=goal),
        "combo with a fixed partner": lambda: combo(model, "line A", singles[1:], fixed=singles[0], goal_g=goal),
        "safety": lambda: safety(model, singles, {"panel": [f"G{at}" for at in range(50)]}),
        "escape": lambda: escape(model, "line A", singles[0], singles),
        "steer, two steps": lambda: steer(model, "line A", goal, singles, steps=2),
        "biomarker, 500 lines": lambda: biomarker(
            tuple(f"L{at}" for at in range(500)), rng.standard_normal(500), tuple(names), rng.standard_normal((500, n))
        ),
        "network": lambda: network(bank),
        "mechanism": lambda: mechanism("G5", [bank, replace(bank, source="again")]),
    }


def quick_model(names: list[str]):
    """A fitted model whose predictions cost one product of matrices."""
    from vc_model.models import fit_models
    from vc_model.testing import make_world

    world = make_world(n_train=60, n_test=5, n_genes=200, lines=("line A",))
    fitted = fit_models(world.train, ["mean_effect"])["mean_effect"]
    rng = np.random.default_rng(1)
    code_of = dict(zip(names, rng.standard_normal((len(names), 8)).astype(np.float32), strict=True))
    map_fg = 0.2 * rng.standard_normal((8, 200)).astype(np.float32)

    class Quick:
        """Adds single effects and a little interaction."""

        contexts = fitted.contexts

        def predict(self, conditions):
            said = fitted.predict(conditions)
            code = np.stack([sum(code_of[t] for t in action.targets) for action in conditions.actions])
            delta = code @ map_fg + 0.01 * np.square(code) @ map_fg
            return replace(said, delta_pg=delta.astype(np.float32), supported_p=np.ones(len(code), bool))

    return Quick()


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
