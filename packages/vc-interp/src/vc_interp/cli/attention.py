"""`vc-interp attention`: attention weights beside interventional effects."""

from pathlib import Path

from tyro.conf import Positional


def attention(
    factors: Positional[Path],
    /,
    effects: Path,
    out: Path,
    genesets: Path | None = None,
    others: tuple[Path, ...] = (),
    overwrite: bool = False,
) -> None:
    """Compare exact implicit attention weights with what perturbing says; edges are called by perturbing alone.

    Example: vc-interp attention factors.zarr --effects predictions.zarr --out attention

    Args:
        factors: Factors of linear attention (`vc-model latents --attention`).
        effects: Predicted profiles of single perturbations (predictions-v1), or effects-v1.
        out: Folder to write: edges.tsv, agreement.json, and with gene sets sets.tsv.
        genesets: Gene sets in GMT form, between which attention is summed.
        others: The same effects by models with other seeds, for stability.
        overwrite: Replace an earlier folder.
    """
    from vc_contracts.whole import check_target

    inputs = [path for path in (factors, effects, genesets, *others) if path is not None]
    check_target(out, kind="attention", overwrite=overwrite, inputs=inputs, make_parent=True)
    from vc_interp.attention.run import compare_attention, write_comparison
    from vc_interp.files.effects import read_effects
    from vc_interp.files.stored import open_latents
    from vc_interp.gmt import read_gmt

    found = compare_attention(
        open_latents(factors),
        read_effects(effects),
        gene_sets=None if genesets is None else read_gmt(genesets),
        others=[read_effects(path) for path in others],
    )
    write_comparison(out, found, overwrite=overwrite)
    a = found.agreement
    print(
        f"wrote {out}: {a.n_called} of {a.n_edges} edges called by intervention, {a.shared:.3f} of them among the greatest "
        f"attention weights ({a.expected:.3f} by chance), rank correlation {a.spearman:.3f}."
    )
