"""`python -m lib_fewstep.models.convert FOLDER OUT.safetensors`: a diffusers folder as a WebUI's checkpoint.

For UNets of Stable Diffusion 1 and 2 with fewer blocks, or without a middle block, such as BK-SDM, small-sd and SDXS.
The YAML file beside OUT tells the WebUI what to build; without a middle block it names a class of this extension.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lib_fewstep.models.convert.checkpoint import write
from lib_fewstep.models.convert.folder import NotConvertible


def main() -> int:
    """Read the command line and convert; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lib_fewstep.models.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="folder with unet, vae, text_encoder, tokenizer and scheduler")
    parser.add_argument("out", type=Path, help="the checkpoint, which ends in .safetensors")
    parser.add_argument("--vae", type=Path, help="folder of an AutoencoderKL to take instead of the folder's own")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    arguments = parser.parse_args()
    try:
        written = write(arguments.folder, arguments.out, arguments.vae, force=arguments.force)
    except (NotConvertible, OSError) as error:
        sys.stderr.write(f"not converted: {error}\n")
        return 1
    sys.stdout.writelines(f"{path}\n" for path in written)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
