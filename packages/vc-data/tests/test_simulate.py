"""The simulator: its steady state, its modes, its cells against its truth, and how hard it is."""

import dataclasses

import anndata
import numpy as np
import pytest
from vc_data.errors import OutputError
from vc_data.simulate import (
    PRESETS,
    SimulatorConfig,
    SimulatorError,
    make_truth,
    make_world,
    simulate,
    solve_effects,
    write_simulation,
)
from vc_data.simulate import screen as screen_module
from vc_data.simulate.cells import iter_counts, make_plan
from vc_data.simulate.effects import Perturbation, direct_changes, make_perturbations
from vc_data.simulate.network import Gates, regulated_change, steady_state

TINY = PRESETS["tiny"]
# No cell states, batches or depth differences: counts of one condition are identically distributed.
PLAIN = dataclasses.replace(TINY, state_log_sd=0.0, batch_log_sd=0.0, depth_log_sd=0.0, n_batches=1, escape_share=0.0)


@pytest.fixture(scope="module")
def world():
    return make_world(TINY, np.random.default_rng(3))


@pytest.fixture(scope="module")
def tiny():
    return simulate(TINY, seed=0)


def perturb(gene: int | tuple, kind: str = "CRISPRi", strength: float = 0.9) -> Perturbation:
    genes = gene if isinstance(gene, tuple) else (gene,)
    n = len(genes)
    return Perturbation("x", kind, genes, (kind,) * n, (strength,) * n, (0.0,) * n, float("nan"), 1.0)


def with_network(world, factor: float, gates: bool = False):
    """The same world with scaled edges, with or without its gates."""
    lines = tuple(dataclasses.replace(line, edge_weight=line.edge_weight * factor) for line in world.lines)
    none = np.zeros(0, int)
    kept = world.gates if gates else Gates(none, none, none, np.zeros(0))
    return dataclasses.replace(world, lines=lines, gates=kept)


def strong_regulators(world, n: int) -> list[int]:
    reach = np.bincount(world.source, world.lines[0].edge_weight ** 2, world.config.n_genes)
    reach *= world.lines[0].log_level > 0
    return np.argsort(-reach)[:n].tolist()


# The steady state


def test_steady_state_is_a_fixed_point(world):
    line = world.lines[0]
    direct, activity = direct_changes(world, line, [perturb(int(g)) for g in world.regulators])
    change = steady_state(world, line, direct, activity)
    residual = change - direct - regulated_change(world, line, change, activity)
    assert np.abs(change).max() > 1.0
    assert np.abs(residual).max() < 1e-10


@pytest.mark.parametrize("start", [-5.0, -0.5, 4.0])
def test_steady_state_is_the_same_from_anywhere(world, start):
    line = world.lines[1]
    direct, activity = direct_changes(world, line, [perturb(int(g)) for g in world.regulators[:20]])
    np.testing.assert_allclose(
        steady_state(world, line, direct, activity, start=start), steady_state(world, line, direct, activity), atol=1e-9
    )


def test_unperturbed_cell_stays_where_it_is(world):
    zero = np.zeros((1, TINY.n_genes))
    assert np.abs(steady_state(world, world.lines[0], zero, zero)).max() == 0.0


# The modes


def test_crispri_removes_its_efficiency_from_the_target(world):
    line, gene = world.lines[0], strong_regulators(world, 1)[0]
    direct, activity = direct_changes(world, line, [perturb(gene, strength=0.8)])
    change = steady_state(world, line, direct, activity)
    feedback = regulated_change(world, line, change, activity)[0, gene]
    assert change[0, gene] - feedback == pytest.approx(np.log(0.2))
    alone = steady_state(with_network(world, 0.0), with_network(world, 0.0).lines[0], direct, activity)
    assert np.exp(alone[0, gene]) == pytest.approx(0.2)
    assert np.abs(np.delete(alone[0], gene)).max() == 0.0


def test_crispra_induces_low_genes_more(world):
    level = world.lines[0].log_level
    low, high = int(np.argmin(level)), int(np.argmax(level))
    direct, activity = direct_changes(world, world.lines[0], [perturb(g, "CRISPRa", 4.0) for g in (low, high)])
    assert direct[0, low] > direct[1, high] > 0.0
    assert not activity.any()


def test_knockout_takes_more_activity_than_mrna(world):
    gene = strong_regulators(world, 1)[0]
    direct, activity = direct_changes(world, world.lines[0], [perturb(gene, "CRISPRko", 1.0)])
    assert np.exp(direct[0, gene]) == pytest.approx(0.6)
    assert np.exp(direct[0, gene] + activity[0, gene]) < 0.05


def test_inhibitor_acts_downstream_of_its_targets_mrna(world):
    gene = strong_regulators(world, 1)[0]
    drug = perturb(gene, "drug", 0.95)
    direct, activity = direct_changes(world, world.lines[0], [drug])
    assert not direct.any()
    off = with_network(world, 0.0)
    assert not steady_state(off, off.lines[0], direct, activity).any()
    change = steady_state(world, world.lines[0], direct, activity)[0]
    assert np.abs(np.delete(change, gene)).max() > 0.1


def test_drug_effects_grow_with_dose():
    sim = simulate(dataclasses.replace(TINY, n_drugs=6, difficulty="easy"), seed=2)
    truth = sim.truth[sim.truth.obs["perturbation_type"] == "drug"]
    assert sorted(truth.obs["dose"].unique()) == pytest.approx([0.01, 0.1, 1.0, 10.0])
    for _, rows in truth.obs.groupby(["cell_line", "targets", truth.obs["perturbation"].str.split("@").str[0]]):
        by_dose = rows.sort_values("dose").index
        occupancy = [float(x.split("+")[0]) for x in rows.loc[by_dose, "efficiency"]]
        assert occupancy == sorted(occupancy) and occupancy[0] < occupancy[-1]
        norm = np.linalg.norm(truth[by_dose].layers["steady_state"] - sim.world.shift, axis=1)
        assert np.all(np.diff(norm) > -1e-3 * norm[-1])
    labels = sim.adata.obs.loc[sim.adata.obs["perturbation_type"] == "drug", "perturbation"]
    assert not labels.str.contains("@").any()


def test_gene_that_is_not_expressed_has_no_influence_to_lose(world):
    line, gene = world.lines[0], strong_regulators(world, 1)[0]
    level = line.log_level.copy()
    level[gene] = -9.0
    silent = dataclasses.replace(line, log_level=level)
    effects = []
    for variant in (line, silent):
        change = steady_state(world, variant, *direct_changes(world, variant, [perturb(gene)]))[0]
        effects.append(np.linalg.norm(np.delete(change, gene)))
    assert effects[1] < 0.02 * effects[0]


# Pairs


def test_pairs_add_up_without_gates_and_saturation(world):
    a, b = strong_regulators(world, 2)
    shares = []
    for variant in (with_network(world, 1e-3), with_network(world, 1.0, gates=True)):
        line = variant.lines[0]
        change = steady_state(variant, line, *direct_changes(variant, line, [perturb((a, b)), perturb(a), perturb(b)]))
        downstream = np.delete(change, [a, b], axis=1)
        interaction = downstream[0] - downstream[1] - downstream[2]
        shares.append(np.linalg.norm(interaction) / np.linalg.norm(downstream[0]))
    assert shares[0] < 2e-3
    assert shares[1] > 20 * shares[0]


def test_interaction_layer_is_pair_minus_singles(tiny):
    truth = tiny.truth
    pairs = truth.obs["perturbation"].str.contains("+", regex=False).to_numpy()
    assert pairs.sum() == TINY.n_pairs * len(TINY.cell_lines)
    assert not truth.layers["interaction"][~pairs].any()
    for name, row in truth.obs[pairs].iterrows():
        singles = truth[[f"{row.cell_line}|{gene}" for gene in row.perturbation.split("+")]]
        expected = truth[name].X[0] - singles.X.sum(axis=0)
        np.testing.assert_allclose(truth[name].layers["interaction"][0], expected, atol=1e-5)
        assert row.synergy == pytest.approx(np.linalg.norm(expected), rel=1e-4)


def test_synthetic_lethal_pairs_cost_more_than_their_singles(world):
    line = world.lines[0]
    expressed = (line.log_level[world.lethal_a] > 0) & (line.log_level[world.lethal_b] > 0)
    pairs = [(int(a), int(b)) for a, b in zip(world.lethal_a[expressed], world.lethal_b[expressed], strict=True)][:20]
    genetic = [perturb(p) for p in pairs] + [perturb(a) for a, _ in pairs] + [perturb(b) for _, b in pairs]
    both, first, second = solve_effects(world, line, genetic).viability.reshape(3, -1)
    assert np.mean(both < 0.9 * first * second) > 0.8


# Cells


def test_screen_has_the_columns_of_a_perturbation_file(tiny):
    obs = tiny.adata.obs
    assert list(tiny.adata.var_names[:2]) == ["G001", "G002"]
    assert tiny.adata.var["gene_id"].str.fullmatch(r"ENSG\d{11}").all()
    assert ((obs["perturbation"] == "control") == obs["is_control"]).all()
    assert obs.groupby("cell_line", observed=True)["is_control"].sum().tolist() == [TINY.controls_per_line] * 2
    assert set(obs["perturbation_type"]) == {"control", "CRISPRi"}
    combos = [label.split("+") for label in obs["perturbation"].unique() if "+" in label]
    assert combos and all(parts == sorted(parts) for parts in combos)
    counts = tiny.adata.X
    assert counts.dtype == np.float32 and counts.data.min() >= 1 and np.all(counts.data == np.round(counts.data))
    np.testing.assert_array_equal(obs["total_counts"], np.asarray(counts.sum(axis=1)).ravel())
    assert set(obs["perturbation"]) - {"control"} <= {
        *tiny.adata.var_names,
        *("+".join(parts) for parts in combos),
    }


def test_pseudobulk_converges_to_the_truth():
    config = dataclasses.replace(
        TINY, n_singles=6, n_pairs=2, cells_per_condition=2500, controls_per_line=6000, cell_lines=("A",),
        abundance_log_sd=0.0, escape_share=0.2, depth_median=4000.0,
    )  # fmt: skip
    sim = simulate(config, seed=11)
    log = np.log1p(sim.adata.X.toarray() / sim.adata.obs["total_counts"].to_numpy()[:, None] * 1e4).astype(float)
    label, batch = sim.adata.obs["perturbation"].to_numpy(str), sim.adata.obs["batch"].to_numpy(str)
    control = log[label == "control"]
    z = []
    for name, row in sim.truth.obs.iterrows():
        cells = log[label == row.perturbation]
        se = np.sqrt(cells.var(axis=0) / len(cells) + control.var(axis=0) / len(control))
        error = cells.mean(axis=0) - control.mean(axis=0) - sim.truth[name].X[0]
        z.append(error[se > 1e-3] / se[se > 1e-3])
    z = np.concatenate(z)
    assert len(np.unique(batch)) == config.n_batches
    # Errors share the control cells, so the spread of mean z^2 over 8 conditions is that of far fewer than 1,600 values.
    assert np.mean(z**2) == pytest.approx(1.0, abs=0.25)
    assert np.abs(z).max() < 6.0
    effect = np.abs(sim.truth.X).max()
    assert effect > 0.5


def test_counts_are_negative_binomial():
    config = dataclasses.replace(PLAIN, n_singles=1, n_pairs=0, controls_per_line=8000, cell_lines=("A",))
    sim = simulate(config, seed=4)
    counts = sim.adata.X[sim.adata.obs["is_control"].to_numpy()].toarray().astype(float)
    level = sim.world.lines[0].log_level
    mean = config.depth_median * np.exp(level) / np.exp(level).sum()
    variance = mean + sim.world.dispersion * mean**2
    seen = mean > 0.5
    z = (counts.mean(axis=0) - mean) / np.sqrt(variance / len(counts))
    assert np.mean(z[seen] ** 2) == pytest.approx(1.0, abs=0.4)
    ratio = counts.var(axis=0)[seen] / variance[seen]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.02)
    assert np.all(np.abs(ratio - 1.0) < 0.35)
    p_zero = (1 + sim.world.dispersion * mean) ** (-1 / sim.world.dispersion)
    assert np.abs((counts == 0).mean(axis=0) - p_zero).max() < 0.03


def test_viability_lowers_the_number_of_cells(tiny):
    obs = tiny.truth.obs
    assert obs["viability"].between(0.0, 1.0).all() and obs["viability"].min() < 0.7
    assert np.all(obs["survival"] >= obs["viability"] - 1e-9)
    started = {p.label: p.abundance * TINY.cells_per_condition for p in tiny.perturbations}
    expected = obs["survival"] * obs["perturbation"].map(started).astype(float)
    np.testing.assert_allclose(obs["n_cells"], expected, rtol=1e-6)
    z = (obs["n_cells_observed"] - obs["n_cells"]) / np.sqrt(obs["n_cells"])
    assert np.mean(z**2) == pytest.approx(1.0, abs=0.5)
    counted = tiny.adata.obs.groupby(["cell_line", "perturbation"], observed=True).size()
    drawn = obs.set_index(["cell_line", "perturbation"])["n_cells_observed"]
    assert (counted[drawn.index.to_list()].to_numpy() == drawn.to_numpy()).all()


def test_same_seed_same_bytes(tiny):
    again, other = simulate(TINY, seed=0), simulate(TINY, seed=1)
    for name in ("data", "indices", "indptr"):
        assert getattr(again.adata.X, name).tobytes() == getattr(tiny.adata.X, name).tobytes()
    assert again.adata.obs.equals(tiny.adata.obs)
    assert again.truth.X.tobytes() == tiny.truth.X.tobytes()
    assert again.gene_sets == tiny.gene_sets
    assert other.adata.X.sum() != tiny.adata.X.sum()


def test_counts_do_not_depend_on_the_number_of_threads(world):
    rng = np.random.default_rng(0)
    perturbations = make_perturbations(world, rng)
    effects = [solve_effects(world, line, perturbations) for line in world.lines]
    plan = make_plan(TINY, perturbations, effects, rng)
    runs = []
    for n_threads in (1, 3):
        blocks = list(iter_counts(world, effects, plan, np.random.default_rng(9), n_threads=n_threads))
        assert max(block.shape[0] for block in blocks) <= TINY.block_cells
        runs.append(np.vstack([block.toarray() for block in blocks]))
    np.testing.assert_array_equal(*runs)


# Files


def test_streamed_screen_equals_the_one_in_memory(tmp_path, tiny):
    folder = write_simulation(TINY, 0, tmp_path / "sim")
    assert sorted(path.name for path in folder.iterdir() if path.name != ".vc-output.json") == [
        "pathways.gmt",
        "screen.h5ad",
        "truth.h5ad",
    ]
    screen, truth = anndata.read_h5ad(folder / "screen.h5ad"), anndata.read_h5ad(folder / "truth.h5ad")
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(screen.X, name), getattr(tiny.adata.X, name))
    assert screen.X.dtype == np.float32
    for column in tiny.adata.obs:
        np.testing.assert_array_equal(screen.obs[column].to_numpy(), tiny.adata.obs[column].to_numpy())
    assert screen.var.equals(tiny.adata.var) and list(screen.obs_names) == list(tiny.adata.obs_names)
    np.testing.assert_array_equal(truth.X, tiny.truth.X)
    for name in ("lfc", "steady_state", "interaction"):
        np.testing.assert_array_equal(truth.layers[name], tiny.truth.layers[name])
    network = truth.uns["network"]
    assert len(network["source"]) == len(network["target"]) == len(network["weight_LineA"]) > 0
    sets = [line.split("\t") for line in (folder / "pathways.gmt").read_text().splitlines()]
    assert {name: genes for name, _, *genes in sets} == tiny.gene_sets


def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    def fail(path, ready):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(screen_module, "_stream_screen", fail)
    with pytest.raises(KeyboardInterrupt):
        write_simulation(TINY, 0, tmp_path / "sim")
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_refused_and_kept(tmp_path):
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="sim"):
        write_simulation(TINY, 0, tmp_path / "sim")
    assert (tmp_path / "sim" / "mine.txt").read_text() == "keep"


def test_gene_sets_are_incomplete_and_partly_false():
    config = dataclasses.replace(
        TINY, n_genes=1000, n_pathways=30, n_singles=5, n_pairs=0, cells_per_condition=1, controls_per_line=1
    )
    sim = simulate(config, seed=5)
    index = {name: i for i, name in enumerate(sim.adata.var_names)}
    member = np.zeros((30, 1000), bool)
    member[sim.world.member_pathway, sim.world.member_gene] = True
    found, false = [], []
    for genes in sim.gene_sets.values():
        written = np.isin(np.arange(1000), [index[g] for g in genes])
        best = member[np.argmax((member & written).sum(axis=1))]
        if (best & written).sum() > 0.4 * written.sum():
            found.append((best & written).sum() / best.sum())
            false.append(1 - (best & written).sum() / written.sum())
    assert len(found) >= 30
    assert np.mean(found) == pytest.approx(0.7, abs=0.06)
    assert np.mean(false) == pytest.approx(0.2, abs=0.08)
    assert len(sim.gene_sets) > len(found)


# Settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_genes", 10),
        ("n_singles", 1000),
        ("n_pairs", 10_000),
        ("modes", ("CRISPRx",)),
        ("cell_lines", ("A", "A")),
        ("doses", (0.0, 1.0)),
        ("depth_median", 0.0),
        ("escape_share", 1.0),
        ("difficulty", "brutal"),
    ],
)
def test_impossible_settings_are_refused_by_name(field, value):
    with pytest.raises(SimulatorError, match=f"SimulatorConfig: {field}: expected"):
        dataclasses.replace(TINY, **{field: value})


def test_presets_have_the_sizes_they_promise():
    assert PRESETS["vcc"].n_genes == 18_080 and PRESETS["vcc"].controls_per_line == 38_176
    assert isinstance(dataclasses.replace(PRESETS["vcc"], n_singles=1000, difficulty="hard"), SimulatorConfig)
    assert PRESETS["small"].n_genes == 2000 and PRESETS["small"].n_pairs == 30


# Hardness: what simple predictors reach on held-out singles


def cosine(a, b):
    return (a * b).sum(axis=1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)


def ridge(x, y, x_new, penalty):
    centre, base = x.mean(axis=0), y.mean(axis=0)
    gram = (x - centre) @ (x - centre).T
    dual = np.linalg.solve(gram + penalty * np.trace(gram) / len(x) * np.eye(len(x)), y - base)
    return base + (x_new - centre) @ (x - centre).T @ dual


def test_neither_the_mean_effect_nor_a_look_up_solves_it():
    pooled: dict[str, list] = {}
    for seed in (0, 1):
        config = dataclasses.replace(
            PRESETS["small"], n_genes=1000, n_pathways=20, n_singles=100, n_pairs=20, cells_per_condition=1,
            controls_per_line=600,
        )  # fmt: skip
        sim = simulate(config, seed)
        truth = sim.truth
        singles = [p.label for p in sim.perturbations if len(p.targets) == 1]
        genes = sim.adata.var_names.get_indexer(singles)
        effects = [np.array(truth[[f"{line}|{s}" for s in singles]].X) for line in config.cell_lines]
        for effect in effects:
            effect[np.arange(len(genes)), genes] = 0.0
        y, other = effects
        # Features a user has: noisy gene sets, and co-expression in control cells.
        index = {name: i for i, name in enumerate(sim.adata.var_names)}
        sets = np.zeros((len(genes), len(sim.gene_sets)))
        for j, names in enumerate(sim.gene_sets.values()):
            sets[:, j] = np.isin(genes, [index[n] for n in names]) / np.sqrt(len(names))
        counts = sim.adata.X[
            (sim.adata.obs["is_control"] & (sim.adata.obs["cell_line"] == config.cell_lines[0])).to_numpy()
        ].toarray()
        log = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
        scaled = (log - log.mean(axis=0)) / np.maximum(log.std(axis=0), 0.05)
        _, cells = np.linalg.eigh(scaled @ scaled.T)
        loadings = scaled[:, genes].T @ cells[:, -20:]
        x = np.hstack([block / np.linalg.norm(block - block.mean(axis=0)) for block in (sets, loadings)])

        fold = np.arange(len(genes)) % 5
        predicted = {name: np.zeros_like(y) for name in ("mean", "look-up", "ridge")}
        for k in range(5):
            new, train = fold == k, fold != k
            predicted["mean"][new] = y[train].mean(axis=0)
            shared = (sets[new] > 0).astype(int) @ (sets[train] > 0).T.astype(int)
            predicted["look-up"][new] = y[train][shared.argmax(axis=1)]
            predicted["ridge"][new] = ridge(x[train], y[train], x[new], penalty=3.0)
        predicted["other line"] = other
        norm = np.linalg.norm(y, axis=1)
        strong = norm > np.median(norm)
        for name, values in predicted.items():
            error = ((values - y)[strong] ** 2).sum()
            pooled.setdefault(name, []).append(
                (np.median(cosine(values, y)[strong]), 1 - error / (y[strong] ** 2).sum())
            )
        pairs = truth.obs["perturbation"].str.contains("+", regex=False).to_numpy()
        share = (truth.layers["interaction"][pairs] ** 2).sum() / (truth.X[pairs] ** 2).sum()
        pooled.setdefault("interaction share", []).append((share, share))
    cos = {name: np.mean([c for c, _ in values]) for name, values in pooled.items()}
    r2 = {name: np.mean([r for _, r in values]) for name, values in pooled.items()}
    assert 0.1 < cos["mean"] < 0.6 and r2["mean"] < 0.3
    assert r2["look-up"] < r2["mean"]
    assert cos["ridge"] > cos["mean"] + 0.05 and r2["ridge"] > r2["mean"] + 0.02
    assert 0.4 < cos["other line"] < 0.9 and r2["other line"] < 0.7
    assert 0.02 < cos["interaction share"] < 0.3


def test_difficulty_changes_what_lines_share():
    agreement = {}
    for difficulty in ("easy", "hard"):
        config = dataclasses.replace(
            PRESETS["small"], n_genes=800, n_pathways=20, n_singles=80, n_pairs=0, difficulty=difficulty
        )
        world = make_world(config, np.random.default_rng(1))
        perturbations = make_perturbations(world, np.random.default_rng(2))
        truth = make_truth(world, perturbations, [solve_effects(world, line, perturbations) for line in world.lines])
        a, b = np.asarray(truth.X).reshape(2, len(perturbations), -1)
        norm = np.linalg.norm(a, axis=1)
        agreement[difficulty] = np.median(cosine(a, b)[norm > np.median(norm)])
    assert agreement["easy"] > agreement["hard"] + 0.05
