"""Commands `graph`, `table`, `compare` and `list`."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from vc_featurize.cli.output import check_out, write_bank

ENCODERS = (
    ("protein", "dipeptide", "400", "-", "none needed"),
    ("protein", "esm2, esmc", "weights'", "torch", "MIT; ESM C: see its card"),
    ("protein", "unirep", "64 or 1900", "torch", "GPL-3 weights"),
    ("guide", "kmer", "420", "-", "none needed"),
    ("guide", "nt2, nt3", "weights'", "torch", "CC BY-NC-SA 4.0: not commercial"),
    ("compound", "morgan", "2048", "chem", "BSD-3-Clause"),
    ("geneset", "svd", "to 64", "-", "of the sets"),
    ("graph", "spectral, regulon", "to 64", "-", "of the network"),
    ("graph", "node2vec", "to 64", "graph", "of the network"),
    ("table", "as given", "as given", "-", "of the table"),
)


def graph(
    edges: Positional[Path],
    /,
    out: Path,
    source_col: str = "source",
    target_col: str = "target",
    weight_col: str | None = None,
    encoder: Literal["spectral", "node2vec", "regulon"] = "spectral",
    genes: Path | None = None,
    dim: int = 64,
    seed: int = 0,
    licence: str = "unstated",
    overwrite: bool = False,
) -> None:
    """Encode genes by their neighbours in a network.

    Example: vc-featurize graph string.tsv --source-col gene_a --target-col gene_b --out network.zarr

    Args:
        edges: Edge list with a header line, tab-separated (comma-separated when named .csv).
        out: The bank to write, .zarr or .h5ad.
        source_col: Column with the first gene, the regulator of a regulon.
        target_col: Column with the second.
        weight_col: Column with weights (signed for regulons).
        encoder: spectral, node2vec (extra graph) or regulon.
        genes: Text file with one gene per line; all of the network by default.
        dim: Most dimensions.
        seed: Of node2vec's walks.
        licence: Licence of the network.
        overwrite: Replace an earlier bank at `out`.
    """
    inputs = [path for path in (edges, genes) if path is not None]
    check_out(out, overwrite, inputs)
    from vc_featurize.graph.edges import read_edges
    from vc_featurize.graph.embed import node2vec_features, regulon_features, spectral_features
    from vc_featurize.text import read_names, sha256_file

    network = read_edges(edges, source_col, target_col, weight_col)
    names = None if genes is None else read_names(genes)
    revision = sha256_file(edges)
    if encoder == "node2vec":
        bank = node2vec_features(network, names, dim, seed=seed, revision=revision, licence=licence)
    else:
        make = spectral_features if encoder == "spectral" else regulon_features
        bank = make(network, names, dim, revision=revision, licence=licence)
    write_bank(out, bank, inputs, {"encoder": encoder, "dim": dim, "seed": seed})


def table(
    vectors: Positional[Path],
    /,
    out: Path,
    kind: Literal["gene", "guide", "protein", "compound"] = "gene",
    names: Path | None = None,
    source: str = "",
    scale: bool = False,
    licence: str = "unstated",
    overwrite: bool = False,
) -> None:
    """Make a bank of vectors that already exist (csv, tsv, parquet, npz, h5ad).

    Example: vc-featurize table depmap.parquet --source "DepMap 26Q1" --licence "CC BY 4.0" --out depmap.zarr

    Args:
        vectors: One row per entity, names in the first column.
        out: The bank to write, .zarr or .h5ad.
        kind: What the names are.
        names: Text file with one name per line to keep; all by default.
        source: Where the vectors came from.
        scale: Centre each column and divide it by its standard deviation.
        licence: Licence of the vectors.
        overwrite: Replace an earlier bank at `out`.
    """
    inputs = [path for path in (vectors, names) if path is not None]
    check_out(out, overwrite, inputs)
    from vc_featurize.table.precomputed import table_features
    from vc_featurize.text import read_names

    wanted = None if names is None else read_names(names)
    bank = table_features(vectors, wanted, kind=kind, source=source, licence=licence, scale=scale)
    write_bank(out, bank, inputs, {"encoder": "table", "scale": scale})


def compare(first: Positional[Path], second: Positional[Path], /, k: int = 10, json: bool = False) -> None:
    """Say whether two banks agree: kernel alignment and shared nearest neighbours.

    Args:
        first: A bank.
        second: Another bank of the same entities.
        k: Neighbours compared.
        json: Print JSON.
    """
    import dataclasses

    from vc_contracts.command import print_json

    from vc_featurize.bank import read_features
    from vc_featurize.compare import compare_banks

    found = compare_banks(read_features(first), read_features(second), k)
    if json:
        print_json(dataclasses.asdict(found))
        return
    print(f"{found.n} shared entities: CKA {found.cka:.3f}; {found.k} nearest shared {found.neighbours:.3f}", end="")
    print(f" (chance {found.chance:.3f})")


def list_encoders(json: bool = False) -> None:
    """List the encoders: command, name, width, extra, licence.

    Args:
        json: Print JSON.
    """
    from vc_contracts.command import print_json

    head = ("command", "encoder", "width", "extra", "licence")
    if json:
        print_json([dict(zip(head, row, strict=True)) for row in ENCODERS])
        return
    for row in (head, *ENCODERS):
        print("".join(f"{cell:<20}" for cell in row).rstrip())
