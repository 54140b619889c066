"""A user's own model in at most fifteen lines."""

import numpy as np
import pytest
import vc_model as vm
from vc_model.ask.memory import make_memory
from vc_model.ask.plugin import PluginError, read_plugin, using
from vc_model.errors import CheckpointError

MINE = """import numpy as np

class Mine:
    name = "mine"

    def fit(self, train):
        self.mean_g = train.delta_pg.mean(axis=0)
        return self

    def predict(self, conditions):
        return np.tile(self.mean_g, (len(conditions), 1))
"""


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_it_fits_predicts_with_intervals_and_answers(mine, world, tmp_path):
    fitted = read_plugin(mine).fit(world.train)
    said = fitted.predict(world.test)
    np.testing.assert_allclose(said.delta_pg[0], world.train.delta_pg.mean(axis=0), atol=1e-6)
    lower, upper = said.interval(0.9)
    inside = ((world.truth_qg >= lower) & (world.truth_qg <= upper)).mean()
    assert 0.8 < inside < 0.98
    vm.save_checkpoint(tmp_path / "model", fitted, memory=make_memory(world.train, fitted))
    again = vm.load(tmp_path / "model", plugin=mine)
    assert again.effects(["G33"], cell_line="A", force=True)["effect_size"][0] > 0
    np.testing.assert_array_equal(again.fitted.predict(world.test).delta_pg, said.delta_pg)


def test_without_its_file_a_checkpoint_says_what_is_missing(mine, world, tmp_path):
    vm.save_checkpoint(tmp_path / "model", read_plugin(mine).fit(world.train))
    with pytest.raises(CheckpointError, match=r"mine\.py with the class Mine.*--plugin mine\.py"):
        vm.load_checkpoint(tmp_path / "model").predict(world.test)
    other = tmp_path / "other.py"
    other.write_text(MINE.replace("class Mine", "class Yours"))
    with using(other), pytest.raises(CheckpointError, match="Yours"):
        vm.load_checkpoint(tmp_path / "model").predict(world.test)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", "one class with fit and predict, found none"),
        ("raise KeyError('no')\n", "code that runs, found KeyError"),
        (MINE + MINE.replace("class Mine", "class Two"), "one class"),
        (MINE.replace("(len(conditions), 1)", "(1, 1)"), "expected shape"),
        (MINE.replace("self.mean_g = ", "self.mean_g = np.nan * "), "finite"),
    ],
)
def test_what_is_no_plugin_is_refused(text, words, world, tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(PluginError, match=words):
        read_plugin(path).fit(world.train)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(PluginError, match="found none"):
        read_plugin(tmp_path / "absent.py")


def test_a_member_that_knows_more_gets_the_weight_and_one_that_knows_nothing_gets_none(world, mine, tmp_path):
    from vc_model.ask.member import Members
    from vc_model.models import make_model

    noise = tmp_path / "noise.py"
    noise.write_text(
        MINE.replace("np.tile(self.mean_g, (len(conditions), 1))",
                     "np.random.default_rng(0).normal(0, 1, (len(conditions), len(self.mean_g)))")
    )  # fmt: skip
    useful = Members(make_model("no_change"), read_plugin(mine)).fit(world.train)
    useless = Members(make_model("kernel_ridge"), read_plugin(noise)).fit(world.train)
    assert useful.weight_b.max() > 0.3 and useless.weight_b.max() < 0.1 and useful.weight_b[0] == 0
    vm.save_checkpoint(tmp_path / "model", useful, memory=make_memory(world.train, useful))
    again = vm.load(tmp_path / "model", plugin=mine)
    np.testing.assert_array_equal(again.fitted.predict(world.test).delta_pg, useful.predict(world.test).delta_pg)
    with pytest.raises(CheckpointError, match=r"--plugin mine\.py"):
        vm.load(tmp_path / "model")
