"""`vc-contracts check NAME FILE`, `inspect FILE`, `copy SOURCE TARGET`: what a file is, and moving it to and from buckets."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from vc_contracts.command import run_command, switches
from vc_contracts.errors import Refusal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 where the file keeps its contract, 2 where it is refused, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="vc-contracts", description="Check the files of virtual-cell.")
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="read a file and check every rule of its contract")
    checking.add_argument("contract", help="e.g. predictions")
    checking.add_argument("path")
    commands.add_parser("inspect", help="print a file's header").add_argument("path")
    copying = commands.add_parser("copy", help="copy an output between this machine and a bucket, whole or not at all")
    copying.add_argument("source", help="a file or folder, here or in a bucket (s3://BUCKET/KEY, gs://BUCKET/KEY)")
    copying.add_argument("target")
    copying.add_argument("--overwrite", action="store_true", help="replace an earlier output of the same kind")
    given = parser.parse_args(switches(arguments, ("vc-contracts",)))
    jobs = {
        "check": lambda: _check(given.contract, given.path),
        "inspect": lambda: _inspect(given.path),
        "copy": lambda: _copy(given.source, given.target, given.overwrite),
    }
    return run_command("error", jobs[given.command])


def _check(contract: str, path: str) -> None:
    from vc_contracts.formats import SCHEMAS
    from vc_contracts.reading import read

    if contract not in SCHEMAS:
        raise Refusal(f"contract: expected one of {', '.join(SCHEMAS)}, found {contract!r}. Name one of them.")
    read(path, contract)
    print(f"{path} keeps {contract}-v1")


def _inspect(path: str) -> None:
    from vc_contracts.kinds import header_of

    header = header_of(Path(path))
    if not header:
        raise Refusal(f"{path}: contract: expected a header, found none. Pass a contract file.")
    print(json.dumps(header, indent=1))


def _copy(source: str, target: str, overwrite: bool) -> None:
    import shutil

    from vc_contracts.bucket.address import is_address
    from vc_contracts.bucket.local import fetch, kind_of_local, upload
    from vc_contracts.store import check_files
    from vc_contracts.whole import write_whole

    if not is_address(source) and not is_address(target):
        raise Refusal("copy: expected an address in a bucket (s3:// or gs://) on one side, found none. Use cp.")
    if is_address(target) and not is_address(source):
        upload(check_files(source), target, overwrite=overwrite)
    else:
        local = fetch(source)
        if is_address(target):
            upload(local, target, overwrite=overwrite)
        else:
            with write_whole(target, kind=kind_of_local(local), overwrite=overwrite) as temporary:
                shutil.copytree(local, temporary) if local.is_dir() else shutil.copyfile(local, temporary)
    print(f"wrote {target}")


if __name__ == "__main__":
    sys.exit(main())
