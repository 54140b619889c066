"""The 2026 archive: written whole or refused, read back as it was, its members and meta.json as the upload client has them."""

import hashlib
import json
import tarfile

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from vc_eval.cli.main import main
from vc_eval.errors import ContractError
from vc_eval.vcc2026 import archive
from vc_eval.vcc2026.submission import SubmissionError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "genes.csv").write_text("gene_name\nA\nB\nC\n")
    (tmp_path / "pert_counts.csv").write_text("target_gene,n_cells\nB,1\nA,2\n")
    (tmp_path / "manifest.json").write_text('{"contexts": ["x", "y"], "panel_id": "p7"}')
    return tmp_path


def prediction():
    counts = np.arange(18, dtype=np.float32).reshape(6, 3)
    obs = pd.DataFrame(
        {"target_gene": list("AABAAB"), "context": list("xxxyyy"), "more": 1}, index=[f"c{i}" for i in range(6)]
    )
    return anndata.AnnData(scipy.sparse.csc_matrix(counts), obs=obs, var=pd.DataFrame(index=["C", "A", "B"]))


def prepare(folder, *extra):
    names = {"pred": "pred.h5ad", "genes": "genes.csv", "perturbations": "pert_counts.csv", "out": "out.vcc"}
    options = [word for name, file in names.items() for word in (f"--{name}", str(folder / file))]
    main(["prep", "--rule", "vcc2026", *options, *extra])


def test_an_archive_is_read_back_and_says_what_it_holds(folder):
    pred = prediction()
    pred.write_h5ad(folder / "pred.h5ad")
    prepare(folder)
    cells, meta = archive.read_archive(folder / "out.vcc")
    assert list(cells.var_names) == ["A", "B", "C"]
    np.testing.assert_array_equal(cells.X.toarray(), pred[:, ["A", "B", "C"]].X.toarray())
    assert list(cells.obs.columns) == ["target_gene", "context"]
    assert list(cells.obs["target_gene"]) == list("AABAAB")
    listed = "sha256:" + hashlib.sha256(b"A\nB").hexdigest()
    assert meta == {
        "schema": 1, "nnz": 17, "n_obs": 6, "n_vars": 3, "contexts": ["x", "y"], "perts_fingerprint": listed,
        "panel_id": "p7", "cli_version": meta["cli_version"],
    }  # fmt: skip
    with tarfile.open(folder / "out.vcc", "r:") as tar:
        members = tar.getmembers()
        assert [m.name for m in members] == ["meta.json", "pred.h5ad.zst"]
        assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
        assert json.loads(tar.extractfile("meta.json").read()) == meta
    once = (folder / "out.vcc").read_bytes()
    prepare(folder, "--overwrite")
    assert (folder / "out.vcc").read_bytes() == once


def test_what_would_be_rejected_is_not_written(folder, capsys):
    pred = prediction()
    pred.X = pred.X * 0.5
    pred[:5].copy().write_h5ad(folder / "pred.h5ad")
    with pytest.raises(SystemExit) as stop:
        prepare(folder)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "[not_counts]" in said
    assert "[missing_perturbation]" in said
    assert not (folder / "out.vcc").exists()
    rules, _ = archive.read_rules(folder / "genes.csv", folder / "pert_counts.csv")
    with pytest.raises(SubmissionError):
        archive.write_archive(folder / "out.vcc", pred, rules)


def test_contexts_come_from_the_list_the_manifest_or_the_user(folder):
    rules, panel = archive.read_rules(folder / "genes.csv", folder / "pert_counts.csv", contexts=("D",))
    assert (dict(rules.perturbations), panel) == ({"D": {"B": 1, "A": 2}}, None)
    (folder / "manifest.json").unlink()
    with pytest.raises(ContractError, match="contexts"):
        archive.read_rules(folder / "genes.csv", folder / "pert_counts.csv")
    (folder / "pert_counts.csv").write_text("context,target_gene\nx,A\ny,B\n")
    rules, _ = archive.read_rules(folder / "genes.csv", folder / "pert_counts.csv", cells_per_perturbation=3)
    assert dict(rules.perturbations) == {"x": {"A": 3}, "y": {"B": 3}}


def test_archives_of_others_are_read_and_damaged_ones_refused(folder):
    pred = prediction()
    pred.write_h5ad(folder / "pred.h5ad")
    prepare(folder)
    with tarfile.open(folder / "out.vcc") as tar, tarfile.open(folder / "old.vcc", "w") as old:
        packed = tar.extractfile("pred.h5ad.zst").read()
        (folder / "pred.h5ad.zst").write_bytes(packed)
        old.add(folder / "pred.h5ad.zst", "pred.h5ad.zst")
        (folder / "watermark.txt").write_text("vcc-prep")
        old.add(folder / "watermark.txt", "watermark.txt")
    cells, meta = archive.read_archive(folder / "old.vcc")
    assert (cells.n_obs, meta) == (6, {})
    (folder / "cut.vcc").write_bytes((folder / "out.vcc").read_bytes()[:700])
    (folder / "text.vcc").write_text("no archive")
    (folder / "pred.h5ad.zst").write_bytes(packed[: len(packed) // 2])
    with tarfile.open(folder / "half.vcc", "w") as half:
        half.add(folder / "pred.h5ad.zst", "pred.h5ad.zst")
    for name in ("cut.vcc", "text.vcc", "half.vcc", "none.vcc"):
        with pytest.raises(ContractError, match="vc-eval prep"):
            archive.read_archive(folder / name)
