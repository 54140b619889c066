"""What one package writes, every other reads as the same thing."""

import json

import numpy as np
import pandas as pd
import pytest
from corpus.predictions import predictions, with_intervals
from corpus.scores import scores
from corpus.screen import screen


@pytest.fixture(scope="module")
def screen_fpath(tmp_path_factory):
    """The corpus screen with its rows in disorder, as vc-data writes it."""
    from vc_data.screen.file import write_screen

    adata = screen()
    adata = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    path = tmp_path_factory.mktemp("written") / "screen.zarr"
    write_screen(adata.obs, adata.var, adata.X.__getitem__, path, alignment={}, seed=3)
    return path


def counts_by_cell(cells, counts) -> dict[str, list[float]]:
    return dict(zip(cells, np.asarray(counts.todense()).tolist(), strict=True))


def test_a_screen_of_vc_data_is_the_same_to_every_reader(screen_fpath):
    import vc_data.screen.file
    import vc_eval.contracts
    import vc_model.contracts

    adata = screen()
    expected = counts_by_cell(adata.obs_names, adata.X)
    for read in (vc_data.screen.file.read_screen, vc_eval.contracts.read_screen):
        found = read(screen_fpath)
        assert counts_by_cell(found.obs_names, found.X) == expected
    opened = vc_model.contracts.read_screen(screen_fpath)
    assert counts_by_cell(opened.obs.index, opened.rows(0, len(opened.obs))) == expected
    assert opened.obs.loc[adata.obs_names, "total_counts"].tolist() == adata.obs["total_counts"].tolist()


def test_a_split_of_vc_data_is_the_same_to_every_reader(screen_fpath, tmp_path):
    import vc_data.screen.file
    import vc_data.split
    import vc_eval.contracts
    import vc_model.contracts

    own = vc_data.screen.file.read_screen(screen_fpath)
    made = vc_data.split.by_perturbation(own, seed=1, min_cells=1)
    vc_data.split.write_splits(made, tmp_path / "splits.json")
    expected = {(c["cell_line"], c["perturbation"]): c["part"] for c in made.conditions}
    in_eval = vc_eval.contracts.read_splits(tmp_path / "splits.json", vc_eval.contracts.read_screen(screen_fpath))
    in_model = vc_model.contracts.read_splits(tmp_path / "splits.json", vc_model.contracts.read_screen(screen_fpath))
    rows = in_eval.conditions[["cell_line", "perturbation", "part"]].itertuples(index=False)
    assert {(row.cell_line, row.perturbation): row.part for row in rows} == expected
    assert in_model.parts == expected
    for role, cells in made.controls.items():
        assert list(in_model.controls[role]) == in_eval.controls[role] == cells


def test_a_bank_of_vc_featurize_is_the_same_to_vc_model(tmp_path):
    from vc_featurize.bank import write_features
    from vc_featurize.geneset import geneset_features
    from vc_model.contracts import read_features

    (tmp_path / "sets.gmt").write_text("S1\t\tG1\tG2\nS2\t\tG2\tCTCF\n")
    bank = geneset_features(tmp_path / "sets.gmt", ["G2", "NOWHERE", "G1"])
    found = read_features(write_features(tmp_path / "bank.zarr", bank))
    assert found.entities == bank.entities
    np.testing.assert_array_equal(found.vectors_ef, bank.vectors_ef)
    np.testing.assert_array_equal(found.missing_e, bank.missing)


def test_predictions_of_vc_model_are_the_same_to_vc_eval(tmp_path):
    from vc_eval.contracts import read_predictions
    from vc_model.contracts import PredictionFile, write_predictions

    adata = predictions()
    with_intervals(adata)
    file = PredictionFile(
        model="corpus",
        space="log1p_cp10k",
        unit="profile",
        genes=tuple(adata.var_names),
        perturbation=adata.obs["perturbation"].astype(str).to_numpy(),
        cell_line=adata.obs["cell_line"].astype(str).to_numpy(),
        is_control=adata.obs["is_control"].to_numpy(),
        mean_ng=adata.X,
        sd_ng=adata.layers["sd"],
        sd_epistemic_ng=adata.layers["sd_epistemic"],
        levels=tuple(adata.uns["interval_levels"]),
        width_nl=adata.obsm["interval_width"],
        supported_n=adata.obs["supported"].to_numpy(),
        basis_n=adata.obs["interval_basis"].to_numpy(str),
    )
    write_predictions(tmp_path / "p.zarr", file)
    found = read_predictions(tmp_path / "p.zarr")
    np.testing.assert_array_equal(found.X, adata.X)
    for layer in ("sd", "sd_epistemic"):
        np.testing.assert_array_equal(found.layers[layer], adata.layers[layer])
    np.testing.assert_array_equal(found.obsm["interval_width"], adata.obsm["interval_width"])
    np.testing.assert_array_equal(found.uns["interval_levels"], adata.uns["interval_levels"])
    for column in ("supported", "interval_basis"):
        assert found.obs[column].tolist() == adata.obs[column].tolist()
    assert found.obs["perturbation"].tolist() == adata.obs["perturbation"].tolist()


def test_predictions_of_a_biojepa_are_read_by_vc_eval(biojepa, world, tmp_path):
    from vc_eval.contracts import read_predictions
    from vc_model.contracts import write_predictions
    from vc_model.emit.output import make_prediction_file

    write_predictions(tmp_path / "p.h5ad", make_prediction_file(biojepa, world.test))
    found = read_predictions(tmp_path / "p.h5ad")
    expected, asked = biojepa.predict(world.test), ~found.obs["is_control"].to_numpy()
    assert found.uns["model"] == "biojepa"
    assert found.obs["perturbation"][asked].tolist() == list(world.test.perturbation)
    np.testing.assert_array_equal(found.X[asked], expected.mean_pg)
    np.testing.assert_array_equal(found.layers["sd"][asked], np.sqrt(expected.var_pg))


def test_lines_described_by_vc_model_are_the_same_to_vc_interp(biojepa, tmp_path):
    from vc_interp.latents import read_latents
    from vc_model.contracts import write_context_vectors

    vectors = dict(zip(biojepa.cells.lines, biojepa.encode_contexts(), strict=True))
    write_context_vectors(tmp_path / "l.zarr", vectors, model=biojepa.name, site="encoder/cell_vector")
    found = read_latents(tmp_path / "l.zarr")
    assert (found.rows, found.model, found.site) == (biojepa.cells.lines, "biojepa", "encoder/cell_vector")
    np.testing.assert_array_equal(found.of_kind("condition")[0], biojepa.encode_contexts())


def test_scores_of_vc_eval_hold_the_columns_of_the_page(tmp_path):
    from vc_eval.contracts import read_scores, write_scores

    table, _ = scores()
    write_scores(tmp_path / "scores", table, parents={}, config={"seed": 1}, summary={"best": "anchored"})
    stored = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    assert stored.columns.tolist() == table.columns.tolist()
    found, summary = read_scores(tmp_path / "scores")
    key = ["model", "group"]
    pd.testing.assert_frame_equal(
        found.sort_values(key, ignore_index=True), table.sort_values(key, ignore_index=True), check_dtype=False
    )
    assert summary == {"best": "anchored"}
    assert json.loads((tmp_path / "scores" / "scores.json").read_text())["contract"]["name"] == "scores"
