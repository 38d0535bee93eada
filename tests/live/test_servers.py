"""The comparison over two running WebUIs, one of which is killed midway: `make live-servers`. It does not come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.live.client import BASE, URL

ROOT = Path(__file__).parents[2]
REQUEST = {name: value for name, value in BASE.items() if name not in ("steps", "cfg_scale", "sampler_name")}
CONFIG = {
    "steps": [1, 2, 4],
    "cfg": [3, 7],
    "samplers": ["Euler", "Euler CFG++", "TCD"],
    "methods": ["None", "HiDiffusion"],
    "reference_steps": 8,
    "request": REQUEST,
}
CELLS = 2 * (1 + 2 * 3 * 3)
KILLED_AFTER = 10


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """Not here: the second server dies."""


def test_all_cells_are_done_and_none_twice(tmp_path):
    config, out = tmp_path / "comparison.json", tmp_path / "out"
    config.write_text(json.dumps(CONFIG))
    servers = ["--server", URL, "--server", os.environ["SECOND_URL"]]
    command = [sys.executable, "-m", "lib_fewstep.compare", *servers, "--config", str(config), "--out", str(out)]
    run = subprocess.Popen(command, cwd=ROOT)
    while len(rows(out)) < KILLED_AFTER:
        assert run.poll() is None, "the command has ended before the server was killed"
        time.sleep(0.2)
    os.kill(int(os.environ["SECOND_PID"]), signal.SIGKILL)
    killed_at = len(rows(out))
    assert run.wait(1200) == 0
    made = rows(out)
    assert len(made) == CELLS > killed_at
    assert len({row["key"] for row in made}) == CELLS
    assert not [row["error"] for row in made if row["error"]]
    by_server = Counter(row["details"]["server"] for row in made)
    assert set(by_server) == {URL.rstrip("/"), os.environ["SECOND_URL"].rstrip("/")}
    frame = pd.read_csv(out / "comparison.csv")
    assert len(frame) == CELLS
    assert frame.loc[~frame["reference"], "psnr"].notna().all()
    for name in ("curves.png", "grid.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 500
    survivor = [*command[:5], *command[7:]]
    assert subprocess.run(survivor, cwd=ROOT, check=False).returncode == 0
    assert len(rows(out)) == CELLS


def rows(out):
    path = out / "rows.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []
