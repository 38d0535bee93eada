"""`python -m tools.links`: a line for each link to the outside, of all pages, that leads nowhere."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

ROOT = Path(__file__).parents[1]
AT_ONCE = 8
SECONDS = 20.0
CODE = re.compile(r"^( *)```.*?^\1```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
URL = re.compile(r"\]\(<?(https?://[^\s()>]+)|<(https?://[^\s>]+)>|\b(?:href|src)=\"(https?://[^\"]+)")
BROWSER = {"User-Agent": "Mozilla/5.0 (compatible; links of a README)"}


def pages(folder: Path) -> list[Path]:
    """The pages of Markdown of the project in a folder."""
    return sorted(page for pattern in ("*.md", "docs/*.md", ".github/**/*.md") for page in folder.glob(pattern))


def outside_links(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """The links to the outside in pages, code left out, with the pages that have them."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        for groups in URL.findall(CODE.sub("", path.read_text(encoding="utf-8"))):
            found.setdefault("".join(groups).partition("#")[0], []).append(path)
    return found


def fault_of(url: str, seconds: float) -> str:
    """What is wrong with a link; empty if it leads somewhere. What answers HEAD badly is asked with GET."""
    try:
        answer = requests.head(url, timeout=seconds, headers=BROWSER, allow_redirects=True)
        if not answer.ok:
            with requests.get(url, timeout=seconds, headers=BROWSER, stream=True) as answer:
                return "" if answer.ok else f"{answer.status_code} {answer.reason}"
    except requests.RequestException as error:
        return type(error).__name__
    return ""


def check(paths: Iterable[Path], seconds: float) -> list[str]:
    """A line for each bad link: the pages, the link, what is wrong."""
    links = outside_links(paths)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        faults = pool.map(lambda url: fault_of(url, seconds), links)
    return [
        f"{', '.join(dict.fromkeys(page.name for page in links[url]))}: {url}: {fault}"
        for url, fault in zip(links, faults, strict=True)
        if fault
    ]


def main() -> int:
    """Read the command line and check; returns the exit status, 1 if a link is bad."""
    parser = argparse.ArgumentParser(prog="python -m tools.links", description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path, help="pages (default: all of the project)")
    parser.add_argument("--timeout", type=float, default=SECONDS, help="seconds for one answer (default: %(default)g)")
    arguments = parser.parse_args()
    bad = check(arguments.pages or pages(ROOT), arguments.timeout)
    sys.stdout.writelines(f"{line}\n" for line in bad)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
