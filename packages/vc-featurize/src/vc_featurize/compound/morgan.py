"""Encoder `compound`: a compound's vector is its Morgan fingerprint (needs the extra `chem`, rdkit).

Stereochemistry counts, because screens hold enantiomers as separate compounds. Counter-ions are taken off with rdkit's
salt list rather than by keeping the largest fragment (methylamine tartrate would become tartaric acid), charges are
neutralised, and molecules with a metal are left as they are (a platinum drug would lose its ligands). Tautomers are not
merged: doing so erases stereo centres.

A fingerprint is made of the SMILES given. Names are never parsed: `CO` and `SN` are valid SMILES.
"""

import csv
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from vc_contracts.text.plain import compound_name

from vc_featurize.bank import FeatureBank
from vc_featurize.compound.structure import Standardizer, parse
from vc_featurize.errors import InputError
from vc_featurize.text import read_lines

CHUNK = 1_000  # texts that a process takes at once
Encoded = tuple[np.ndarray, np.ndarray, str, str]


def compound_features(
    ids: Sequence[str],
    smiles: Sequence[str],
    *,
    radius: int = 2,
    n_bits: int = 2048,
    counts: bool = True,
    standardize: bool = True,
    licence: str = "unstated",
    jobs: int = 1,
) -> FeatureBank:
    """Morgan fingerprints of compounds.

    Args:
        ids: Compound ids, as in the targets of a screen; an id may repeat when its molecule is the same each time.
        smiles: One SMILES per id. Empty or invalid ones, and those with a dummy atom, become missing rows with the
            reason in `notes`.
        radius: Bonds around each atom; 2 is ECFP4, 1 is ECFP2.
        n_bits: Length of the folded fingerprint.
        counts: How often each substructure occurs (true), or whether it occurs (false).
        standardize: Take off counter-ions and neutralise charges first.
        licence: Licence of the structures, for the encoder record.
        jobs: Processes; with more than one, the caller's program has to be importable (`if __name__ == "__main__"`). The bank
            is the same to the bit.

    Returns:
        A bank with `vectors_ef` [e, n_bits]; `sources` hold the canonical SMILES that was fingerprinted.

    Raises:
        InputError: If rdkit is not installed, the lists differ in length, or one id stands for two molecules.

    References:
        Rogers and Hahn, Extended-connectivity fingerprints, J. Chem. Inf. Model. 2010.
    """
    try:
        import rdkit
    except ImportError as error:
        raise InputError("compound features need rdkit: install `vc-featurize[chem]`.") from error
    if len(ids) != len(smiles):
        raise InputError(f"compounds: expected one SMILES per id, found {len(ids)} ids and {len(smiles)} SMILES.")
    if not ids:
        raise InputError("compounds: expected at least one row, found none.")
    if radius < 0 or n_bits < 1:
        raise InputError(f"fingerprint: expected radius >= 0 and n_bits >= 1, found {radius} and {n_bits}.")

    asked = _Fingerprint(radius, n_bits, counts, standardize)
    rows: dict[str, int] = {}
    vectors_nf = np.zeros((len(set(ids)), n_bits), np.float32)
    known: list[tuple[str, str]] = []
    for entity, (columns, values, source, note) in zip(ids, _encode(asked, smiles, jobs), strict=True):
        row = rows.setdefault(entity, len(rows))
        if row == len(known):
            known.append((source, note))
            vectors_nf[row, columns] = values
        elif known[row][0] != source:
            raise InputError(
                f"compound {entity!r} stands for two molecules: {known[row][0]!r} and {source!r}. "
                "Give them two ids or drop one row."
            )
    return FeatureBank(
        vectors_ef=vectors_nf,
        entities=tuple(rows),
        kinds=("compound",) * len(rows),
        sources=tuple(source for source, _ in known),
        missing=np.array([not source for source, _ in known], dtype=bool),
        dims=tuple(f"morgan_{i}" for i in range(n_bits)),
        encoder={
            "id": f"morgan-{'count' if counts else 'bit'}-r{radius}-{n_bits}-chiral",
            "revision": f"rdkit {rdkit.__version__}",
            "pooling": "hashed substructure " + ("counts" if counts else "bits"),
            "dtype": "float32",
            "dim": n_bits,
            "licence": licence,
            "standardize": "salt list, uncharge; metal complexes untouched" if standardize else "none",
        },
        notes=tuple(note for _, note in known),
    )


@dataclass(frozen=True)
class _Fingerprint:
    """What decides a fingerprint; travels to other processes."""

    radius: int
    n_bits: int
    counts: bool
    standardize: bool

    def encode(self, smiles: Sequence[str]) -> list[Encoded]:
        """One after the other, those of one text once."""
        from rdkit.Chem import MolToSmiles
        from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

        generator = GetMorganGenerator(radius=self.radius, fpSize=self.n_bits, includeChirality=True)
        fingerprint = generator.GetCountFingerprintAsNumPy if self.counts else generator.GetFingerprintAsNumPy
        standardizer = Standardizer() if self.standardize else None
        made: dict[str, Encoded] = {}
        for text in smiles:
            if text in made:
                continue
            molecule, note = parse(text)
            if molecule is not None and standardizer is not None:
                molecule, note = standardizer(molecule)
            # The canonical SMILES is parsed again, so that equal sources give equal vectors to the bit.
            source = "" if molecule is None else MolToSmiles(molecule)
            molecule, why = (None, note) if molecule is None else parse(source)
            if molecule is None:
                source, note = "", why
            vector = np.zeros(0, np.uint32) if molecule is None else fingerprint(molecule)
            columns = np.flatnonzero(vector)
            made[text] = (columns.astype(np.int32), vector[columns].astype(np.float32), source, note)
        return [made[text] for text in smiles]


def _encode(asked: _Fingerprint, smiles: Sequence[str], jobs: int) -> Iterator[Encoded]:
    """Columns, values, canonical SMILES and note of every text, in order; no molecule has an empty SMILES."""
    from vc_contracts.progress import progress

    parts = [list(smiles[start : start + CHUNK]) for start in range(0, len(smiles), CHUNK)]
    show = {"total": len(parts), "desc": "fingerprints", "unit": "k"}
    if jobs == 1 or len(parts) == 1:
        for part in progress(parts, **show) if len(parts) > 1 else parts:
            yield from asked.encode(part)
        return
    # Not forked: a copy of a process with threads can wait for ever.
    with ProcessPoolExecutor(min(jobs, len(parts)), mp_context=get_context("spawn")) as pool:
        for found in progress(pool.map(asked.encode, parts), **show):
            yield from found


def read_compound_table(path: str | Path, id_col: str, smiles_col: str) -> tuple[list[str], list[str]]:
    """Ids and SMILES of a table with a header line: comma-separated when named `.csv`, else tab-separated; gzip is fine.

    Ids are read as a screen holds the names of its compounds: `(+)-JQ1 ` is `(plus)-JQ1`.

    Raises:
        InputError: If a column is absent, a line has another number of fields, or an id is empty.
    """
    path = Path(path)
    lines = read_lines(path, "a table with a header line")
    delimiter = "," if path.name.removesuffix(".gz").endswith(".csv") else "\t"
    try:
        header, *body = csv.reader(lines, delimiter=delimiter)
    except csv.Error as error:
        raise InputError(f"{path}: expected a table, found text that is none ({error}). Check the quotes.") from error
    for column in (id_col, smiles_col):
        if column not in header:
            raise InputError(
                f"{path}: expected a column {column!r}, found {header[:12]}. Name it with --id-col or --smiles-col."
            )
    id_at, smiles_at = header.index(id_col), header.index(smiles_col)
    ids, smiles = [], []
    for number, fields in enumerate(body, start=2):
        if not fields:
            continue
        if len(fields) != len(header):
            raise InputError(
                f"{path}: row {number}: expected {len(header)} fields, found {len(fields)}. Correct the row."
            )
        if not compound_name(fields[id_at]):
            raise InputError(
                f"{path}: row {number}: expected an id in {id_col!r}, found nothing. Fill or drop the row."
            )
        ids.append(compound_name(fields[id_at]))
        smiles.append(fields[smiles_at].strip())
    return ids, smiles
