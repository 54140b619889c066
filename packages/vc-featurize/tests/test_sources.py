"""Tables, effects, networks, resolution and comparison."""

import numpy as np
import pandas as pd
import pytest
from vc_featurize.compare import compare_banks
from vc_featurize.errors import InputError
from vc_featurize.graph.edges import Edges, read_edges
from vc_featurize.graph.embed import node2vec_features, regulon_features, spectral_features
from vc_featurize.protein.sequences import clean_protein, windows
from vc_featurize.resolve.coverage import coverage
from vc_featurize.resolve.genes import resolve_proteins
from vc_featurize.resolve.tables import resolve_by_table
from vc_featurize.table.effects import effect_features
from vc_featurize.table.precomputed import table_features


@pytest.fixture
def two_cliques():
    names = [f"A{i}" for i in range(6)], [f"B{i}" for i in range(6)]
    pairs = [(a, b) for group in names for a in group for b in group if a < b] + [("A0", "B0")]
    return Edges(tuple(a for a, _ in pairs), tuple(b for _, b in pairs), np.ones(len(pairs)))


def cliques_apart(bank):
    unit = bank.vectors_ef / np.linalg.norm(bank.vectors_ef, axis=1, keepdims=True)
    similar = unit @ unit.T
    same = np.array([[a[0] == b[0] for b in bank.entities] for a in bank.entities])
    off = ~np.eye(len(same), dtype=bool)
    return similar[same & off].mean() > similar[~same].mean() + 0.1


def test_neighbours_of_a_network_get_alike_vectors(two_cliques):
    assert cliques_apart(spectral_features(two_cliques, dim=4))


@pytest.mark.filterwarnings("ignore")
def test_node2vec_tells_cliques_apart_and_repeats(two_cliques):
    pytest.importorskip("fastnode2vec")
    first, second = (node2vec_features(two_cliques, dim=8, seed=3) for _ in range(2))
    assert cliques_apart(first)
    assert np.array_equal(first.vectors_ef, second.vectors_ef)


def test_targets_of_one_regulator_are_alike_and_signs_count():
    edges = Edges(("T1", "T1", "T1", "T2"), ("a", "b", "c", "d"), np.array([1, 1, -1, 1.0]))
    bank = regulon_features(edges, ["a", "b", "c", "nobody"], dim=2)
    a, b, c, gone = bank.vectors_ef
    assert np.allclose(a, b) and a @ c < 0 and bank.missing.tolist() == [False, False, False, True] and not gone.any()


def test_edges_with_a_bad_weight_are_refused(tmp_path):
    (tmp_path / "e.tsv").write_text("a\tb\tw\nX\tY\t1\nX\tZ\tfar\n")
    with pytest.raises(InputError, match=r"row 3.*far"):
        read_edges(tmp_path / "e.tsv", "a", "b", "w")
    with pytest.raises(InputError, match="columns"):
        read_edges(tmp_path / "e.tsv", "a", "c")


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz", "h5ad"])
def test_tables_of_every_format_give_the_same_bank(tmp_path, suffix):
    frame = pd.DataFrame([[1, 2], [3, np.nan], [5, 6]], index=["p", "q", "r"], columns=["x", "y"], dtype="float32")
    path = tmp_path / f"t.{suffix}"
    if suffix == "csv":
        frame.to_csv(path)
    elif suffix == "parquet":
        frame.to_parquet(path)
    elif suffix == "npz":
        np.savez(path, names=np.array(frame.index, dtype="U"), vectors=frame.to_numpy())
    else:
        import anndata

        anndata.AnnData(frame).write_h5ad(path)
    bank = table_features(path, ["r", "q", "z", "p"], source="here", licence="CC0")
    assert bank.vectors_ef.tolist() == [[5, 6], [0, 0], [0, 0], [1, 2]]
    assert bank.notes == ("", "not finite", "not in the table", "")
    assert bank.encoder["provenance"] == "here"


def test_repeated_names_of_a_table_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("n,x\na,1\na,2\n")
    with pytest.raises(InputError, match="repeated"):
        table_features(tmp_path / "t.csv")


def test_a_table_says_what_it_left_out_and_what_outweighs_the_rest(tmp_path, caplog):
    path = tmp_path / "t.csv"
    path.write_text("gene,a,b,entrez\nTP53,1,2,7157\n,3,4,1\nNA,3,4,1\nMYC,0,1,4609\nKLF1,2,2,10661\n")
    assert table_features(path).entities == ("TP53", "MYC", "KLF1")
    assert "2 row(s) without a name" in caplog.text and "'entrez' holds" in caplog.text
    caplog.clear()
    table_features(path, scale=True)
    assert "entrez" not in caplog.text


def test_tables_of_another_shape_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("gene;a;b\nTP53;1;2\n")
    with pytest.raises(InputError, match="Separate columns by ','"):
        table_features(tmp_path / "t.csv")
    np.savez(tmp_path / "t.npz", a=np.ones((2, 3)))
    with pytest.raises(InputError, match="`names` and `vectors`"):
        table_features(tmp_path / "t.npz")


def test_effects_of_held_out_targets_do_not_leak():
    effects = np.arange(12.0).reshape(3, 4)
    options = {"line": "RPE1", "revision": "0" * 64}
    names, genes = ["a", "b", "c"], list("wxyz")
    with pytest.raises(InputError, match="leak"):
        effect_features(effects, names, genes, held_out=["b"], **options)
    with pytest.raises(InputError, match="in RPE1"):
        effect_features(effects, names, genes, held_out=["b"], held_out_lines=["RPE1"], **options)
    other = effect_features(effects, names, genes, held_out=["b"], held_out_lines=["K562"], **options)
    assert other.encoder["held_out_targets_known"] == ["b"] and not other.missing.any()
    dropped = effect_features(effects, names, genes, held_out=["b"], drop_held_out=True, **options)
    changed = effects.copy()
    changed[1] = 999
    again = effect_features(changed, names, genes, held_out=["b"], drop_held_out=True, **options)
    assert np.array_equal(dropped.vectors_ef, again.vectors_ef) and dropped.missing.tolist() == [False, True, False]


def test_genes_resolve_by_symbol_alias_and_id_to_the_canonical_isoform(tmp_path):
    (tmp_path / "p.fa").write_text(
        ">sp|P1-2|X_HUMAN isoform GN=TP53\nMKKKKKKKK\n>sp|P1|X_HUMAN GN=TP53\nMKV\n"
        ">tr|Q9|Y_HUMAN GN=MDM2\nMMMM\n>ENSP00000000001.4 gene_symbol:ABC1\nML\n"
    )
    found = resolve_proteins(["TP53", "p53", "Q9", "ENSP00000000001.9", "none"], tmp_path / "p.fa", {"p53": "TP53"})
    assert [f.text for f in found.values()] == ["MKV", "MKV", "MMMM", "ML", None]
    assert [f.how for f in found.values()][:2] == ["exact", "alias"]
    assert coverage(found).startswith("4 of 5 found") and "none" in coverage(found)


def test_names_of_a_library_resolve_and_two_meanings_do_not(tmp_path):
    (tmp_path / "d.tsv").write_text("cat\tname\tsmiles\nS1\tAspirin\tCCO\nS2\tTwice\tCC\nS3\tTwice\tCCC\n")
    found = resolve_by_table(["s1", "ASPIRIN", "Twice", "CO"], tmp_path / "d.tsv", ["cat", "name"], "smiles")
    assert [f.text for f in found.values()] == ["CCO", "CCO", None, None]
    assert "2 different" in found["Twice"].how


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("mkv", "MKV"),
        (" MK V* ", "MKV"),
        ("MKU", "MKU"),
        ("MJV", "MXV"),
        ("", None),
        ("*", None),
        ("M*V", None),
        ("XXM", None),
    ],
)
def test_protein_sequences_are_cleaned_or_refused(text, clean):
    assert clean_protein(text)[0] == clean


def test_windows_cover_a_sequence():
    text = "".join(chr(65 + i % 26) for i in range(105))
    parts = windows(text, 40, 10)
    assert {s + i for s, p in parts for i in range(len(p))} == set(range(105))
    assert all(text[s : s + 40] == p and len(p) == 40 for s, p in parts)


def test_a_bank_agrees_with_its_rotation_and_not_with_noise(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((40, 5))
    turn = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    banks = []
    for number, matrix in enumerate((values, values @ turn, rng.standard_normal((40, 5)))):
        np.savez(tmp_path / f"{number}.npz", names=np.arange(40).astype(str), vectors=matrix)
        banks.append(table_features(tmp_path / f"{number}.npz"))
    same, noise = compare_banks(banks[0], banks[1]), compare_banks(banks[0], banks[2])
    assert same.cka > 0.999 and same.neighbours > 0.99
    assert noise.cka < 0.5 and abs(noise.neighbours - noise.chance) < 0.15


def test_effects_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="finite"):
        effect_features(np.array([[1.0, np.inf], [0, 1]]), ["a", "b"], ["x", "y"], line="L", revision="")
