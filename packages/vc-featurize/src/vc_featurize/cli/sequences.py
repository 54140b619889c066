"""Commands `protein` and `guide`, and the networks for compounds: sequences through the shared path."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from vc_featurize.cli.output import check_out, write_bank
from vc_featurize.errors import InputError

if TYPE_CHECKING:
    from vc_featurize.run.encoder import SequenceEncoder

Dtype = Literal["float32", "bfloat16", "float16"]


def protein(
    fasta: Positional[Path],
    /,
    out: Path,
    genes: Path | None = None,
    aliases: Path | None = None,
    encoder: Literal["dipeptide", "esm2", "esmc", "unirep"] = "dipeptide",
    weights: str = "",
    revision: str = "",
    online: bool = False,
    dtype: Dtype = "float32",
    budget: int = 2048,
    work: Path | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> None:
    """Encode proteins of a FASTA file, of all its genes or of those asked for.

    Example: vc-featurize protein human.fasta.gz --genes targets.txt --out proteins.zarr

    Args:
        fasta: Protein sequences, plain or gzip.
        out: The bank to write, .zarr or .h5ad.
        genes: One gene symbol, alias or id per line; every gene of the file by default.
        aliases: Table with the columns `alias` and `symbol`.
        encoder: dipeptide needs no weights; the others are networks (extra torch).
        weights: Folder or hub id of the network's weights; for unirep its .npz.
        revision: Commit of a hub id, or the expected hash of a folder.
        online: Allow a download.
        dtype: What the network computes in.
        budget: Tokens a batch; 8,000 to 16,000 on a GPU.
        work: Folder for finished shards; a run that was cut off goes on there.
        scheduler: Address of a Dask scheduler.
        overwrite: Replace an earlier bank at `out`.
    """
    inputs = [path for path in (fasta, genes, aliases) if path is not None]
    check_out(out, overwrite, inputs)
    from vc_featurize.protein.sequences import read_fasta
    from vc_featurize.resolve.coverage import coverage
    from vc_featurize.resolve.genes import fasta_names, read_aliases, resolve_proteins
    from vc_featurize.run.encode import encode_bank
    from vc_featurize.text import read_names

    if genes is None:
        names = list(dict.fromkeys(fasta_names(header)[0] for header in read_fasta(fasta)))
    else:
        names = read_names(genes)
    found = resolve_proteins(names, fasta, read_aliases(aliases, "alias", "symbol") if aliases else None)
    print(coverage(found))
    chosen = _protein_encoder(encoder, weights, revision, online, dtype)
    bank = encode_bank(
        chosen,
        names,
        [found[name].text for name in names],
        "gene",
        sources=[found[name].source for name in names],
        budget=budget,
        work=work,
        scheduler=scheduler,
    )
    write_bank(out, bank, inputs, {"encoder": encoder, "budget": budget})


def _protein_encoder(name: str, weights: str, revision: str, online: bool, dtype: str) -> "SequenceEncoder":
    from vc_featurize.network.rules import Weights
    from vc_featurize.protein.dipeptide import DipeptideEncoder
    from vc_featurize.protein.esm import esm2_encoder, esmc_encoder
    from vc_featurize.protein.unirep import UniRepEncoder

    if name == "dipeptide":
        return DipeptideEncoder()
    if not weights:
        raise InputError(f"--encoder {name}: expected --weights with a folder or id, found none.")
    if name == "unirep":
        return UniRepEncoder(weights)
    make = esm2_encoder if name == "esm2" else esmc_encoder
    return make(Weights(path=weights, revision=revision, online=online), dtype=dtype)


def guide(
    table: Positional[Path],
    /,
    out: Path,
    id_col: str = "guide",
    sequence_col: str = "protospacer",
    encoder: Literal["kmer", "nt2", "nt3"] = "kmer",
    weights: str = "",
    revision: str = "",
    code: str = "",
    online: bool = False,
    dtype: Dtype = "float32",
    budget: int = 2048,
    work: Path | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> None:
    """Encode the protospacers of a guide library.

    Example: vc-featurize guide library.tsv --out guides.zarr

    Args:
        table: Library with a header line, tab-separated (comma-separated when named .csv).
        out: The bank to write, .zarr or .h5ad.
        id_col: Column with the guide's id.
        sequence_col: Column with the protospacer, 5' to 3' without PAM.
        encoder: kmer needs no weights; nt2 and nt3 are Nucleotide Transformers, not for commercial use.
        weights: Folder or hub id of the network's weights.
        revision: Commit of a hub id, or the expected hash of a folder.
        code: Commit (of a folder: its hash) of the modelling code that may run.
        online: Allow a download.
        dtype: What the network computes in.
        budget: Tokens a batch.
        work: Folder for finished shards; a run that was cut off goes on there.
        scheduler: Address of a Dask scheduler.
        overwrite: Replace an earlier bank at `out`.
    """
    check_out(out, overwrite, [table])
    from vc_featurize.compound import read_compound_table
    from vc_featurize.guide.kmer import KmerEncoder
    from vc_featurize.guide.nucleotide import nt2_encoder, nt3_encoder
    from vc_featurize.network.rules import Weights
    from vc_featurize.run.encode import encode_bank

    ids, sequences = read_compound_table(table, id_col, sequence_col)
    if encoder == "kmer":
        chosen = KmerEncoder()
    elif not weights:
        raise InputError(f"--encoder {encoder}: expected --weights with a folder or id, found none.")
    else:
        make = nt2_encoder if encoder == "nt2" else nt3_encoder
        chosen = make(Weights(path=weights, revision=revision, code=code, online=online), dtype=dtype)
    bank = encode_bank(chosen, ids, sequences, "guide", budget=budget, work=work, scheduler=scheduler)
    write_bank(out, bank, [table], {"encoder": encoder, "budget": budget})
