"""What guidance does in each evaluation of the host's denoiser: which rows there are, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lib_fewstep.guidance import GuidanceSession, Row
from lib_fewstep.webui.common import host
from lib_fewstep.webui.common.host.denoiser import Negative, SeenImages
from lib_fewstep.webui.common.host.protocols import Denoiser, DenoiserParams
from lib_fewstep.webui.guidance.summary import leaves_out


@dataclass(frozen=True)
class Asked:
    """An evaluation that has begun: its step and CFG, what the model is given, how many prompts, and added rows."""

    index: int
    cfg: float
    unit: float
    """What the CFG is where the slider says 1."""
    seen: SeenImages
    prompts: int
    firsts: tuple[int, ...]
    """The row of each image's first prompt."""
    added: tuple[Row, ...]
    negative: Negative
    left_out: bool
    """Whether there are no unconditional rows."""


class Evaluations:
    """Those of one pass on one model."""

    def __init__(self, session: GuidanceSession, denoiser: Denoiser, *, saves_rows: bool, reads_uncond: bool) -> None:
        """`saves_rows` leaves unconditional rows out where they have no part; `reads_uncond` is of the sampler."""
        self.session = session
        self._denoiser, self._saves_rows, self._reads_uncond = denoiser, saves_rows, reads_uncond
        self._asked: Asked | None = None

    def begin(self, params: DenoiserParams) -> None:
        """Add rows to the evaluation that the host is about to make, or have it leave some out."""
        denoiser, negative = params.denoiser, host.job.tokens_of(params.text_uncond)
        images = len(negative)
        seen = host.denoiser.seen_by(denoiser, params.x[-images:], params.sigma[-images:])
        index = host.denoiser.step_of(denoiser, self.session.plan, float(seen.sigma.max()))
        cfg = host.denoiser.cfg_of(denoiser)
        image_of = host.denoiser.prompts_of_images(denoiser.sampler)
        skips = host.denoiser.skips_itself(denoiser, params.sigma)
        added = () if skips else self.session.added(index)
        firsts = tuple(image_of.index(image) for image in range(images))
        left_out = self.leaves_out(index, cfg) and not skips
        unit, kept = denoiser.cond_scale_miltiplier, Negative.of(params, images)
        asked = Asked(index, cfg, unit, seen, len(image_of), firsts, added, kept, left_out)
        self._asked = None if skips else asked
        if added:
            host.denoiser.insert_rows(params, firsts * len(added), images)
        of_rows = [*image_of, *list(range(images)) * (len(added) + 1)]
        kinds = [Row.PROMPT] * len(image_of) + [row for row in (*added, Row.NEGATIVE) for _ in range(images)]
        if self.session.rows is not None:
            self.session.rows.expect(kinds, negative[of_rows], (params.x.shape[-2], params.x.shape[-1]))
        if left_out:
            host.denoiser.leave_out_uncond(params, images)

    def leaves_out(self, index: int, cfg: float) -> bool:
        """Whether a step does without the unconditional rows."""
        return self._saves_rows and leaves_out(self.session, index, cfg, reads_uncond=self._reads_uncond)

    def end(self) -> None:
        """Nothing is asked for any more, whatever has happened."""
        self._asked = None

    def combined(self, own: Callable[..., Tensor], rows: Tensor, parts: Any, uncond: Any, cfg: float) -> Tensor:
        """The guided output of an evaluation, in the place of the denoiser's `own` function."""
        asked = self._asked
        self.end()
        if asked is None:  # the host itself has left rows out
            return own(rows, parts, uncond, cfg)
        if asked.left_out:
            rows = torch.cat([rows, rows[list(asked.firsts)]])
        session, strength = self.session, self.session.strength(asked.index, asked.cfg)
        if not session.plan.strengths[asked.index].guided:
            return self._as_without_guidance(own(rows, parts, uncond, 1.0))
        if not session.makes_images:
            return own(rows, parts, uncond, strength)
        seen, images = asked.seen, len(asked.seen.x)
        prompted = seen.image(rows[list(asked.firsts)])
        first_of = {row: asked.prompts + place * images for place, row in enumerate(asked.added)}
        differences = {row: prompted - seen.image(rows[first : first + images]) for row, first in first_of.items()}
        differences |= self._degraded(asked, seen.image(rows[-images:]))
        image = session.image(
            asked.index,
            seen.x,
            seen.sigma,
            seen.image(own(rows, parts, uncond, 1.0)),
            seen.image(rows[-images:]),
            asked.cfg,
            differences,
            asked.unit,
        )
        return seen.output(image).to(rows)

    def _degraded(self, asked: Asked, uncond: Tensor) -> dict[Row, Tensor]:
        """The difference that a second evaluation shows, of latents in which something is blurred."""
        seen = asked.seen
        again = self.session.degraded(asked.index, seen.x, uncond)
        if again is None:
            return {}
        worse, noisy = again
        blurred = replace(seen, x=noisy)
        return {Row.DEGRADED: worse - blurred.image(asked.negative.seen(self._denoiser, blurred.given))}

    def _as_without_guidance(self, cond: Tensor) -> Tensor:
        """The conditional image, also for a sampler that reads the unconditional one: its step is its base's."""
        if self._denoiser.need_last_noise_uncond:
            self._denoiser.last_noise_uncond = cond.clone()
        return cond
