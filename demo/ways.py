"""The ways to make the same pictures that are compared: what each is called, and what it runs with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from demo.model.layouts import LORAS
from demo.pictures.scenes import TRAINED_SIDE
from demo.sampling.generate import GUIDANCE, STEPS, Size
from demo.sampling.named import SCHEDULE
from lib_fewstep.compare.grid import counted
from lib_fewstep.guidance import GuidanceSettings
from lib_fewstep.highres import HighResSettings
from lib_fewstep.sampling.presets import PRESETS

NATIVE: Size = (TRAINED_SIDE, TRAINED_SIDE)
DOUBLE: Size = (2 * TRAINED_SIDE, 2 * TRAINED_SIDE)
WIDE: Size = (192, 320)
HIDIFFUSION = HighResSettings(method="HiDiffusion", preset="Paper")
DEEP_SHRINK = HighResSettings(method="Deep Shrink", preset="Paper")

BURNING_CFG = 8.0
"""The slider's value at which CFG and CFG++ are compared."""

GUIDED_STEPS = (1, 2, 4, 8, 20)
BURNING_STEPS = (4, 8, 20)
"""Those of `GUIDED_STEPS` at which pictures can be told apart."""

DISTILLED_STEPS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Way:
    """One way: `key` in reports, `title` for people; `lora` is the kind of few-step LoRA, "" for none.

    `method` None is the plain model, `guidance` None ordinary guidance. Sampler, schedule and CFG are what the WebUI's
    fields would say. `told` is the size that SDXL is told, None that of the pictures; the noise levels are multiplied
    by `shift`.
    """

    key: str
    title: str
    size: Size = NATIVE
    method: HighResSettings | None = None
    sampler: str = "Euler"
    schedule: str = SCHEDULE
    steps: int = STEPS
    cfg: float = GUIDANCE
    lora: str = ""
    guidance: GuidanceSettings | None = None
    told: Size | None = None
    shift: float = 1.0


SIZES = (
    Way("native", "trained size"),
    Way("plain_2x", "2x, plain", DOUBLE),
    Way("hidiffusion_2x", "2x, HiDiffusion", DOUBLE, HIDIFFUSION),
    Way("deep_shrink_2x", "2x, Deep Shrink", DOUBLE, DEEP_SHRINK),
    Way("plain_wide", "wide, plain", WIDE),
    Way("hidiffusion_wide", "wide, HiDiffusion", WIDE, HIDIFFUSION),
)


def guided(steps: int) -> tuple[Way, Way]:
    """CFG and CFG++ with the same value of the slider."""
    cfg = Way(f"cfg_{steps}", f"CFG, {counted(steps)}", steps=steps, cfg=BURNING_CFG)
    return cfg, replace(cfg, key=f"cfgpp_{steps}", title=f"CFG++, {counted(steps)}", sampler="Euler CFG++")


def distilled(kind: str, steps: int) -> Way:
    """The LoRA of a kind, with what its preset says but for the number of steps."""
    preset = PRESETS["LCM-LoRA" if kind == "lcm" else "TCD"]
    title = f"{kind.upper()}-LoRA, {counted(steps)}"
    return Way(
        f"{kind}_{steps}",
        title,
        sampler=preset.sampler,
        schedule=preset.schedule,
        steps=steps,
        cfg=preset.cfg,
        lora=kind,
    )


def without_lora(way: Way) -> Way:
    """The same sampler, schedule and CFG with the model alone."""
    title = way.title.replace("-LoRA", " alone")
    return replace(way, key=f"{way.key}_without", title=title, lora="")


PAIRS = (
    *((f"cfg_{steps}", f"cfgpp_{steps}") for steps in GUIDED_STEPS),
    *((f"euler_{steps}", f"euler_cfgpp_{steps}") for steps in DISTILLED_STEPS),
    *((other, f"{kind}_4") for kind in LORAS for other in ("native", "euler_4")),
    *((f"{kind}_{steps}_without", f"{kind}_{steps}") for kind in LORAS for steps in DISTILLED_STEPS),
    ("plain_2x", "hidiffusion_2x"),
    ("plain_2x", "deep_shrink_2x"),
    ("plain_wide", "hidiffusion_wide"),
)
"""Keys of ways whose pictures are compared one by one, the usual way first."""

GUIDED = tuple(way for steps in GUIDED_STEPS for way in guided(steps))
FEW_STEPS = (
    *(Way(f"euler_{steps}", f"Euler, {counted(steps)}", steps=steps) for steps in DISTILLED_STEPS),
    *(
        Way(f"euler_cfgpp_{steps}", f"Euler CFG++, {counted(steps)}", sampler="Euler CFG++", steps=steps)
        for steps in DISTILLED_STEPS
    ),
    *(distilled(kind, steps) for kind in LORAS for steps in DISTILLED_STEPS),
)
WITHOUT_LORA = tuple(without_lora(distilled(kind, steps)) for kind in LORAS for steps in DISTILLED_STEPS)
