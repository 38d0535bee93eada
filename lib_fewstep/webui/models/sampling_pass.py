"""One pass of a model that is sampled otherwise than by the host, or that is told other sizes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import Tensor

from lib_fewstep.models import ModelPlan
from lib_fewstep.models.guidance_embedding import guided_by_number
from lib_fewstep.models.latents import PLAYGROUND
from lib_fewstep.options import SettingError
from lib_fewstep.webui.common import host, state
from lib_fewstep.webui.common.host.protocols import Processing
from lib_fewstep.webui.common.launch import AroundPass, put_until
from lib_fewstep.webui.common.log import log
from lib_fewstep.webui.common.own_latents import OwnLatents
from lib_fewstep.webui.common.refusal import Refusal
from lib_fewstep.webui.models.checkpoint import plan_for, tensor_of_loaded
from lib_fewstep.webui.models.request import ModelRequest
from lib_fewstep.webui.models.samplers import check_sampler
from lib_fewstep.webui.models.sizes import tell_sizes

TITLE = "Model sampling"
_SAMPLE_METHODS = ("sample", "sample_img2img")


class ModelPass(AroundPass):
    """The model of one pass, and the refiner's that may take over.

    The methods by which the host samples are wrapped, because they ask the model for its noise levels before the pass
    is launched; what it is given beside the latents is there at the launch.
    """

    def __init__(self, p: Processing, request: ModelRequest, size: tuple[int, int]) -> None:
        """For the pass of `p` that is about to start, over images of a size in pixels (width, height)."""
        super().__init__(p)
        self._request, self._size = request, size
        self._model, self._instances = ExitStack(), ExitStack()
        self._plan: ModelPlan | None = None
        self._cfg = 1.0

    def attach(self) -> None:
        """Wrap the methods of the sampler, in the place of a pass that never ran."""
        super().attach()
        for name in _SAMPLE_METHODS:
            method = getattr(self.sampler, name)
            if isinstance(method, _SampleWrapper):
                method = method.own
            setattr(self.sampler, name, _SampleWrapper(method, self, from_noise=name == "sample"))

    def __enter__(self) -> ModelPlan:
        """Sample the loaded model as its plan says, and a refiner as its own. Raises SettingError."""
        if self._request.refusal is not None:
            raise SettingError(self._request.refusal)
        denoiser: Any = self.sampler.model_wrap_cfg
        try:
            self._plan = plan = self._enter_model()
            put_until(self._instances, denoiser, "update_inner_model", self._updating(denoiser.update_inner_model))
            if plan.latents:
                put_until(self._instances, denoiser, "forward", _previewing(denoiser.forward))
                state.put(self._p, OwnLatents(PLAYGROUND.of_model))
                self._instances.callback(state.drop, self._p, OwnLatents)
        except BaseException:
            self.__exit__()
            raise
        return plan

    def __exit__(self, *error: object) -> None:
        """Put everything back, whatever happened."""
        self._instances.close()
        self._model.close()

    def start(self) -> None:
        """Give the model what it takes beside the latents, before anybody else asks for the CFG."""
        if self._plan is not None:
            self._cfg = float(self.sampler.sampler_extra_args["cond_scale"])
            self._give_inputs(self._plan)

    def close(self) -> None:
        """Nothing: the methods around the launch put everything back."""

    def _enter_model(self) -> ModelPlan:
        plan = plan_for(self._request.settings, self._size, self.sampler.config.name)
        if plan.acts:
            check_sampler(self.sampler, plan)
            self._model.enter_context(host.noising.sampled_as(self.sampler, plan))
        if plan.said is not None:
            log.info("%s: %s.", TITLE, plan.said)
        return plan

    def _updating(self, own: Callable[[], None]) -> Callable[[], None]:
        """The host's change to a refiner, whose plan is its own."""

        def update() -> None:
            self._model.close()
            own()
            plan = self._enter_model()
            _check_refiner(self._plan, plan)
            self._give_inputs(plan)

        return update

    def _give_inputs(self, plan: ModelPlan) -> None:
        """Give the model sizes, and the CFG where it takes one; then the pass is at CFG 1."""
        tell_sizes(self.sampler, self._request.settings, self._size)
        unet, asked = host.model.unet_with_blocks(), self.sampler.sampler_extra_args
        asked["cond_scale"] = self._cfg
        if plan.guidance is not None and unet is not None:
            projection = tensor_of_loaded(plan.guidance)
            self._model.enter_context(guided_by_number(unet, projection, self._cfg))
            asked["cond_scale"] = 1.0


class _SampleWrapper:
    """One of the host's methods, around which the model is another one."""

    def __init__(self, own: Callable[..., Tensor], around: ModelPass, *, from_noise: bool) -> None:
        self.own, self._around, self._from_noise = own, around, from_noise

    def __call__(self, p: Processing, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """One pass; afterwards model and sampler are as they were, whatever happened."""
        try:
            with self._around as plan:
                latents = self.own(p, self._start(plan, x), *args, **kwargs)
                return PLAYGROUND.of_host(latents) if plan.latents else latents
        except SettingError as refusal:
            raise Refusal(f"{TITLE}: {refusal}") from refusal

    def _start(self, plan: ModelPlan, x: Tensor) -> Tensor:
        """What the host's method is given instead of `x`: noise of unit variance, or the latents of images."""
        if not self._from_noise:
            return PLAYGROUND.of_model(x) if plan.latents else x
        return x / host.denoiser.start_scale(1.0) if plan.kind.flow else x


def _previewing(own: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An evaluation, after which the live preview has the host's latents."""

    def forward(*args: Any, **kwargs: Any) -> Tensor:
        denoised = own(*args, **kwargs)
        host.progress.change_preview(PLAYGROUND.of_host)
        return denoised

    return forward


def _check_refiner(first: ModelPlan | None, plan: ModelPlan) -> None:
    """Raise SettingError for a refiner whose latents are not those of the model before it."""
    if first is not None and (first.latents, first.kind.flow) != (plan.latents, plan.kind.flow):
        raise SettingError(
            f'A refiner of the kind "{plan.name}" is not allowed after a model of the kind "{first.name}": both must '
            "have the same kind of latents."
        )
