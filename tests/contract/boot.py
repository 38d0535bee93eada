"""The modules of a real WebUI 1.10.1, started in this process from the checkout that WEBUI_DIR names.

The checkout is only read: settings, extensions, checkpoints and pictures are in a folder of their own.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tests.contract import checkpoints

EXTENSION = Path(__file__).parent / "extension"
CONFIGS = {"config_default": "sd1", "config_inpainting": "sd1-inpaint", "config_sdxl": "sdxl"}
"""What the host is to take for each layout: a checkpoint with a YAML of its own would never be loaded in place."""

SETTINGS = {"show_progress_type": "Approx cheap", "samples_log_stdout": False}
COMMAND_LINE = (
    "--api",
    "--use-cpu",
    "all",
    "--no-half",
    "--skip-torch-cuda-test",
    "--no-download-sd-model",
    "--skip-load-model-at-start",
)


def boot(root: Path) -> Any:
    """Import everything that a start of the WebUI imports, and load its scripts; the folder of what it writes."""
    data = Path(mkdtemp(prefix="webui-data-"))
    atexit.register(shutil.rmtree, data, ignore_errors=True)
    (data / "extensions").mkdir()
    (data / "extensions" / "recorder").symlink_to(EXTENSION)
    (data / "config.json").write_text(json.dumps({**SETTINGS, "sd_model_checkpoint": "sd1.safetensors"}))
    os.chdir(data)
    sys.argv = ["webui.py", "--data-dir", str(data), *COMMAND_LINE]
    sys.path.insert(0, str(root))
    start: Any = __import__("modules.initialize").initialize
    start.imports()
    start.check_versions()
    layouts = checkpoints.make(data)
    for name, layout in CONFIGS.items():
        setattr(sys.modules["modules.sd_models_config"], name, str(layouts[layout]))
    return data
