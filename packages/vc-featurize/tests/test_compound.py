import csv
import gzip

import numpy as np
import pytest
from vc_featurize.errors import InputError

pytest.importorskip("rdkit", reason="the extra `chem` is not installed")

from vc_featurize.compound import compound_features, read_compound_table


def encode(*smiles, **options):
    return compound_features([f"c{i}" for i in range(len(smiles))], smiles, **options)


def test_two_ways_to_write_a_molecule_are_one():
    bank = encode("OCC", "CCO", "C(O)C")
    assert set(bank.sources) == {"CCO"}
    np.testing.assert_array_equal(bank.vectors_ef[0], bank.vectors_ef[1])
    np.testing.assert_array_equal(bank.vectors_ef[0], bank.vectors_ef[2])


def test_counts_say_how_often_and_bits_whether():
    # Octane at radius 0: two CH3 and six CH2.
    counts = encode("CCCCCCCC", radius=0).vectors_ef[0]
    assert sorted(counts[counts > 0]) == [2, 6]
    bits = encode("CCCCCCCC", radius=0, counts=False).vectors_ef[0]
    np.testing.assert_array_equal(bits, counts > 0)


def test_enantiomers_differ():
    bank = encode("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O")
    assert (bank.vectors_ef[0] != bank.vectors_ef[1]).any()


@pytest.mark.parametrize(
    ("given", "expected", "note"),
    [
        ("CC(=O)[O-].[Na+]", "CC(=O)O", "1 counter-ions removed"),
        ("Cl.CCN", "CCN", "1 counter-ions removed"),
        ("CN.OC(=O)C(O)C(O)C(=O)O", "CN", "1 counter-ions removed"),  # the tartrate is larger than the drug
        ("C[N+](C)(C)C", "C[N+](C)(C)C", ""),
        ("[NH3+]CC(=O)[O-]", "NCC(=O)O", ""),
        ("CCO.CCCN", "CCCN.CCO", "2 fragments kept"),
        ("N.N.[Cl-].[Cl-].[Pt+2]", "N.N.[Cl-].[Cl-].[Pt+2]", "metal complex, left as given"),
    ],
)
def test_standardizing(given, expected, note):
    bank = encode(given)
    assert bank.sources == (expected,)
    assert bank.notes == (note,)


def test_standardizing_can_be_left_out():
    assert encode("CC(=O)[O-].[Na+]", standardize=False).sources == ("CC(=O)[O-].[Na+]",)


def test_what_cannot_be_encoded_is_a_missing_row_with_its_reason():
    bank = encode("CCO", "", "not a molecule", "C1CC", "*CC", "c1ccccc1")
    assert bank.missing.tolist() == [False, True, True, True, True, False]
    assert not bank.vectors_ef[bank.missing].any()
    assert [bool(note) for note in bank.notes] == bank.missing.tolist()
    assert "dummy atom" in bank.notes[4]
    assert bank.sources[2] == ""


def test_several_processes_give_the_same_bank(monkeypatch):
    monkeypatch.setattr("vc_featurize.compound.morgan.CHUNK", 2)
    smiles = ["CCO", "C[N+](C)(C)CC(=O)O.[Cl-]", "C1C", "c1ccccc1O", "CCO", "*C"]
    one, two = (compound_features(list("abcdef"), smiles, jobs=jobs) for jobs in (1, 2))
    np.testing.assert_array_equal(one.vectors_ef, two.vectors_ef)
    assert (one.sources, one.notes, one.missing.tolist()) == (two.sources, two.notes, two.missing.tolist())
    assert one.missing.tolist() == [False, False, True, False, False, True]


def test_repeated_ids():
    bank = compound_features(["ethanol", "ethanol"], ["CCO", "OCC"])
    assert bank.entities == ("ethanol",)
    with pytest.raises(InputError, match="'x' stands for two molecules"):
        compound_features(["x", "x"], ["CCO", "CCN"])
    with pytest.raises(InputError, match="stands for two molecules"):
        compound_features(["x", "x"], ["CCO", "broken("])


@pytest.mark.parametrize(
    "arguments", [(["a"], []), ([], []), (["a"], ["C"], {"radius": -1}), (["a"], ["C"], {"n_bits": 0})]
)
def test_refuses_unusable_arguments(arguments):
    ids, smiles, options = (*arguments, {})[:3]
    with pytest.raises(InputError):
        compound_features(ids, smiles, **options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("name\tother\na\tb\n", "column 'smiles'"),
        ("name\tsmiles\na\n", "row 2: expected 2 fields"),
        ("name\tsmiles\n\tCCO\n", "row 2: expected an id"),
    ],
)
def test_refuses_bad_tables(tmp_path, text, words):
    path = tmp_path / "t.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_compound_table(path, "name", "smiles")


def test_reads_csv_and_tsv(tmp_path):
    (tmp_path / "t.tsv").write_text("name\tsmiles\na\tCCO\n\nb\tC\n")
    (tmp_path / "t.csv").write_text('smiles,name\nCCO,a\nC,"b"\n')
    assert read_compound_table(tmp_path / "t.tsv", "name", "smiles") == (["a", "b"], ["CCO", "C"])
    assert read_compound_table(tmp_path / "t.csv", "name", "smiles") == (["a", "b"], ["CCO", "C"])


def test_real_drugs_equal_the_published_ecfp2(side_dpath):
    """The table's fingerprints are radius 1, 2,000 bits, of the SMILES as given; chirality moves none of them."""
    drugs_dpath = side_dpath / "drugs"
    with gzip.open(drugs_dpath / "drugs_tahoe_sciplex3_op3_smiles.tsv.gz", "rt") as fd:
        smiles = [row["smiles"] for row in csv.DictReader(fd, delimiter="\t")]
    with np.load(drugs_dpath / "drugs_tahoe_sciplex3_op3_ecfp2.npz") as table:
        published_ef = np.unpackbits(table["bits"], axis=1)[:, : int(table["n_bits"])]
    bank = encode(*smiles, radius=1, n_bits=published_ef.shape[1], counts=False, standardize=False)
    assert len(smiles) == 709
    np.testing.assert_array_equal(bank.vectors_ef, published_ef)
    assert not encode(*smiles).missing.any()
