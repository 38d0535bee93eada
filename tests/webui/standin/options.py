"""`modules.options` and `modules.shared`: the host's settings, its command line and what the others share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import torch

from tests.webui.standin.state import State, TotalTQDM
from tests.webui.standin.strict import Strict, StrictModule, fake

DEFAULTS: dict[str, Any] = {
    "CLIP_stop_at_last_layers": 1,
    "add_model_hash_to_info": True,
    "add_model_name_to_info": True,
    "always_discard_next_to_last_sigma": False,
    "batch_cond_uncond": True,
    "beta_dist_alpha": 0.6,
    "beta_dist_beta": 0.6,
    "cross_attention_optimization": "Automatic",
    "directories_filename_pattern": "[date]",
    "directories_max_prompt_words": 8,
    "do_not_show_images": False,
    "enable_pnginfo": True,
    "enable_quantization": False,
    "eta_ancestral": 1.0,
    "eta_ddim": 0.0,
    "eta_noise_seed_delta": 0,
    "face_restoration": False,
    "face_restoration_model": "CodeFormer",
    "grid_background_color": "#ffffff",
    "grid_extended_filename": False,
    "grid_format": "png",
    "grid_only_if_multiple": True,
    "grid_prevent_empty_spots": False,
    "grid_save": True,
    "grid_save_to_dirs": True,
    "hide_samplers": [],
    "hires_fix_refiner_pass": "second pass",
    "img2img_extra_noise": 0.0,
    "img2img_fix_steps": False,
    "img_max_size_mp": 200,
    "initial_noise_multiplier": 1.0,
    "jpeg_quality": 80,
    "live_preview_content": "Prompt",
    "live_preview_fast_interrupt": False,
    "localization": "None",
    "multiple_tqdm": True,
    "n_rows": -1,
    "no_dpmpp_sde_batch_determinism": False,
    "outdir_grids": "",
    "outdir_samples": "",
    "pad_cond_uncond": False,
    "refiner_switch_by_sample_steps": False,
    "return_grid": True,
    "rho": 0.0,
    "s_churn": 0.0,
    "s_min_uncond": 0.0,
    "s_min_uncond_all": False,
    "s_noise": 1.0,
    "s_tmax": 0.0,
    "s_tmin": 0.0,
    "samplers_in_dropdown": True,
    "samples_filename_pattern": "",
    "samples_format": "png",
    "samples_save": True,
    "save_images_add_number": True,
    "save_images_before_highres_fix": False,
    "save_images_replace_action": "Replace",
    "save_incomplete_images": False,
    "save_to_dirs": True,
    "save_txt": False,
    "sd_model_checkpoint": None,
    "sd_unet": "Automatic",
    "sd_vae_decode_method": "Full",
    "sd_vae_encode_method": "Full",
    "sgm_noise_multiplier": False,
    "show_progress_type": "Approx NN",
    "sigma_max": 0.0,
    "sigma_min": 0.0,
    "sdxl_crop_left": 0,
    "sdxl_crop_top": 0,
    "skip_early_cond": 0.0,
    "tiling": False,
    "token_merging_ratio": 0.0,
    "token_merging_ratio_hr": 0.0,
    "token_merging_ratio_img2img": 0.0,
    "use_old_karras_scheduler_sigmas": False,
    "webp_lossless": False,
}
FOLDERS = {
    "outdir_extras_samples": "extras-images",
    "outdir_img2img_grids": "img2img-grids",
    "outdir_img2img_samples": "img2img-images",
    "outdir_init_images": "init-images",
    "outdir_txt2img_grids": "txt2img-grids",
    "outdir_txt2img_samples": "txt2img-images",
}
HIDDEN = (None, "Hidden options")
BY_DEFAULT = {str: gr.Textbox, int: gr.Number, bool: gr.Checkbox}
COMMAND_LINE = {
    "api": True,
    "disable_console_progressbars": False,
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
        refresh: Any = None,
        comment_before: str = "",
        comment_after: str = "",
        infotext: str | None = None,
        restrict_api: bool = False,
        category_id: str | None = None,
    ) -> None:
        self.default = default
        self.label = label
        self.component = component
        self.component_args = component_args
        self.onchange = onchange
        self.section = section
        self.refresh = refresh
        self.comment_before = comment_before
        self.comment_after = comment_after
        self.infotext = infotext
        self.restrict_api = restrict_api
        self.category_id = category_id

    def info(self, info: str) -> OptionInfo:
        """Text behind the label, in brackets."""
        return self.html(f"<span class='info'>({info})</span>")

    def html(self, html: str) -> OptionInfo:
        """Anything behind the label."""
        self.comment_after += html
        return self

    def needs_reload_ui(self) -> OptionInfo:
        """A note behind the label."""
        return self.html(" <span class='info'>(requires Reload UI)</span>")

    def link(self, label: str, url: str) -> OptionInfo:
        """A link before the label."""
        self.comment_before = f"{self.comment_before}[<a href='{url}' target='_blank'>{label}</a>]"
        return self


class Options:
    """The settings; `data` holds what `config.json` has, `data_labels` what exists at all."""

    data: dict[str, Any]
    data_labels: dict[str, OptionInfo]

    def __init__(self, data_labels: dict[str, OptionInfo], data: dict[str, Any]) -> None:
        vars(self).update(data=dict(data), data_labels=data_labels)

    def __getattr__(self, name: str) -> Any:
        if name in self.data:
            return self.data[name]
        if name in self.data_labels:
            return self.data_labels[name].default
        raise AttributeError(f"the stand-in's shared.opts has no {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        info = self.data_labels.get(name)
        if info is None:
            raise AttributeError(f"the stand-in's shared.opts has no {name!r} that could be set")
        if isinstance(info.component_args, dict) and info.component_args.get("visible", True) is False:
            raise RuntimeError(f"{name!r} is hidden and cannot be set")
        self.data[name] = value

    def add_option(self, key: str, info: OptionInfo) -> None:
        """A new entry, in the way of `on_ui_settings`: its default is stored if nothing is."""
        self.data_labels[key] = info
        self.data.setdefault(key, info.default)

    def set(self, key: str, value: Any, is_api: bool = False, run_callbacks: bool = True) -> bool:
        """Whether one entry is another one now: what is stored counts, not the default. KeyError if it is unknown."""
        before = self.data.get(key)
        if before == value:
            return False
        info = self.data_labels[key]
        if is_api and info.restrict_api:
            return False
        try:
            setattr(self, key, value)
        except RuntimeError:
            return False
        if not run_callbacks or info.onchange is None:
            return True
        try:
            info.onchange()
        except Exception as error:  # noqa: BLE001 (as the host does)
            fake("modules.errors").display(error, f"{key} could not become {value}")
            setattr(self, key, before)
            return False
        return True

    def onchange(self, key: str, func: Callable[[], None], call: bool = True) -> None:
        """Call `func` when an entry changes, and at once if `call`."""
        self.data_labels[key].onchange = func
        if call:
            func()

    def get_default(self, key: str) -> Any:
        """The default of an entry; None if there is no such entry."""
        info = self.data_labels.get(key)
        return None if info is None else info.default

    def cast_value(self, key: str, value: Any) -> Any:
        """A value as the type of the entry's default."""
        default = self.data_labels[key].default
        like = getattr(self, key) if default is None else default
        if value is None or like is None:
            return None
        return False if type(like) is bool and value == "False" else type(like)(value)

    def save(self, filename: str) -> None:
        """Write `config.json`."""
        Path(filename).write_text(json.dumps(self.data, indent=4, ensure_ascii=False), encoding="utf8")


def settings_page(opts: Options) -> dict[str, Any]:
    """The components of the settings page, by key; an entry without a section breaks it, as in the host."""
    components = {}
    with gr.Blocks(analytics_enabled=False):
        for key, info in opts.data_labels.items():
            if info.section[0] is None:  # type: ignore[index]
                continue
            component = info.component or BY_DEFAULT.get(type(info.default))
            if component is None:
                raise TypeError(f"the setting {key} has no component for a {type(info.default).__name__}")
            arguments = info.component_args() if callable(info.component_args) else info.component_args or {}
            value = getattr(opts, key)
            components[key] = component(label=info.label, value=value, elem_id=f"setting_{key}", **arguments)
    return components


def shared_module(config: dict[str, Any], command_line: dict[str, Any], data_path: Path) -> StrictModule:
    """`modules.shared` of a host with this `config.json` and command line."""
    folders = {key: str(data_path / "outputs" / folder) for key, folder in FOLDERS.items()}
    folders["outdir_save"] = str(data_path / "log" / "images")
    labels = {key: OptionInfo(value, section=HIDDEN) for key, value in {**DEFAULTS, **folders}.items()}
    return StrictModule(
        "modules.shared",
        opts=Options(labels, config),
        cmd_opts=Strict("shared.cmd_opts", **{**COMMAND_LINE, **command_line}),
        config_filename=str(data_path / "config.json"),
        settings_components=None,
        state=State(),
        total_tqdm=TotalTQDM(),
        sd_model=None,
        device=torch.device("cpu"),
        latent_upscale_modes=LATENT_UPSCALERS,
        latent_upscale_default_mode="Latent",
        OptionInfo=OptionInfo,
        demo=None,
        parallel_processing_allowed=True,
    )


def options_module() -> StrictModule:
    """`modules.options`."""
    return StrictModule(
        "modules.options",
        OptionInfo=OptionInfo,
        Options=Options,
    )
