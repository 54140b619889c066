"""Command line of vc-data. Heavy imports wait inside the commands, so that help answers at once."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vc_data.options import ConvertOptions

H5ad = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE.h5ad")]
Screen = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SCREEN.zarr")]
AnyFile = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
Folder = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FOLDER")]

DESCRIPTION = """Perturbation screens into one checked format.

Examples:
  vc-data simulate demo --preset tiny --seed 0
  vc-data convert demo/screen.h5ad demo.zarr
  vc-data inspect demo.zarr
  vc-data split demo.zarr splits.json --recipe by_perturbation
  vc-data convert a.h5ad b.h5ad --out-dir screens
  vc-data convert-effects zscores.h5ad effects.zarr --values z --mode-name drug
  vc-data merge screens/a.zarr screens/b.zarr both.zarr --panel union
  vc-data list
  vc-data download scperturb_norman19_k562
"""


def convert(
    files: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="FILE.h5ad SCREEN.zarr")],
    out_dir: Path | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    options: Annotated[ConvertOptions, tyro.conf.arg(name="")] = ConvertOptions(),  # noqa: B008
) -> None:
    """Convert an .h5ad with raw counts into a screen (.zarr), or several into a folder.

    For example:
      vc-data convert k562.h5ad k562.zarr
      vc-data convert vcc.h5ad h1.zarr --cell-line-name H1 --mode-name crispri --panel gene_names.txt
      vc-data convert drugs.h5ad drugs.zarr --perturbation drug --control DMSO --dose dose_um --mode-name drug
      vc-data convert tcells.h5ad tcells.zarr --cell-line cell_line,stimulation
      vc-data convert my_controls.h5ad context.zarr --control-only
      vc-data convert filtered_feature_bc_matrix.h5 screen.zarr --obs-table guides.csv --perturbation feature_call
      vc-data convert k562.h5ad k562.zarr --max-residual 0.3 --max-cell-residual 0.5 --min-cells 30
      vc-data convert AdamsonWeissman2016_GSM2406681_10X010.h5ad adamson.zarr --dataset scperturb_adamson16_10x010
      vc-data convert a.h5ad b.h5ad c.h5ad --out-dir screens --jobs 2
      vc-data convert a.h5ad b.h5ad c.h5ad --out-dir /shared/screens --scheduler tcp://node1:8786

    Args:
        files: The .h5ad file and the screen to write (its name ends in .zarr); with --out-dir, .h5ad files only.
        out_dir: Folder for the screens of several files; they take the names of their files.
        jobs: With --out-dir: processes. Default: one per core.
        scheduler: With --out-dir: address of a Dask scheduler whose workers see the same paths.
        options: How to read the files.
    """
    if out_dir is None:
        _convert_one(files, options)
        return
    from vc_data.convert.many import convert_many
    from vc_data.errors import TooFewError

    if not files:
        raise TooFewError("files", "arguments", "one .h5ad file or more", "none", "Pass FILE.h5ad ... --out-dir DIR.")
    outcomes = convert_many(files, out_dir, options, jobs=jobs, scheduler=scheduler)
    for outcome in outcomes:
        print("\n  ".join([f"{outcome.source}:", *(outcome.report.lines() if outcome.report else [outcome.error])]))
    refused = [outcome for outcome in outcomes if outcome.report is None]
    if refused:
        first = refused[0].error
        raise TooFewError(out_dir, "conversions", f"{len(outcomes)} screens", f"{len(outcomes) - len(refused)}", first)
    print(f"wrote {len(outcomes)} screens into {out_dir}; next: vc-data merge {out_dir}/*.zarr OUT.zarr")


def _convert_one(files: tuple[Path, ...], options: ConvertOptions) -> None:
    import vc_data.convert.run
    from vc_data.errors import OptionError

    if len(files) != 2:
        do = "Pass FILE.h5ad SCREEN.zarr, or several files with --out-dir DIR."
        raise OptionError("files", "arguments", "a file and the screen to write", f"{len(files)} names", do)
    source, output = files
    try:
        report = vc_data.convert.run.convert(source, output, options)
    except KeyboardInterrupt:
        _say_kept(output)
        raise
    print("\n".join(report.lines()))
    print(f"wrote {output}; next: vc-data inspect {output}, then vc-data split {output} splits.json")


def inspect(
    path: AnyFile,
    json: bool = False,
    options: Annotated[ConvertOptions, tyro.conf.arg(name="")] = ConvertOptions(),  # noqa: B008
) -> None:
    """Describe a screen, or say what 'convert' would make of another file: columns, genes of targets, what is dropped.

    For example:
      vc-data inspect k562.zarr
      vc-data inspect foreign.h5ad
      vc-data inspect foreign.h5ad --control DMSO --strict

    Args:
        path: A screen (.zarr or .h5ad), or any .h5ad.
        json: Print JSON.
        options: How it would be converted.
    """
    from vc_data.convert.inspect import inspect_file

    print(inspect_file(path, as_json=json, options=options))


def genes(
    source: H5ad,
    panel: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="PANEL.txt")],
    gene_table: Path | None = None,
    aliases: Path | None = None,
    output: Path | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    overwrite: bool = False,
) -> None:
    """Report how the genes of an .h5ad would reach a panel, without converting.

    For example:
      vc-data genes k562.h5ad gene_names.txt
      vc-data genes k562.h5ad gene_names.txt --gene-table ensembl.tsv.gz --aliases aliases.tsv.gz --output genes.json

    Args:
        source: The .h5ad file.
        panel: Text file, one gene a line.
        gene_table: Table with Ensembl ids and symbols (TSV, .gz).
        aliases: Table with alias and approved symbols (TSV, .gz).
        output: JSON file for the full lists.
        as_json: Print the full lists as JSON.
        overwrite: Replace an output that exists.
    """
    import json

    from vc_contracts.command import print_json

    from vc_data.contract import check_target, write_whole

    inputs = [path for path in (source, panel, gene_table, aliases) if path is not None]
    if output is not None:
        check_target(output, overwrite=overwrite, inputs=inputs)
    from vc_data.convert.inspect import align_file

    alignment = align_file(source, panel, gene_table=gene_table, aliases=aliases)
    if as_json:
        print_json(alignment.to_json())
    else:
        print("\n".join(alignment.lines()))
    if output is not None:
        with write_whole(output, overwrite=overwrite, inputs=inputs) as temporary:
            temporary.write_text(json.dumps(alignment.to_json(), indent=1) + "\n")
        print(f"wrote {output}; next: vc-data convert {source} OUT.zarr --panel {panel}", file=sys.stderr)


def simulate(
    output: Folder,
    preset: Literal["tiny", "small", "thousand", "vcc"] = "tiny",
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Simulate a screen with known truth: screen.h5ad, truth.h5ad, pathways.gmt.

    For example:
      vc-data simulate demo --preset tiny --seed 0

    Args:
        output: Folder to write.
        preset: Size.
        seed: Same seed, same screen.
        overwrite: Replace an earlier simulation.
    """
    from vc_data.contract import check_target

    check_target(output, kind="simulation", overwrite=overwrite)
    import vc_data.simulate as simulator

    simulator.write_simulation(simulator.PRESETS[preset], seed, output, overwrite=overwrite)
    print(f"wrote {output}; next: vc-data convert {output / 'screen.h5ad'} {output}.zarr")


@contextlib.contextmanager
def _no_interrupt_is_lost() -> Iterator[None]:
    """Deliver an interrupt again that came while a destructor ran: Python can only report it there, and goes on."""
    import _thread
    import threading

    report = sys.unraisablehook

    def hook(lost) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            report(lost)
            return
        # A little later, when the destructor has ended.
        again = threading.Timer(0.05, _thread.interrupt_main)
        again.daemon = True
        again.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = report


def main(args: list[str] | None = None) -> int:
    """Run the command line; 0 only when the work is whole, 2 on a refusal, 130 on Ctrl-C or a kill."""
    import warnings

    from vc_contracts.bucket.stage import staged
    from vc_contracts.command import run_command, switches

    from vc_data.cli.corpus import merge, variable
    from vc_data.cli.download import download_dataset, list_datasets
    from vc_data.cli.effects import convert_effects
    from vc_data.cli.split import check, split

    commands = {"list": list_datasets, "download": download_dataset, "convert": convert, "inspect": inspect}
    commands |= {
        "convert-effects": convert_effects,
        "split": split,
        "check": check,
        "merge": merge,
        "variable": variable,
        "genes": genes,
        "simulate": simulate,
    }
    args = switches(args, ("vc-data", "vc-contracts"))
    in_place = {"inspect": ("path",), "split": ("screen", "others"), "check": ("files",)}
    last = dict.fromkeys(("convert", "merge", "variable"), "files")
    commands = {
        name: staged(function, in_place=in_place.get(name, ()), refused=("out_dir",), last=last.get(name, ""))
        for name, function in commands.items()
    }
    commands["download"] = staged(download_dataset, refused=("out",))

    def command() -> None:
        with _no_interrupt_is_lost(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tyro.extras.subcommand_cli_from_dict(
                commands, prog="vc-data", description=DESCRIPTION, args=args, config=(tyro.conf.OmitArgPrefixes,)
            )

    return run_command("error", command, memory="leave --no-backed and --jobs out, or use a larger machine")


def _say_kept(output: Path) -> None:
    from vc_data.screen.part import part_path

    part = part_path(output)
    if part.exists():
        print(f"what was done is kept in {part}: the same command goes on (or delete it)", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
