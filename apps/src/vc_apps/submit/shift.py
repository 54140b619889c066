"""Mean profiles given to real control cells by scaling genes, the rule that vc-eval scores means by."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from vc_apps.outputs import AppError, check_space
from vc_apps.submit.challenge import Challenge
from vc_apps.submit.settings import Submit

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp
    from vc_model.contracts import PredictionFile

CONTROL_LABEL = "non-targeting"
CELLS = {"vcc2025": 100, "vcc2026": 400}
"""Cells of each condition, unless the caller says otherwise; 400 is the rule of 2026."""


class Block(NamedTuple):
    """Cells of one condition."""

    label: str
    cell_line: str
    cells_ng: "sp.csr_array"
    """log1p_cp10k."""
    total_n: "np.ndarray"
    """Counts of the control cell behind each, over all genes that the source measured."""


def shift_cells_file(command: Submit, file: "PredictionFile", challenge: Challenge, out: Path) -> int:
    """Cells of selected profiles by this rule; the number of cells."""
    from vc_model.contracts import write_predictions

    profiles = out.with_name("profiles.h5ad")
    write_predictions(profiles, file)
    n_cells = command.cells or CELLS[challenge.rule]
    return write_challenge_file(
        command.screen, command.splits, profiles, out, seed=command.seed, rule=challenge.rule, cells=n_cells
    )[1]


def write_challenge_file(
    screen_fpath: "Path | ad.AnnData",
    splits_fpath: Path,
    prediction_fpath: Path,
    out_fpath: Path,
    *,
    seed: int,
    rule: Literal["vcc2025", "vcc2026"] = "vcc2025",
    cells: int | None = None,
) -> tuple[int, int]:
    """Write predicted profiles as cells, one condition after the other; the file appears whole or not at all.

    Cells are drawn by the same rule that the scorer uses: input controls, scaled gene by gene to the predicted mean.

    - `vcc2025`: log1p values with those input controls as `non-targeting`, the cell line in obs `celltype`: what
      `cell-eval prep -c celltype` reads.
    - `vcc2026`: whole counts without controls, the cell line in obs `context`: what `vc-eval prep` and `vcc prep` read.
      A cell has about the depth of the control cell behind it. A fraction of a count becomes a count with that
      probability, so means are kept.

    Args:
        screen_fpath: screen-v1, a path or what was read from it: the source of the input controls.
        splits_fpath: splits-v1, which names them.
        prediction_fpath: predictions-v1, profiles in log1p_cp10k.
        out_fpath: The .h5ad to write; an older one is replaced.
        seed: Root seed of the draws.
        rule: Whose form.
        cells: Cells of each condition; default `CELLS`.

    Returns:
        (conditions, cells) written.

    References:
        Virtual Cell Challenge submission rules, as `cell-eval prep` (2025) and `vcc prep` (2026) check them.
    """
    import anndata as ad
    import h5py
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp
    from vc_contracts.kinds import OUTPUT_MARK
    from vc_model.contracts.header import whole

    genes, blocks = _blocks(screen_fpath, splits_fpath, prediction_fpath, seed=seed, cells=cells or CELLS[rule])
    labels, lines, conditions = [], [], 0
    with whole(out_fpath, kind="cells") as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for block in blocks:
            control = block.label == CONTROL_LABEL
            if control and rule == "vcc2026":
                continue
            cells_ng = block.cells_ng
            if rule == "vcc2026":
                cells_ng = _counts(cells_ng, block.total_n, seed=seed, condition=f"{block.cell_line}|{block.label}")
            x_ng = sp.csr_matrix(cells_ng, dtype=np.float32)
            check_space(out_fpath.parent, x_ng.data.nbytes + x_ng.indices.nbytes)
            if "X" in file:
                stored: Any = ad.io.sparse_dataset(file["X"])
                stored.append(x_ng)
            else:
                x_ng.indptr = x_ng.indptr.astype(np.int64)  # all cells together may pass 2^31 values
                ad.io.write_elem(file, "X", x_ng, dataset_kwargs={"compression": "gzip"})
            labels += [block.label] * x_ng.shape[0]
            lines += [block.cell_line] * x_ng.shape[0]
            conditions += not control
        if not conditions:
            raise AppError(f"{prediction_fpath}: expected predicted conditions, found controls only.")
        column = {"vcc2025": "celltype", "vcc2026": "context"}[rule]
        obs = pd.DataFrame(
            {"target_gene": pd.Categorical(labels), column: pd.Categorical(lines)},
            index=pd.Index([str(row) for row in range(len(labels))]),
        )
        ad.io.write_elem(file, "obs", obs)
        ad.io.write_elem(file, "var", pd.DataFrame(index=genes))
        ad.io.write_elem(file, "uns", {OUTPUT_MARK: "vc submit"})
    return conditions, len(labels)


def _blocks(
    screen_fpath: "Path | ad.AnnData", splits_fpath: Path, prediction_fpath: Path, *, seed: int, cells: int
) -> "tuple[pd.Index, Iterator[Block]]":
    """Gene names, and per cell line the input controls, then the cells of every predicted condition."""
    import numpy as np
    import pandas as pd
    from vc_eval.cells import emission
    from vc_eval.contracts import read_predictions, read_screen, read_splits
    from vc_eval.split.truth import log1p_cp10k

    screen = read_screen(screen_fpath)
    splits = read_splits(splits_fpath, screen)
    predicted = read_predictions(prediction_fpath)
    found = (str(predicted.uns["unit"]), str(predicted.uns["space"]))
    if found != ("profile", "log1p_cp10k"):
        raise AppError(f"{prediction_fpath}: expected profiles in log1p_cp10k, found {' in '.join(found)}.")
    genes = predicted.var_names
    controls = screen[np.sort(screen.obs_names.get_indexer(pd.Index(splits.controls["input"]))), genes]
    totals = controls.obs["total_counts"].to_numpy()
    counts: Any = controls.X
    control_ng = log1p_cp10k(counts, totals)
    control_line = controls.obs["cell_line"].astype(str).to_numpy()
    predicted_line = predicted.obs["cell_line"].astype(str)

    def blocks() -> Iterator[Block]:
        mean_ng = cast("Any", predicted.X)
        for line in sorted(set(predicted_line)):
            own = control_line == line
            own_ng, own_totals = cast("sp.csr_array", control_ng[own]), totals[own]
            yield Block(CONTROL_LABEL, line, own_ng, own_totals)
            for row in np.flatnonzero((predicted_line == line) & ~predicted.obs["is_control"]):
                name = str(predicted.obs["perturbation"].iloc[row])
                drawn = emission.draw_cells(len(own_totals), cells, seed=seed, condition=f"{line}|{name}")
                profile_g = np.asarray(mean_ng[row]).ravel()
                yield Block(name, line, emission.emit_cells(own_ng, drawn, profile_g), own_totals[drawn])

    return genes, blocks()


def _counts(cells_ng: "sp.csr_array", total_n: "np.ndarray", *, seed: int, condition: str) -> "sp.csr_array":
    """log1p_cp10k as whole counts at the depth of the control cells, fractions rounded at random so that means are kept."""
    import numpy as np
    import scipy.sparse as sp
    from vc_eval.cells.emission import stream
    from vc_eval.split.truth import TARGET_SUM

    rng = stream(seed, f"counts|{condition}")
    depth = np.repeat(np.asarray(total_n, np.float64) / TARGET_SUM, np.diff(cells_ng.indptr))
    expected = np.expm1(cells_ng.data.astype(np.float64)) * depth
    counts = np.floor(expected + rng.random(expected.size))
    result = sp.csr_array((counts.astype(np.float32), cells_ng.indices, cells_ng.indptr), shape=cells_ng.shape)
    result.eliminate_zeros()
    return result
