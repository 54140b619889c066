"""Several screens at once: what each says of the others' targets, and one model folder with a model of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vc_apps.ask.fit import TrainingData, chosen_model, fit_and_save, load, name_of
from vc_apps.ask.settings import Fit
from vc_apps.outputs import AppError, plain, say

if TYPE_CHECKING:
    from vc_model.ask.informed import FittedInformed, Informed
    from vc_model.table.elsewhere import Elsewhere

MOST = 8


def fit_screens(settings: Fit) -> None:
    """Fit a model of every screen, each informed by the others, and write them as one folder, whole or not at all.

    Raises:
        AppError: If the request cannot be carried out.
        VcModelError: If an input is refused.
    """
    from vc_contracts import write_whole
    from vc_model.ask.informed import FittedInformed
    from vc_model.ask.model import OTHERS

    names = _names(settings.screen)
    weights = _weights(settings.weight, names)
    splits = match_splits(settings.screen, settings.split)
    data = [
        load(path, split, settings.bank, min_cells=settings.min_cells, seed=settings.seed)
        for path, split in zip(settings.screen, splits, strict=True)
    ]
    known = settings.test_targets_in_others == "known"
    sources = elsewhere_of_all(data, names, test_targets_known=known)
    for at, name in enumerate(names):
        say(f"{name}: {_describe(data[at])}")
        for one in sources[at]:
            say(f"  {tell_shared(data[at], one)}")
    if any(splits):
        say(f"targets that a split holds out are {settings.test_targets_in_others} in the other screens")
    if settings.dry_run:
        print(f"would fit {name_of(settings)} on each of {len(names)} screens and write {settings.out}/")
        return
    files = [path for path in (*settings.screen, *settings.split, *settings.bank, settings.plugin) if path is not None]
    record: dict[str, Any] = {"command": "fit", "settings": plain(settings)}
    with write_whole(settings.out, kind="checkpoint", overwrite=settings.overwrite, make_parent=True) as folder:
        for at, name in enumerate(names):
            model = _informed(settings, sources[at], weights, known)
            out = folder if at == 0 else folder / OTHERS / name
            out.parent.mkdir(parents=True, exist_ok=True)
            fitted = fit_and_save(data[at], out, settings.model, None, settings.seed, files, False, record=record | {
                "screen": name}, chosen=model)  # fmt: skip
            if isinstance(fitted, FittedInformed):
                for line in tell_weights(name, fitted):
                    print(line)
    print(f"wrote {settings.out}/: {name_of(settings)} of {names[0]}, and of {', '.join(names[1:])} in {settings.out}/{OTHERS}/. "
          f"Next: vc predict {settings.out} --genes GENE -o answers, or vc support {settings.out}")  # fmt: skip


def elsewhere_of_all(
    data: Sequence[TrainingData], names: Sequence[str], *, test_targets_known: bool = False
) -> "list[tuple[Elsewhere, ...]]":
    """Per screen: what every other one says of its targets (`vc_model.table.elsewhere`)."""
    from vc_model.table.elsewhere import effects_elsewhere

    return [
        tuple(
            one
            for other, name in zip(data, names, strict=True)
            if other is not own
            for one in effects_elsewhere(own.table, other.table, name, own.held, test_targets_known=test_targets_known)
        )
        for own in data
    ]


def match_splits(screens: Sequence[Path], splits: Sequence[Path]) -> list[Path | None]:
    """The split of every screen, found by the hash of the screen that a split states, or None.

    Raises:
        AppError: If a split is of none of the screens, or a screen has two.
    """
    from vc_contracts.kinds import header_of
    from vc_contracts.parents import lists

    found: list[Path | None] = [None] * len(screens)
    for split in splits:
        header = header_of(split)
        at = next((at for at, screen in enumerate(screens) if lists(header, screen)), None)
        if at is None:
            parents = ", ".join(sorted(header.get("parents") or {})[:3])
            raise AppError(
                f"{split}: expected a split of one of {', '.join(map(str, screens))}, found one of other content ({parents}). "
                "Split one of these screens, or leave the split out."
            )
        if found[at] is not None:
            raise AppError(
                f"{split}: expected one split of each screen, found a second one of {screens[at]}. Choose one."
            )
        found[at] = split
    return found


def tell_shared(own: TrainingData, one: "Elsewhere") -> str:
    """What two screens have in common, in words."""
    trained = {target for action in own.table.conditions.actions for target in action.targets}
    shared, n = len(trained & set(one.targets)), len(one.own_s)
    hidden = f", {one.n_hidden} targets hidden that the split holds out" if one.n_hidden else ""
    return (
        f"{one.name}: {n} of {len(own.table.genes)} genes in common ({one.value_eh.shape[1] - n} measured there only), "
        f"{shared} of {len(trained)} targets{hidden}, {len(set(one.targets) - trained)} targets that only it has"
    )


def tell_weights(name: str, fitted: "FittedInformed") -> list[str]:
    """Weight and gain of every other screen, one line each."""
    lines = []
    for source in fitted.sources:
        told = "too few targets in common to tell" if source.informed is None and not source.gain else ""
        gain = (
            f"correlation with held-out effects {source.alone:.3f} alone, {source.gain:+.3f} "
            f"[{source.lower:+.3f}, {source.upper:+.3f}] with it"
        )
        told = gain if source.informed is not None else told or "did not help"
        lines.append(
            f"{name} with {source.effects.name}: weight {source.weight:.2f}; {source.n} targets in common; {told}"
        )
    return lines


def _informed(settings: Fit, sources: "tuple[Elsewhere, ...]", weights: dict[str, float], known: bool) -> "Informed":
    from vc_model.ask.informed import Informed

    base = chosen_model(settings.model, settings.plugin, settings.seed, member=settings.member)
    chosen = tuple(weights.get(one.name, weights.get(one.name.rsplit(" ", 1)[0])) for one in sources)
    return Informed(base, sources, chosen, known)


def _names(screens: Sequence[Path]) -> list[str]:
    """Names of the screens: those of their files without the ending."""
    names = [path.name.removesuffix(path.suffix) for path in screens]
    if len(names) > MOST:
        raise AppError(f"fit: expected at most {MOST} screens, found {len(names)}. Choose those that share targets.")
    if len(set(names)) < len(names):
        raise AppError(f"fit: expected screens with different names, found {names}. Rename one.")
    return names


def _weights(given: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    weights = {}
    for text in given:
        name, _, share = text.rpartition("=")
        try:
            value = float(share)
        except ValueError:
            value = -1.0
        if name not in names or not 0 <= value <= 1:
            raise AppError(f"--weight {text}: expected NAME=SHARE with one of {', '.join(names)} and 0 to 1. For example "
                           f"--weight {names[-1]}=0.5.")  # fmt: skip
        weights[name] = value
    return weights


def _describe(data: TrainingData) -> str:
    from vc_model.table.effects import MODES

    table = data.table
    modes = sorted({MODES[action.mode] for action in table.conditions.actions})
    lines = ", ".join(table.trained_lines[:5])
    return f"{len(table)} conditions ({', '.join(modes)}) x {len(table.genes)} genes in {lines}"
