"""Screens with random labels, separators, cases, units and encodings: what is in them comes back, or is refused."""

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vc_data.convert.formats import open_source
from vc_data.convert.plan import make_plan
from vc_data.convert.run import convert
from vc_data.errors import ColumnError, OptionError, VcDataError
from vc_data.options import Columns, ConvertOptions
from vc_data.screen.file import read_screen

GENES = ["TP53", "MYC", "KLF1", "HLA-A", "NKX2-5", "AHR", "ETS2", "CBL"]
IDS = [f"ENSG{i:011d}" for i in range(len(GENES))]
SPELL = {
    "symbol": lambda gene: gene,
    "lower": str.lower,
    "title": str.capitalize,
    "id": lambda gene: IDS[GENES.index(gene)],
    "version": lambda gene: IDS[GENES.index(gene)] + ".7",
    "R": lambda gene: gene.replace("-", "."),
    "blank": lambda gene: f" {gene} ",
    "guide": lambda gene: f"{gene}_{1 + len(gene) % 3}",
    "sg": lambda gene: f"sg{gene}-1",
    "KO": lambda gene: f"{gene} KO",
    "dash": lambda gene: gene.replace("-", "\u2011"),
    "alias": lambda gene: ALIASES[gene],
}
ALIASES = dict(zip(GENES, ["P53", "c-Myc", "EKLF", "HLAA", "CSX", "bHLHe76", "C21orf59x", "RNF55"], strict=True))
DTYPES = ["float32", "float64", "float16", "uint8", "uint16", "int32"]
NOTHING = ["", " ", "nan", "None", "NA", "unassigned", "Doublet", "+", "Negative"]


@st.composite
def screens(draw):
    """What a file holds, and what must come back."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spelling = draw(st.sampled_from(sorted(SPELL)))
    separator = draw(st.sampled_from(["+", " + ", "|", ";", "&", ",", "__"]))
    control = draw(st.sampled_from(["control", "non-targeting", "DMSO", "NegCtrl", "ctrl"]))
    singles = draw(st.permutations(GENES))[: draw(st.integers(3, 6))]
    pairs = [(singles[0], singles[1])] if draw(st.booleans()) else []
    truth = ["control"] * 8 + [gene for gene in singles for _ in range(4)]
    truth += ["+".join(sorted(pair)) for pair in pairs for _ in range(4)]
    labels = [control] * 8 + [SPELL[spelling](gene) for gene in singles for _ in range(4)]
    labels += [separator.join(SPELL[spelling](gene).strip() for gene in pair) for pair in pairs for _ in range(4)]
    nothing = draw(st.lists(st.sampled_from(NOTHING), max_size=6))
    labels, truth = labels + nothing, truth + [""] * len(nothing)
    counts = rng.poisson(rng.gamma(2, 3, len(GENES)), (len(labels), len(GENES)))
    counts[:, 0] += 1
    return {
        "labels": labels, "truth": truth, "counts": counts, "spelling": spelling,
        "column": draw(st.sampled_from(["plain", "category", "bytes", "nullable"])),
        "layout": draw(st.sampled_from(["csr", "csc", "dense", "halves"])), "dtype": draw(st.sampled_from(DTYPES)),
        "flag": draw(st.sampled_from([None, "bool", "TRUE", "yes", "nullable"])),
    }  # fmt: skip


def write(made, path):
    """The file that `screens` describes."""
    labels, n = made["labels"], len(made["labels"])
    obs = pd.DataFrame({"cell_line": "K562", "mode": "CRISPRi"}, index=[f"c{i}" for i in range(n)])
    obs["perturbation"] = pd.Categorical(labels) if made["column"] == "category" else np.array(labels, object)
    if made["column"] == "nullable":
        obs["perturbation"] = pd.array([label or pd.NA for label in labels], dtype="string")
    is_control = np.array(made["truth"]) == "control"
    flags = {
        "bool": is_control, "TRUE": np.where(is_control, "TRUE", "False"), "yes": np.where(is_control, "yes", "no"),
        "nullable": pd.array(is_control, dtype="boolean"),
    }  # fmt: skip
    if made["flag"]:
        obs["is_control"] = flags[made["flag"]]
    counts = made["counts"]
    matrix = {"csc": sp.csc_matrix, "dense": np.asarray}.get(made["layout"], sp.csr_matrix)(counts.astype(np.float32))
    var = pd.DataFrame({"gene_id": IDS}, index=GENES)
    with anndata.settings.override(allow_write_nullable_strings=True):
        anndata.AnnData(matrix, obs=obs, var=var).write_h5ad(path)
    table = path.with_name("aliases.tsv")
    table.write_text(
        "\n".join(["Symbol\tApproved.Symbol", *(f"{alias}\t{gene}" for gene, alias in ALIASES.items())]) + "\n"
    )
    with h5py.File(path, "r+") as file:
        if made["layout"] != "halves":
            place, kept = ("X", dict(file["X"].attrs)) if made["layout"] == "dense" else ("X/data", {})
            values = file[place][()].astype(made["dtype"])
            del file[place]
            file.create_dataset(place, data=values).attrs.update(kept)
        if made["layout"] == "halves":
            half, rest = file["X/data"][:] // 2, file["X/data"][:] - file["X/data"][:] // 2
            data, indices = np.stack([half, rest], 1).ravel().astype(np.uint8), np.repeat(file["X/indices"][:], 2)
            indptr = file["X/indptr"][:] * 2
            for name, values in (("data", data), ("indices", indices), ("indptr", indptr)):
                del file[f"X/{name}"]
                file["X"].create_dataset(name, data=values)


@given(made=screens())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_labels_controls_and_sums_come_back_or_are_refused(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    write(made, folder / "a.h5ad")
    try:
        report = convert(
            folder / "a.h5ad", folder / "a.zarr", ConvertOptions(dataset="any", aliases=folder / "aliases.tsv")
        )
    except VcDataError as error:
        # Small letters with another separator, and the like: a refusal names the flag. Plain symbols are never refused.
        assert "--" in str(error) and not (folder / "a.zarr").exists() and made["spelling"] not in ("symbol", "id")
        return
    screen = read_screen(folder / "a.zarr")
    truth = pd.Series(made["truth"], index=[f"c{i}" for i in range(len(made["truth"]))])
    kept = truth[truth != ""]
    assert sorted(screen.obs_names) == sorted(kept.index)
    assert screen.obs["target"].astype(str).tolist() == kept[screen.obs_names].tolist()
    assert report.n_controls == (kept == "control").sum()
    rows = [int(name[1:]) for name in screen.obs_names]
    assert np.array_equal(screen.X.toarray(), made["counts"][rows])
    assert screen.obs["total_counts"].tolist() == made["counts"][rows].sum(axis=1).tolist()


@st.composite
def dosed(draw):
    """Doses of compounds as a file writes them, and what they are in micromolar."""
    unit, factor = draw(
        st.sampled_from([("uM", 1), ("\u00b5M", 1), ("nM", 1e-3), ("mM", 1e3), ("umol/L", 1), ("micromolar", 1)])
    )
    numbers = draw(st.lists(st.sampled_from([0.05, 0.5, 1, 2.5, 10, 100]), min_size=2, max_size=4, unique=True))
    where = draw(st.sampled_from(["text", "column", "name", "flag", "mixed"]))
    comma = draw(st.booleans())
    texts = [f"{number:g}".replace(".", "," if comma else ".") for number in numbers]
    obs, flag = {}, None
    if where == "text":
        texts = [f"{text} {unit}" for text in texts]
    elif where == "mixed":
        texts, factor = [f"{number:g} uM" if at % 2 else f"{number * 1e3:g}nM" for at, number in enumerate(numbers)], 1
    elif where == "column":
        obs["dose_unit"] = unit
    elif where == "flag":
        flag = unit
    name = f"conc_{'nM' if factor == 1e-3 else 'uM'}" if where == "name" else "dose"
    factor = (1e-3 if factor == 1e-3 else 1) if where == "name" else factor
    return {"texts": texts, "truth": [number * factor for number in numbers], "name": name, "obs": obs, "flag": flag}


@given(made=dosed())
@settings(deadline=None)
def test_doses_come_back_whatever_their_unit(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dosed")
    which = [i % len(made["texts"]) for i in range(24)]
    columns = {made["name"]: ["0"] * 6 + [made["texts"][i] for i in which], "perturbation_type": "drug", **made["obs"]}
    options = ConvertOptions(columns=Columns(dose_unit=made["flag"]))
    with open_source(toy(folder / "a.h5ad", **columns)) as source:
        cells = make_plan(source, options).cells
    found = cells.obs["dose"][[f"c{i}" for i in range(6, 30)]] * {"nm": 1e-3, "um": 1, "mm": 1e3}[cells.dose_unit]
    assert found.tolist() == pytest.approx([made["truth"][i] for i in which], rel=1e-5)
    assert cells.obs.loc[cells.obs["is_control"], "dose"].isna().all()


def toy(path, **columns):
    labels = ["control"] * 6 + [gene for gene in GENES[:4] for _ in range(6)]
    obs = pd.DataFrame({"perturbation": labels, "cell_line": "K562"}, index=[f"c{i}" for i in range(len(labels))])
    for name, values in columns.items():
        obs[name] = values
    counts = np.random.default_rng(0).poisson(5, (len(labels), len(GENES))).astype(np.float32)
    anndata.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=GENES)).write_h5ad(path)
    return path


def test_a_second_perturbation_is_asked_for_and_joined(tmp_path):
    second = ["control"] * 18 + ["MYC"] * 6 + ["control"] * 6
    path = toy(tmp_path / "a.h5ad", perturbation_2=second)
    with pytest.raises(ColumnError, match="--perturbation perturbation,perturbation_2"):
        convert(path, tmp_path / "a.zarr")
    options = ConvertOptions(columns=Columns(perturbation="perturbation,perturbation_2"))
    convert(path, tmp_path / "a.zarr", options)
    assert "KLF1+MYC" in set(read_screen(tmp_path / "a.zarr").obs["perturbation"].astype(str))
    report = convert(path, tmp_path / "b.zarr", ConvertOptions(columns=Columns(perturbation="perturbation")))
    assert any("pooled over" in question for question in report.questions)


def test_stimulation_and_time_are_pooled_aloud_and_refused_when_strict(tmp_path):
    path = toy(tmp_path / "a.h5ad", stimulation=["a", "b"] * 15, time=[1, 2, 3] * 10)
    report = convert(path, tmp_path / "a.zarr")
    assert sum("pooled over" in question for question in report.questions) == 2
    with pytest.raises(OptionError, match="stimulation"):
        convert(path, tmp_path / "b.zarr", ConvertOptions(strict=True))
    convert(
        path, tmp_path / "b.zarr", ConvertOptions(strict=True, columns=Columns(cell_line="cell_line,stimulation,time"))
    )


def test_doses_in_a_unit_column_meet(tmp_path):
    path = toy(
        tmp_path / "a.h5ad", perturbation_type="drug", dose=["0"] * 6 + ["100", "0,1", "5"] * 8, dose_unit=["uM"] * 6 + ["nM", "uM", "uM"] * 8,
    )  # fmt: skip
    convert(path, tmp_path / "a.zarr")
    dose = read_screen(tmp_path / "a.zarr").obs["dose"]
    assert sorted(dose.dropna().unique().tolist()) == pytest.approx([0.1, 5])


def test_a_users_own_controls_are_a_context(tmp_path):
    path = toy(tmp_path / "a.h5ad")
    controls = anndata.read_h5ad(path)[:6].copy()
    del controls.obs["perturbation"]
    controls.write_h5ad(tmp_path / "c.h5ad")
    report = convert(tmp_path / "c.h5ad", tmp_path / "c.zarr", ConvertOptions(control_only=True))
    screen = read_screen(tmp_path / "c.zarr")
    assert report.n_controls == screen.n_obs == 6 and bool(screen.uns["controls_only"])


def test_missing_values_in_is_control_and_cell_line_are_counted(tmp_path):
    flags = [True] * 6 + [False] * 24
    flags[0] = None
    lines = np.array(["K562"] * 30, object)
    lines[1], lines[2], lines[3] = np.nan, "NA", ""
    report = convert(
        toy(tmp_path / "a.h5ad", is_control=pd.array(flags, dtype="boolean"), cell_line=lines), tmp_path / "a.zarr"
    )
    assert report.dropped_cells == {"no value in 'is_control'": 1, "no cell line": 3} and report.n_controls == 2
