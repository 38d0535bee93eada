"""What guidance makes of the images of each evaluation, over one sampling pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType

from torch import Tensor, nn

from lib_fewstep.guidance.plan import make_plan
from lib_fewstep.guidance.projection import AdaptiveProjection
from lib_fewstep.guidance.rescale import rescaled
from lib_fewstep.guidance.rows import Row, RowsInUNet
from lib_fewstep.guidance.self_attention import degraded, noisy_again
from lib_fewstep.guidance.settings import EVERY, GuidanceSettings
from lib_fewstep.guidance.thresholding import thresholded

_ROUNDING = 1e-5
"""Of a noise level that was float32 once."""

Evaluate = Callable[[Tensor, Sequence[Row]], Tensor]
"""From noisy latents (n, c, h, w) to what the UNet sees in them for each kind of row, (kinds * n, c, h, w)."""


class GuidanceSession:
    """The guidance of one pass. As a context it changes a UNet, inside of attention, and leaves it as it was."""

    def __init__(
        self,
        settings: GuidanceSettings,
        levels: Sequence[float],
        kept: Sequence[float] | None = None,
        *,
        unet: nn.Module | None = None,
        first_pass: bool = True,
        reads_uncond: bool = False,
    ) -> None:
        """For a pass over falling noise levels (n + 1); `kept` as in `make_plan`.

        NAG, PAG, SEG and SAG need the `unet`. By default PAG, SEG and SAG act in the first pass alone. `reads_uncond`
        is for samplers that read the unconditional image, as those of CFG++ do. Settings that are not enabled count
        for nothing.
        """
        settings = settings if settings.enabled else GuidanceSettings()
        self.settings, self.plan = settings, make_plan(settings, levels, kept)
        self.adds_rows = settings.adds_rows and (first_pass or settings.attention_passes == EVERY)
        self._projection = AdaptiveProjection(
            settings.apg_eta, settings.apg_threshold, settings.apg_momentum, from_uncond=reads_uncond
        )
        self._index, self._start, self._reads_uncond = -1, math.inf, reads_uncond
        self._is_open = False
        self.rows: RowsInUNet | None = None
        if unet is not None and (self.adds_rows or settings.nag_scale > 0):
            self.rows = RowsInUNet(unet, settings, perturbing=self.adds_rows)
        self._open = ExitStack()

    def __enter__(self) -> GuidanceSession:
        """Change the UNet."""
        self._is_open = True
        if self.rows is not None:
            self._open.enter_context(self.rows.changed())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the UNet back, whatever happened."""
        self._is_open = False
        self._open.close()

    def strength(self, index: int, cfg: float) -> float:
        """The CFG of step `index` where the slider says `cfg`; 1 means that the negative prompt has no part in it."""
        return self.plan.strengths[index].at(cfg)

    def added(self, index: int) -> tuple[Row, ...]:
        """What step `index` evaluates in one batch with the prompt and the negative prompt."""
        if not (self.adds_rows and self.plan.strengths[index].guided):
            return ()
        wanted = {Row.PERTURBED: self.settings.pag_scale, Row.SMOOTHED: self.settings.seg_scale}
        return tuple(row for row, scale in wanted.items() if scale > 0)

    def degrades(self, index: int) -> bool:
        """Whether step `index` evaluates degraded latents afterwards, with the negative prompt."""
        return self.adds_rows and self.settings.sag_scale > 0 and self.plan.strengths[index].guided

    @property
    def makes_images(self) -> bool:
        """Whether guided images are more than a mixture of the two images."""
        settings = self.settings
        return self.adds_rows or settings.projects or settings.threshold_mimic > 0 or settings.rescale > 0

    def needs_negative(self, index: int, cfg: float) -> bool:
        """Whether step `index` has to evaluate the negative prompt."""
        return self.strength(index, cfg) != 1 or self.degrades(index)

    def degraded(self, index: int, x: Tensor, uncond: Tensor) -> tuple[Tensor, Tensor] | None:
        """The unconditional image blurred where the model attends, and the latents in which to look at it again.

        None where step `index` does not do so, and where the model's attention was not seen.
        """
        if self.rows is None or not self.degrades(index) or (found := self.rows.attended()) is None:
            return None
        self.rows.expect([Row.DEGRADED] * len(x))
        worse = degraded(uncond, *found)
        return worse, noisy_again(x, uncond, worse)

    def denoised(
        self, x: Tensor, sigma: Tensor, cfg: float, evaluate: Evaluate, negative: Tensor | None = None
    ) -> Tensor:
        """The guided image in `x` (n, c, h, w) at the noise levels `sigma` (n,): a whole evaluation.

        `negative` is the negative prompts' embedding for NAG, (n, tokens, channels). Raises ValueError where something
        is missing that the settings need.
        """
        self._check_complete(len(x), negative)
        index = self.plan.index_at(float(sigma.max()))
        kinds = [Row.PROMPT, *self.added(index), *([Row.NEGATIVE] if self.needs_negative(index, cfg) else [])]
        if self.rows is not None:
            repeated = None if negative is None else negative.repeat(len(kinds), 1, 1)
            self.rows.expect([kind for kind in kinds for _ in x], repeated, (x.shape[-2], x.shape[-1]))
        images = dict(zip(kinds, evaluate(x, kinds).chunk(len(kinds)), strict=True))
        cond, uncond = images[Row.PROMPT], images.get(Row.NEGATIVE, images[Row.PROMPT])
        differences = {row: cond - images[row] for row in self.added(index)}
        again = self.degraded(index, x, uncond)
        if again is not None:
            worse, noisy = again
            differences[Row.DEGRADED] = worse - evaluate(noisy, [Row.DEGRADED])
        return self.image(index, x, sigma, cond, uncond, cfg, differences)

    def _check_complete(self, images: int, negative: Tensor | None) -> None:
        needed = {"NAG": self.settings.nag_scale > 0, "PAG, SEG and SAG": self.adds_rows}
        for name in (name for name, wanted in needed.items() if wanted):
            if self.rows is None or not self._is_open:
                raise ValueError(f"{name} must be given the UNet, and the session must be open: with GuidanceSession.")
        if self.settings.nag_scale > 0 and (negative is None or len(negative) != images):
            rows = "none" if negative is None else len(negative)
            raise ValueError(f"NAG must be given a negative prompt for each of {images} images, not {rows}.")

    def image(
        self,
        index: int,
        x: Tensor,
        sigma: Tensor,
        cond: Tensor,
        uncond: Tensor,
        cfg: float,
        differences: Mapping[Row, Tensor] | None = None,
        unit: float = 1.0,
    ) -> Tensor:
        """The guided image of an evaluation in step `index`, once for each evaluation and in their order.

        `x` (n, c, h, w) is what the model was given at the noise levels `sigma` (n,), `cond` and `uncond` what it saw
        there. `differences` are how far what it saw for other rows is from the image that they were made of. `unit` is
        what `cfg` is where the slider says 1. First the guidance is projected, then thresholded, then the differences
        come on top of it, then it is rescaled.
        """
        if not self.plan.strengths[index].guided:
            return cond
        strength = self.strength(index, cfg)
        plain = strength == 1 and not self._reads_uncond
        guided = cond if plain else self._projected(index, float(sigma.max()), cond, uncond, strength)
        mimic = unit * self.settings.threshold_mimic
        if 0 < mimic < strength:
            mimicked = uncond + mimic * (cond - uncond)
            guided = thresholded(guided, mimicked, self.settings.threshold_percentile)
        for row, difference in (differences or {}).items():
            guided = guided + self._scale_of(row) * difference
        return rescaled(guided, cond, x, sigma, self.settings.rescale)

    def _scale_of(self, row: Row) -> float:
        settings = self.settings
        scales = {Row.PERTURBED: settings.pag_scale, Row.SMOOTHED: settings.seg_scale, Row.DEGRADED: settings.sag_scale}
        return scales[row]

    def _projected(self, index: int, sigma: float, cond: Tensor, uncond: Tensor, strength: float) -> Tensor:
        if not self.settings.projects:
            return uncond + strength * (cond - uncond)
        rises = index < self._index or sigma > self._start * (1 + _ROUNDING)
        if rises:
            self._projection.restart()
        first = rises or index != self._index
        if first:
            self._index, self._start = index, sigma
        return (self._projection if first else self._projection.again)(cond, uncond, strength)
