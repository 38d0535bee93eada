"""`python -m bench.guidance`: what a step costs on a full-size UNet, by what guidance evaluates in it.

"as the WebUI" is CFG 1 with both rows; "one row" is what this extension makes of it. All are measured in turn.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from tqdm import trange

from bench.speed import in_turn, seconds_of
from bench.unets import LAYOUTS, conditioning, evaluate, latent, random_weights
from demo.model.host import prepare_host
from demo.numbers import positive
from lib_fewstep.guidance import GuidanceSession, GuidanceSettings, Row

LEVEL = 2.0
WARM = 1
BOTH = "CFG 1, as the WebUI"
KINDS: dict[str, tuple[float, GuidanceSettings]] = {
    "CFG 1, one row": (1.0, GuidanceSettings()),
    "CFG 1, NAG": (1.0, GuidanceSettings(nag_scale=2.0)),
    "CFG 7": (7.0, GuidanceSettings()),
    "CFG 7, PAG": (7.0, GuidanceSettings(pag_scale=3.0)),
    "CFG 7, SEG": (7.0, GuidanceSettings(seg_scale=3.0)),
    "CFG 7, SAG": (7.0, GuidanceSettings(sag_scale=0.75)),
    "CFG 7, APG, rescale, thresholding": (
        7.0,
        GuidanceSettings(apg_eta=0.0, apg_momentum=-0.5, rescale=0.7, threshold_mimic=4.0),
    ),
}


def seconds_by_kind(unet: nn.Module, side: int, rounds: int) -> dict[str, float]:
    """Median seconds of a step at a latent of `side`, of the WebUI's two rows at CFG 1 and of each kind."""
    x = latent(unet, (side, side), 1)
    device = x.device
    calls: dict[str, Callable[[], float]] = {
        BOTH: partial(seconds_of, partial(_evaluated, unet, x, [Row.PROMPT, Row.NEGATIVE]), device)
    }
    for name, (cfg, settings) in KINDS.items():
        calls[name] = partial(seconds_of, partial(_step, unet, x, cfg, settings), device)
    found = in_turn(calls, trange(rounds + WARM, desc="guidance", unit="round"), WARM)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def _step(unet: nn.Module, x: Tensor, cfg: float, settings: GuidanceSettings) -> Tensor:
    sigma = x.new_full((len(x),), LEVEL)
    text = conditioning(unet, len(x))["context"][0]
    with GuidanceSession(settings, [LEVEL, 0.0], unet=unet) as session:
        return session.denoised(x, sigma, cfg, partial(_evaluated, unet), text)


def _evaluated(unet: nn.Module, x: Tensor, kinds: Sequence[Row]) -> Tensor:
    """The UNet's answers for some rows, in one batch."""
    rows = x.repeat(len(kinds), 1, 1, 1)
    return evaluate(unet, rows, conditioning(unet, len(rows)))


def main() -> None:
    """Read the command line, measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.guidance", description=__doc__)
    parser.add_argument("--model", choices=list(LAYOUTS), default="SD1.5", help="layout (default: %(default)s)")
    parser.add_argument("--size", type=positive, default=512, help="of the image, in pixels (default: %(default)s)")
    parser.add_argument("--rounds", type=positive, default=5, help="that count (default: %(default)s)")
    arguments = parser.parse_args()
    prepare_host()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.inference_mode():
        unet = random_weights(LAYOUTS[arguments.model].make().to(device).eval())
        seconds = seconds_by_kind(unet, arguments.size // 8, arguments.rounds)
    print(f"{arguments.model}, {arguments.size}x{arguments.size}, {device.type}, {torch.get_num_threads()} threads")
    for name, value in seconds.items():
        print(f"{name:36}{value:8.2f} s a step{seconds[BOTH] / value:8.2f}x as fast as {BOTH}")


if __name__ == "__main__":
    main()
