"""Probes find what is planted and chance where nothing is."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
from vc_interp.cli.main import main
from vc_interp.errors import InputError
from vc_interp.files.stored import open_latents
from vc_interp.latents import Latents, write_latents
from vc_interp.probe.dimension import dimension
from vc_interp.probe.genes import auroc, essential_probe, pathway_probes
from vc_interp.probe.run import probe
from vc_interp.testing import write_rows

GENES = tuple(f"G{at}" for at in range(60))
SETS = {"A": set(GENES[:20]), "B": set(GENES[20:40])}


@pytest.fixture(scope="module")
def embedding():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 6))
    x[:20, 0] += 3
    x[20:40, 1] += 3
    return x.astype(np.float32)


def test_pathways_stand_together_where_they_do(embedding):
    near, silhouette = pathway_probes(embedding, GENES, SETS, permutations=10)
    assert near.value > 0.75 and near.z > 5 and near.chance == pytest.approx(0.5, abs=0.05)
    assert silhouette.value > 0.1 > silhouette.chance
    noise = np.random.default_rng(1).standard_normal((60, 6))
    assert abs(pathway_probes(noise, GENES, SETS, permutations=10)[0].z) < 3
    with pytest.raises(InputError, match="two genes"):
        pathway_probes(embedding, GENES, {"A": {"X"}})


def test_essential_genes_are_told_apart(embedding):
    roc, precision = essential_probe(embedding, GENES, SETS["A"], permutations=3)
    assert roc.value > 0.9 and precision.value > 0.8 and roc.chance < 0.7
    with pytest.raises(InputError, match="at least 5 of each"):
        essential_probe(embedding, GENES, {"G1"})


def test_what_latents_add_to_covariates_is_said(embedding):
    rng = np.random.default_rng(2)
    numbers = pd.DataFrame({"mean": rng.standard_normal(60), "detected": rng.standard_normal(60)}, index=list(GENES))
    found = {p.name: p for p in essential_probe(embedding, GENES, SETS["A"], covariates=numbers[:50], permutations=3)}
    own, alone, both = (
        found[f"essential genes AUROC{what}"] for what in ("", ", covariates alone", ", latents and covariates")
    )
    assert own.n == alone.n == both.n == 50 and own.value > 0.9 and both.value > 0.85
    assert abs(alone.value - 0.5) < 0.25


def test_batch_is_probed_where_the_file_names_it(tmp_path):
    rng = np.random.default_rng(0)
    n = 120
    batch = np.array(["1", "2", "3"])[np.arange(n) % 3]
    x = rng.standard_normal((n, 5)).astype(np.float32)
    write_rows(tmp_path / "x.h5ad", x, labels=("control",) * n)
    blank = probe(open_latents(tmp_path / "x.h5ad"))
    assert not blank["probe"].str.contains("batch|perturbation").any()
    adata = anndata.read_h5ad(tmp_path / "x.h5ad")
    for shift, name in ((0.0, "none"), (3.0, "some")):
        made = adata.copy()
        made.X = x + shift * (batch == "2")[:, None].astype(np.float32)
        made.obs["batch"] = batch
        made.uns["contract"] = json.dumps(
            {key: value for key, value in json.loads(adata.uns["contract"]).items() if key != "content"}
        )
        made.write_h5ad(tmp_path / f"{name}.h5ad")
        row = probe(open_latents(tmp_path / f"{name}.h5ad")).set_index("probe").loc["batch kappa"]
        assert (row["value"] > 0.4) == (shift > 0) and abs(row["chance"]) < 0.3


def test_dimension_counts_directions():
    x = np.random.default_rng(0).standard_normal((500, 3)) @ np.eye(3, 10)
    found = dimension(x)
    assert found.d90 == 3 and found.dead == 7
    assert found.participation == pytest.approx(3, abs=0.2) and found.rankme == pytest.approx(3, abs=0.1)
    assert dimension(np.ones((5, 4))).dead == 4
    assert auroc(np.array([1, 2, 2, 3]), np.array([False, False, True, True])) == 0.875


def test_cells_are_probed_beside_chance(stored):
    table = probe(stored).set_index("probe")
    assert table.loc["perturbation kappa", "value"] > 0.7 and abs(table.loc["perturbation kappa", "chance"]) < 0.15
    # Held-out perturbations move features that no other one moves: nothing to detect them by.
    assert 0.2 < table.loc["perturbation detection AUROC", "value"] < 0.8
    assert "cell line kappa" not in table.index  # one line only


def test_command_writes_a_table(embedding, tmp_path, capsys):
    found = Latents(values_rd=embedding, rows=GENES, kinds=("gene",) * 60, dims=tuple("abcdef"), site="s", model="m")
    write_latents(tmp_path / "g.zarr", found)
    (tmp_path / "s.gmt").write_text("".join(f"{name}\tx\t" + "\t".join(sorted(SETS[name])) + "\n" for name in SETS))
    (tmp_path / "e.tsv").write_text("\n".join(sorted(SETS["A"])))
    options = ["--genesets", str(tmp_path / "s.gmt"), "--essential", str(tmp_path / "e.tsv")]
    assert main(["probe", str(tmp_path / "g.zarr"), "--out", str(tmp_path / "p.tsv"), *options]) == 0
    assert "pathway co-membership AUROC" in (tmp_path / "p.tsv").read_text()
    assert "by chance" in capsys.readouterr().out
    assert main(["probe", str(tmp_path / "g.zarr"), "--out", str(tmp_path / "q.tsv"), *options[:2], "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"probe", "value", "chance"} <= set(rows[0])
    assert [row["probe"] for row in rows] == pd.read_csv(tmp_path / "q.tsv", sep="\t")["probe"].tolist()
