"""`python -m demo.install WEBUI`: puts the embedded checkpoints and their LoRAs where a WebUI finds them.

Everything is in two folders of its own, models/Stable-diffusion/fewstep-mini and models/Lora/fewstep-mini, where files
of the same name are replaced; deleting the folders removes it again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from demo.model.files import existing
from demo.model.layouts import LAYOUTS, LORAS, TEXT_FOLDER

NAME = "fewstep-mini"
YAML_TEXT_ENCODER = "version: mini-clip"
"""What stands for the text encoder's folder in the YAML files of this project."""


def main() -> int:
    """Read the command line and install; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.install", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("webui", type=Path, help="folder of the WebUI: the one that has launch.py")
    try:
        installed = install(parser.parse_args().webui)
    except OSError as error:
        print(f"not installed: {error}", file=sys.stderr)
        return 1
    print("installed; restart the WebUI to use them:")
    print("\n".join(f"  {path}" for path in installed))
    return 0


def install(webui: Path) -> list[Path]:
    """Copy the checkpoints, their YAML files, the text encoder's folder and the LoRAs; what was put where.

    The YAML files name the text encoder's folder by its full path, so that the WebUI looks for nothing on the network.
    Raises FileNotFoundError, with a sentence, for a folder that is no WebUI, and where a weight is missing here; then
    nothing is copied. Raises OSError where the system refuses to write there.
    """
    webui = webui.resolve()
    if not (webui / "launch.py").is_file():
        raise FileNotFoundError(f"{webui} has no launch.py: give the folder of the WebUI")
    weights = [existing(layout.path) for layout in LAYOUTS.values()]
    loras = [existing(layout.lora_path(kind)) for layout in LAYOUTS.values() for kind in LORAS]
    checkpoints, lora_folder = (webui / "models" / kind / NAME for kind in ("Stable-diffusion", "Lora"))
    for place in (checkpoints, lora_folder):
        if place.resolve() == weights[0].parent.resolve():
            raise FileExistsError(f"{place} is a link to this project's own weights: delete the link")
    text = checkpoints / TEXT_FOLDER.name
    shutil.copytree(TEXT_FOLDER, text, dirs_exist_ok=True)
    configs = [_configured(layout.config_path, text) for layout in LAYOUTS.values()]
    return [text, *configs, *_copied(weights, checkpoints), *_copied(loras, lora_folder)]


def _configured(config: Path, text: Path) -> Path:
    """Write a YAML file beside the text encoder's folder, which it names."""
    told = config.read_text(encoding="utf-8").replace(
        YAML_TEXT_ENCODER, f"version: {json.dumps(text.as_posix(), ensure_ascii=False)}"
    )
    place = text.parent / config.name
    place.write_text(told, encoding="utf-8")
    return place


def _copied(paths: Sequence[Path], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(path, folder)) for path in paths]


if __name__ == "__main__":
    raise SystemExit(main())
