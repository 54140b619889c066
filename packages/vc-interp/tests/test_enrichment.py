from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from vc_interp.enrichment import COLUMNS, enrich
from vc_interp.errors import InputError
from vc_interp.gmt import read_gmt
from vc_interp.latents import Latents

HERE = Path(__file__).resolve()


def gene_latents(loadings_gd, names=None, kinds=None):
    loadings_gd = np.asarray(loadings_gd, np.float32)
    n, d = loadings_gd.shape
    return Latents(
        values_rd=loadings_gd,
        rows=tuple(names or (f"G{i:03d}" for i in range(n))),
        kinds=tuple(kinds or ("gene",) * n),
        dims=tuple(f"z{i}" for i in range(d)),
        site="genes",
        model="toy",
    )


def planted(n_genes=300, n_dims=4, n_sets=20, set_size=15, seed=0):
    """Gaussian loadings; the genes of set S07 are pushed up on dimension z2, those of S11 down on z0."""
    rng = np.random.default_rng(seed)
    names = [f"G{i:03d}" for i in range(n_genes)]
    sets = {f"S{s:02d}": frozenset(rng.choice(names, set_size, replace=False)) for s in range(n_sets)}
    loadings_gd = rng.standard_normal((n_genes, n_dims))
    for row, name in enumerate(names):
        loadings_gd[row, 2] += 3 * (name in sets["S07"])
        loadings_gd[row, 0] -= 3 * (name in sets["S11"])
    return gene_latents(loadings_gd, names), sets


def test_hand_made_case():
    # Ten genes; the set holds three of them, all among the four selected: C(3,3) C(7,1) / C(10,4) = 7 / 210.
    latents = gene_latents([[10 - i] for i in range(10)])
    table = enrich(latents, {"S": {"G000", "G001", "G003"}}, top=4, background="all", min_size=1)
    (row,) = table.to_dict("records")
    assert list(table.columns) == list(COLUMNS)
    assert row["p_value"] == pytest.approx(7 / 210)
    assert row["fdr"] == row["p_value"]
    assert (row["overlap"], row["selected"], row["set_size"], row["background"]) == (3, 4, 3, 10)
    assert row["expected"] == pytest.approx(4 * 3 / 10)
    assert row["fold"] == pytest.approx(3 / 1.2)
    assert row["genes"] == "G000,G001,G003"
    assert row["end"] == "high"  # no loading is negative, so there is no low end


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), background=st.sampled_from(["annotated", "all"]), top=st.integers(1, 30))
def test_equals_fishers_exact_test(seed, background, top):
    rng = np.random.default_rng(seed)
    names = [f"G{i:03d}" for i in range(25)]
    sets = {f"S{s}": frozenset(rng.choice(names, rng.integers(1, 12), replace=False)) for s in range(4)}
    loadings_gd = rng.integers(-3, 4, (25, 2))  # with ties and zeros
    try:
        table = enrich(gene_latents(loadings_gd, names), sets, top=top, background=background, min_size=1)
    except InputError:
        assert not loadings_gd.any()
        return
    universe = [n for n in names if background == "all" or any(n in s for s in sets.values())]
    for row in table.to_dict("records"):
        sign = 1 if row["end"] == "high" else -1
        strength = {n: sign * loadings_gd[names.index(n), int(row["dimension"][1:])] for n in universe}
        chosen = sorted((n for n in universe if strength[n] > 0), key=lambda n: (-strength[n], n))[:top]
        members = sets[row["gene_set"]] & set(universe)
        hits = [n for n in chosen if n in members]
        a, b, c = len(hits), len(chosen) - len(hits), len(members) - len(hits)
        square = [[a, b], [c, len(universe) - a - b - c]]
        assert row["genes"] == ",".join(hits)
        assert row["p_value"] == pytest.approx(stats.fisher_exact(square, alternative="greater").pvalue, rel=1e-6)
    np.testing.assert_allclose(table["fdr"], stats.false_discovery_control(table["p_value"]))
    assert (np.diff(table["p_value"]) >= 0).all()


def test_finds_the_planted_pathways_and_nothing_else():
    latents, sets = planted()
    table = enrich(latents, sets, top=15)
    found = {(r["dimension"], r["end"], r["gene_set"]) for r in table[table["fdr"] < 0.01].to_dict("records")}
    assert found == {("z2", "high", "S07"), ("z0", "low", "S11")}


def test_permuted_labels_give_no_discoveries():
    """Under the null a Benjamini-Hochberg table at 5 % holds any discovery in at most 5 % of the permutations."""
    latents, sets = planted()
    rng = np.random.default_rng(1)
    n_with_any = 0
    for _ in range(40):
        shuffled = gene_latents(latents.values_rd, list(rng.permutation(latents.rows)))
        n_with_any += bool((enrich(shuffled, sets, top=15)["fdr"] < 0.05).any())
    assert n_with_any <= stats.binom.ppf(0.999, 40, 0.05)


def test_flipping_a_dimension_swaps_its_ends():
    latents, sets = planted()
    ends = {"high": "low", "low": "high"}
    table = enrich(latents, sets, top=15)
    flipped = enrich(gene_latents(-latents.values_rd, latents.rows), sets, top=15)
    key = ["dimension", "end", "gene_set"]
    left = table.assign(end=table["end"].map(ends)).sort_values(key)["p_value"]
    np.testing.assert_array_equal(left, flipped.sort_values(key)["p_value"])


def test_order_of_rows_and_sets_does_not_matter():
    latents, sets = planted(n_genes=60)
    order = np.random.default_rng(5).permutation(60)
    shuffled = gene_latents(latents.values_rd[order], [latents.rows[i] for i in order])
    left = enrich(latents, sets, top=10)
    right = enrich(shuffled, dict(reversed(sets.items())), top=10)
    assert left.to_csv() == right.to_csv()


def test_rows_of_other_kinds_are_left_out():
    latents, sets = planted()
    wild = np.full((2, latents.values_rd.shape[1]), 99)
    mixed = gene_latents(
        np.vstack([wild, latents.values_rd]), ["c1", "c2", *latents.rows], ["cell", "action"] + ["gene"] * 300
    )
    assert enrich(mixed, sets).to_csv() == enrich(latents, sets).to_csv()


def test_background_is_what_the_option_says():
    latents, sets = planted()
    n_annotated = len(frozenset().union(*sets.values()))
    assert n_annotated < 300
    assert set(enrich(latents, sets)["background"]) == {n_annotated}
    assert set(enrich(latents, sets, background="all")["background"]) == {300}


def test_sets_outside_the_size_limits_are_not_tested():
    latents, _ = planted()
    sets = {"small": {"G000"}, "fits": {"G000", "G001", "G002"}, "large": set(latents.rows)}
    assert set(enrich(latents, sets, min_size=2, max_size=10)["gene_set"]) == {"fits"}


@pytest.mark.parametrize(
    ("latents", "sets", "options", "words"),
    [
        (gene_latents([[1.0]], kinds=["cell"]), {"S": {"G000"}}, {}, "gene rows"),
        (gene_latents([[1.0]]), {"S": {"ENSG1"}}, {}, "same gene names"),
        (gene_latents([[1.0]]), {}, {}, "same gene names"),
        (gene_latents([[1.0]]), {"S": {"G000"}}, {"min_size": 2}, "--min-size"),
        (gene_latents([[0.0]]), {"S": {"G000"}}, {"min_size": 1}, "zero"),
        (gene_latents([[1.0]]), {"S": {"G000"}}, {"top": 0}, "top"),
        (gene_latents([[1.0]]), {"S": {"G000"}}, {"min_size": 5, "max_size": 4}, "max_size"),
    ],
)
def test_refuses_what_cannot_be_tested(latents, sets, options, words):
    with pytest.raises(InputError, match=words):
        enrich(latents, sets, **options)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"prose without tabs\n", "line 1.*GMT"),
        (b"S\td\tA\nS\td\tB\n", "occurs twice"),
        (b"S\td\n", "at least one gene"),
        (b"\x1f\x8b\x08\xff", "gzip"),
    ],
)
def test_refuses_what_is_no_gmt(tmp_path, content, words):
    (tmp_path / "bad.gmt").write_bytes(content)
    with pytest.raises(InputError, match=words) as refusal:
        read_gmt(tmp_path / "bad.gmt")
    assert "bad.gmt" in str(refusal.value)


def test_real_hallmark_set_is_found_among_real_genes():
    folders = [f / "shared" / "data" / "side" / "genesets" for f in HERE.parents]
    path = next((f / "hallmark_msigdb_v7.0.gmt" for f in folders if f.is_dir()), None)
    if path is None:
        pytest.skip("no shared/data beside the workspace: real-data test skipped")
    sets = read_gmt(path)
    assert len(sets) == 50
    names = sorted(frozenset().union(*sets.values()))
    assert len(names) == 4384
    rng = np.random.default_rng(2)
    loadings_gd = rng.standard_normal((len(names), 3))
    target = "HALLMARK_INTERFERON_ALPHA_RESPONSE"
    loadings_gd[:, 1] += 2 * np.array([name in sets[target] for name in names])
    table = enrich(gene_latents(loadings_gd, names), sets, top=100)
    assert table.iloc[0][["dimension", "end", "gene_set"]].tolist() == ["z1", "high", target]
    # Its sister shares 73 genes with it, so it must be the second.
    assert table.iloc[1]["gene_set"] == "HALLMARK_INTERFERON_GAMMA_RESPONSE"
    assert set(table[table["fdr"] < 0.05]["dimension"]) == {"z1"}
