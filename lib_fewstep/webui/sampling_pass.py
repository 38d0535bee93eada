"""A session around each sampling pass of one job of the WebUI."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from fastapi import HTTPException

from lib_fewstep.hires import HiResSession, HiResSettings, ModelHints
from lib_fewstep.unet import UnsupportedModel
from lib_fewstep.webui import host
from lib_fewstep.webui.infotext import infotext
from lib_fewstep.webui.log import log

_ATTRIBUTE = "fewstep_pass"


@dataclasses.dataclass
class Job:
    """What one request wants: settings, or the error that refuses them. `ran` once a step was changed."""

    settings: HiResSettings | None
    refusal: ValueError | None = None
    ran: bool = False


class Refusal(HTTPException):
    """A sentence that ends the request: the UI shows it, and the API answers 422 with it as the detail."""

    def __init__(self, sentence: str) -> None:
        """The sentence names the setting, its value and what is allowed."""
        super().__init__(status_code=422, detail=sentence)

    def __str__(self) -> str:
        """The sentence alone."""
        return str(self.detail)


class SamplingPass:
    """One pass: wraps the `launch_sampling` of the sampler that is about to run, and only that."""

    def __init__(self, job: Job, p: Any, latent_size: tuple[int, int]) -> None:
        """A pass of the processing object `p` at a latent size (height, width)."""
        _detach(p.sampler)
        self._job, self._p, self._latent_size = job, p, latent_size
        self._launch: Callable[[int, Callable[[], Any]], Any] = p.sampler.launch_sampling
        self._session: HiResSession | None = None
        self._steps = 0
        self._first_timestep: float | None = None

    def attach(self) -> None:
        """Put the wrapper on the sampler; it takes itself off when the pass ends."""
        vars(self._p.sampler).update({"launch_sampling": self.launch, _ATTRIBUTE: self})

    def launch(self, steps: int, func: Callable[[], Any]) -> Any:
        """Sample `steps` steps with the session open; what is raised here reaches the user."""
        sampler = self._p.sampler
        _detach(sampler)
        vars(sampler)[_ATTRIBUTE] = self
        try:
            self._steps = steps
            self._start()
            return self._launch(steps, func)
        finally:
            self._close()
            _detach(sampler)

    def at_step(self, denoiser: Any, sigma: Any) -> None:
        """Get the UNet ready for the evaluation that the host's denoiser is about to make at `sigma`."""
        if self._session is None:
            return
        if self._session.unet is not host.loaded_unet():
            self._follow_model()
        if self._session is not None:
            self._session.at_step(self._index(denoiser, sigma))

    def _start(self) -> None:
        try:
            if self._job.refusal is not None:
                raise self._job.refusal
            self._open()
        except ValueError as refusal:
            raise Refusal(f"HiDiffusion: {refusal}") from refusal

    def _open(self) -> None:
        engine = host.replaced_unet()
        if engine is not None:
            log.info("%s: nothing is done: %s runs instead of the loaded UNet.", self._settings.method, engine)
            return
        settings, hints, notes = self._settings, host.model_hints(self._p), list[str]()
        rival = host.competing_attention(self._p)
        if rival is not None and settings.window_attention is not False:
            settings = dataclasses.replace(settings, window_attention=False)
            notes.append(f"window attention yields to {rival}, which works on the same blocks")
        self._session = self._session_on_loaded_unet(settings, hints)
        self._session.report.notes.extend(notes)
        self._session.__enter__()
        log.info("%s", self._session.report)

    def _session_on_loaded_unet(self, settings: HiResSettings, hints: ModelHints) -> HiResSession:
        unet = host.loaded_unet()
        if unet is None:
            raise UnsupportedModel("No model with a UNet is loaded.")
        return HiResSession(unet, settings, self._latent_size, self._steps, hints)

    def _follow_model(self) -> None:
        """A refiner of another layout has taken over in the middle of the pass: leave the old, judge the new."""
        self._close()
        try:
            self._open()
        except UnsupportedModel as refusal:
            log.warning("%s stops at the new model: %s", self._settings.method, refusal)

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        planned = str(session.report)
        session.__exit__(None, None, None)
        self._job.ran |= bool(session.report.active_steps)
        self._say_in_infotext()
        if str(session.report) != planned:
            log.info("%s", session.report)

    def _say_in_infotext(self) -> None:
        said = infotext(self._settings)
        parameters = self._p.extra_generation_params
        if self._job.ran:
            parameters.update(said)
        else:
            for key in said:
                parameters.pop(key, None)

    @property
    def _settings(self) -> HiResSettings:
        assert self._job.settings is not None
        return self._job.settings

    def _index(self, denoiser: Any, sigma: Any) -> int:
        """Progress as a step of this pass, from the host's count, or from sigma where there is none."""
        if _counts_steps(self._p):
            passed = denoiser.step / denoiser.total_steps
        else:
            timestep = float(denoiser.inner_model.sigma_to_t(sigma.max()))
            self._first_timestep = self._first_timestep or max(timestep, 1.0)
            passed = 1.0 - timestep / self._first_timestep
        return min(self._steps - 1, max(0, math.floor(self._steps * passed)))


def on_cfg_denoiser(params: Any) -> None:
    """The host's callback before each evaluation; it does nothing outside of a pass of this extension."""
    running: SamplingPass | None = vars(params.denoiser.sampler).get(_ATTRIBUTE)
    if running is not None:
        running.at_step(params.denoiser, params.sigma)


def _detach(sampler: Any) -> None:
    """Give the sampler its own `launch_sampling` back; one sampler may serve several passes."""
    if vars(sampler).pop(_ATTRIBUTE, None) is not None:
        vars(sampler).pop("launch_sampling", None)


def _counts_steps(p: Any) -> bool:
    return "adaptive" not in str(p.sampler.funcname)
