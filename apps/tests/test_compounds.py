"""Compounds outside the bank: encoded as the bank was, so that a salt of a known compound is a relative of it."""

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from vc_apps.cli import main
from vc_featurize.cli.main import main as featurize

SMILES = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O", "salicylate": "OC(=O)c1ccccc1O", "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "naproxen": "COc1ccc2cc(ccc2c1)C(C)C(=O)O", "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "theophylline": "Cn1c2nc[nH]c2c(=O)n(C)c1=O",
    "metformin": "CN(C)C(=N)NC(N)=N", "phenformin": "NC(=N)NC(=N)NCCc1ccccc1", "ethanol": "CCO", "butanol": "CCCCO",
    "hexanol": "CCCCCCO", "octanol": "CCCCCCCCO",
}  # fmt: skip


@pytest.fixture(scope="module")
def drugs(tmp_path_factory):
    """A screen of twelve compounds whose effects follow their structures, and a bank of them."""
    folder = tmp_path_factory.mktemp("drugs")
    rng = np.random.default_rng(0)
    genes = [f"GENE{at}" for at in range(40)]
    base = rng.gamma(2, 2, 40) + 0.5
    moves = {"acid": rng.normal(0, 0.8, 40), "xanthine": rng.normal(0, 0.8, 40), "guanide": rng.normal(0, 0.8, 40), "alcohol": rng.normal(0, 0.8, 40)}  # fmt: skip
    kinds = ["acid"] * 4 + ["xanthine"] * 2 + ["guanide"] * 2 + ["alcohol"] * 4
    rows, labels = [], []
    for label, kind in [("control", None), *zip(SMILES, kinds, strict=True)]:
        mean = base * np.exp(moves[kind] if kind else 0)
        rows.append(rng.poisson(mean, (120 if kind is None else 40, 40)))
        labels += [label] * len(rows[-1])
    obs = pd.DataFrame({"perturbation": labels, "cell_line": "A"}, index=[f"c{at}" for at in range(len(labels))])
    made = ad.AnnData(np.concatenate(rows).astype(np.float32), obs=obs, var=pd.DataFrame(index=genes))
    made.write_h5ad(folder / "drugs.h5ad")
    from vc_data.cli.main import main as data

    convert = ["-q", "convert", str(folder / "drugs.h5ad"), str(folder / "drugs.zarr"), "--mode-name", "inhibitor"]
    assert data(convert) == 0
    table = folder / "smiles.tsv"
    table.write_text("name\tsmiles\n" + "".join(f"{name}\t{text}\n" for name, text in SMILES.items()))
    bank = ["compound", str(table), "--id-col", "name", "--out", str(folder / "bank.zarr"), "--n-bits", "512"]
    assert featurize(bank) == 0
    fit = ["-q", "fit", str(folder / "drugs.zarr"), "-o", str(folder / "model"), "--model", "kernel_ridge"]
    assert main([*fit, "--bank", str(folder / "bank.zarr")]) == 0
    assert main([*fit[:4], str(folder / "bare"), *fit[5:]]) == 0
    return folder


def test_a_new_compound_is_described_as_the_bank_describes_others(drugs, tmp_path, capsys):
    new = tmp_path / "new.tsv"
    new.write_text(
        "compound\tSMILES\nsodium naproxenate\tCOc1ccc2cc(ccc2c1)C(C)C(=O)[O-].[Na+]\ndecanol\tCCCCCCCCCCO\n"
    )
    ask = ["predict", str(drugs / "model"), "--compounds", str(new), "--force", "-o", str(tmp_path / "a")]
    assert main(ask) == 0
    assert "2 compound(s) described by morgan-count-r2-512" in capsys.readouterr().err
    table = pq.read_table(tmp_path / "a" / "answers.parquet").to_pandas().set_index("perturbation")
    assert table.loc["sodium naproxenate", "closest"].startswith("naproxen 1.00")
    assert table.loc["decanol", "closest"].split()[0] in ("octanol", "hexanol", "butanol")
    assert (table["moved_from_mean"] > 0.05).all(), "their structures moved the answers"


def test_without_a_bank_it_is_said_that_structures_do_not_count(drugs, tmp_path, capsys):
    new = tmp_path / "new.tsv"
    new.write_text("name\tsmiles\ndecanol\tCCCCCCCCCCO\n")
    ask = ["predict", str(drugs / "bare"), "--compounds", str(new), "--force", "-o", str(tmp_path / "a")]
    assert main(ask) == 0
    assert "without a bank of compounds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name\tsmiles\nx\tnot-a-structure\n", "not-a-structure"),
        ("name\tsmiles\n", "empty list"),
        ("name\tsmiles\nx\tCCO\nx\tCCC\n", "two of"),
        ("name\tformula\nx\tC2H6O\n", "smiles"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(drugs, text, words, tmp_path, capsys):
    (tmp_path / "bad.tsv").write_text(text)
    ask = ["predict", str(drugs / "model"), "--compounds", str(tmp_path / "bad.tsv"), "-o", str(tmp_path / "a")]
    assert main(ask) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "a").exists()
