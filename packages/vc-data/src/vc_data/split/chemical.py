"""Hold out compounds by scaffold, or doses of compounds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from vc_contracts.text.lists import read_rows
from vc_contracts.text.plain import compound_name, plain

from vc_data.errors import ColumnError, OptionError, SourceError, TooFewError, VcDataError, few
from vc_data.split.conditions import THIRDS, finish, list_conditions, most_held_out, usable
from vc_data.split.file import Splits

_NAME_COLUMNS = (
    "perturbagen",
    "compound",
    "drug",
    "name",
    "target",
    "perturbation",
    "product_name",
    "original_pert_name",
)


def by_scaffold(
    screen,
    structures: Mapping[str, str],
    *,
    seed: int = 0,
    test: float = 0.25,
    val: float = 0.0,
    min_cells: int = 20,
    control_shares: Sequence[float] = THIRDS,
) -> Splits:
    """Hold out compounds whose Bemis-Murcko scaffold (J. Med. Chem. 1996) no training compound has.

    The scaffold is that of the largest fragment, so salts of a compound fall together. A compound without rings is a
    scaffold of its own. Whole scaffolds are drawn until the share is reached. Names are compared without case, spaces,
    '-' and '_'. Compounds without a structure are `unused`, because nobody can say whether they leak.

    Args:
        screen: A checked screen.
        structures: Compound -> SMILES, see `read_structures`.
        seed: Of the draw.
        test: Share of compounds for testing.
        val: Share of compounds for validation.
        min_cells: Conditions with fewer cells are `unused`.
        control_shares: Shares of `input`, `reference`, `evaluation`.

    Raises:
        OptionError: Shares that leave nothing for training, or SMILES that do not parse.
        TooFewError: Too few compounds with a structure, or all with one scaffold.
    """
    if not (0 < test < 1 and 0 <= val < 1 and test + val < 1):
        raise OptionError("split", "test and val", "shares that leave some for training", (test, val), "Lower them.")
    table = list_conditions(screen, min_cells)
    compounds = sorted({target for targets in usable(table) for target in targets})
    smiles_of = {plain(compound_name(name)): smiles for name, smiles in structures.items()}
    scaffold_of = {name: murcko(smiles_of[plain(name)], name) for name in compounds if plain(name) in smiles_of}
    members: dict[str, list[str]] = {}
    for name, scaffold in scaffold_of.items():
        members.setdefault(scaffold or f"\0{name}", []).append(name)
    if len(members) < 2 + (val > 0):
        found = f"{len(members)} among {len(compounds)} compounds, {len(scaffold_of)} of them with a structure"
        do = "Pass --structures with a table that names these compounds, or split by perturbation."
        raise TooFewError("split", "scaffolds", f"{2 + (val > 0)} or more", found, do)
    part_of = _fill({"test": test, "val": val}, members, np.random.default_rng(seed))

    def assign(condition: dict) -> None:
        unknown = [target for target in condition["targets"] if target not in scaffold_of]
        if unknown:
            condition |= {"part": "unused", "why": "no structure in the table"}
        else:
            condition["part"] = most_held_out({part_of.get(target, "train") for target in condition["targets"]})

    config = {"test": test, "val": val, "min_cells": min_cells, "n_scaffolds": len(members)}
    config |= {"n_compounds": len(compounds), "n_structures": len(scaffold_of)}
    return finish(screen, table, assign, "by_scaffold", "target", seed, config, control_shares)


def by_dose(
    screen,
    *,
    doses: Sequence[float] | Literal["highest", "lowest", "random"] = "random",
    seed: int = 0,
    min_cells: int = 20,
    control_shares: Sequence[float] = THIRDS,
) -> Splits:
    """Hold out one dose of every compound that has several, in all cell lines; its other doses train.

    Args:
        screen: A checked screen.
        doses: Doses to hold out, in the screen's unit, or which dose of each compound.
        seed: Of the draw.
        min_cells: Conditions with fewer cells are `unused`.
        control_shares: Shares of `input`, `reference`, `evaluation`.

    Raises:
        ColumnError: A label whose cells have several doses.
        OptionError: Doses that the screen does not have.
        TooFewError: No compound has several doses.
    """
    table = list_conditions(screen, min_cells)
    obs = screen.obs[~screen.obs["is_control"].to_numpy()]
    per_label = obs.groupby(obs["perturbation"].astype(str))["dose"]
    mixed = per_label.nunique()
    if (mixed > 1).any():
        do = "Convert with --dose-in-label, so that each dose is a perturbation of its own."
        raise ColumnError(
            "split", "obs['dose']", "one dose per perturbation", f"several for {few(mixed[mixed > 1].index)}", do
        )
    dose_of = per_label.first().to_dict()
    of_compound: dict[tuple, set[float]] = {}
    for condition in table:
        dose = dose_of[condition["perturbation"]]
        if "why" not in condition and np.isfinite(dose):
            of_compound.setdefault(condition["targets"], set()).add(float(dose))
    several = {targets: sorted(found) for targets, found in sorted(of_compound.items()) if len(found) > 1}
    if not several:
        do = "Split by perturbation or by scaffold."
        raise TooFewError(
            "split", "doses", "a compound with several", f"{len(of_compound)} compounds with one each", do
        )
    if isinstance(doses, str):
        rng = np.random.default_rng(seed)
        pick = {"highest": lambda found: found[-1], "lowest": lambda found: found[0], "random": rng.choice}.get(doses)
        if pick is None:
            do = "Pass --doses highest, lowest, random, or numbers."
            raise OptionError("split", "doses", "highest, lowest, random or numbers", repr(doses), do)
        test = {targets: {float(pick(found))} for targets, found in several.items()}
    else:
        wanted, known = (
            {np.float32(dose) for dose in doses},
            {np.float32(d) for found in several.values() for d in found},
        )
        if wanted - known:
            do = "Pass --doses with some of them."
            raise OptionError("split", "doses", f"some of {few(sorted(known), 12)}", few(sorted(wanted - known)), do)
        # A compound all of whose doses are named would not be an unseen dose but an unseen compound.
        test = {t: {d for d in found if np.float32(d) in wanted} for t, found in several.items()}
        test = {t: held for t, held in test.items() if len(held) < len(several[t])}

    def assign(condition: dict) -> None:
        held = test.get(condition["targets"], ())
        condition["part"] = "test" if float(dose_of[condition["perturbation"]]) in held else "train"

    config = {"doses": doses if isinstance(doses, str) else list(doses), "min_cells": min_cells}
    return finish(screen, table, assign, "by_dose", "condition", seed, config, control_shares)


def murcko(smiles: str, name: str = "") -> str:
    """Bemis-Murcko scaffold of the largest fragment, as canonical SMILES; '' for a molecule without rings.

    Raises:
        OptionError: SMILES that RDKit cannot read.
        VcDataError: RDKit is not installed.
    """
    try:
        from rdkit import Chem, RDLogger
        from rdkit.Chem.Scaffolds import MurckoScaffold
    except ImportError:
        do = "Install it: uv add 'vc-data[chem]'."
        raise VcDataError("split", "by_scaffold", "the package rdkit", "nothing", do) from None
    # pyrefly: ignore[missing-attribute] rdkit's stubs lack it
    RDLogger.DisableLog("rdApp.*")
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        raise OptionError("structures", name or "SMILES", "a molecule", repr(smiles), "Mend the table.")
    largest = max(
        Chem.GetMolFrags(molecule, asMols=True), key=lambda part: (part.GetNumHeavyAtoms(), Chem.MolToSmiles(part))
    )
    return Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(largest))


def read_structures(path: str | Path) -> dict[str, str]:
    """Compound -> SMILES from a table (TSV or CSV, also .gz) with a column `smiles` and columns of names.

    Every name column that is known is read (perturbagen, compound, drug, name ...); the first structure of a name stands.

    Raises:
        SourceError: No such file, or no such columns.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceError(path, "file", "a table of structures", "nothing", "Check the path.")
    rows = read_rows(path)
    header = {cell.casefold(): i for i, cell in enumerate(rows[0])} if rows else {}
    names = [header[name] for name in _NAME_COLUMNS if name in header]
    if "smiles" not in header or not names:
        do = "Pass a table with these columns."
        raise SourceError(path, "header", f"'smiles' and one of {few(_NAME_COLUMNS, 8)}", few(header, 10), do)
    structures: dict[str, str] = {}
    for row in rows[1:]:
        padded = [*row, *[""] * (len(header) - len(row))]
        for column in names:
            if padded[column] and padded[header["smiles"]]:
                structures.setdefault(padded[column], padded[header["smiles"]])
    return structures


def _fill(shares: dict[str, float], members: dict[str, list[str]], rng: np.random.Generator) -> dict[str, str]:
    """Compound -> part: whole groups in random order, while they fit into the share; at least one group each."""
    names, n = sorted(members), sum(map(len, members.values()))
    order = [names[i] for i in rng.permutation(len(names))]
    part_of: dict[str, str] = {}
    for part, share in shares.items():
        filled = 0
        for name in list(order) if share else ():
            size = len(members[name])
            if (filled and filled + size > round(share * n)) or len(order) == 1:
                continue
            if not filled and size > round(share * n) and any(len(members[other]) < size for other in order):
                continue
            part_of |= dict.fromkeys(members[name], part)
            filled += size
            order.remove(name)
    return part_of
