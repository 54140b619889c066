import numpy as np
import pytest
from vc_eval.cli.main import main
from vc_eval.errors import VcEvalError

pytest.importorskip("matplotlib")
from vc_eval import contracts, plot, testing
from vc_eval.stats.summary import summarise


def test_every_figure_returns_axes_and_draws_what_it_was_given():
    rng = np.random.default_rng(0)
    delta = rng.normal(size=(5, 30))
    genes, names = [f"G{k}" for k in range(30)], [f"P{k}" for k in range(5)]
    scatter = plot.predicted_against_measured(delta[0] * 0.5, delta[0], genes=genes, label=3)
    offsets = scatter.collections[0].get_offsets()
    assert np.allclose(np.sort(offsets[:, 0]), np.sort(delta[0]))
    assert len([t for t in scatter.texts if t.get_text() in genes]) == 3
    volcano = plot.volcano(delta[0], np.full(30, 0.1), genes=genes)
    assert len(volcano.collections) >= 1
    heat = plot.heat_map(delta, conditions=names, genes=genes, n_genes=10)
    drawn = heat.images[0].get_array()
    assert drawn.shape == (5, 10)
    assert np.isin(np.round(np.asarray(drawn), 6), np.round(delta, 6)).all()
    cover = plot.calibration({"mine": (np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.5, 0.8]))})
    assert cover.get_xlim()[1] <= 1.05
    verdicts = plot.support_map(
        np.array([[0, 1, 2], [3, 1, 0]]),
        genes=["A", "B", "C"],
        contexts=["x", "y"],
        names=["here", "elsewhere", "relative", "nowhere"],
    )
    assert [t.get_text() for t in verdicts.get_yticklabels()] == ["x", "y"]
    with pytest.raises(VcEvalError, match="shape"):
        plot.predicted_against_measured(delta[0], delta[1][:4])


def test_gain_over_baselines_reads_scores(scored, baselines):
    table = summarise([scored], baselines=baselines, seed=0, n_boot=20)
    axes = plot.gain_over_baselines(table, model="oracle", metric="pearson_delta", baselines=baselines)
    assert set(baselines) - {"no_change"} <= {t.get_text() for t in axes.get_yticklabels()}


@pytest.mark.parametrize(("kind", "suffix"), [("measured", "svg"), ("volcano", "png"), ("heatmap", "pdf")])
def test_the_command_draws_from_a_contract(tmp_path, world, kind, suffix):
    _, _, predictions = world
    path, out = tmp_path / "p.zarr", tmp_path / f"fig.{suffix}"
    predictions["oracle"].write_zarr(path)
    words = [str(path), "--against", str(path)] if kind == "measured" else [str(path)]
    main(["plot", kind, *words, "-o", str(out)])
    assert out.stat().st_size > 1000
    first = out.read_bytes()
    main(["plot", kind, *words, "-o", str(out), "--overwrite"])
    if suffix == "svg":
        assert out.read_bytes() == first


def test_refusals_of_the_command(tmp_path, world, capsys):
    _, _, predictions = world
    predictions["oracle"].write_zarr(tmp_path / "p.zarr")
    for words, message in (
        (["volcano", str(tmp_path / "p.zarr"), "-o", str(tmp_path / "f.gif")], "svg, png or pdf"),
        (["volcano", str(tmp_path / "p.zarr"), "--condition", "nobody", "-o", str(tmp_path / "f.svg")], "nobody"),
        (["measured", str(tmp_path / "p.zarr"), "-o", str(tmp_path / "f.svg")], "--against"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["plot", *words])
        assert stop.value.code == 2 and message in capsys.readouterr().err
    assert not list(tmp_path.glob("f.*"))
    assert contracts.CONTROL == "control" and testing is not None
