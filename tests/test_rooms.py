"""The arrows between the rooms of the house point one way."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = set(sys.stdlib_module_names) | {"torch"}
MAY_IMPORT = {
    "lib_fewstep/options.py": set(sys.stdlib_module_names),
    "lib_fewstep/unet": SHIPPED,
    "lib_fewstep/sentences.py": set(sys.stdlib_module_names),
    "lib_fewstep/highres": SHIPPED | {"lib_fewstep.unet", "lib_fewstep.options", "lib_fewstep.sentences"},
    "lib_fewstep/sampling": SHIPPED
    | {"numpy", "safetensors", "scipy", "tqdm", "lib_fewstep.options", "lib_fewstep.sentences"},
    "lib_fewstep/guidance": SHIPPED | {"lib_fewstep.options", "lib_fewstep.sentences"},
    "lib_fewstep/models": SHIPPED | {"safetensors", "yaml", "lib_fewstep.options", "lib_fewstep.sentences"},
    "lib_fewstep/compare": SHIPPED
    | {"numpy", "PIL", "matplotlib", "skimage", "pandas", "lib_fewstep.options"}
    | {"cloudpickle", "dask", "distributed", "requests", "tqdm", "yaml"},  # of requirements-cluster.txt
    "lib_fewstep/webui": SHIPPED
    | {"lib_fewstep.unet", "lib_fewstep.highres", "lib_fewstep.sampling", "lib_fewstep.guidance"}
    | {"lib_fewstep.compare", "lib_fewstep.models"}
    | {"lib_fewstep.options", "lib_fewstep.sentences"}
    | {"modules", "gradio", "fastapi", "ldm", "numpy", "pandas", "PIL"},
    "scripts": {"lib_fewstep.webui"},
}

WINGS = {"common": set(), "highres": {"common"}, "fewstep": {"common"}, "record": {"common"}}
WINGS |= {"guidance": {"common"}, "models": {"common"}}
WINGS |= {"comparison": {"common", "highres", "fewstep", "record"}}
"""The wings of the WebUI's room, and which others each of them may import: a comparison drives the features."""


def modules(path: Path) -> set[str]:
    """Full names of imported modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
    return found


def imports(path: Path) -> set[str]:
    """Names of imported modules; of the project's own, the room."""
    return {".".join(name.split(".")[: 2 if name.startswith("lib_fewstep") else 1]) for name in modules(path)}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows(room):
    place = ROOT / room
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    assert files
    own = {room.replace("/", ".").removesuffix(".py")}
    for path in files:
        assert imports(path) <= MAY_IMPORT[room] | own, path


@pytest.mark.parametrize("wing", WINGS)
def test_arrows_between_the_wings(wing):
    files = sorted((ROOT / "lib_fewstep/webui" / wing).rglob("*.py"))
    assert files
    for path in files:
        names = [name.split(".") for name in modules(path) if name.startswith("lib_fewstep.webui.")]
        assert {parts[2] for parts in names} <= {*WINGS[wing], wing}, path


def test_every_wing_is_listed():
    place = ROOT / "lib_fewstep/webui"
    assert {path.name for path in place.iterdir() if path.name not in ("__pycache__", "__init__.py")} == set(WINGS)


def test_every_room_is_listed():
    rooms = {path.name for path in (ROOT / "lib_fewstep").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == {Path(room).name for room in MAY_IMPORT if room.startswith("lib_fewstep/") and "." not in room}


def test_the_torch_rooms_need_torch_alone():
    """In a fresh interpreter: what they bring in besides torch's own imports is the standard library."""
    script = (
        "import sys, torch; before = set(sys.modules); import lib_fewstep.unet, lib_fewstep.highres; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(loaded.stdout.split()) <= SHIPPED | {"lib_fewstep"}


def test_the_client_of_servers_needs_no_torch():
    """It runs on machines without one: requirements-cluster.txt has none."""
    script = "import sys; sys.modules['torch'] = None; import lib_fewstep.compare.servers.command"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
