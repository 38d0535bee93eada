"""`python -m tools.fingerprint FILE`: write the hashes of all generations, or compare them with those of a file."""

from __future__ import annotations

import argparse
import io
import json
import logging
import sys
import time
from collections.abc import Iterable
from contextlib import redirect_stderr
from itertools import chain
from pathlib import Path

import torch

from tools.fingerprint import images, library, page, refusals
from tools.fingerprint.table import Generation, differences, failures, table_of


def all_generations() -> Iterable[Generation]:
    """Those of the library, and those of the stand-in."""
    modules = (library, images, page, refusals)
    return chain.from_iterable(module.generations() for module in modules)


def write(path: Path, table: dict[str, str]) -> list[str]:
    """Write the table, whatever has failed in it; a line for each that has."""
    path.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return failures(table)


def compare(path: Path, table: dict[str, str]) -> list[str]:
    """A line for each generation that is not as in the file."""
    return differences(json.loads(path.read_text(encoding="utf-8")), table)


def main() -> int:
    """Read the command line and run; returns the exit status, 1 if something differs or has failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.fingerprint", description=__doc__)
    parser.add_argument("file", type=Path, help="a JSON file {name of a generation: hash}")
    parser.add_argument("--compare", action="store_true", help="compare with the file instead of writing it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable()
    started = time.monotonic()
    with redirect_stderr(io.StringIO()):  # the progress bars of hundreds of runs
        table = table_of(all_generations())
    seconds = time.monotonic() - started
    lines = (compare if arguments.compare else write)(arguments.file, table)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    what = "are not as before" if arguments.compare else "have failed"
    sys.stdout.write(f"{len(lines)} of {len(table)} generations {what} ({seconds:.0f} s).\n")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
