import importlib
import tarfile
import warnings

import anndata
import numpy as np
import pandas as pd
import pyarrow
import pytest
import scipy.sparse
from vc_eval.cli.main import main
from vc_eval.errors import ContractError, VcEvalError
from vc_eval.vcc2025 import archive as prep


def predicted(*, log=True, n=12, genes=("A", "B", "C", "D")):
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (n, len(genes))) + 1
    values = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4) if log else counts
    obs = pd.DataFrame({
        "gene": ["non-targeting"] * 4 + ["A"] * 4 + ["B"] * (n - 8), "line": "H1", "other": 1,
    }, index=[f"x{k}" for k in range(n)])  # fmt: skip
    return anndata.AnnData(
        scipy.sparse.csr_matrix(values.astype(np.float32)), obs=obs, var=pd.DataFrame(index=list(genes))
    )


def content(path, folder):
    with tarfile.open(path, "r:") as tar:  # "r:" refuses a compressed tar
        assert tar.getnames() == ["pred.h5ad.zst", "watermark.txt"]
        assert tar.extractfile("watermark.txt").read() == b"vcc-prep"
        packed = tar.extractfile("pred.h5ad.zst").read()
    (folder / "plain.h5ad").write_bytes(pyarrow.CompressedInputStream(pyarrow.py_buffer(packed), "zstd").read())
    return anndata.read_h5ad(folder / "plain.h5ad")


@pytest.mark.parametrize("log", [True, False], ids=["log1p", "counts"])
@pytest.mark.parametrize("encoding", [32, 64])
def test_the_archive_holds_what_cell_eval_puts_in(tmp_path, monkeypatch, log, encoding):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("cell_eval")
        peer = importlib.import_module("cell_eval._cli._prep")  # where it is installed, it has to have this
        source = predicted(log=log)
        kept = {}
        monkeypatch.setattr(peer.ad.AnnData, "write_h5ad", lambda self, path: kept.update(adata=self.copy()))
        monkeypatch.setattr(peer.subprocess, "run", lambda *a, **k: None)
        order = ["D", "C", "B", "A"]
        peer.strip_anndata(
            source.copy(), genelist=order, output_path="x", pert_col="gene", celltype_col="line",
            output_pert_col="gene", output_celltype_col="celltype", ntc_name="non-targeting", encoding=encoding,
            allow_discrete=False, exp_gene_dim=None, max_cell_dim=None,
        )  # fmt: skip
        monkeypatch.undo()
    source.write_h5ad(tmp_path / "pred.h5ad")
    (tmp_path / "genes.csv").write_text("\n".join(order) + "\n")
    arguments = [
        "prep",
        "--rule",
        "vcc2025",
        "--pred",
        str(tmp_path / "pred.h5ad"),
        "--genes",
        str(tmp_path / "genes.csv"),
        "--pert-col",
        "gene",
    ]
    arguments += ["--celltype-col", "line", "--encoding", str(encoding), "--expected-genes", "-1"]
    for name in ("one.vcc", "two.vcc"):
        main([*arguments, "--out", str(tmp_path / name)])
    assert (tmp_path / "one.vcc").read_bytes() == (tmp_path / "two.vcc").read_bytes()
    ours, theirs = content(tmp_path / "one.vcc", tmp_path), kept["adata"]
    assert ours.X.format == "csr" and ours.X.dtype == theirs.X.dtype == np.dtype(f"float{encoding}")
    np.testing.assert_array_equal(ours.X.toarray(), theirs.X.toarray())
    assert list(ours.obs.columns) == list(theirs.obs.columns) == ["gene", "celltype"]
    assert list(ours.obs_names) == list(theirs.obs_names) == [str(k) for k in range(12)]
    for column in ours.obs:
        assert list(ours.obs[column].astype(str)) == list(theirs.obs[column].astype(str))
    assert list(ours.var_names) == list(theirs.var_names) == order and ours.var.shape[1] == 0
    assert ("log1p" in ours.uns) == ("log1p" in theirs.uns) == (not log)


CONFIG = prep.PrepConfig(pert_col="gene", expected_genes=4)


@pytest.mark.parametrize(
    ("change", "genes", "message"),
    [
        ({}, ["A", "B", "C", "X"], r"1 missing, e.g. \['X'\], 1 too many, e.g. \['D'\]"),
        ({"pert_col": "none"}, list("ABCD"), "expected the column 'none'"),
        ({"control": "none"}, list("ABCD"), "labelled 'none'"),
        ({"celltype_col": "none"}, list("ABCD"), "column 'none'"),
        ({"max_cells": 11}, list("ABCD"), "12 cells, at most 11"),
    ],
)
def test_what_the_challenge_would_not_take_is_refused(change, genes, message):
    from dataclasses import replace

    with pytest.raises(VcEvalError, match=message):
        prep.prepare_submission(predicted(), genes, replace(CONFIG, **change))


def test_what_is_unusual_is_said(monkeypatch):
    monkeypatch.setattr(prep, "CHALLENGE_CELLS", 10)
    config = prep.PrepConfig(pert_col="gene")
    _, notes = prep.prepare_submission(predicted(log=False), list("BACD"), config)
    text = " ".join(notes)
    assert all(words in text for words in ("18080", "reordered", "at most 10", "log1p"))
    kept, notes = prep.prepare_submission(
        predicted(log=False), list("ABCD"), prep.PrepConfig(pert_col="gene", expected_genes=4, allow_counts=True)
    )
    assert notes == ["12 cells; the challenge's rules name at most 10."]
    np.testing.assert_array_equal(kept.X.toarray(), predicted(log=False).X.toarray())


def test_gene_lists_are_read_or_refused(tmp_path):
    path = tmp_path / "genes.csv"
    path.write_text("A\nB\n")
    assert prep.read_gene_list(path) == ["A", "B"]
    for text in ("", "A\nA\n"):
        path.write_text(text)
        with pytest.raises(ContractError, match="each once"):
            prep.read_gene_list(path)
    with pytest.raises(ContractError, match="a list of genes"):
        prep.read_gene_list(tmp_path / "none.csv")
