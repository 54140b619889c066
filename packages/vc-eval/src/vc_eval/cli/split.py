"""`vc-eval split`: mean profiles of every model on the held-out conditions of a split."""

import shlex
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from vc_contracts.command import print_json

from vc_eval.cli import options
from vc_eval.cli.predictions import Predictions, load_plugin, name_files
from vc_eval.cli.text import headline, plain, records
from vc_eval.errors import VcEvalError
from vc_eval.roles import MEAN_BASELINE, NO_CHANGE

if TYPE_CHECKING:
    import pandas as pd

    from vc_eval.stats.conditions import SplitScores

PAIRED = ("pearson_delta", "mse_delta", "centroid_accuracy", "overlap_up100", "vcc2025/overall")


def split(command: options.Split) -> None:
    """`vc-eval split`: read, score, write, say what was written."""
    from vc_eval.contracts import check_target, is_effects, read_predictions

    sources = [command.screen, command.splits, *command.pred]
    check_target(command.out, kind="scores", overwrite=command.overwrite, inputs=sources, make_parent=True)
    from vc_eval.split.score import score_split
    from vc_eval.stats.summary import summarise

    for plugin in command.plugin:
        load_plugin(plugin)
    if is_effects(command.screen):
        _split_effects(command)
        return
    loaded = {path: read_predictions(path) for path in command.pred}
    files = name_files(command.pred)
    model, baselines = _roles(command, files)
    scores = score_split(
        command.screen, command.splits, {name: loaded[path] for name, path in files.paths.items()}, seed=command.seed,
        n_ceiling=command.n_ceiling, n_ceiling_des=command.n_ceiling_des, n_threads=command.threads,
        progress=not command.quiet,
    )  # fmt: skip
    table = summarise([scores], baselines=baselines, seed=command.seed, n_boot=command.n_boot)
    _write(command, files, scores, table, model=model, baselines=baselines)


def _split_effects(command: options.Split) -> None:
    """The same for a table of effects."""
    from vc_eval.roles import MEAN_EFFECT, NO_CHANGE
    from vc_eval.split.score_tables import score_effects
    from vc_eval.stats.summary import summarise

    files = name_files(command.pred)
    model, baselines = _roles(command, files, (NO_CHANGE, MEAN_EFFECT))
    scores = score_effects(
        command.screen, command.splits, files.paths, seed=command.seed, n_ceiling=command.n_ceiling
    )  # fmt: skip
    table = summarise([scores], baselines=baselines, seed=command.seed, n_boot=command.n_boot)
    _write(command, files, scores, table, model=model, baselines=baselines)


def _roles(
    command: options.Split, files: Predictions, own: tuple[str, str] = (NO_CHANGE, MEAN_BASELINE)
) -> tuple[str, list[str]]:
    """The model in focus and the baselines, our own two among them."""
    baselines = files.baselines(command.baselines, command.model)
    asked = [*baselines, *([command.model] if command.model else [])]
    unknown = [name for name in asked if name not in {*files.paths, *own}]
    if unknown:
        raise VcEvalError(
            f"--model/--baselines: {unknown!r} not among the predictions {sorted(files.paths)!r}. Add their files."
        )
    baselines += [name for name in own if name not in baselines]
    return files.focus(command.model, baselines), baselines


def _write(
    command: options.Split, files: Predictions, scores: "SplitScores", table: "pd.DataFrame", *, model: str,
    baselines: list[str],
) -> None:  # fmt: skip
    """Write scores and the page, and print the table."""
    from vc_eval.contracts import fill_scores, write_whole
    from vc_eval.hashing import sha256_tree
    from vc_eval.report.page import write_report
    from vc_eval.stats.summary import paired_differences, undefined_counts
    from vc_eval.stats.trust import dynamic_ranges

    ranges = dynamic_ranges([scores])
    own = table[(table["group"] == "all") & (table["model"] == model)]
    given = set(scores.conditions["metric"])
    paired = paired_differences(
        [scores], models=[model], baselines=[b for b in baselines if b != model],
        metrics=[name for name in PAIRED if name.replace("/overall", "/des") in given],
        seed=command.seed, n_boot=command.n_boot,
    )  # fmt: skip
    notes = [*files.notes(command.baselines), *scores.notes["said"]]
    summary = {
        "model": model,
        "scores": records(own.drop(columns=["model", "dataset", "split", "group"])),
        "paired": records(paired.drop(columns=["model", "dataset", "split"])),
        "undefined": undefined_counts([scores]),
        "dynamic_range": records(ranges),
        "notes": scores.notes | {"said": notes},
    }
    sources = [command.screen, command.splits, *files.paths.values()]
    hashes = {path.name: sha256_tree(path) for path in sources}
    config = {
        "model": model, "baselines": baselines, "seed": command.seed, "n_boot": command.n_boot,
        "n_ceiling": command.n_ceiling, "n_ceiling_des": command.n_ceiling_des,
        "truth": [command.screen.name, command.splits.name],
    }  # fmt: skip
    meta: dict[str, Any] = config | {
        "command": _command(command, files, model, baselines),
        "hashes": hashes,
        "versions": {name: version(name) for name in ("scipy", "numba", "anndata")},
    }
    with write_whole(
        command.out, kind="scores", overwrite=command.overwrite, inputs=sources, make_parent=True
    ) as folder:
        folder.mkdir()
        fill_scores(folder, table, parents=hashes, config=config, summary=plain(summary))
        write_report(folder / "report.html", summary=table, splits_scores=[scores], meta=meta)
    if command.json:
        print_json(summary)
        return
    for note in notes:
        print(note)
    print(headline(own, model, ranges))
    print(
        f"wrote scores.parquet, scores.json and report.html to {command.out}; open {command.out / 'report.html'} in a browser."
    )


def _command(command: options.Split, files: Predictions, model: str, baselines: list[str]) -> str:
    """The command as it would be typed beside the files."""
    words = ["vc-eval", "split", "--screen", command.screen.name, "--splits", command.splits.name, "--pred"]
    words += [path.name for path in files.paths.values()]
    words += ["--out", command.out.name, "--model", model, "--baselines", *baselines]
    return shlex.join([*words, "--seed", str(command.seed), "--n-boot", str(command.n_boot)])
