import numpy as np
import pytest
from vc_model.errors import TableError
from vc_model.table.effects import Action, Conditions
from vc_model.testing import make_world


def test_the_order_of_targets_does_not_matter():
    assert Action(("B", "A"), 0) == Action(("A", "B"), 0)
    assert Action(("B", "A")).label == "A+B"
    assert Action(()).label == "control"


@pytest.mark.parametrize("values", [(("A", "A"),), (("",),), (("A",), 9), (("A",), 0, -1.0), (("A",), 0, np.nan)])
def test_impossible_actions_are_refused(values):
    with pytest.raises(TableError):
        Action(*values)


def test_components_know_their_owner():
    conditions = Conditions(np.array(["A", "B", "B"]), (Action(("x", "y"), 1, 2.0), Action(()), Action(("z",))))
    owner_r, singles = conditions.components()
    assert owner_r.tolist() == [0, 0, 2]
    assert singles.actions == (Action(("x",), 1, 2.0), Action(("y",), 1, 2.0), Action(("z",)))
    assert singles.cell_line.tolist() == ["A", "A", "B"]
    assert conditions.sizes.tolist() == [2, 0, 1]


def test_a_subset_is_the_table_of_its_rows_alone():
    table = make_world(n_train=12, n_genes=30, lines=("A", "B")).train
    rows = np.array([20, 3, 7])
    part = table.subset(rows)
    np.testing.assert_array_equal(part.delta_pg, table.delta_pg[rows])
    np.testing.assert_allclose(part.gram_pp, part.delta_pg.astype(float) @ part.delta_pg.T.astype(float), rtol=1e-4)
    assert part.conditions.labels == tuple(table.conditions.labels[row] for row in rows)
    # sigma2 (1/n + 1/n_check) with 100 cells, 1,000 controls and sigma 0.3.
    np.testing.assert_allclose(part.noise_pg(), 0.09 * (1 / 100 + 1 / 1000), rtol=1e-5)


def test_unknown_lines_and_foreign_genes_are_refused():
    table = make_world(n_train=5, n_test=1, n_genes=20).train
    with pytest.raises(TableError, match="'Z'"):
        table.contexts.positions(["Z"])
    other = make_world(n_train=5, n_test=1, n_genes=21).test
    with pytest.raises(TableError, match="genes"):
        other.contexts_or(table.contexts)
    with pytest.raises(TableError, match="as many"):
        Conditions(np.array(["A", "B"]), (Action(("x",)),))
