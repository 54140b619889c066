import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vc_featurize import geneset
from vc_featurize.errors import InputError
from vc_featurize.geneset import geneset_features, read_gmt

genes = st.sampled_from([f"G{i}" for i in range(8)])
set_lists = st.lists(st.lists(genes, min_size=1, max_size=6, unique=True), min_size=1, max_size=6)


def write_gmt(path, sets):
    path.write_text("".join(f"{name}\tabout {name}\t" + "\t".join(members) + "\n" for name, members in sets.items()))
    return path


def weighted_gram(sets, names):
    """Sum over the sets that hold both genes of 1 / set size: the inner products that the vectors stand for."""
    return np.array([[sum(1 / len(m) for m in sets.values() if a in m and b in m) for b in names] for a in names])


def test_read_gmt_drops_weights_blanks_and_repeats(tmp_path):
    path = tmp_path / "x.gmt"
    path.write_text("S1\t\tA,1.0\tB\tA\t\n\nS2\tnote\tC\n")
    assert read_gmt(path) == {"S1": ("A", "B"), "S2": ("C",)}


def test_gzip_reads_the_same(tmp_path):
    path = write_gmt(tmp_path / "x.gmt", {"S1": ["A", "B"], "S2": ["B", "C"]})
    zipped = tmp_path / "x.gmt.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert read_gmt(zipped) == read_gmt(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty file"),
        (b" \n\n", "empty file"),
        (b"just some prose\nwithout tabs\n", "line 1.*GMT"),
        (b"S1\td\tA\nS2\td\n", "line 2.*GMT"),
        (b"\td\tA\n", "line 1"),
        (b"S1\td\tA\nS1\td\tB\n", "'S1' occurs twice"),
        (b"S1\td\tA\0\n", "NUL"),
        (b"\x1f\x8bnonsense", "gzip"),
    ],
)
def test_refuses_what_is_no_gmt(tmp_path, content, words):
    path = tmp_path / "bad.gmt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as refusal:
        geneset_features(path)
    assert "bad.gmt" in str(refusal.value)


def test_refuses_absent_file_repeated_and_unknown_entities(tmp_path):
    path = write_gmt(tmp_path / "x.gmt", {"S1": ["TP53", "MDM2"]})
    with pytest.raises(InputError, match="no such file"):
        geneset_features(tmp_path / "absent.gmt")
    with pytest.raises(InputError, match="repeated"):
        geneset_features(path, ["TP53", "TP53"])
    with pytest.raises(InputError, match="symbols"):
        geneset_features(path, ["ENSG00000141510"])
    with pytest.raises(InputError, match="dim"):
        geneset_features(path, dim=0)


@settings(deadline=None)
@given(members=set_lists)
def test_all_dimensions_keep_every_inner_product(tmp_path_factory, members):
    sets = {f"S{i}": m for i, m in enumerate(members)}
    bank = geneset_features(write_gmt(tmp_path_factory.mktemp("gmt") / "x.gmt", sets))
    gram = bank.vectors_ef @ bank.vectors_ef.T
    np.testing.assert_allclose(gram, weighted_gram(sets, bank.entities), atol=1e-5)


@settings(deadline=None)
@given(members=set_lists, seed=st.integers(0, 9))
def test_order_of_lines_and_of_genes_does_not_matter(tmp_path_factory, members, seed):
    folder = tmp_path_factory.mktemp("gmt")
    sets = {f"S{i}": m for i, m in enumerate(members)}
    shuffle = np.random.default_rng(seed).permutation
    shuffled = {name: list(shuffle(sets[name])) for name in shuffle(list(sets))}
    first = geneset_features(write_gmt(folder / "a.gmt", sets), dim=3)
    second = geneset_features(write_gmt(folder / "b.gmt", shuffled), dim=3)
    assert first.entities == second.entities
    np.testing.assert_array_equal(first.vectors_ef, second.vectors_ef)


@settings(deadline=None)
@given(members=set_lists, data=st.data())
def test_a_vector_does_not_depend_on_who_else_is_asked_for(tmp_path_factory, members, data):
    sets = {f"S{i}": m for i, m in enumerate(members)}
    path = write_gmt(tmp_path_factory.mktemp("gmt") / "x.gmt", sets)
    everyone = geneset_features(path, dim=3)
    asked = [*data.draw(st.permutations(everyone.entities)), "NOWHERE"]
    some = geneset_features(path, asked, dim=3)
    for row, entity in enumerate(asked[:-1]):
        np.testing.assert_array_equal(some.vectors_ef[row], everyone.vectors_ef[everyone.entities.index(entity)])
    assert some.missing.tolist() == [False] * (len(asked) - 1) + [True]
    assert not some.vectors_ef[-1].any()
    assert (some.sources[-1], some.notes[-1]) == ("", "in no set")


def test_iterative_and_exact_decomposition_agree(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    # Sizes that fall make the singular values distinct, so that both ways have one answer.
    sets = {f"S{i:02d}": [f"G{g}" for g in rng.choice(60, 25 - i, replace=False)] for i in range(20)}
    path = write_gmt(tmp_path / "x.gmt", sets)
    exact = geneset_features(path, dim=4)
    monkeypatch.setattr(geneset.svd, "DENSE_LIMIT", 0)
    iterative = geneset_features(path, dim=4)
    np.testing.assert_allclose(iterative.vectors_ef, exact.vectors_ef, atol=1e-5)


def test_encoder_record(tmp_path):
    path = write_gmt(tmp_path / "x.gmt", {"S1": ["A", "B"]})
    assert geneset_features(path).encoder["licence"] == "unstated"
    encoder = geneset_features(path, licence="CC BY 4.0").encoder
    assert encoder["licence"] == "CC BY 4.0"
    assert encoder["dim"] == 1  # one set: one dimension, whatever was asked for
    assert len(encoder["revision"]) == 64


def test_real_hallmark_genes_of_one_set_are_closer_than_random_genes(side_dpath):
    path = side_dpath / "genesets" / "hallmark_msigdb_v7.0.gmt"
    sets = read_gmt(path)
    assert len(sets) == 50
    bank = geneset_features(path, dim=64)
    assert bank.vectors_ef.shape == (4384, 50)  # fifty sets, so fifty dimensions
    unit_ef = bank.vectors_ef / np.linalg.norm(bank.vectors_ef, axis=1, keepdims=True)
    row_of = {entity: row for row, entity in enumerate(bank.entities)}
    rng = np.random.default_rng(0)
    for members in sets.values():
        inside_ef = unit_ef[[row_of[gene] for gene in members]]
        random_ef = unit_ef[rng.choice(len(unit_ef), len(members), replace=False)]
        assert (inside_ef @ inside_ef.T).mean() > 0.3 + (random_ef @ random_ef.T).mean()


def test_real_reactome_is_reproducible_and_close_to_its_inner_products(side_dpath):
    path = side_dpath / "genesets" / "reactome_msigdb_v6.2.gmt"
    first, second = geneset_features(path), geneset_features(path)
    assert first.vectors_ef.shape == (6025, 64)
    assert first.vectors_ef.tobytes() == second.vectors_ef.tobytes()
    assert (np.diff(np.linalg.norm(first.vectors_ef, axis=0)) <= 1e-6).all()  # strongest dimension first
