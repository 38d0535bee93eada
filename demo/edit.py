"""An edit by inversion beside ordinary img2img: what changes, and what of the picture stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

from demo.compare import CHUNK, Image, Judged, Task, chunks, judged, loaded, tasks_for
from demo.model.layouts import Layout
from demo.pictures.judge import things
from demo.pictures.scenes import PALETTE, FloatArray, Picture, as_bytes, draw, random_scene
from demo.sampling.denoiser import GuidedDenoiser, NoiseDenoiser
from demo.sampling.generate import GUIDANCE, STEPS, conditioning, decoded, encoded, generate, seeded_noise
from demo.sampling.named import CFGPP, SCHEDULE, schedule, strength
from demo.ways import NATIVE
from lib_fewstep.sampling import invert_cfgpp
from lib_fewstep.sampling.inversion import REFINEMENTS

STRENGTHS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
INVERTING_STRENGTHS = (1.0, 0.9, 0.7, 0.5)
INVERTING_CFG = 2.0
"""Above it the new prompt redraws the whole picture."""

SAME_WITHIN = 8
"""Most levels, of 255, that each channel of a pixel may change for the pixel to count as kept."""

MOST_DENOISING = 0.999
ROOM = 4
"""Pixels around a thing that belong to its edge, and so neither to it nor to what is outside."""


@dataclass(frozen=True)
class EditWay:
    """A way to edit: with an inversion in so many refinements, or ordinary img2img (None), from a denoising strength.

    At strength 1 all steps run.
    """

    key: str
    title: str
    sampler: str
    cfg: float
    refinements: int | None
    strength: float = 1.0


def inverting(strength: float) -> EditWay:
    """CFG++ inversion, as the extension does it."""
    title = f"inversion at {strength:g}"
    return EditWay(f"inversion_{strength:g}", title, "Euler CFG++", INVERTING_CFG, REFINEMENTS, strength)


def img2img(strength: float) -> EditWay:
    """Ordinary img2img with the demo's CFG."""
    return EditWay(f"img2img_{strength:g}", f"img2img at {strength:g}", "Euler", GUIDANCE, None, strength)


WAYS = (
    *(inverting(strength) for strength in INVERTING_STRENGTHS),
    EditWay(f"inversion_at_cfg_{GUIDANCE:g}", f"inversion at CFG {GUIDANCE:g}", "Euler CFG++", GUIDANCE, REFINEMENTS),
    EditWay("inversion_plain", "inversion of Euler", "Euler", INVERTING_CFG, 0),
    EditWay("inversion_plain_refined", "inversion of Euler, refined", "Euler", INVERTING_CFG, REFINEMENTS),
    *(img2img(strength) for strength in STRENGTHS),
)
SHORT_WAYS = (inverting(1.0), inverting(0.9), inverting(0.7), img2img(0.9), img2img(0.5))
"""Those of the picture, and of the demo without `--full`."""


@dataclass(frozen=True)
class Edit:
    """A drawn picture, which no sampler has made, the task that it shows, and what it is to become."""

    picture: Picture
    source: Task
    target: Task


@dataclass
class Edited(Judged):
    """What came of one way: the pictures in the order of the edits, and what each kept.

    `evaluations` are those of one edit; None where they are not counted, as in a WebUI.
    """

    way: EditWay
    images: list[Image] = field(default_factory=list)
    kept: list[float] = field(default_factory=list)
    evaluations: int | None = None


def edits_for(count: int, first_seed: int = 0) -> list[Edit]:
    """The first `count` edits: the same thing on the same background in another colour, facing as the models draw."""
    edits = []
    for source in tasks_for(count, first_seed):
        others = [name for name in PALETTE if name not in (source.colour, source.background)]
        colour = others[source.seed % len(others)]
        scene = random_scene(np.random.default_rng(source.seed), (source.kind, source.colour))
        picture = draw(replace(scene, background=source.background, mirrored=False))
        edits.append(Edit(picture, source, replace(source, colour=colour)))
    return edits


def run_edits(layout: Layout, edits: Sequence[Edit], ways: Sequence[EditWay] = WAYS) -> list[Edited]:
    """What each way makes of the pictures."""
    results = [Edited(way) for way in ways]
    with tqdm(total=len(edits) * len(ways), unit="picture", mininterval=1.0) as progress:
        for some in chunks(edits, CHUNK):
            for result in results:
                progress.set_description(f"{layout.title}: {result.way.title}", refresh=False)
                after, result.evaluations = edited(layout, result.way, some)
                for edit, picture in zip(some, after, strict=True):
                    add_edit(result, edit, picture)
                progress.update(len(some))
    return results


def add_edit(result: Edited, edit: Edit, picture: Picture) -> None:
    """Judge an edited picture and add it to a way's result."""
    image = judged(edit.target, picture)
    result.images.append(image)
    result.kept.append(kept(edit.picture, image.picture))


def edited(layout: Layout, way: EditWay, edits: Sequence[Edit]) -> tuple[FloatArray, int]:
    """The pictures (n, h, w, 3) after the edit, and the evaluations that each took."""
    model = loaded(layout)
    sigmas = schedule(SCHEDULE, STEPS)[STEPS - steps_at(way.strength) :]
    prompts, seeds = [edit.target.prompt for edit in edits], [edit.target.seed for edit in edits]
    latents = encoded(model, np.stack([edit.picture for edit in edits]))
    inverting_calls = 0
    if way.refinements is None:
        start = latents + float(sigmas[0]) * seeded_noise(seeds, NATIVE)()
    else:
        given = conditioning(model, [edit.source.prompt for edit in edits], NATIVE)
        denoiser = GuidedDenoiser(NoiseDenoiser(model.unet), given, strength(way.sampler, way.cfg, sigmas), sigmas)
        renoised: Any = denoiser if way.sampler in CFGPP else _Renoised(denoiser)
        with torch.inference_mode():
            start = invert_cfgpp(renoised, latents, sigmas, disable=True, refinements=way.refinements)
        inverting_calls = denoiser.evaluations
    made = generate(model, prompts, seeds, sampler=way.sampler, cfg=way.cfg, sigmas=sigmas, start=start)
    return decoded(model, made.latents), inverting_calls + made.evaluations


def steps_at(denoising: float) -> int:
    """How many of the steps img2img runs, as the WebUI counts them."""
    return int(min(denoising, MOST_DENOISING) * STEPS) + 1


class _Renoised:
    """Renoises with the guided image, as Euler's method does, where CFG++ takes the unconditional one."""

    uncond_is_image = True

    def __init__(self, denoiser: GuidedDenoiser) -> None:
        self.inner_model = denoiser.inner_model
        self.last_noise_uncond: Tensor | None = None
        self._denoiser = denoiser

    def __call__(self, *args: Any, **options: Any) -> Tensor:
        """The guided image, which is also the one to renoise with."""
        self.last_noise_uncond = self._denoiser(*args, **options)
        return self.last_noise_uncond


def kept(before: Picture, after: Picture) -> float:
    """Share of the pixels outside of the thing before the edit that are as they were."""
    outside = ~ndimage.binary_dilation(things(before), iterations=ROOM)
    apart = np.abs(as_bytes(after).astype(int) - as_bytes(before)).max(axis=2)
    return float((apart[outside] <= SAME_WITHIN).mean())
