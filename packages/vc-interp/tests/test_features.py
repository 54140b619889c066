"""What features mean, on activations whose dictionary, genes and perturbations are known."""

import json
from dataclasses import replace

import numpy as np
import pytest
from vc_interp.cli.main import main
from vc_interp.errors import InputError
from vc_interp.features.annotate import annotate
from vc_interp.features.attribution import agreement, by_gradient, by_intervention, typical_activation
from vc_interp.features.moved import moved
from vc_interp.features.recover import attribute_changes, average_precision, make_directions
from vc_interp.features.run import Known, describe
from vc_interp.features.specificity import matched, specificity
from vc_interp.files.networks import read_targets
from vc_interp.gmt import read_gmt
from vc_interp.latents import read_latents


@pytest.fixture(scope="module")
def attributed(planted, stored, dictionary):
    gradient = read_latents(planted / "gradient.zarr")
    typical = typical_activation(stored, dictionary)
    jacobian, genes = gradient.of_kind("gene")
    by_hand = by_intervention(stored, dictionary, typical, lambda x, rows: x @ jacobian.T, genes, n_rows=16)
    return by_gradient(gradient, dictionary, typical), by_hand, typical


def test_gradient_and_intervention_agree_where_the_model_is_linear(attributed):
    one, other, _ = attributed
    np.testing.assert_allclose(one.effect_fg, other.effect_fg, atol=1e-5)
    np.testing.assert_allclose(agreement(one, other), 1, atol=1e-5)


def test_clamping_sees_that_a_model_saturates(stored, dictionary, attributed):
    _, _, typical = attributed
    bent = by_intervention(stored, dictionary, typical, lambda x, rows: np.tanh(50 * x), tuple("abcdefgh"), n_rows=16)
    assert (bent.effect_fg[:, :6].diagonal() < 1.5).all()  # the gradient at 0 says 50 times the activation, about 35


def test_features_that_are_decoded_together_get_what_they_get_alone(stored, dictionary, attributed, monkeypatch):
    _, _, typical = attributed

    def bent(x, rows):
        return np.tanh(x + rows[:, None] / len(stored))

    together = by_intervention(stored, dictionary, typical, bent, tuple("abcdefgh"), n_rows=16)
    monkeypatch.setattr("vc_interp.features.attribution.VALUES_AT_ONCE", 1)
    alone = by_intervention(stored, dictionary, typical, bent, tuple("abcdefgh"), n_rows=16)
    np.testing.assert_allclose(together.effect_fg, alone.effect_fg, atol=1e-6)


def test_a_perturbation_moves_its_own_feature(stored, dictionary):
    found = moved(stored, dictionary)
    assert set(found.labels) == {f"P{at}" for at in range(6)}
    for row, label in enumerate(found.labels):
        at = int(label[1:])
        assert found.fdr_cf[row, at] < 1e-6 and found.change_cf[row].argmax() == at
        assert found.change_cf[row, at] == pytest.approx(0.96, abs=0.1)
    table = found.table(dictionary.names, per_condition=2)
    assert len(table) == 12


def test_features_annotate_above_permuted_genes(attributed, planted, dictionary):
    found = annotate(
        attributed[0].as_latents("m", "s", dictionary.names), read_gmt(planted / "sets.gmt"), permutations=5, top=5
    )
    assert found.share == 1 and found.permuted.max() < 0.5 and found.p_value == pytest.approx(1 / 6)


def test_regulators_are_specific_to_their_own_targets_only(attributed, planted, stored, dictionary):
    one, _, typical = attributed
    found = moved(stored, dictionary)
    effect = found.strength() @ (one.effect_fg / typical[:, None])
    targets = read_targets(planted / "targets.tsv")
    right = specificity(effect, found.labels, one.genes, targets, permutations=5)
    assert right.share == 1 and (right.table["auroc"] == 1).all() and right.permuted.mean() < 0.5
    wrong = {name: targets[f"P{(at + 1) % 6}"] for at, name in enumerate(sorted(targets))}
    assert specificity(effect, found.labels, one.genes, wrong, permutations=0).share == 0
    assert np.isnan(specificity(effect, found.labels, one.genes, {}, permutations=0).share)


def test_matched_genes_are_no_targets_and_respond_as_strongly():
    usual = np.linspace(0, 1, 100)
    others = matched(np.array([50, 51]), usual, own=49)
    assert not {49, 50, 51} & set(others.tolist())
    assert np.abs(usual[others] - 0.5).max() < 0.06


def test_average_precision_is_that_of_scikit_learn_and_pessimistic_on_ties():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(1)
    score, true = rng.standard_normal((4, 50)), rng.random((4, 50)) < 0.2
    wanted = [average_precision_score(t, np.abs(s)) for s, t in zip(score, true, strict=True)]
    np.testing.assert_allclose(average_precision(score, true), wanted)
    assert average_precision(np.zeros((1, 4)), np.array([[True, False, False, False]]))[0] == 0.25
    assert np.isnan(average_precision(score[:1], np.zeros((1, 50), bool)))[0]


@pytest.mark.parametrize("name", ["pca", "ica", "random"])
def test_linear_dictionaries_reconstruct(name, stored):
    x = stored.read(0, len(stored))
    found = make_directions(name, x, 8)
    centred = x - x.mean(axis=0)
    np.testing.assert_allclose(centred @ found.read_dk @ found.dec_kd, centred, atol=2e-3)


def test_few_features_speak_and_the_largest_do():
    change = np.array([[3.0, 1.0, -2.0]])
    said = attribute_changes(change, np.array([1.0, 0.1, 1.0]), np.eye(3), 2)
    np.testing.assert_allclose(said, [[3, 1, 0]])  # ranked in standard deviations: 3, 10, 2


def test_command_writes_tables_and_the_page_holds_them(planted, tmp_path, capsys):
    arguments = ["features", str(planted / "x.zarr"), str(planted / "sae"), "--out", str(tmp_path / "f")]
    extra = [
        "--gradient",
        str(planted / "gradient.zarr"),
        "--genesets",
        str(planted / "sets.gmt"),
        "--permutations",
        "2",
    ]
    assert main([*arguments, *extra, "--targets", str(planted / "targets.tsv"), "--others", str(planted / "sae")]) == 0
    summary = json.loads((tmp_path / "f/summary.json").read_text())
    assert summary["specificity"]["share"] == 1 and summary["stability"]["mean"] == pytest.approx(1)
    assert summary["measures"]["explained"] > 0.9 and summary["measures"]["dead"] == 0
    assert read_latents(tmp_path / "f/gradient.zarr").dims == tuple(f"f{at}" for at in range(6))
    assert main(["report", str(tmp_path / "f"), "--out", str(tmp_path / "page.html")]) == 0
    assert '"P3"' in (tmp_path / "page.html").read_text()
    assert main([*arguments]) == 2  # the folder is taken
    assert "overwrite" in capsys.readouterr().err


def test_files_of_several_models_are_refused(dictionary, sparse, stored, planted):
    for ask in (moved, describe):
        with pytest.raises(InputError, match="dimensions of the dictionary"):
            ask(sparse[1], dictionary, *([Known()] if ask is describe else []))
    other = replace(dictionary, record={"model": "another", "site": stored.site})
    with pytest.raises(InputError, match=r"model that the dictionary is of \('another'\), found 'planted'"):
        describe(stored, other, Known())
    with pytest.raises(InputError, match="site"):
        describe(stored, dictionary, Known(others=[replace(dictionary, record={"site": "elsewhere"})]))
    gradient = replace(read_latents(planted / "gradient.zarr"), site="gradient/elsewhere")
    with pytest.raises(InputError, match="site that the gradient is of"):
        describe(stored, dictionary, Known(gradient=gradient))
    written = replace(stored, header={"config": {"checkpoint": "a" * 64}})
    moved(written, replace(dictionary, record={"checkpoint": "a" * 64}))
    with pytest.raises(InputError, match="checkpoint"):
        moved(written, replace(dictionary, record={"checkpoint": "b" * 64}))


def test_regulators_without_known_targets_leave_valid_json(planted, stored, dictionary, tmp_path, capsys):
    (tmp_path / "t.tsv").write_text("tf\ttarget\nABSENT\tG1\n")
    extra = ["--gradient", str(planted / "gradient.zarr"), "--targets", str(tmp_path / "t.tsv")]
    out = tmp_path / "f"
    assert main(["features", str(planted / "x.zarr"), str(planted / "sae"), "--out", str(out), *extra]) == 0

    def refuse(word):
        raise AssertionError(word)

    found = json.loads((out / "summary.json").read_text(), parse_constant=refuse)
    assert found["specificity"]["regulators"] == 0 and found["specificity"]["share"] is None
    assert main(["report", str(out), "--out", str(tmp_path / "page.html")]) == 0
    assert "specificity was not asked" in (tmp_path / "page.html").read_text()
