"""Compounds given by their structures: read, checked, and described to a model as its own bank describes others."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vc_apps.outputs import AppError, say

if TYPE_CHECKING:
    from vc_model.ask.model import AskModel

COLUMNS = (("name", "compound", "drug", "perturbation", "id"), ("smiles", "canonical_smiles"))


def read_compounds(path: Path) -> list[tuple[str, str]]:
    """Names and SMILES of a table; columns are found by the usual names, whatever the case of letters.

    Raises:
        AppError: If a SMILES is none, or one name stands for two.
        InputError: If the table cannot be read.
    """
    from vc_featurize.compound import read_compound_table

    if not path.is_file():
        raise AppError(f"--compounds {path}: expected a table of names and SMILES, found no such file. Check the path.")
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    header = (lines or [""])[0].split("," if path.suffix == ".csv" else "\t")
    columns = [next((name for name in header if name.casefold() in wanted), wanted[0]) for wanted in COLUMNS]
    names, smiles = read_compound_table(path, *columns)
    if not names:
        raise AppError(f"{path}: expected at least one compound, found an empty list. Write one a line.")
    check_smiles(path, names, smiles)
    pairs = dict(zip(names, smiles, strict=True))
    twice = [name for name, text in zip(names, smiles, strict=True) if pairs[name] != text]
    if twice:
        raise AppError(f"{path}: name: expected one SMILES each, found two of {twice[:3]}. Name them apart.")
    return list(pairs.items())


def check_smiles(path: Path, names: list[str], smiles: list[str]) -> None:
    """Refuse a table with a text that is no structure.

    Raises:
        AppError: Naming the first ones.
    """
    from vc_featurize.compound.structure import parse

    bad = [(name, text) for name, text in zip(names, smiles, strict=True) if parse(text)[0] is None]
    if bad:
        raise AppError(
            f"{path}: smiles: expected structures, found {len(bad)} that are none, e.g. {bad[:3]}. Mend them."
        )


def describe_compounds(path: Path, model: "AskModel") -> "AskModel":
    """The model with the vectors of compounds that its bank does not hold, made by the bank's own encoder and settings.

    Raises:
        AppError: If a structure cannot be encoded.
    """
    from vc_model.ask.entities import bank_recipes, with_entities

    pairs = read_compounds(path)
    known = model.memory.relatives.knows([name for name, _ in pairs]).tolist()
    new = [pair for pair, there in zip(pairs, known, strict=True) if not there]
    if not new:
        return model
    recipes = bank_recipes(model)
    if not recipes:
        unseen = [name for name, _ in new if name not in model.memory.targets]
        if unseen:
            say(
                f"note: {len(unseen)} compound(s) are not in training, e.g. {unseen[:3]}, and the model was fitted without a "
                "bank of compounds, so their structure cannot count. Fit with --bank of vc-featurize compound"
            )
        return model
    for recipe in recipes:
        vectors = _encode(new, recipe)
        if vectors is not None:
            model = with_entities(model, recipe, [name for name, _ in new], vectors)
            say(f"note: {len(new)} compound(s) described by {recipe['encoder']['id']}, as the model's bank")
    return model


def _encode(pairs: list[tuple[str, str]], recipe: dict[str, Any]) -> Any:
    """[n, f] vectors, or None where this encoder cannot be run from here."""
    config, encoder = recipe["config"], recipe["encoder"]
    if config.get("encoder") != "compound":
        say(f"note: the model's bank was made by {encoder['id']}, which vc predict cannot run; structures do not count")
        return None
    from vc_featurize.compound import compound_features

    options = {key: config[key] for key in ("radius", "n_bits", "counts", "standardize") if key in config}
    bank = compound_features([name for name, _ in pairs], [text for _, text in pairs], **options)
    if bank.encoder["id"] != encoder["id"]:
        raise AppError(f"bank: expected the encoder {encoder['id']}, found {bank.encoder['id']}. Fit with a new bank.")
    if bank.encoder["revision"] != encoder["revision"]:
        say(f"note: the bank was made with {encoder['revision']}, these vectors with {bank.encoder['revision']}")
    return bank.vectors_ef
