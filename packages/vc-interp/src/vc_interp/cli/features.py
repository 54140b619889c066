"""`vc-interp features`: what the features of a dictionary mean."""

from pathlib import Path

from tyro.conf import Positional


def features(
    latents: Positional[Path],
    dictionary: Positional[Path],
    /,
    out: Path,
    gradient: Path | None = None,
    genesets: Path | None = None,
    targets: Path | None = None,
    others: tuple[Path, ...] = (),
    random: Path | None = None,
    permutations: int = 20,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Relate features to genes, perturbations, cell lines and gene sets, and write tables for `vc-interp report`.

    Genes by the gradient; for interventions, which need the model itself, use `vc interp`.

    Example: vc-interp features latents.zarr sae --gradient gradient.zarr --genesets hallmark.gmt --out features

    Args:
        latents: The activations that the dictionary was trained on (latents-v1).
        dictionary: The folder of `vc-interp sae`, or any standard, topk or jumprelu one of sae-lens.
        out: Folder of tables to write.
        gradient: How genes depend on the site: a row per gene (`vc-model latents --gradient`).
        genesets: Gene sets in GMT form.
        targets: Table of regulators and their known targets.
        others: Dictionaries of other seeds, for stability.
        random: Attribution of a dictionary of a model with random weights (gradient.zarr in the OUT of its own run).
        permutations: Of gene labels, for the chance level of annotation.
        seed: Of draws and permutations.
        overwrite: Replace an earlier folder.
    """
    from vc_contracts.whole import check_target

    inputs = [path for path in (latents, dictionary, gradient, genesets, targets, random, *others) if path is not None]
    check_target(out, kind="feature tables", overwrite=overwrite, inputs=inputs, make_parent=True)
    from vc_interp.features.run import Known, describe, write_findings
    from vc_interp.files.networks import read_targets
    from vc_interp.files.stored import open_latents
    from vc_interp.gmt import read_gmt
    from vc_interp.latents import read_latents
    from vc_interp.sae.dictionary import read_dictionary

    known = Known(
        gene_sets=None if genesets is None else read_gmt(genesets),
        targets=None if targets is None else read_targets(targets),
        gradient=None if gradient is None else read_latents(gradient),
        random=None if random is None else read_latents(random),
        others=[read_dictionary(path) for path in others],
    )
    found = describe(open_latents(latents), read_dictionary(dictionary), known, seed=seed, permutations=permutations)
    write_findings(out, found, overwrite=overwrite)
    print(f"wrote {out}: {len(found.features)} features. Next: vc-interp report {out} --out page.html")
