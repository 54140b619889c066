import re
from pathlib import Path

import pytest
from vc_model.models import MODELS

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_example_runs_and_features_help(capsys):
    code, world_model = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines()[:3])
    assert float(lines["anchored"]) < 0.5 * float(lines["mean_effect"])
    exec(compile(world_model, "README.md", "exec"), {})
    assert "loss_sigreg" in capsys.readouterr().out


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_in_the_table(name):
    assert f"`{name}`" in README
