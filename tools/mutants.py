"""`mutmut results --all true | python -m tools.mutants`: how many changes of the code the tests have noticed.

Prints a table of the modules, and fails where a whole package is below `--goal`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable

import pandas as pd

RESULT = re.compile(r"^\s*(?P<module>(?P<package>lib_fewstep\.\w+)\.\w+)\.\S+: (?P<status>.+)$")
PACKAGES = {"lib_fewstep.unet", "lib_fewstep.highres"}
NOTICED = {"killed", "timeout", "segfault"}
"""A change that makes the tests run for ever, or takes the process down, is noticed, too."""


def main() -> None:
    """Read the results, print the table, and exit with 1 below the goal."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("--goal", type=float, default=0.85, help="the share to be noticed (default: 0.85)")
    goal = parser.parse_args().goal
    found = results(sys.stdin)
    missing = PACKAGES - set(found["package"])
    if missing:
        sys.exit(f"no results of {', '.join(sorted(missing))}: run `mutmut run` first")
    packages = shares(found, "package")
    sys.stdout.write(shares(found, "module").to_string(formatters={"share": "{:.0%}".format}) + "\n")
    sys.stdout.write(packages.to_string(formatters={"share": "{:.1%}".format}) + "\n")
    if (packages["share"] < goal).any():
        sys.exit(f"fewer than {goal:.0%} of the changes are noticed")


def results(lines: Iterable[str]) -> pd.DataFrame:
    """A row for each change: its module, its package and what came of it."""
    matches = (RESULT.match(line) for line in lines)
    return pd.DataFrame([match.groupdict() for match in matches if match], columns=list(RESULT.groupindex))


def shares(found: pd.DataFrame, by: str) -> pd.DataFrame:
    """For each module or package: how many changes there were, how many were noticed, and their share."""
    noticed = found["status"].isin(NOTICED).groupby(found[by])
    return pd.DataFrame({"changes": noticed.size(), "noticed": noticed.sum(), "share": noticed.mean()})


if __name__ == "__main__":
    main()
