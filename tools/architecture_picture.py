"""`python -m tools.architecture_picture`: draw the rooms and the two trips through them, docs/architecture.png."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, DPI = 12.0, 9.3, 100
COMMON = "webui/common"
INK, PALE, PAPER = "#20242b", "#8a919c", "#fcfbf7"
REQUEST, SAMPLER = "#1f5fa8", "#b4540a"


@dataclass(frozen=True)
class Box:
    """A room: its name, a line about it, and where it is drawn (left, bottom, width, height)."""

    name: str
    about: str
    place: tuple[float, float, float, float]
    fill: str = "#ffffff"
    indent: float = 0.0
    """Of the texts, where a trip passes at their left."""
    theirs: bool = False

    @property
    def shown(self) -> str:
        """The name as it is drawn: of a wing that alone, for the house around it is that of `webui`."""
        return self.name if self.name == COMMON else self.name.removeprefix("webui/")


ROOMS = (
    Box("scripts", "what the WebUI runs", (0.3, 7.15, 7.2, 0.65), "#f1ede2"),
    Box("webui/highres", "HiDiffusion's\nscript", (0.5, 5.4, 1.2, 1.0), "#e6eef8"),
    Box("webui/fewstep", "samplers,\npresets", (1.8, 5.4, 1.2, 1.0), "#e6eef8"),
    Box("webui/guidance", "rows of each\nevaluation", (3.1, 5.4, 1.1, 1.0), "#e6eef8"),
    Box("webui/models", "kinds of\ncheckpoints", (4.3, 5.4, 0.95, 1.0), "#e6eef8"),
    Box("webui/record", "cost of\nan image", (5.35, 5.4, 0.8, 1.0), "#e6eef8"),
    Box("webui/comparison", "the script\nof grids", (6.25, 5.4, 1.15, 1.0), "#e6eef8"),
    Box(COMMON, "host/: every question to the WebUI; axes, page, log", (0.55, 4.3, 6.8, 0.9), "#d5e3f4", 3.3),
    Box("highres", "settings, steps,\nthe session of a pass", (0.3, 2.85, 1.95, 0.95), "#e7f2e4"),
    Box("sampling", "samplers, presets,\nschedules", (2.35, 2.85, 1.55, 0.95), "#e7f2e4"),
    Box("guidance", "each step's\nstrength", (4.0, 2.85, 1.2, 0.95), "#e7f2e4"),
    Box("models", "kinds, noise\nschedules", (5.3, 2.85, 1.15, 0.95), "#e7f2e4"),
    Box("compare", "tables,\npictures", (6.55, 2.85, 0.95, 0.95), "#e7f2e4"),
    Box("unet", "layout and stand-ins", (0.3, 1.6, 2.25, 0.75), "#cfe6c9"),
    Box(
        "options, sentences",
        "one source for each setting; texts in two languages. Every room may import them.",
        (0.3, 0.3, 7.2, 0.7),
        "#f1ede2",
    ),
)
THEIRS = (
    Box("the WebUI", "a request, its list of samplers", (0.3, 8.3, 7.2, 0.6), theirs=True),
    Box("a block", "of the loaded UNet", (2.8, 1.6, 2.2, 0.75), theirs=True),
    Box("the denoiser", "of the WebUI", (5.25, 1.6, 2.25, 0.75), indent=0.4, theirs=True),
)
HOUSE = Box("", "", (0.3, 4.1, 7.2, 2.55), "#f6f9fd")
"""Around the wings of `webui`."""

IMPORTS = (
    *((x, 7.15, 6.65) for x in (1.0, 4.75, 6.8)),
    *((x, 5.4, 5.2) for x in (1.0, 3.8, 4.75, 5.75, 6.8)),
    *((x, 4.1, 3.8) for x in (0.8, 2.9, 4.6, 5.9, 7.0)),
    (0.8, 2.85, 2.35),
    (0.8, 1.6, 1.0),
)
"""Arrows from a room down to those that it imports: x, from, to."""

TRIPS = (
    (
        "A request, down to a block",
        REQUEST,
        (
            ((1.9, 7.55), "The WebUI calls the script\nwith the request."),
            ((1.6, 5.6), "Its arguments become one checked\nsettings object, or a refusal."),
            ((2.05, 4.48), "Before a pass the sampler's launch is\nwrapped: open, sample, close in any case."),
            ((2.05, 3.0), "A session plans the pass: which part\nof the method acts on which step."),
            ((2.05, 1.8), "On such a step, stand-ins are put into\nthe places of the UNet's blocks."),
            ((4.8, 1.8), "A block runs, on a changed feature map.\nAfter the pass all blocks are back."),
        ),
    ),
    (
        "A sampler, from the list down to a step",
        SAMPLER,
        (
            ((3.3, 8.5), "The user chooses a sampler, which stands\nin the WebUI's own list."),
            ((2.95, 5.6), "Before a pass the job sets its timesteps\nand where it starts."),
            ((3.65, 4.48), "With CFG++ the WebUI's denoiser gets lambda,\nand keeps the unconditional image."),
            ((3.65, 3.0), "The sampler's function goes from noise\nto image, step by step."),
            ((5.45, 1.8), "Each step asks the denoiser,\nwhich evaluates the model."),
        ),
    ),
)


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(prog="python -m tools.architecture_picture", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/architecture.png", help="the picture's file")
    draw(parser.parse_args().out)


def draw(path: Path) -> None:
    """Draw rooms, imports and trips into a PNG file."""
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor=PAPER)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
        axes.axis("off")
        _draw_rooms(axes)
        top = HEIGHT - 0.55
        for title, colour, stops in TRIPS:
            _draw_way(axes, colour, [place for place, _ in stops])
            top = _draw_list(axes, title, colour, [text for _, text in stops], top)
        axes.annotate("", (8.5, 0.35), (8.0, 0.35), arrowprops={"arrowstyle": "-|>", "color": PALE})
        axes.text(8.65, 0.35, "imports go down only", fontsize=10, color=PALE, va="center")
        figure.savefig(path, metadata={"Software": None, "Description": described()})


def described() -> str:
    """All that is drawn, in words; the picture has it among its metadata, so that an old picture can be told."""
    return repr((HOUSE, ROOMS, THEIRS, IMPORTS, TRIPS))


def _draw_rooms(axes: Axes) -> None:
    for x, start, end in IMPORTS:
        axes.annotate("", (x, end), (x, start), arrowprops={"arrowstyle": "-|>", "color": PALE, "lw": 1.2})
    for box in (HOUSE, *ROOMS, *THEIRS):
        left, bottom, width, height = box.place
        edge, style = (PALE, "--") if box.theirs else (INK, "-")
        shape = FancyBboxPatch(
            (left, bottom), width, height, "round,pad=0,rounding_size=0.08", fc=box.fill, ec=edge, ls=style, lw=1
        )
        axes.add_patch(shape)
        x = left + 0.1 + box.indent
        axes.text(x, bottom + height - 0.09, box.shown, fontsize=11, weight="bold", va="top", color=INK)
        axes.text(x, bottom + height - 0.34, box.about, fontsize=9, va="top", color="#4a515c")


def _draw_way(axes: Axes, colour: str, places: list[tuple[float, float]]) -> None:
    for start, end in pairwise(places):
        arrow = {"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 9, "shrinkB": 9}
        axes.annotate("", end, start, arrowprops=arrow)
    for number, place in enumerate(places, 1):
        _badge(axes, place, number, colour)


def _draw_list(axes: Axes, title: str, colour: str, texts: list[str], top: float) -> float:
    """The stops of a trip as a numbered list, from `top` down; returns where the next one begins."""
    axes.text(7.9, top, title, fontsize=12, weight="bold", color=colour, va="center")
    for number, text in enumerate(texts, 1):
        top -= 0.62
        _badge(axes, (8.02, top), number, colour)
        axes.text(8.3, top, text, fontsize=10, color=INK, va="center")
    return top - 0.75


def _badge(axes: Axes, place: tuple[float, float], number: int, colour: str) -> None:
    circle = {"boxstyle": "circle,pad=0.25", "fc": colour, "ec": "white", "lw": 1}
    axes.text(*place, str(number), fontsize=9, weight="bold", color="white", ha="center", va="center", bbox=circle)


if __name__ == "__main__":
    main()
