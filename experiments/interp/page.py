"""The results page: numbers beside their chance level, gates and why they are missed."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from directions import METHODS, OTHERS, SPEAK, TOP
from judge import FEATURES
from planted import ACTIVE, KINDS, ROWS, STEPS, TRUE, WIDTH
from real import REAL
from scipy import stats

COMMAND = "uv run --no-dev python experiments/interp/run.py --work interp-work --out docs/results/interp.md"
EDGES = (
    "intervention, measured",
    "intervention, mapper",
    "intervention, biojepa",
    "attention, biojepa",
    "correlation",
    "chance",
)

WHO = {
    "sae": "features",
    "sae, whitened": "whitened features",
    "prediction": "the whole prediction",
    "measured": "measured effects",
}


def interval(values: Sequence[float | None], digits: int = 3) -> str:
    """Mean and its 95 % interval over worlds or seeds (t)."""
    kept = [value for value in values if value is not None and np.isfinite(value)]
    if len(kept) < 2:
        return f"{kept[0]:.{digits}f}" if kept else "-"
    half = stats.t.ppf(0.975, len(kept) - 1) * np.std(kept, ddof=1) / np.sqrt(len(kept))
    return f"{np.mean(kept):.{digits}f} ± {half:.{digits}f}"


def page(parts: dict[str, dict], wanted: list[str]) -> str:
    """The page of the parts that are there."""
    worlds, edges = ([parts[name] for name in sorted(parts) if name.startswith(kind)] for kind in ("world", "edges"))
    seeds = {
        kind: [parts[name] for name in sorted(parts) if name.startswith("planted") and name.endswith(f"-{kind}")]
        for kind in KINDS
    }
    n_seeds = max(map(len, seeds.values()))
    screens = {name: parts[name] for name in REAL if name in parts}
    missing = [name for name in wanted if name not in parts]
    lines = [
        "# What features find, where the truth is known",
        "",
        "Made by one command, which goes on where it was stopped:",
        "",
        "```sh",
        COMMAND,
        "```",
        "",
        f"Numbers are means over seeds or worlds with 95 % intervals (t): {n_seeds} seeds of the planted dictionary, {len(worlds)} worlds",
        f"with a set mapper, {len(edges)} of them with a BioJEPA; {len(screens)} real screens.",
    ]  # fmt: skip
    if missing:
        lines += ["", f"**Not computed yet: {', '.join(missing)}.** Read intervals of so few accordingly."]
    for section in (
        _planted(seeds) if n_seeds else [],
        _worlds(worlds) if worlds else [],
        _edges(edges) if edges else [],
        _real(screens, parts.get("ranks")) if screens else [],
    ):
        lines += ["", *section]
    return "\n".join(lines) + "\n"


def _planted(seeds: dict[str, list[dict]]) -> list[str]:
    def row(kind: str) -> str:
        cells = [
            interval([seed[who][key] for seed in seeds[kind]], digits)
            for key, digits in (("cosine", 3), ("l0", 1))
            for who in ("vc-interp", "sae-lens")
        ]
        return f"| {kind} | " + " | ".join(cells) + " |"

    there = [kind for kind in KINDS if seeds[kind]]
    held = [kind for kind in there if np.mean([seed["vc-interp"]["cosine"] for seed in seeds[kind]]) >= 0.9]
    short = [kind for kind in there if kind not in held]
    return [
        "## A planted dictionary",
        "",
        f"{TRUE} directions in {WIDTH} dimensions, {ACTIVE} in a row on average, {ROWS:,} rows, {STEPS:,} steps of 512: mean over true directions of the",
        "greatest cosine with a found one, and active features in a row. sae-lens has its default rate, schedule and penalty with the same rows,",
        "steps and number of features, and k where the kind has one.",
        "",
        "| kind | cosine, vc-interp | cosine, sae-lens defaults | active, vc-interp | active, sae-lens defaults |",
        "|---|---|---|---|---|",
        *(row(kind) for kind in there),
        "",
        f"The gate is a cosine of 0.9: held by {', '.join(held) or 'none'}" + (f", **missed by {', '.join(short)}**." if short else "."),
    ]  # fmt: skip


def _worlds(worlds: list[dict]) -> list[str]:
    methods = [world["methods"] for world in worlds]

    def mean(name: str) -> float:
        return float(np.mean([m[name]["match"] for m in methods]))

    best = max(OTHERS, key=mean)

    def paired(name: str, key: str) -> str:
        return interval([m[name][key] - m[best][key] for m in methods]) if name != best else "-"

    true = [world["specific"]["true"] for world in worlds]

    def measured(key: str, digits: int = 3) -> str:
        return both(lambda w: w["measures"][key], lambda w: w["whitened"][key], digits)

    def both(plain, whitened, digits: int = 3) -> str:
        return " | ".join(interval([tell(world) for world in worlds], digits) for tell in (plain, whitened))

    def share(key: str) -> str:
        return " | ".join(interval([world[name][key] for world in true]) for name in METHODS[:2])

    def whole(name: str) -> str:
        return interval([world[name]["share"] for world in true])

    return [
        "## Simulated screens",
        "",
        f"{len(worlds)} worlds of 240 genes, 10 pathways and 50 perturbed genes in one line. A set mapper (width 64) is trained on each, and",
        f"a dictionary of {FEATURES} features on its residual stream (every control cell under every condition). PCA, ICA and random directions",
        "have as many directions on the same rows. *Matching*: for each pathway the greatest absolute cosine over genes between its program",
        "(mean true effect of its perturbed regulators) and what a direction does when the model's activations are moved along it.",
        f"*Residual attribution*: the {SPEAK} directions that a perturbation moves most, decoded; average precision for its {TOP} truly most changed genes.",
        "",
        f"| | matching | less {best}, paired | AUPRC per perturbation | less {best}, paired |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {interval([m[name]['match'] for m in methods])} | {paired(name, 'match')} | "
            f"{interval([m[name]['auprc'] for m in methods])} | {paired(name, 'auprc')} |"
            for name in METHODS
        ),
        f"| chance | - | - | {interval([m['chance']['auprc'] for m in methods])} | - |",
        "",
        f"The gate is matching above PCA, ICA and random, of which the best is {best}: "
        + "; ".join(f"{name} {'held' if mean(name) > mean(best) else '**missed**'}" for name in METHODS[:2])
        + ". *Whitened*: the same training on activations whose directions all have the same variance (`--whiten`).",
        "",
        "| of the dictionary | sae | sae, whitened |",
        "|---|---|---|",
        f"| variance explained | {measured('explained')} |",
        f"| active features a row | {measured('l0', 1)} |",
        f"| dead of {FEATURES} | {measured('dead', 1)} |",
        f"| loss recovered when put back into the model | {both(lambda w: w['loss_recovered'], lambda w: w['loss_recovered_whitened'])} |",
        f"| perturbations that move a feature (FDR 5 %) | {both(lambda w: w['moved'][0], lambda w: w['moved'][1])} |",
        f"| matched cosine with another seed | {interval([w['stability'] for w in worlds])} | - |",
        f"| correlation of intervention and gradient (median feature) | {interval([w['agreement'] for w in worlds])} | - |",
        f"| features that annotate to a gene set (FDR 5 %) | {both(lambda w: w['annotated'][0], lambda w: w['annotated_whitened'][0])} |",
        f"| the same, permuted gene labels | {both(lambda w: w['annotated'][1], lambda w: w['annotated_whitened'][1])} |",
        f"| the same, model with random weights | {interval([w['annotated'][3] for w in worlds])} | - |",
        f"| regulators specific to their targets, of {np.mean([w['sae']['n'] for w in true]):.0f} | {share('share')} |",
        f"| the same, with targets of other regulators | {share('permuted')} |",
        "",
        f"Regulators that are specific by the model's whole prediction: {whole('prediction')}; by the measured effects themselves, which "
        f"is what the screen allows: {whole('measured')}; published for Geneformer and scGPT: 0.062 (3 of 48).",
    ]  # fmt: skip


def _edges(edges: list[dict]) -> list[str]:
    def gain(name: str) -> str:
        return interval([e[name] - max(e["attention, biojepa"], e["correlation"]) for e in edges])

    def agree(name: str, at: int) -> str:
        return interval([e["agree"][name][at] for e in edges], 1 if at == 0 else 3)

    mean = {name: np.mean([e[name] for e in edges]) for name in EDGES}
    other = max(mean["attention, biojepa"], mean["correlation"])
    said = [
        f"{name} {'held' if mean[f'intervention, {name}'] > other else '**missed**'}" for name in ("mapper", "biojepa")
    ]
    return [
        "## Edges",
        "",
        "Average precision for the true edges of the perturbed regulators. Intervention: what the model (or the screen) says perturbing a",
        "gene does, standardised over perturbations; attention: exact implicit weights of the last block of a BioJEPA encoder trained on",
        "the same screen; correlation: of control cells. The last columns: edges called at a false discovery rate of 5 % and how many of",
        "these are true, and the correlation of what the model says with the measured effects that it was trained on.",
        "",
        "| | AUPRC | less the better of attention and correlation, paired | called | true among them | fit |",
        "|---|---|---|---|---|---|",
        *(_edge_row(name, edges, gain) for name in EDGES),
        "",
        f"The gate (intervention above attention and correlation): {'; '.join(said)}.",
        "",
        f"Of the edges that BioJEPA's interventions call, {agree('biojepa', 1)} are among as many of the greatest attention weights "
        f"({agree('biojepa', 2)} by chance); rank correlation {agree('biojepa', 3)}.",
    ]  # fmt: skip


def _edge_row(name: str, edges: list[dict], gain) -> str:
    who = name.removeprefix("intervention, ")
    scores = interval([e[name] for e in edges])
    if who == name:
        return f"| {name} | {scores} | - | - | - | - |"
    called, true = (interval([e["called_true"][who][at] for e in edges], digits) for at, digits in ((0, 0), (1, 2)))
    fit = "-" if who == "measured" else interval([e["fit"][who] for e in edges], 2)
    return f"| {name} | {scores} | {gain(name)} | {called} | {true} | {fit} |"


def _real(screens: dict[str, dict], ranks: dict | None) -> list[str]:
    names = list(screens)

    def row(label: str, tell) -> str:
        return f"| {label} | " + " | ".join(tell(screens[name]) for name in names) + " |"

    networks = list(next(iter(screens.values()))["specific"])
    lines = [
        "## Real screens",
        "",
        "Public subsets of Datlinger 2021 (knock-out, Jurkat with and without stimulation), Norman 2019 (CRISPRa, K562) and McFaline 2023 (CRISPRi,",
        "three glioblastoma lines); the same mapper and dictionary, Hallmark sets, regulons of DoRothEA A to C and STRING's actions. A regulator counts",
        "where it was perturbed alone and five of its targets were measured, which in such subsets few are. Intervals of shares: Wilson, 95 %.",
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
        row("rows", lambda s: str(s["rows"])),
        row("variance explained, loss recovered", lambda s: f"{s['measures']['explained']:.3f}, {s['loss_recovered']:.3f}"),
        row("matched cosine with another seed", lambda s: f"{s['stability']:.3f}"),
        row("features that annotate; whitened", lambda s: f"{s['annotated'][0]:.3f}; {s['annotated_whitened'][0]:.3f}"),
        row("permuted gene labels, mean (greatest of 20)", lambda s: f"{s['annotated'][1]:.3f} ({s['annotated'][2]:.3f})"),
        row("perturbations that move a feature; whitened", lambda s: f"{s['moved'][0]:.2f}; {s['moved'][1]:.2f}"),
        row("model with random weights", lambda s: f"{s['annotated'][3]:.3f}"),
    ]  # fmt: skip
    for network in networks:
        for who, text in WHO.items():
            tell = partial(_specific_of, network=network, who=who)
            lines.append(row(f"{network}: regulators specific by {text}", tell))
    pooled = {
        who: [sum(s["specific"][n][who][key] for s in screens.values() for n in networks) for key in ("specific", "n")]
        for who in WHO
    }
    told = ", ".join(f"{a} of {b} by {WHO[who]}" for who, (a, b) in pooled.items())
    lines += ["", f"Over screens and networks: {told}; published for Geneformer and scGPT: 3 of 48 (0.062)."]
    if ranks:
        told = "; ".join(
            f"{name} {_share(found)}, with targets of others {found['permuted']:.3f}" for name, found in ranks.items()
        )
        lines += [
            "",
            "How much could be found at all is asked of measured effects alone: 468 knock-downs of Replogle 2022 in K562 and RPE1 over 7,225 genes "
            f"(ranks of raised genes, no model). Specific to their targets: {told}.",
        ]
    return lines


def _specific_of(screen: dict, network: str, who: str) -> str:
    return _share(screen["specific"][network][who])


def _share(found: dict) -> str:
    if not found["n"]:
        return "none has five known targets here"
    low, high = found["interval"]
    names = f": {', '.join(found['names'])}" if found["names"] else ""
    return f"{found['specific']} of {found['n']} ({low:.2f} to {high:.2f}){names}"
