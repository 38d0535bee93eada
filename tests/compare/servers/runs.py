"""Whole runs of `python -m lib_fewstep.compare` for the tests."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
CONFIG = {
    "steps": [1, 2],
    "samplers": ["Euler"],
    "reference_sampler": "DPM++ 2M",
    "reference_steps": 9,
    "methods": ["None"],
    "request": {"prompt": "a cat", "seed": 7, "width": 32, "height": 32},
}


def write_config(folder, **changes):
    """A file of settings; a change to None leaves one out."""
    path = folder / "comparison.yaml"
    values = {name: value for name, value in {**CONFIG, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(values))
    return path


def with_request(**changes):
    """A change of the request's fields; None leaves one out."""
    fields = {**CONFIG["request"], **changes}
    return {"request": {name: value for name, value in fields.items() if value is not None}}


def arguments(servers, config, out, *more):
    """The command line for some servers, with their credentials."""
    urls = [
        server.address.replace("//", f"//{server.credentials}@" if server.credentials else "//") for server in servers
    ]
    return [*(word for url in urls for word in ("--server", url)), "--config", str(config), "--out", str(out), *more]


def command(servers, config, out, *more):
    """The words that start a run in another process."""
    return [sys.executable, "-m", "lib_fewstep.compare", *arguments(servers, config, out, *more)]


def rows_in(out):
    """The rows on the disk."""
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
