"""A session around each sampling pass of one job of the WebUI."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from lib_fewstep.highres import HighResSession, HighResSettings, Pass
from lib_fewstep.options import SettingError
from lib_fewstep.unet import UnsupportedModel
from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.effect import Effect
from lib_fewstep.webui.common.host.protocols import Denoiser, DenoiserParams, Processing
from lib_fewstep.webui.common.infotext import forget
from lib_fewstep.webui.common.launch import AroundPass, running
from lib_fewstep.webui.common.log import log
from lib_fewstep.webui.common.refusal import Refusal
from lib_fewstep.webui.common.request import Request
from lib_fewstep.webui.highres import foreign_error
from lib_fewstep.webui.highres.infotext import infotext, used_in_both


@dataclasses.dataclass
class HighResRequest(Request):
    """HiDiffusion's settings; those that a pass of the batch really used, once one did; and which passes those were."""

    settings: HighResSettings | None = None
    used: HighResSettings | None = None
    acted: frozenset[Pass] = frozenset()

    def begin_batch(self) -> None:
        """None of the batch's passes has used anything yet."""
        super().begin_batch()
        self.used, self.acted = None, frozenset()


class SamplingPass(AroundPass):
    """A session around one pass."""

    def __init__(self, request: HighResRequest, p: Processing, latent_size: tuple[int, int]) -> None:
        """A pass of the processing object `p` at a latent size (height, width)."""
        super().__init__(p)
        self._request, self._latent_size = request, latent_size
        self._session: HighResSession | None = None
        self._first_timestep: float | None = None
        self._logged: set[str] = set()
        self._evaluations = 0

    def at_step(self, denoiser: Denoiser, sigma: Any) -> None:
        """Get the UNet ready for the evaluation that the host's denoiser is about to make at `sigma`.

        An error, which the host reports, ends the session.
        """
        self._evaluations += 1
        try:
            self._get_ready(denoiser, sigma)
        except Exception:
            self.close()
            log.warning("%s stops: the rest of the pass runs without it.", self._settings.method)
            raise

    def _get_ready(self, denoiser: Denoiser, sigma: Any) -> None:
        if self._session is None:
            return
        if self._session.unet is not host.model.loaded_unet():
            self._follow_model()
        if self._session is not None:
            self._session.at_step(self._index(denoiser, sigma))

    def start(self) -> None:
        """Open the session; a Refusal reaches the user."""
        try:
            if self._request.refusal is not None:
                raise SettingError(self._request.refusal)
            self._open()
        except ValueError as refusal:
            raise Refusal(f"HiDiffusion: {refusal}") from refusal

    def _open(self) -> None:
        engine = host.model.replaced_unet()
        if engine is not None:
            log.info("%s: nothing is done: %s runs instead of the loaded UNet.", self._settings.method, engine)
            return
        hints, unet = host.model.model_hints(self._p), host.model.loaded_unet()
        if unet is None:
            raise UnsupportedModel("No model with a UNet is loaded.")
        self._session = HighResSession(unet, self._settings, self._latent_size, self._steps, hints)
        self._session.__enter__()
        self._log(self._session)

    def sampling(self, func: Callable[[], Any]) -> Callable[[], Any]:
        """Sample once more, without the method, where another extension fails at once in a UNet that it has changed.

        What it has seen by then is one evaluation. Later it is a Refusal, which names the extension.
        """
        return functools.partial(self._sample, func)

    def _sample(self, func: Callable[[], Any]) -> Any:
        restore_noise = host.denoiser.remembered_noise(self._p)
        try:
            return func()
        except Exception as error:
            sentence = self._sentence_on(error)
            if self._session is not None:
                self._session.disown()
            if sentence is None:
                raise
            if self._evaluations > 1:
                raise Refusal(f"HiDiffusion: {sentence} Switch one of the two off.") from error
            self._yield(f"HiDiffusion: {sentence} This pass is made without the method: switch one of the two off.")
        restore_noise()
        return func()

    def _sentence_on(self, error: Exception) -> str | None:
        acting = self._session is not None and self._session.acting
        return foreign_error.sentence_on(error, self._settings.method) if acting else None

    def _yield(self, sentence: str) -> None:
        """Leave the method out of this pass, and say so in the log and under the image."""
        self.close()
        log.warning("%s", sentence)
        self._p.comment(sentence)

    def _follow_model(self) -> None:
        """A refiner of another layout has taken over in the middle of the pass: leave the old, judge the new."""
        self.close()
        try:
            self._open()
        except ValueError as refusal:
            log.warning("%s stops at the new model: %s", self._settings.method, refusal)

    def close(self) -> None:
        """Close the session, and say in the infotext what it has done."""
        session, self._session = self._session, None
        if session is not None:
            session.__exit__(None, None, None)
            if session.used is not None:
                first = self._request.used or session.used
                self._request.used = used_in_both(self._settings, first, session.used)
                self._request.acted |= {host.job.pass_of(self._p)}
                before = state.find(self._p, Effect)
                passes = (*(before.active_steps if before else ()), session.active_steps)
                state.put(self._p, Effect(self._settings.method, passes))
            self._log(session)
        if self._request.settings is not None:
            self._write_infotext()

    def _log(self, session: HighResSession) -> None:
        """What a session is to do at each size, once, and again where notes have come since."""
        for line in map(str, session.reports):
            if line not in self._logged:
                self._logged.add(line)
                log.info("%s", line)

    def _write_infotext(self) -> None:
        """The settings once a pass has used them; nothing as long as none has."""
        parameters = self._p.extra_generation_params
        forget(HighResSettings, parameters)
        if self._request.used is not None:
            parameters.update(infotext(self._settings, self._request.used, only=self._only_pass()))

    def _only_pass(self) -> str | None:
        """That of two passes in which alone the method has acted."""
        both = host.job.pass_of(self._p) == "hires"
        return next(iter(self._request.acted)).capitalize() if both and len(self._request.acted) == 1 else None

    @property
    def _settings(self) -> HighResSettings:
        assert self._request.settings is not None
        return self._request.settings

    def _index(self, denoiser: Denoiser, sigma: Any) -> int:
        """Progress as a step of this pass, from the host's count, or from the timestep where there is none."""
        if _has_step_count(self._p):
            return min(self._steps - 1, denoiser.step * self._steps // denoiser.total_steps)
        timestep = float(denoiser.inner_model.sigma_to_t(sigma.max()))
        self._first_timestep = self._first_timestep or max(timestep, 1.0)
        passed = 1.0 - timestep / self._first_timestep
        return min(self._steps - 1, max(0, int(self._steps * passed)))


def on_cfg_denoiser(params: DenoiserParams) -> None:
    """The host's callback before each evaluation; it does nothing outside of a pass of this extension."""
    around = running(params, SamplingPass)
    if around is not None:
        around.at_step(params.denoiser, params.sigma)


def _has_step_count(p: Processing) -> bool:
    return "adaptive" not in str(p.sampler.funcname)
