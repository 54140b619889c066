"""The simulation split of GEARS (Roohani et al., Nature Biotechnology 2024), with the conditions its seeds pick.

Of the perturbed genes, in sorted order, a share is drawn as seen. Singles of seen genes train, others are tested
(`unseen_single`). Pairs with one seen gene are tested (`combo_seen1`), with none too (`combo_seen0`); of the pairs with two,
in sorted order, a share trains and the rest is tested (`combo_seen2`). Validation is cut from the training part by the same
procedure with 0.9 and 0.9. Every draw starts from numpy's legacy generator with the same seed, as the published code does.
"""

from collections.abc import Sequence

import numpy as np

from vc_data.errors import OptionError, few
from vc_data.split.conditions import THIRDS, finish, list_conditions
from vc_data.split.file import Splits

CONTROL = "ctrl"


def gears(
    screen,
    *,
    seed: int = 1,
    gene_share: float = 0.75,
    pair_share: float = 0.75,
    names: Sequence[str] | None = None,
    min_cells: int = 0,
    control_shares: Sequence[float] = THIRDS,
) -> Splits:
    """Split as GEARS does.

    Draws are made over labels, whatever their cell line or number of cells, and conditions that are too small become
    `unused` afterwards: the same seed picks the same conditions as the published code, given the same names.

    Args:
        screen: A checked screen.
        seed: Of all draws; the paper uses 1 to 5.
        gene_share: Share of genes that are seen.
        pair_share: Share of pairs of two seen genes that train.
        names: Conditions as the reference spells them (`A+ctrl`, `ctrl+A`, `A+B`). The draw of pairs depends on the order
            of the two genes in a name, and all draws on which conditions exist, so to repeat a published split pass the
            reference's own list. Conditions that are not in it are `unused`. Default: the screen's labels.
        min_cells: Conditions with fewer cells are `unused`.
        control_shares: Shares of `input`, `reference`, `evaluation`.

    Raises:
        OptionError: Shares outside 0..1, or names that do not parse or repeat.
        TooFewError: Nothing is left for training or testing.
    """
    if not (0 < gene_share < 1 and 0 < pair_share < 1):
        raise OptionError("split", "shares", "between 0 and 1", (gene_share, pair_share), "Pass for example 0.75.")
    table = list_conditions(screen, min_cells)
    labels = {condition["targets"] for condition in table}
    name_of = _read_names(names) if names is not None else {
        targets: "+".join(targets if len(targets) > 1 else (*targets, CONTROL)) for targets in labels if len(targets) <= 2
    }  # fmt: skip
    train, groups = _draw(name_of, gene_share, pair_share, seed)
    train, val_groups = _draw({targets: name_of[targets] for targets in train}, 0.9, 0.9, seed)
    part_of = dict.fromkeys(train, ("train", ""))
    part_of |= {targets: ("val", group) for targets, group in val_groups.items()}
    part_of |= {targets: ("test", group) for targets, group in groups.items()}

    def assign(condition: dict) -> None:
        if condition["targets"] not in part_of:
            why = "not in the reference's list" if names is not None else "more than two targets"
            condition |= {"part": "unused", "why": why}
            return
        condition["part"], group = part_of[condition["targets"]]
        if group:
            condition["group"] = group

    config = {
        "gene_share": gene_share,
        "pair_share": pair_share,
        "min_cells": min_cells,
        "names_given": names is not None,
    }
    return finish(screen, table, assign, "gears", "target", seed, config, control_shares)


def _draw(name_of: dict[tuple, str], gene_share: float, pair_share: float, seed: int):
    """Targets that train, and targets that are held out -> their group."""
    genes = np.array(sorted({gene for targets in name_of for gene in targets}))
    seen = set(np.random.RandomState(seed).choice(genes, int(len(genes) * gene_share), replace=False).tolist())
    train, groups, both = [], {}, []
    for targets in name_of:
        n_seen = sum(gene in seen for gene in targets)
        if len(targets) == 1:
            train.append(targets) if n_seen else groups.update({targets: "unseen_single"})
        elif n_seen == 2:
            both.append(targets)
        else:
            groups[targets] = f"combo_seen{n_seen}"
    both.sort(key=lambda targets: name_of[targets])
    # The published code seeds again here, so this draw does not follow on the one of genes.
    drawn = np.random.RandomState(seed).permutation(len(both))[: int(len(both) * pair_share)].tolist()
    train += [both[i] for i in drawn]
    groups |= {both[i]: "combo_seen2" for i in set(range(len(both))) - set(drawn)}
    return train, groups


def _read_names(names: Sequence[str]) -> dict[tuple, str]:
    """Sorted targets -> the reference's name; a single may have two names, which never decide a draw."""
    name_of: dict[tuple, str] = {}
    for name in dict.fromkeys(names):
        if name in (CONTROL, "control"):
            continue
        targets = tuple(sorted(gene for gene in name.split("+") if gene != CONTROL))
        if not 1 <= len(targets) <= 2 or "" in targets:
            raise OptionError("split", "names", "names like A+ctrl or A+B", repr(name), "Pass GEARS's condition names.")
        if len(targets) == 2 and targets in name_of:
            raise OptionError("split", "names", "each pair once", few([name_of[targets], name]), "Remove one of them.")
        name_of[targets] = name
    return name_of
