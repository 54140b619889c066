"""A structure as the encoders see it: parsed under guard, counter-ions off, charges neutral, canonical.

rdkit's parser recurses; text with very deep brackets or of very great length would end the process. Such text is
refused before the parser sees it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rdkit.Chem import Mol

MAX_LENGTH = 5_000
MAX_DEPTH = 200

# Atomic numbers that make up organic drugs, their counter-ions and their halogens; any other atom but the alkali and
# alkaline earth counter-ions makes the molecule a metal complex.
NON_METALS = frozenset({1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 33, 34, 35, 36, 52, 53, 54, 85, 86})
COUNTER_ION_METALS = frozenset({3, 11, 12, 19, 20})
USUAL_ATOMS = NON_METALS | COUNTER_ION_METALS


def guard(text: str) -> str:
    """Why a SMILES is not even parsed; empty where it may be."""
    if not text.strip():
        return "no SMILES given"
    if len(text) > MAX_LENGTH:
        return f"SMILES of {len(text)} characters, more than {MAX_LENGTH}"
    if not text.isascii() or any(ord(letter) < 32 for letter in text.strip()):
        return f"characters that no SMILES has in {text[:40]!r}"
    deepest = _depth(text) if text.count("(") + text.count("[") > MAX_DEPTH else 0
    if deepest > MAX_DEPTH:
        return f"SMILES with branches {deepest} deep, more than {MAX_DEPTH}"
    return ""


def _depth(text: str) -> int:
    """How many brackets are open at once, at most."""
    depth = deepest = 0
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        deepest = max(deepest, depth)
    return deepest


def parse(text: str) -> tuple["Mol | None", str]:
    """A molecule, or None and the reason."""
    from rdkit.Chem import MolFromSmiles
    from rdkit.rdBase import BlockLogs

    reason = guard(text)
    if reason:
        return None, reason
    with BlockLogs():  # rdkit prints its parse errors; the note carries ours
        molecule = MolFromSmiles(text)
    if molecule is None:
        return None, f"invalid SMILES {text!r}"
    if molecule.GetNumAtoms() == 0:
        return None, f"SMILES without atoms {text!r}"
    # Only `*` and `[#0]` write a dummy atom; looking at every atom of every molecule takes as long as parsing.
    if ("*" in text or "#0" in text) and any(atom.GetAtomicNum() == 0 for atom in molecule.GetAtoms()):
        return None, f"SMILES with a dummy atom {text!r}"
    return molecule, ""


def canonical(text: str, *, standardize: bool = True, stereo: bool = True) -> tuple[str | None, str]:
    """Canonical SMILES with what was changed, or None and the reason.

    Args:
        text: A SMILES; never a name.
        standardize: Take counter-ions off and neutralise charges.
        stereo: Keep stereochemistry (some weights were trained without).
    """
    from rdkit.Chem import MolToSmiles

    molecule, note = parse(text)
    if molecule is None:
        return None, note
    if standardize:
        molecule, note = Standardizer()(molecule)
    return MolToSmiles(molecule, isomericSmiles=stereo), note


class Standardizer:
    """Takes counter-ions off and neutralises; says what it did."""

    def __init__(self) -> None:
        from rdkit.Chem.MolStandardize.rdMolStandardize import Uncharger
        from rdkit.Chem.SaltRemover import SaltRemover

        self._salts = SaltRemover()
        self._uncharger = Uncharger()

    def __call__(self, molecule: "Mol") -> tuple["Mol", str]:
        """The molecule as it is encoded, and a note."""
        from rdkit.Chem import GetMolFrags
        from rdkit.rdBase import BlockLogs

        if any(a.GetAtomicNum() not in USUAL_ATOMS for a in molecule.GetAtoms()):
            return molecule, "metal complex, left as given"
        n_before = len(GetMolFrags(molecule))
        if n_before == 1:
            with BlockLogs():
                return self._uncharger.uncharge(molecule), ""
        with BlockLogs():
            molecule = self._uncharger.uncharge(self._salts.StripMol(molecule, dontRemoveEverything=True))
        n_after = len(GetMolFrags(molecule))
        notes = []
        if n_after < n_before:
            notes.append(f"{n_before - n_after} counter-ions removed")
        if n_after > 1:
            notes.append(f"{n_after} fragments kept")
        return molecule, "; ".join(notes)
