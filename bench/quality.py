"""Does our model lose to anything? Every baseline, the ablation ladder, a null run and the ceiling, on many splits.

    uv run python bench/quality.py ../shared/data/single_cell/norman2019_k562_crispra_500g.h5ad docs/log
    uv run python bench/quality.py ../shared/data/single_cell/kang2018_pbmc_ifnb.h5ad docs/log --recipe by_cell_line
    uv run python bench/quality.py ../shared/data/single_cell/srivatsan2020_a549_dexamethasone.h5ad docs/log --recipe by_dose
    uv run python bench/quality.py simulated:small:hard docs/log --world-seed 1
    uv run python bench/quality.py ../shared/data/bulk_and_de/macpie_drugseq_mcf10a_1000g.h5ad docs/log --recipe by_scaffold

Files of profiles that are no counts (L1000) are read by `quality_profiles.py`, which knows their spaces. Each split holds out perturbations (or one cell line, or one dose, after the other); all models see the same training conditions. The
model runs with several seeds, whose scores are averaged condition by condition. Differences are paired by condition and
resampled by perturbation. Nothing is chosen by its value: every baseline and every metric below is on the page.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small decompositions wait for threads longer than they work

import anndata
import numpy as np
import pandas as pd
import quality_profiles as profiles
from quality_gates import Names, as_table, best_on_validation, judge, summary
from tqdm import tqdm
from vc_data import split as splitting
from vc_data.convert.run import convert
from vc_data.options import Columns, ConvertOptions
from vc_data.screen.file import read_screen as read_source
from vc_data.simulate import PRESETS, SimulatorConfig, write_simulation
from vc_eval.contracts import read_screen, read_splits
from vc_eval.metrics import calibration, expression, get_metric
from vc_eval.split import ceiling
from vc_eval.split.evaluate import profile_scores
from vc_eval.split.prediction import Predicted
from vc_eval.split.truth import make_truth, measured_genes, test_lines
from vc_eval.stats.bootstrap import cluster_means, cluster_weights, interval
from vc_featurize.bank import write_features
from vc_featurize.compound import compound_features
from vc_featurize.geneset import geneset_features
from vc_model.anchored import Anchored, AnchoredConfig
from vc_model.anchored.gp import GPConfig
from vc_model.baselines import BASELINES, effect_factories
from vc_model.models import fit_models
from vc_model.table.effects import Action, Conditions
from vc_model.table.pseudobulk import load_tables

METRICS = {
    "pearson_delta": ("Pearson delta", 1),
    "mse_delta": ("MSE delta x 1000", 1000),
    "r2_top50_delta": ("R2 top 50", 1),
    "centroid_accuracy": ("centroid acc.", 1),
    "vcc2025/pds": ("PDS", 1),
    "vcc2025/mae": ("MAE x 1000", 1000),
}
MODEL = "anchored"
BARE = AnchoredConfig(gp=None, residual=None, direct=False, members=0, measured=(), fallback=False)
BOTH = AnchoredConfig(gp=None, residual=None, direct=False, members=0, fallback=False)
RULE = replace(BOTH, fallback=True)
LADDER = {
    "stack of raw effects": replace(BARE, denoise=False),
    "+ denoised effects": BARE,
    "+ effects as measured": BOTH,
    "+ fall back to one anchor": RULE,
    "+ Gaussian process": replace(RULE, gp=GPConfig(pairs=False, context=False)),
    "+ its pairs": replace(RULE, gp=GPConfig(context=False)),
    "+ its similar lines": replace(RULE, gp=GPConfig()),
    "+ features": replace(RULE, gp=GPConfig()),
    "+ perturbed gene": replace(RULE, gp=GPConfig(), direct=True),
    f"+ residual, ensemble = {MODEL}": AnchoredConfig(),
}
FINAL = f"+ residual, ensemble = {MODEL}"
WITHOUT_BANK = tuple(LADDER)[: tuple(LADDER).index("+ features")]
MEAN = "denoised mean"
MEAN_CONFIG = replace(BARE, anchors=("mean_effect",))
NULL = "null: shuffled labels"
NAMELESS = "nameless conditions"  # the estimator of the null run where nothing tells conditions apart
ORACLE = "true effect"
SPLIT_HALF = "split_half"
KEYS = ["split", "cell_line", "perturbation"]
N_BOOT = 2000


def prepare(source: str, folder: Path, args: argparse.Namespace) -> tuple[Path, Path | None, list[Path]]:
    """Convert the screen, make features where there are gene sets, and write the splits."""
    genesets = args.genesets
    if source.startswith("simulated:"):
        write_simulation(simulator_config(source), args.world_seed, folder / "simulated")
        fpath, genesets = folder / "simulated" / "screen.h5ad", genesets or folder / "simulated" / "pathways.gmt"
    else:
        fpath = Path(source)
    options = ConvertOptions(columns=Columns(cell_line=args.cell_line), dataset=name_of(source), seed=0)
    screen_fpath = convert(fpath, folder / "screen.zarr", options).path
    screen = read_source(screen_fpath)
    features_fpath, structures = None, {}
    if args.recipe == "by_scaffold":
        structures = profiles.read_smiles(anndata.read_h5ad(fpath, backed="r").obs)
        bank = compound_features(list(structures), list(structures.values()))
        features_fpath = write_features(folder / "features.zarr", bank, config={})
    elif genesets is not None:
        labels = screen.obs["target"].astype(str).unique()
        targets = sorted({target for label in labels for target in label.split("+")} - {"control"})
        features_fpath = write_features(folder / "features.zarr", geneset_features(genesets, targets), config={})
    perturbed = screen.obs[~screen.obs["is_control"]]
    # Where these are held out, each is held out once.
    lines, doses = sorted(set(perturbed["cell_line"].astype(str))), sorted(set(perturbed["dose"].dropna()))
    fpaths = []
    for seed in range({"by_cell_line": len(lines), "by_dose": len(doses)}.get(args.recipe, args.splits)):
        if args.recipe == "by_cell_line":
            made = splitting.by_cell_line(screen, test_lines=[lines[seed]], seed=seed)
        elif args.recipe == "by_dose":
            made = splitting.by_dose(screen, seed=seed, doses=[doses[seed]], min_cells=args.min_cells)
        elif args.recipe == "by_scaffold":
            made = splitting.by_scaffold(screen, structures, seed=seed, test=args.test, min_cells=args.min_cells)
        else:
            made = splitting.by_perturbation(screen, seed=seed, test=args.test, min_cells=args.min_cells)
        fpaths.append(folder / f"split-{seed}.json")
        splitting.write_splits(made, fpaths[-1], parents={})
    return screen_fpath, features_fpath, fpaths


def simulator_config(source: str) -> SimulatorConfig:
    """The screen that `simulated:PRESET` or `simulated:PRESET:DIFFICULTY` names."""
    _, preset, *difficulty = source.split(":")
    config = PRESETS[preset]
    return replace(config, difficulty=difficulty[0]) if difficulty else config


def name_of(source: str) -> str:
    """Name of the data in titles and file names."""
    return source.replace(":", "-") if source.startswith("simulated:") else Path(source).stem


def shuffle_labels(train, seed: int):
    """The same effects under each other's names, within cell line and number of targets."""
    rng = np.random.default_rng(seed)
    actions = np.array(train.conditions.actions, dtype=object)
    kind = np.char.add(train.conditions.cell_line.astype(str), train.conditions.sizes.astype(str))
    for value in np.unique(kind):
        rows = np.flatnonzero(kind == value)
        actions[rows] = actions[rng.permutation(rows)]
    conditions = Conditions(train.conditions.cell_line, tuple(actions), train.contexts)
    return replace(train, conditions=conditions)


class Nameless:
    """A fitted model that is asked about conditions of unknown names: it can use their line and number of targets."""

    def __init__(self, fitted) -> None:
        self.fitted = fitted

    def predict(self, conditions: Conditions):
        """Predict, whatever the conditions are called."""
        return self.fitted.predict(forget_names(conditions, "asked"))


def forget_names(conditions: Conditions, prefix: str) -> Conditions:
    """The same conditions, every target under a name of its own that nothing else has."""
    actions = tuple(
        Action(tuple(f"{prefix} {row}.{at}" for at in range(len(action.targets))), action.mode, action.dose)
        for row, action in enumerate(conditions.actions)
    )
    return Conditions(conditions.cell_line, actions, conditions.contexts, conditions.perturbation)


def fit_all(train, seeds: int, short: bool):
    """Yield (name, seed, fitted, seconds) of baselines, ladder and null run."""
    start = time.process_time()
    fitted = fit_models(train, list(BASELINES))
    for name, model in fitted.items():
        yield name, 0, model, (time.process_time() - start) / len(fitted)
    for name, config in LADDER.items():
        if short and name not in (next(iter(LADDER)), FINAL):
            continue
        table = replace(train, bank=None) if name in WITHOUT_BANK else train
        # Only the model itself is run with every seed.
        for seed in range(seeds if name == FINAL else 1):
            start = time.process_time()
            model = Anchored(replace(config, seed=seed)).fit(table)
            yield name, seed, model, time.process_time() - start
    yield MEAN, 0, Anchored(MEAN_CONFIG).fit(train), 0.0
    config = LADDER["+ perturbed gene"]
    for seed in range(seeds):
        yield NULL, seed, Anchored(config).fit(shuffle_labels(train, seed)), 0.0
    nameless = replace(train, conditions=forget_names(train.conditions, "trained"), bank=None)
    yield NAMELESS, 0, Nameless(Anchored(config).fit(nameless)), 0.0


def scores_of(predicted: Predicted, truth, size_p: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric per condition, and the correlation with what was predicted for others of the same number of targets."""
    values = {name: value for name, value in profile_scores(predicted, truth).items() if name in METRICS}
    keep_pg = ~truth.excluded_pg
    sum_p, n_p = np.zeros(len(size_p)), np.zeros(len(size_p))
    for shift in range(1, len(size_p)):
        other_p = np.roll(np.arange(len(size_p)), shift)
        r_p = expression.pearson(predicted.delta_pg[other_p], truth.effects.delta_pg, keep_pg)
        use_p = (size_p == size_p[other_p]) & np.isfinite(r_p)
        sum_p += np.where(use_p, r_p, 0)
        n_p += use_p
    values["pearson_other"] = np.divide(sum_p, n_p, out=np.full(len(n_p), np.nan), where=n_p > 0)
    return values


def score(prediction, conditions: Conditions, genes: tuple[str, ...], truths) -> pd.DataFrame:
    """Every metric of one prediction, one row per condition."""
    frames = []
    row_of = {key: row for row, key in enumerate(zip(conditions.cell_line, conditions.perturbation, strict=True))}
    column_of = {gene: column for column, gene in enumerate(genes)}
    for truth in truths:
        rows = np.array([row_of[truth.cell_line, name] for name in truth.perturbations])
        at = np.ix_(rows, np.array([column_of[gene] for gene in truth.genes]))
        mean_pg, base_pg = (part[at].astype(np.float64) for part in (prediction.mean_pg, prediction.base_pg))
        predicted = Predicted(profile_pg=mean_pg, control_g=base_pg[0], delta_pg=mean_pg - base_pg, sd_pg=None)
        values = scores_of(predicted, truth, conditions.sizes[rows])
        sd_pg, keep_pg = np.sqrt(prediction.var_pg[at]), ~truth.excluded_pg
        widths = [prediction.conformal.width(prediction.table_p[rows], level) for level in calibration.LEVELS]
        inside = calibration.coverage(
            predicted.delta_pg, sd_pg, truth.effects.delta_pg, truth.noise_var_pg, keep_pg, np.stack(widths, axis=1)
        )
        values |= {f"coverage_{level}": inside[:, level] for level in range(inside.shape[1])}
        planned_pg = planned_noise(prediction, at, truth)
        # A gene that no cell and no control shows says nothing about either kind of interval.
        shown_pg = keep_pg & ~((truth.noise_var_pg == 0) & (truth.effects.delta_pg == 0))
        inside = calibration.coverage(
            predicted.delta_pg, sd_pg, truth.effects.delta_pg, planned_pg, shown_pg, np.stack(widths, axis=1)
        )
        values |= {f"planned_coverage_{level}": inside[:, level] for level in range(inside.shape[1])}
        values["predicted_error"] = calibration.predicted_error(sd_pg, keep_pg)
        values["noise"] = calibration.predicted_error(np.sqrt(truth.noise_var_pg), keep_pg) ** 2
        values["planned_noise"] = calibration.predicted_error(np.sqrt(planned_pg), keep_pg) ** 2
        frames.append(pd.DataFrame({"cell_line": truth.cell_line, "perturbation": truth.perturbations, **values}))
    return pd.concat(frames)


def planned_noise(prediction, at: tuple[np.ndarray, np.ndarray], truth) -> np.ndarray:
    """[p, g] variance that measuring adds, from the numbers of cells and the variance over the line's controls alone.

    What a user can give to `Prediction.interval` before the experiment; the scorer's own noise is of the held-out cells.
    """
    if not hasattr(truth, "cells"):
        return truth.noise_var_pg  # of wells, known in the same way
    n_cells = np.ones(len(prediction.line_p))
    n_cells[at[0].ravel()] = truth.sizes
    return prediction.noise(n_cells, truth.evaluation.shape[0])[at].astype(np.float64)


def score_references(truths, effects: anndata.AnnData | None) -> list[pd.DataFrame]:
    """What half the cells say of the others, and what the simulator's true effects would score."""
    frames = []
    for truth in truths:
        key = {"cell_line": truth.cell_line, "perturbation": truth.perturbations}
        if hasattr(truth, "cells"):
            halves = ceiling.split_half(truth, {}, seed=0, n_repeats=5, n_des=0)
            values = {name: value for name, value in halves.items() if name in METRICS}
            frames.append(pd.DataFrame({**key, **values, "model": SPLIT_HALF}))
        if effects is not None:
            labels = [f"{truth.cell_line}|{name}" for name in truth.perturbations]
            delta_pg = np.asarray(effects[labels, list(truth.genes)].X, np.float64)
            control_g = truth.effects.control_g
            predicted = Predicted(profile_pg=control_g + delta_pg, control_g=control_g, delta_pg=delta_pg, sd_pg=None)
            values = scores_of(predicted, truth, np.ones(len(labels), int))
            frames.append(pd.DataFrame({**key, **values, "model": ORACLE}))
    return frames


def tables_of(source: str, args: argparse.Namespace, folder: Path):
    """Yield the training table, the held-out conditions and their truths of every split."""
    if profiles.is_known(source):
        yield from profiles.tables(Path(source), args.splits, args.test)
        return
    screen_fpath, features_fpath, fpaths = prepare(source, folder, args)
    screen = read_screen(screen_fpath)
    genes = measured_genes(screen)
    for fpath in fpaths:
        train, _, test = load_tables(screen_fpath, fpath, features_fpath)
        splits = read_splits(fpath, screen)
        yield train, test, [make_truth(screen, splits, line, genes) for line in test_lines(splits)]


def run(source: str, args: argparse.Namespace) -> tuple[pd.DataFrame, dict]:
    """Scores of every model on every split, and facts about the run."""
    scores, seconds, sizes, validation, started = [], [], [], [], time.time()
    commit = _git("rev-parse", "--short", "HEAD")
    commit += " with local changes" if _git("diff", "HEAD", "--stat", "--", "bench", "packages") else ""
    with tempfile.TemporaryDirectory() as name:
        effects = None
        for at, (train, test, truths) in enumerate(tqdm(tables_of(source, args, Path(name)), desc=name_of(source))):
            if source.startswith("simulated:"):
                effects = anndata.read_h5ad(Path(name) / "simulated" / "truth.h5ad")
            sizes.append((len(train), len(test)))
            validation.append(best_on_validation(train, test, effect_factories(list(BASELINES))))
            for model, seed, fitted, cpu in fit_all(train, args.seeds, args.short):
                frame = score(fitted.predict(test), test, train.genes, truths)
                scores.append(frame.assign(split=at, model=model, seed=seed))
                seconds.append((model, cpu))
            scores += [frame.assign(split=at, seed=0) for frame in score_references(truths, effects)]
        scores = pd.concat(scores, ignore_index=True)
        if effects is not None:
            synergy = effects.obs["synergy"].astype(float)
            scores["synergy"] = (scores["cell_line"] + "|" + scores["perturbation"]).map(synergy)
    facts = {
        "sizes": sizes,
        "genes": len(train.genes),
        "seconds": pd.DataFrame(seconds, columns=["model", "cpu"]).groupby("model")["cpu"].mean().to_dict(),
        "shuffled": bool((pd.Series(train.conditions.cell_line).value_counts() > 1).any()),
        "validation": (sum(validation) / len(validation)).to_dict(),
        "space": profiles.space_of(source),
        "seeds": args.seeds,
        "command": shlex.join(["uv", "run", "python", "bench/quality.py", *_argv()]),
        "commit": commit,
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "minutes": (time.time() - started) / 60,
    }
    return scores, facts


def _argv() -> list[str]:
    """The arguments as given, without where the scores were kept."""
    given = sys.argv[1:]
    if "--keep" in given:
        at = given.index("--keep")
        del given[at : at + 2]
    return given


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()


def resampled(difference: np.ndarray, index: pd.MultiIndex) -> tuple[float, float, float]:
    """Mean of a quantity per condition and its 95 % interval, resampled by perturbation."""
    units = ["perturbation", "cell_line"] if index.get_level_values("perturbation").nunique() < 3 else ["perturbation"]
    cluster, names = pd.factorize(pd.MultiIndex.from_frame(index.to_frame(index=False)[units]), sort=True)
    means = cluster_means(difference[:, None], cluster, cluster_weights(len(names), N_BOOT, 0))
    lower, upper = interval(means.point, means.draws, len(names))
    return float(means.point[0]), float(lower[0]), float(upper[0])


def compare(scores: pd.DataFrame, metric: str, first: str, second: str) -> tuple[float, float, float, int]:
    """Mean paired gain of the second over the first (positive: better), its 95 % interval, and the conditions."""
    wide = scores.groupby([*KEYS, "model"])[metric].mean().unstack("model").reindex(columns=[first, second]).dropna()
    if wide.empty:
        return np.nan, np.nan, np.nan, 0
    gain = get_metric(metric).gain
    return *resampled(gain(wide[second].to_numpy()) - gain(wide[first].to_numpy()), wide.index), len(wide)


def page(source: str, scores: pd.DataFrame, facts: dict) -> str:
    """The page of one screen."""
    final = FINAL
    models = [*LADDER, *BASELINES, MEAN, NULL, NAMELESS, SPLIT_HALF, ORACLE]
    models = [model for model in models if model in set(scores["model"])]
    mean = scores.groupby("model")[list(METRICS)].mean()
    trains, tests = zip(*facts["sizes"], strict=True)
    text = [
        f"# Quality on {name_of(source)}",
        "",
        f"`{facts['command']}`",
        "",
        f"{len(trains)} splits, {facts['seeds']} seeds of the model and shuffles of the null run, {min(trains)}-{max(trains)} "
        f"training and {min(tests)}-{max(tests)} held-out conditions, {facts['genes']} genes, in {facts['space']}. Commit "
        f"{facts['commit']}, {facts['finished']}, {facts['minutes']:.1f} minutes.",
        "",
        "## Gates",
        "",
        "The best baseline is the one with the best out-of-fold score on training conditions, for each metric.",
        "",
        *as_table(
            judge(
                scores,
                pd.DataFrame(facts["validation"]),
                Names(final, NULL, NAMELESS, SPLIT_HALF, ORACLE),
                *calibrated(scores, final),
                compare,
                resampled,
                facts["shuffled"],
            )
        ),
        "",
        "## Means over held-out conditions",
        "",
        "| model | " + " | ".join(label for label, _ in METRICS.values()) + " | coverage error | CPU s |",
        "|---" * (len(METRICS) + 3) + "|",
    ]
    cpu = facts["seconds"]
    for model in models:
        own = scores[scores["model"] == model]
        cells = [number(mean.loc[model, name] * scale) for name, (_, scale) in METRICS.items()]
        covered = own[[f"coverage_{level}" for level in range(9)]].mean().to_numpy()
        cells.append(number(calibration.coverage_error(covered)))
        cells.append(f"{cpu[model]:.1f}" if cpu.get(model, 0) > 0 else "-")
        text.append(f"| {model.replace(MODEL, f'**{MODEL}**')} | " + " | ".join(cells) + " |")
    text += [
        "",
        "Coverage error: mean over central intervals of 10 to 90 % of |share inside - level|. "
        f"Spearman correlation of predicted and realised error of `{MODEL}`: {number(rank_correlations(scores, final)[0][0])}.",
        "",
        f"## {MODEL} against each baseline",
        "",
        "Mean paired gain (positive: ours is better) with its 95 % interval; bold where the interval excludes 0.",
        "",
        "| baseline | " + " | ".join(label for label, _ in METRICS.values()) + " |",
        "|---" * (len(METRICS) + 1) + "|",
    ]
    lost = []
    for baseline in BASELINES:
        cells = []
        for metric, (label, scale) in METRICS.items():
            gain, lower, upper, n = compare(scores, metric, baseline, final)
            cells.append(signed(gain * scale, lower * scale, upper * scale, n))
            if upper < 0:
                lost.append(f"{baseline} ({label})")
        text.append(f"| {baseline} | " + " | ".join(cells) + " |")
    text += ["", f"Lost beyond the interval: {', '.join(lost) or 'nothing'}.", "", "## Ablation ladder", ""]
    text += ["Gain of each step over the one before.", ""]
    text += ["| step | " + " | ".join(label for label, _ in METRICS.values()) + " |", "|---" * (len(METRICS) + 1) + "|"]
    steps = [step for step in LADDER if step in models]
    pairs = [(steps[i], steps[i + 1]) for i in range(len(steps) - 1)] + [
        ("mean_effect", MEAN),
        (MEAN, NAMELESS),
        (NAMELESS, NULL),
    ]
    for first, second in pairs:
        cells = []
        for metric, (_, scale) in METRICS.items():
            gain, lower, upper, n = compare(scores, metric, first, second)
            cells.append(signed(gain * scale, lower * scale, upper * scale, n))
        text.append(f"| {second if second in LADDER else f'{second}, over {first}'} | " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def calibrated(scores: pd.DataFrame, model: str) -> tuple[list[tuple[float, float, float]], ...]:
    """Coverage error with the noise of the held-out cells and with the planned one; ranks (see `rank_correlations`)."""
    errors = [coverage_error(scores, model, prefix) for prefix in ("coverage", "planned_coverage")]
    return errors, rank_correlations(scores, model)


def coverage_error(scores: pd.DataFrame, model: str, prefix: str) -> tuple[float, float, float]:
    """Coverage error with its 95 % interval."""
    own = scores[scores["model"] == model].groupby(KEYS)[[f"{prefix}_{level}" for level in range(9)]].mean()
    cluster, names = pd.factorize(own.index.get_level_values("perturbation"), sort=True)
    means = cluster_means(own.to_numpy(), cluster, cluster_weights(len(names), N_BOOT, 0))
    found = calibration.coverage_error(means.point)
    lower, upper = np.quantile(calibration.coverage_error(means.draws), [0.025, 0.975]) if len(names) > 1 else (0, 1)
    return float(found), float(lower), float(upper)


def rank_correlations(scores: pd.DataFrame, model: str) -> list[tuple[float, float, float]]:
    """Mean over splits of how well errors are ranked, each with its 95 % interval, resampled by perturbation.

    The realised squared error by the predicted one, by that and the planned noise, and by the planned noise; and the
    realised one less the noise of the held-out cells, which estimates the error against the true effect, by the
    predicted one.
    """
    own = scores[scores["model"] == model].groupby(KEYS).mean(numeric_only=True)
    square, planned, error = own["predicted_error"] ** 2, own["planned_noise"], own["mse_delta"]
    pairs = ((square, error), (square + planned, error), (planned, error), (square, error - own["noise"]))
    return [_mean_rank(own.assign(said=said, found=found)) for said, found in pairs]


def _mean_rank(own: pd.DataFrame) -> tuple[float, float, float]:
    cluster, names = pd.factorize(own.index.get_level_values("perturbation"), sort=True)
    weights = cluster_weights(len(names), N_BOOT, 0)
    ranks, draws = [], []
    for _, part in own.assign(cluster=cluster).groupby("split"):
        said, found = part["said"].to_numpy(), part["found"].to_numpy()
        ranks.append(calibration.error_rank_correlation(said, found))
        draws.append(calibration.error_rank_correlation_draws(said, found, weights[:, part["cluster"].to_numpy()]))
    if not np.isfinite(ranks).any():
        return np.nan, np.nan, np.nan
    point, draws = np.nanmean(ranks), np.array(draws)
    # A resample may hold too few conditions of a split; it is then the mean of the others.
    found = np.isfinite(draws)
    mean_b = np.divide(
        np.where(found, draws, 0).sum(axis=0), found.sum(axis=0), where=found.any(axis=0), out=np.full(N_BOOT, np.nan)
    )
    lower, upper = interval(np.array([point]), mean_b[:, None], len(names))
    return float(point), float(lower[0]), float(upper[0])


def number(value: float) -> str:
    """Three decimals, or a dash."""
    return f"{value:.3f}" if np.isfinite(value) else "-"


def signed(gain: float, lower: float, upper: float, n: int) -> str:
    """A gain with its interval; bold where it excludes 0."""
    if n == 0:
        return "-"
    mark = "**" if lower > 0 or upper < 0 else ""
    return f"{mark}{gain:+.3f}{mark} [{lower:+.3f}, {upper:+.3f}]"


def main() -> None:
    """Run one screen and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="an .h5ad with raw counts, or simulated:PRESET[:DIFFICULTY]")
    parser.add_argument("folder", type=Path, help="where the page goes: quality-NAME.md")
    parser.add_argument(
        "--recipe", choices=["by_perturbation", "by_cell_line", "by_dose", "by_scaffold"], default="by_perturbation"
    )
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", type=float, default=0.25)
    parser.add_argument("--cell-line", default=None, help="column(s) of the cell line, as for `vc quickstart`")
    parser.add_argument("--genesets", type=Path, default=None)
    parser.add_argument("--keep", type=Path, default=None, help="a folder for the scores of every condition")
    parser.add_argument("--render", action="store_true", help="make the page of the scores in --keep again")
    parser.add_argument("--short", action="store_true", help="only the first and the last step of the ladder")
    parser.add_argument("--min-cells", type=int, default=20, help="conditions with fewer cells are left out")
    parser.add_argument("--world-seed", type=int, default=0, help="which world is simulated")
    args = parser.parse_args()
    kept = None if args.keep is None else args.keep / name_of(args.source)
    if args.render:
        scores, facts = pd.read_parquet(f"{kept}.parquet"), json.loads(Path(f"{kept}.json").read_text())
    else:
        scores, facts = run(args.source, args)
        if kept is not None:
            args.keep.mkdir(parents=True, exist_ok=True)
            scores.to_parquet(f"{kept}.parquet")
            Path(f"{kept}.json").write_text(json.dumps(facts))
    args.folder.mkdir(parents=True, exist_ok=True)
    target = args.folder / f"quality-{name_of(args.source)}.md"
    target.write_text(page(args.source, scores, facts))
    print(f"wrote {target}\n{summary(args.folder)}")


if __name__ == "__main__":
    main()
