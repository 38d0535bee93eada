"""`python -m demo.install WEBUI`: puts the embedded checkpoints and their LoRAs where a WebUI finds them.

Everything is in two folders of its own, models/Stable-diffusion/fewstep-mini and models/Lora/fewstep-mini; deleting
them removes it again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from demo.model.layouts import FOLDER, LAYOUTS, TEXT_FOLDER

NAME = "fewstep-mini"
TEXT_NAME = TEXT_FOLDER.name
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
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print("installed (press the refresh button beside the checkpoint to see them):")
    print("\n".join(f"  {path}" for path in installed))
    return 0


def install(webui: Path) -> list[Path]:
    """Copy the checkpoints, their YAML files, the text encoder's folder and the LoRAs; what was put where.

    The YAML files name the text encoder's folder by its full path, so that the WebUI looks for nothing on the network.
    Raises FileNotFoundError, with a sentence, for a folder that is no WebUI, and where a weight is missing here.
    """
    webui = webui.resolve()
    if not (webui / "launch.py").is_file():
        raise FileNotFoundError(f"{webui} has no launch.py: give the folder of the WebUI")
    checkpoints, loras = (webui / "models" / kind / NAME for kind in ("Stable-diffusion", "Lora"))
    text = checkpoints / TEXT_NAME
    shutil.copytree(TEXT_FOLDER, text, dirs_exist_ok=True)
    loras.mkdir(parents=True, exist_ok=True)
    installed = [text]
    for layout in LAYOUTS.values():
        installed.append(_copied(layout.path, checkpoints))
        config = checkpoints / layout.config_path.name
        told = layout.config_path.read_text(encoding="utf-8").replace(
            YAML_TEXT_ENCODER, f"version: '{text.as_posix()}'"
        )
        config.write_text(told, encoding="utf-8")
        installed.append(config)
        installed += [_copied(path, loras) for path in sorted(FOLDER.glob(f"mini-{layout.name}-*.safetensors"))]
    return installed


def _copied(path: Path, folder: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: clone the project again, or make it with: make train")
    return Path(shutil.copy(path, folder))


if __name__ == "__main__":
    raise SystemExit(main())
