"""`modules.shared`: the host's settings, its command line and the state of the running job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tests.webui.standin.strict import Strict, StrictModule

DEFAULTS: dict[str, Any] = {
    "CLIP_stop_at_last_layers": 1,
    "add_model_hash_to_info": True,
    "add_model_name_to_info": True,
    "always_discard_next_to_last_sigma": False,
    "batch_cond_uncond": True,
    "beta_dist_alpha": 0.6,
    "beta_dist_beta": 0.6,
    "cross_attention_optimization": "Automatic",
    "enable_pnginfo": True,
    "enable_quantization": False,
    "eta_ancestral": 1.0,
    "eta_ddim": 0.0,
    "eta_noise_seed_delta": 0,
    "hide_samplers": [],
    "hires_fix_refiner_pass": "second pass",
    "img2img_extra_noise": 0.0,
    "img2img_fix_steps": False,
    "initial_noise_multiplier": 1.0,
    "no_dpmpp_sde_batch_determinism": False,
    "pad_cond_uncond": False,
    "refiner_switch_by_sample_steps": False,
    "rho": 0.0,
    "s_churn": 0.0,
    "s_min_uncond": 0.0,
    "s_min_uncond_all": False,
    "s_noise": 1.0,
    "s_tmax": 0.0,
    "s_tmin": 0.0,
    "samplers_in_dropdown": True,
    "sd_model_checkpoint": None,
    "sd_unet": "Automatic",
    "sd_vae_encode_method": "Full",
    "sgm_noise_multiplier": False,
    "sigma_max": 0.0,
    "sigma_min": 0.0,
    "skip_early_cond": 0.0,
    "token_merging_ratio": 0.0,
    "token_merging_ratio_hr": 0.0,
    "use_old_karras_scheduler_sigmas": False,
}
COMMAND_LINE = {
    "api": True,
    "disable_nan_check": False,
    "lowvram": False,
    "medvram": False,
    "medvram_sdxl": False,
    "no_half": True,
    "nowebui": False,
    "opt_channelslast": False,
    "precision": "autocast",
    "upcast_sampling": False,
}
STATE = {
    "current_latent": None,
    "interrupted": False,
    "job": "",
    "job_count": 0,
    "job_no": 0,
    "sampling_step": 0,
    "sampling_steps": 0,
    "skipped": False,
    "stopping_generation": False,
    "textinfo": None,
}
LATENT_UPSCALERS = {
    "Latent": {"mode": "bilinear", "antialias": False},
    "Latent (antialiased)": {"mode": "bilinear", "antialias": True},
    "Latent (bicubic)": {"mode": "bicubic", "antialias": False},
    "Latent (nearest)": {"mode": "nearest", "antialias": False},
}


class OptionInfo:
    """One entry of the settings page."""

    def __init__(
        self,
        default: Any = None,
        label: str = "",
        component: Any = None,
        component_args: Any = None,
        onchange: Callable[[], None] | None = None,
        section: tuple[str | None, str] | None = None,
    ) -> None:
        self.default = default
        self.label = label
        self.component = component
        self.component_args = component_args
        self.onchange = onchange
        self.section = section

    def info(self, info: str) -> OptionInfo:
        """Text beside the entry."""
        self.label = f"{self.label} ({info})"
        return self


class Options:
    """The settings; `data` holds what `config.json` has, `data_labels` what exists at all."""

    data: dict[str, Any]
    data_labels: dict[str, OptionInfo]

    def __init__(self, data: dict[str, Any]) -> None:
        vars(self).update(data=dict(data), data_labels={name: OptionInfo(value) for name, value in DEFAULTS.items()})

    def __getattr__(self, name: str) -> Any:
        if name in self.data:
            return self.data[name]
        if name in self.data_labels:
            return self.data_labels[name].default
        raise AttributeError(f"the stand-in's shared.opts has no {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.data_labels:
            raise AttributeError(f"the stand-in's shared.opts has no {name!r} that could be set")
        self.data[name] = value

    def add_option(self, key: str, info: OptionInfo) -> None:
        """A new entry, in the way of `on_ui_settings`."""
        self.data_labels[key] = info

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        """Set one entry; KeyError if there is none of that name."""
        if key not in self.data_labels:
            raise KeyError(key)
        changed = bool(getattr(self, key) != value)
        self.data[key] = value
        if changed and run_callbacks and self.data_labels[key].onchange:
            self.data_labels[key].onchange()  # type: ignore[misc]
        return changed


class State(Strict):
    """What the running job is doing, and whether it is to stop."""

    def __init__(self) -> None:
        super().__init__("shared.state", **STATE)

    def interrupt(self) -> None:
        """The user's Interrupt."""
        self.interrupted = True

    def skip(self) -> None:
        """The user's Skip."""
        self.skipped = True

    def begin(self, job: str = "") -> None:
        """Start a job."""
        vars(self).update(STATE, job=job)

    def end(self) -> None:
        """End a job."""
        self.job = ""


def shared_module(config: dict[str, Any], command_line: dict[str, Any]) -> StrictModule:
    """`modules.shared` of a host with this `config.json` and command line."""
    return StrictModule(
        "modules.shared",
        opts=Options(config),
        cmd_opts=Strict("shared.cmd_opts", **{**COMMAND_LINE, **command_line}),
        state=State(),
        sd_model=None,
        device=torch.device("cpu"),
        latent_upscale_modes=LATENT_UPSCALERS,
        latent_upscale_default_mode="Latent",
        OptionInfo=OptionInfo,
        demo=None,
    )
