"""Known truth: a screen of the same world helps, one of another world does no harm, and held-out targets stay hidden."""

from dataclasses import replace

import numpy as np
import pytest
from vc_contracts.targets import TargetTable
from vc_model.anchored import Anchored, AnchoredConfig
from vc_model.ask.informed import Informed
from vc_model.ask.memory import make_memory
from vc_model.ask.model import AskModel, load
from vc_model.ask.verdict import ELSEWHERE, VERDICTS
from vc_model.checkpoint import load_checkpoint, save_checkpoint
from vc_model.errors import TableError
from vc_model.table.effects import Action, Conditions
from vc_model.table.elsewhere import effects_elsewhere
from vc_model.testing import make_world

MODEL = Anchored(AnchoredConfig(n_folds=3))
N_HELD = 10


def on_panel(table, genes):
    """The table of some genes alone."""
    at, contexts = np.array(genes), table.contexts
    names = ("input_cg", "base_cg", "sigma2_cg", "detected_cg")
    contexts = replace(
        contexts,
        genes=tuple(contexts.genes[gene] for gene in genes),
        loadings_cgk=contexts.loadings_cgk[:, at],
        basis_gk=contexts.basis_gk[at],
        **{name: getattr(contexts, name)[:, at] for name in names},
    )
    effects = {name: getattr(table, name)[:, at] for name in ("delta_pg", "half_pg", "check_pg")}
    return replace(table, contexts=contexts, conditions=replace(table.conditions, contexts=contexts), **effects)


def of_line(table, line, leave_out=()):
    """One line as a screen of its own."""
    keep = [
        at == line and not set(action.targets) & set(leave_out)
        for at, action in zip(table.conditions.cell_line, table.conditions.actions, strict=True)
    ]
    rows = np.flatnonzero(keep)
    at = list(table.contexts.cell_lines).index(line)
    names = ("input_cg", "base_cg", "sigma2_cg", "detected_cg", "loadings_cgk")
    contexts = replace(
        table.contexts, cell_lines=(line,), **{name: getattr(table.contexts, name)[[at]] for name in names}
    )
    part = table.subset(rows)
    return replace(part, contexts=contexts, conditions=replace(part.conditions, contexts=contexts)), rows


class Pair:
    """Two screens of one world with different lines and panels; some targets are held out of the first."""

    def __init__(self, seed=0):
        world = make_world(n_train=40, n_test=2, n_genes=100, lines=("A", "B"), features="none", noise=0.6, seed=seed)
        self.held = [f"G{number}" for number in range(30, 30 + N_HELD)]
        own, _ = of_line(world.train, "A", self.held)
        other, _ = of_line(world.train, "B")
        self.own, self.other = on_panel(own, range(80)), on_panel(other, range(20, 100))
        self.asked = Conditions(np.full(N_HELD, "A"), tuple(Action((name,), 0) for name in self.held))
        rows = [
            at
            for at, (line, action) in enumerate(
                zip(world.train.conditions.cell_line, world.train.conditions.actions, strict=True)
            )
            if line == "A" and action.targets[0] in self.held
        ]
        self.truth_qg = world.train_truth_pg[rows][:, :80]

    def error(self, fitted):
        """[q] mean squared error against the truth."""
        return ((fitted.predict(self.asked).delta_pg - self.truth_qg) ** 2).mean(axis=1)


@pytest.fixture(scope="module")
def pair():
    return Pair()


@pytest.fixture(scope="module")
def informed(pair):
    return Informed(MODEL, effects_elsewhere(pair.own, pair.other, "b", test_targets_known=True)).fit(pair.own)


def test_a_screen_of_the_same_world_helps_and_says_how_much(pair, informed):
    alone, together = pair.error(informed.base), pair.error(informed)
    (source,) = informed.sources
    assert together.mean() < 0.5 * alone.mean()
    assert source.weight > 0.5
    assert 0 < source.lower < source.gain < source.upper
    assert source.n == 30
    assert informed.told["other_screens"] == {"b": round(source.weight, 4)}
    low, high = informed.predict(pair.asked).interval(0.9)
    assert 0.75 < ((low <= pair.truth_qg) & (pair.truth_qg <= high)).mean() <= 1


def test_a_screen_of_another_world_does_no_harm(pair, informed):
    strangers = [effects_elsewhere(pair.own, Pair(seed).other, f"stranger {seed}")[0] for seed in (11, 12, 13)]
    fitted = Informed(MODEL, tuple(strangers)).fit(pair.own)
    alone, together = pair.error(fitted.base), pair.error(fitted)
    difference = together - alone
    assert difference.mean() < 2 * difference.std(ddof=1) / np.sqrt(N_HELD) + 0.02 * alone.mean()
    assert sum(source.weight for source in fitted.sources) < 0.5
    beside = Informed(MODEL, (*strangers[:1], informed.sources[0].effects)).fit(pair.own)
    assert beside.sources[1].weight > 0.5 > beside.sources[0].weight
    assert pair.error(beside).mean() < 0.6 * alone.mean()


def test_a_weight_that_is_set_is_taken(pair):
    elsewhere = effects_elsewhere(pair.own, pair.other, "b")
    never = Informed(MODEL, elsewhere, (0.0,)).fit(pair.own)
    assert np.array_equal(never.predict(pair.asked).delta_pg, never.base.predict(pair.asked).delta_pg)
    assert Informed(MODEL, elsewhere, (0.25,)).fit(pair.own).sources[0].weight == 0.25


def test_what_is_held_out_everywhere_is_hidden_to_the_bit(pair):
    held = (replace(pair.asked, contexts=pair.own.contexts),)
    (hidden,) = effects_elsewhere(pair.own, pair.other, "b", held)
    assert hidden.n_hidden == N_HELD
    assert not set(hidden.targets) & set(pair.held)
    changed = pair.other.delta_pg.copy()
    for row, action in enumerate(pair.other.conditions.actions):
        if action.targets[0] in pair.held:
            changed[row] += 100
    (same,) = effects_elsewhere(pair.own, pair.other.with_effects(changed), "b", held)
    assert np.array_equal(hidden.value_eh, same.value_eh)
    (known,) = effects_elsewhere(pair.own, pair.other, "b", held, test_targets_known=True)
    assert set(pair.held) <= set(known.targets)


def test_other_names_of_a_held_out_target_are_hidden_too(pair):
    name = pair.held[0]
    link = {name: {"gene_id": "ENSG00000000042", "symbol": name, "how": "symbol"}}
    own = TargetTable(frozenset([name, "G1"]), link, genes={name: ("ENSG00000000042", name)})
    theirs = TargetTable(frozenset(["ENSG00000000042", "G1"]), {}, genes={})
    renamed = tuple(
        Action(("ENSG00000000042",), 0) if action.targets == (name,) else action
        for action in pair.other.conditions.actions
    )
    first, second = (
        replace(table, contexts=replace(table.contexts, names=names.to_text()))
        for table, names in ((pair.own, own), (pair.other, theirs))
    )
    second = replace(second, conditions=replace(second.conditions, actions=renamed))
    (hidden,) = effects_elsewhere(first, second, "b", (pair.asked,))
    assert hidden.n_hidden == N_HELD
    assert not {"ENSG00000000042", name} & set(hidden.targets)


def test_a_target_held_out_in_one_line_stays_known_from_others(pair):
    trained = pair.own.conditions.actions[0].targets[0]
    held = Conditions(np.array(["b"]), (Action((trained,), 0),))
    (there,) = effects_elsewhere(pair.own, pair.other, "b", (held,))  # the other screen's only line has that name
    assert trained not in there.targets
    elsewhere = replace(held, cell_line=np.array(["C"]))
    assert trained in effects_elsewhere(pair.own, pair.other, "b", (elsewhere,))[0].targets


def test_modes_stay_apart(pair):
    actions = tuple(replace(action, mode=at % 2) for at, action in enumerate(pair.other.conditions.actions))
    mixed = replace(pair.other, conditions=replace(pair.other.conditions, actions=actions))
    first, second = effects_elsewhere(pair.own, mixed, "b")
    assert (first.name, second.name) == ("b crispri", "b crispra")
    assert not set(first.targets) & set(second.targets)


def test_panels_without_common_genes_and_other_species_are_refused(pair):
    def named(names):
        contexts = replace(pair.other.contexts, genes=tuple(names))
        return replace(pair.other, contexts=contexts, conditions=replace(pair.other.conditions, contexts=contexts))

    with pytest.raises(TableError, match=r"stranger: genes: expected some of the 80 .* found 0 among 80 like"):
        effects_elsewhere(pair.own, named(f"Q{at}" for at in range(80)), "stranger")
    with pytest.raises(TableError, match="of another species"):
        effects_elsewhere(pair.own, named(name.lower() for name in pair.other.genes), "mouse")


def test_answers_say_where_a_target_was_seen_and_survive_saving(pair, informed, tmp_path):
    model = AskModel(informed, make_memory(pair.own, informed))
    answers = model.effects([pair.held[0], "NOBODY"], cell_line="A", force=True)
    assert answers["support"].tolist() == ["seen elsewhere", "nowhere"]
    assert answers["support_why"][0] == f"{pair.held[0]} was measured in B (screen b)"
    accuracy = dict(zip(answers["support"], answers["accuracy"], strict=True))
    assert accuracy["seen elsewhere"] > accuracy["nowhere"]
    assert model.support([pair.held[0]]).kind_nc.tolist() == [[ELSEWHERE]]
    assert VERDICTS[ELSEWHERE] == "seen elsewhere"
    other = MODEL.fit(pair.other)
    save_checkpoint(tmp_path / "model", informed, memory=model.memory)
    save_checkpoint(tmp_path / "model" / "others" / "b", other, memory=make_memory(pair.other, other))
    again = load_checkpoint(tmp_path / "model").predict(pair.asked)
    for name in ("delta_pg", "var_pg", "mean_pg", "supported_p", "table_p"):
        assert np.array_equal(getattr(again, name), getattr(informed.predict(pair.asked), name))
    whole = load(tmp_path / "model")
    assert whole.effects([pair.held[0]], cell_line="B")["support"].tolist() == ["seen here"]
    with pytest.raises(Exception, match="one screen's lines at a time"):
        whole.effects([pair.held[0]], cell_line=["A", "B"])


def test_what_nobody_else_knows_is_answered_by_the_screen_alone(informed):
    asked = Conditions(np.full(2, "A"), (Action(("NOBODY",), 0), informed.base.gp.actions[0]))
    with_others, alone = informed.predict(asked), informed.base.predict(asked)
    for name in ("delta_pg", "var_pg", "supported_p"):
        assert np.array_equal(getattr(with_others, name), getattr(alone, name))
