"""`python -m lib_fewstep.compare`: a comparison whose images are made by several WebUIs."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import NoReturn

from lib_fewstep.compare.servers.addresses import without_credentials
from lib_fewstep.options import SettingError

DONE, STOPPED, REFUSED, INTERRUPTED = 0, 1, 2, 130
"""The exit statuses; images that the servers refused to make do not count as missing."""
SECONDS = 600.0


class Parser(argparse.ArgumentParser):
    """A parser that shows no credentials in its errors."""

    def error(self, message: str) -> NoReturn:
        """End with a usage error."""
        super().error(without_credentials(message))


def main() -> int:
    """Read the command line and run the comparison; returns the exit status."""
    arguments = parse()
    try:
        from lib_fewstep.compare.servers import command  # noqa: PLC0415 (what it imports may be missing)
    except ModuleNotFoundError as error:
        return _end(REFUSED, f"{error.name} is missing: pip install -r requirements-cluster.txt")
    try:
        command.run(arguments)
    except SettingError as error:
        return _end(REFUSED, str(error))
    except command.Stopped as error:
        return _end(INTERRUPTED if error.interrupted else STOPPED, str(error))
    except OSError as error:
        return _end(
            STOPPED, f"Stopped, because {error.filename or arguments.out} cannot be used: {error.strerror or error}."
        )
    except KeyboardInterrupt:
        return _end(INTERRUPTED, "Stopped, because Ctrl-C was pressed: run the same command to continue.")
    return DONE


def parse() -> argparse.Namespace:
    """The command line's arguments."""
    parser = Parser(prog="python -m lib_fewstep.compare", description=__doc__)
    parser.add_argument(
        "--server",
        action="append",
        required=True,
        help="address of a WebUI, such as http://[user:password@]host:port; give it once for each server",
    )
    parser.add_argument("--config", type=Path, required=True, help="YAML or JSON file that says what to compare")
    parser.add_argument("--scheduler", help="address of a Dask scheduler (default: start one in this process)")
    parser.add_argument("--out", type=Path, default=Path("comparison"), help="folder for the images and the table")
    parser.add_argument(
        "--timeout", type=seconds, default=SECONDS, help="most seconds for one image (default: %(default)g)"
    )
    return parser.parse_args()


def seconds(text: str) -> float:
    """A number above 0. Raises argparse.ArgumentTypeError otherwise."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: it must be a number above 0")
    return value


def _end(status: int, sentence: str) -> int:
    sys.stderr.write(f"{sentence}\n")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
