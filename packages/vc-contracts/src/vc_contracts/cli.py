"""`vc-contracts check NAME FILE` and `vc-contracts inspect FILE`: what a file is, and whether it keeps its contract."""

import argparse
import json
import sys
from collections.abc import Sequence

from vc_contracts.command import run_command
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
    given = parser.parse_args(arguments)
    job = (lambda: _check(given.contract, given.path)) if given.command == "check" else (lambda: _inspect(given.path))
    return run_command("error", job)


def _check(contract: str, path: str) -> None:
    from vc_contracts.formats import SCHEMAS
    from vc_contracts.reading import read

    if contract not in SCHEMAS:
        raise Refusal(f"contract: expected one of {', '.join(SCHEMAS)}, found {contract!r}. Name one of them.")
    read(path, contract)
    print(f"{path} keeps {contract}-v1")


def _inspect(path: str) -> None:
    from pathlib import Path

    from vc_contracts.kinds import header_of

    header = header_of(Path(path))
    if not header:
        raise Refusal(f"{path}: contract: expected a header, found none. Pass a contract file.")
    print(json.dumps(header, indent=1))


if __name__ == "__main__":
    sys.exit(main())
