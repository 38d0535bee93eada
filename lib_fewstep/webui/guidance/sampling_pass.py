"""Guidance in each sampling pass of one job of the WebUI."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial, wraps
from typing import Any

from torch import Tensor, nn

from lib_fewstep.guidance import GuidanceSession, GuidanceSettings, interval_of
from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.guided_levels import GuidedLevels
from lib_fewstep.webui.common.host.protocols import Denoiser, DenoiserParams, Processing
from lib_fewstep.webui.common.infotext import differing, forget
from lib_fewstep.webui.common.launch import AroundPass, put_until, running
from lib_fewstep.webui.common.log import log
from lib_fewstep.webui.common.refusal import Refusal
from lib_fewstep.webui.guidance.evaluation import Evaluations
from lib_fewstep.webui.guidance.readers import impossible, reader_of_uncond, usable
from lib_fewstep.webui.guidance.request import GuidanceRequest
from lib_fewstep.webui.guidance.summary import leaves_out, summary


class GuidancePass(AroundPass):
    """Guidance around one pass: its sampler's function is wrapped to know the noise levels, its denoiser to guide."""

    def __init__(self, request: GuidanceRequest, p: Processing) -> None:
        """The next pass of the processing object `p`."""
        super().__init__(p)
        self._request = request
        self._put_back, self._in_model = ExitStack(), ExitStack()
        self._levels: list[float] = []
        self._kept: list[float] = []
        self._unet: nn.Module | None = None
        self._evaluations: Evaluations | None = None
        self._own_combining: Callable[..., Tensor] | None = None
        self._other_guidance: str | None = None
        self._logged: set[str] = set()

    def start(self) -> None:
        """Wait for the sampler's function; a Refusal reaches the user."""
        if self._request.refusal is not None:
            raise Refusal(f"Guidance: {self._request.refusal}")
        host.denoiser.listen_last(on_cfg_denoiser)
        put_until(self._put_back, self.sampler, "func", self._around(self.sampler.func))

    def close(self) -> None:
        """Put everything back, and take back the infotext of what no pass has used."""
        self._leave_model()
        self._put_back.close()
        if self._request.settings.enabled and not self._request.acted:
            forget(GuidanceSettings, self._p.extra_generation_params)

    def before_evaluation(self, params: DenoiserParams) -> None:
        """Choose the rows of an evaluation. An error, which the host reports, ends the guidance of the pass."""
        denoiser = params.denoiser
        if self._own_combining is None or host.denoiser.is_plain(denoiser):
            return
        try:
            if host.model.loaded_unet() is not self._unet:
                self._enter_model(denoiser)
            if self._evaluations is not None:
                self._evaluations.begin(params)
        except Exception:
            self._leave_model()
            log.warning("Guidance stops: the rest of the pass runs without it.")
            raise

    def _around(self, sample: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @wraps(sample)
        def run(model: Any, x: Tensor, *args: Any, **options: Any) -> Tensor:
            denoiser, settings = self.sampler.model_wrap_cfg, self._request.settings
            if settings.acts or host.denoiser.cfg_of(denoiser) == 1:
                self._guide(denoiser, options)
            return sample(model, x, *args, **options)

        return run

    def _guide(self, denoiser: Denoiser, options: dict[str, Any]) -> None:
        """Guide from the first evaluation on. Raises Refusal."""
        settings, levels = self._request.settings, host.denoiser.levels_of(self.sampler, options, self._steps)
        if levels is None:
            if settings.acts:
                self._leave_out("nothing is done: the sampling method does not tell its noise levels")
            return
        self._levels, self._kept = levels, host.denoiser.kept_by_steps(self.sampler, levels, options)
        if settings.acts:
            self._announce_levels(settings)
        self._other_guidance = host.denoiser.other_guidance(denoiser)
        self._own_combining = denoiser.combine_denoised
        put_until(self._put_back, denoiser, host.denoiser.COMBINING, partial(self._combined, self._own_combining))

    def _announce_levels(self, settings: GuidanceSettings) -> None:
        """Tell the other features where the pass is guided. Raises Refusal where a job's first pass is nowhere."""
        plan = interval_of(settings, self._levels)
        if not plan.guided and plan.strengths and host.job.pass_of(self._p) != "hires":
            names, neutral = ("start", "end", "sigma_low", "sigma_high"), GuidanceSettings()
            interval = {name: getattr(settings, name) for name in names}
            changed = {name: value for name, value in interval.items() if value != getattr(neutral, name)}
            given = ", ".join(f"{name} = {value:g}" for name, value in changed.items())
            raise Refusal(
                f"Guidance: {given} is not allowed: at least one of the pass's {len(plan.strengths)} steps, from sigma "
                f"{plan.levels[0]:.3g} to {plan.levels[-2]:.3g}, must be guided."
            )
        if len(plan.guided) < len(plan.strengths):
            state.put(self._p, GuidedLevels(lambda sigma: plan.strengths[plan.index_at(sigma)].guided))
            self._put_back.callback(state.drop, self._p, GuidedLevels)

    def _combined(self, own: Callable[..., Tensor], rows: Tensor, parts: Any, uncond: Any, cfg: float) -> Tensor:
        if self._evaluations is None:
            return own(rows, parts, uncond, cfg)
        return self._evaluations.combined(own, rows, parts, uncond, cfg)

    def _leave_model(self) -> None:
        """Take everything out of the model."""
        if self._evaluations is not None:
            self._evaluations.end()
            rows = self._evaluations.session.rows
            if rows is not None and rows.strange_calls:
                self._leave_out("NAG, PAG, SEG and SAG were left out of calls that another extension cuts into pieces")
        self._evaluations = None
        self._in_model.close()

    def _enter_model(self, denoiser: Denoiser) -> None:
        """Get ready for the model that is loaded now: the first one, or a refiner that has taken over."""
        self._leave_model()
        self._unet = host.model.loaded_unet()
        why = self._impossible()
        if why is None and self._unet is not None:
            self._evaluations = self._made_for(self._unet, denoiser)
        elif self._request.settings.acts:
            log.info("Guidance: nothing is done: %s.", why)
        if self._evaluations is not None:
            self._in_model.enter_context(self._evaluations.session)

    def _impossible(self) -> str | None:
        """Why nothing of what is wanted can be done with the loaded model; None where it can."""
        if host.job.edits_by_image_cfg(self._p):
            return "an InstructPix2Pix model guides by its image, too"
        return impossible(self._request.settings)

    def _made_for(self, unet: nn.Module, denoiser: Denoiser) -> Evaluations | None:
        """What is done in each evaluation of this pass; None where it is the host's own."""
        reads_uncond, rival = denoiser.need_last_noise_uncond, host.model.competing_attention(self._p)
        listener = host.denoiser.listener_after_unet() or host.denoiser.listener_after(on_cfg_denoiser)
        settings, yielded = usable(
            self._request.settings,
            unet,
            self.sampler.config.name,
            reads_uncond=reads_uncond,
            rival=rival,
            listener=listener,
        )
        for what in yielded:
            self._leave_out(what)
        first, cfg = host.job.pass_of(self._p) != "hires", host.denoiser.cfg_of(denoiser)
        session = GuidanceSession(
            settings, self._levels, self._kept, unet=unet, first_pass=first, reads_uncond=reads_uncond
        )
        steps = range(len(session.plan.strengths))
        idle = any(leaves_out(session, index, cfg, reads_uncond=reads_uncond) for index in steps)
        saves_rows = idle and self._may_leave_out(unet, listener)
        found = Evaluations(session, denoiser, saves_rows=saves_rows, reads_uncond=reads_uncond)
        if settings.acts:
            self._name(settings)
            calls = host.lists.evaluations_of(self.sampler, len(steps))
            parts = host.denoiser.prompts_of_images(self.sampler)
            what = summary(session, calls, lambda index: found.leaves_out(index, cfg), parts.count(0))
            self._say_once(f"Guidance: {what}.")
        return found if settings.acts or saves_rows else None

    def _name(self, settings: GuidanceSettings) -> None:
        """Write into the infotext what is used, of two passes what either uses."""
        if not self._request.acted:
            forget(GuidanceSettings, self._p.extra_generation_params)
        self._request.acted = True
        self._p.extra_generation_params.update(differing(settings))

    def _may_leave_out(self, unet: nn.Module, listener: str | None) -> bool:
        """Whether rows without a part in the image may be left out; a line says who reads them."""
        if not host.options.setting_shown("one_row"):
            return False
        reader = self._other_guidance or listener or reader_of_uncond(self.sampler, unet)
        if reader is not None:
            self._say_once(f"Guidance: the negative prompt is evaluated on every step, because {reader} needs it.")
        return reader is None

    def _leave_out(self, what: str) -> None:
        sentence = f"Guidance: {what}."
        if sentence not in self._logged:
            self._p.comment(sentence)
        self._say_once(sentence)

    def _say_once(self, sentence: str) -> None:
        if sentence not in self._logged:
            self._logged.add(sentence)
            log.info("%s", sentence)


def on_cfg_denoiser(params: DenoiserParams) -> None:
    """The host's callback before each evaluation; it does nothing outside of a pass of this extension."""
    around = running(params, GuidancePass)
    if around is not None:
        around.before_evaluation(params)
