"""The presets' file, and which names of files it recognises."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from lib_fewstep.sampling.presets import PRESETS, RunSettings, advice, recognise

CHECKPOINTS = {
    "LCM_Dreamshaper_v7_4k": "LCM-LoRA",
    "lcm-sdxl": "LCM-LoRA",
    "photonLCM_v10": "LCM-LoRA",
    "realitiesEdgeXLLCM_TURBOXLV20": "LCM-LoRA",
    "sdxl_lightning_2step": "SDXL-Lightning 2 steps",
    "sdxl_lightning_4step": "SDXL-Lightning 4 steps",
    "sdxl_lightning_8step_unet": "SDXL-Lightning 8 steps",
    "Juggernaut_RunDiffusionPhoto2_Lightning_4Steps": "SDXL-Lightning 4 steps",
    "ponyDiffusion_4_step_lightning": "SDXL-Lightning 4 steps",
    "juggernautXL_v9Rdphoto2Lightning": "SDXL-Lightning 8 steps",
    "juggernautXL_lightning": "SDXL-Lightning 8 steps",
    "Juggernaut-XL-Lightning": "SDXL-Lightning 8 steps",
    "realvisxlV40_v40LightningBakedvae": "SDXL-Lightning 8 steps",
    "RealVisXL_V4.0_Lightning": "SDXL-Lightning 8 steps",
    "dreamshaperXL_lightningDPMSDE": "DreamShaper XL Lightning",
    "DreamShaperXL_Turbo-Lightning": "DreamShaper XL Lightning",
    "someMixXL_lightning_dpm++sde": "DreamShaper XL Lightning",
    "sdxl_lightning_14step": "SDXL-Lightning 8 steps",
    "sdxl_lightning_1step_x0": None,
    "Hyper-SDXL-1step-Unet-Comfyui.fp16": "Hyper-SD 1 step",
    "myModelXL_hyperSDXL": "Hyper-SD 8 steps",
    "zavychromaxl_hyper4step": "Hyper-SD 4 steps",
    "sd_xl_turbo_1.0_fp16": "SDXL-Turbo",
    "sdxl-turbo": "SDXL-Turbo",
    "sd_turbo": "SD-Turbo",
    "sd-turbo": "SD-Turbo",
    "dreamshaperXL_turbo": "DreamShaper XL Turbo",
    "dreamshaperXL_v21TurboDPMSDE": "DreamShaper XL Turbo",
    "turbovisionxl_v431": None,
    "sd3.5_large_turbo": None,
    "dmd2_sdxl_4step_unet_fp16": "DMD2",
    "dmd2_sdxl_1step_unet": "DMD2 1 step",
    "anythingxl_dmd2": "DMD2",
    "lustifySDXLNSFW_ggwpV7DMD2": "DMD2",
    "dreamshaper_8": None,
    "sd_xl_base_1.0": None,
    "v1-5-pruned-emaonly": None,
    "realisticVisionV60B1_v51VAE": None,
    "lightningstrike_style": None,
    "juggernautXL_v9": None,
    "hyperrealism_v3": None,
    "hyperRealisticXL_v10": None,
    "hyper-sd3-8steps": None,
    "turboRacer_v1": None,
    "albedobaseXL_v21": None,
    "dark_lightning_v2": None,
    "sd3_medium": None,
}
LORAS = {
    "lcm-lora-sdv1-5": "LCM-LoRA",
    "lcm_lora_sdxl": "LCM-LoRA",
    "LCM_LoRA_Weights_SD15": "LCM-LoRA",
    "lcm-lora-sdxl-turbo": "LCM-LoRA",
    "pcm_sdxl_lcmlike_lora_converted": "LCM-LoRA",
    "AnimateLCM_sd15_t2v_lora": "LCM-LoRA",
    "TCD-SDXL-LoRA": "TCD",
    "tcd_sd15": "TCD",
    "sdxl_lightning_2step_lora": "SDXL-Lightning 2 steps",
    "sdxl_lightning_4step_lora": "SDXL-Lightning 4 steps",
    "sdxl_lightning_8step_lora": "SDXL-Lightning 8 steps",
    "SDXL-Lightning": "SDXL-Lightning 8 steps",
    "sdxl_lightning_lora": "SDXL-Lightning 8 steps",
    "Hyper-SDXL-8steps-lora": "Hyper-SD 8 steps",
    "hyper_sdxl_8step_lora": "Hyper-SD 8 steps",
    "Hyper-SDXL-4steps-lora": "Hyper-SD 4 steps",
    "Hyper-SD15-2steps-lora": "Hyper-SD 2 steps",
    "Hyper-SD15-1step-lora": "Hyper-SD unified",
    "Hyper-SDXL-1step-lora": "Hyper-SD unified",
    "Hyper-SDXL-8steps-CFG-lora": "Hyper-SD CFG-preserved 8 steps",
    "Hyper-SD15-8steps-CFG-lora": "Hyper-SD CFG-preserved 8 steps",
    "Hyper-SDXL-12steps-CFG-lora": "Hyper-SD CFG-preserved 12 steps",
    "Hyper-FLUX.1-dev-8steps-lora": None,
    "Hyper-SD3-4steps-CFG-lora": None,
    "Hyper-SD3-8steps-CFG-lora": None,
    "pcm_sdxl_smallcfg_2step_converted": "PCM 2 steps",
    "pcm_sd15_smallcfg_4step_converted": "PCM 4 steps",
    "pcm_sdxl_smallcfg_8step_converted_fp16": "PCM 8 steps",
    "pcm_sdxl_smallcfg_16step_converted": "PCM 16 steps",
    "pcm_sdxl_normalcfg_4step_converted": "PCM 4 steps, normal CFG",
    "pcm_sdxl_normalcfg_8step": "PCM 8 steps, normal CFG",
    "pcm_sd15_normalcfg_16step_converted": "PCM 16 steps, normal CFG",
    "pcm_deterministic_2step_shift1": None,
    "dmd2_sdxl_4step_lora_fp16": "DMD2",
    "dmd2_sdxl_4step_lora": "DMD2",
    "DMD2": "DMD2",
    "yoso_lora": "YOSO 2 steps",
    "yoso_sd1.5_lora": "YOSO 2 steps",
    "yoso_1step": "YOSO 1 step",
    "yoso_pixart512": None,
    "sd_xl_turbo_lora_v1": "SDXL-Turbo",
    "add_detail": None,
    "lightningstrike_style": None,
    "lightning_bolt_xl": None,
    "sdxl_lightning_effect": None,
    "hyper_realistic_skin_v3": None,
    "turbo_car": None,
    "sd_xl_offset_example-lora_1.0": None,
    "stepbystep_4steps": None,
    "watcher_v2": None,
    "pytorch_lora_weights": None,
}
SCHEDULES = ("Automatic", "Trailing", "LCM grid", "SGM Uniform", "Karras")
SAMPLERS = (
    "Euler",
    "Euler a",
    "LCM",
    "DPM++ 2M",
    "DPM++ 2M SDE",
    "DPM++ SDE",
    "TCD",
    "LCM (reference grid)",
    "SA-Solver",
)
"""Core ones of the WebUI, and ours; tests of the WebUI's stand-in compare them with the lists."""


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_entry_is_complete(preset):
    assert re.fullmatch(r"https://[\w./-]+", preset.source)
    assert dt.date(2022, 1, 1) < dt.date.fromisoformat(preset.date) < dt.date(2100, 1, 1)
    assert preset.sampler in SAMPLERS
    assert preset.schedule in SCHEDULES
    assert 1 <= preset.steps <= preset.most_steps
    assert 1 <= preset.cfg <= preset.most_cfg
    assert (preset.gamma is not None) == (preset.sampler == "TCD")
    assert preset.trailing == (preset.schedule == "Trailing")
    assert preset.timesteps is None or list(preset.timesteps) == sorted(set(preset.timesteps), reverse=True)
    assert preset.timesteps is None or (len(preset.timesteps) == preset.steps and max(preset.timesteps) < 1000)
    assert preset.help.endswith(".")
    assert preset.checkpoint or preset.lora
    for pattern in (*preset.checkpoint, *preset.lora):
        assert re.compile(pattern)
    assert set(":,+").isdisjoint(preset.name) or preset.name.endswith(", normal CFG")


def test_one_preset_has_one_set_of_values():
    assert len({name.lower() for name in PRESETS}) == len(PRESETS)


@pytest.mark.parametrize(("name", "wanted"), CHECKPOINTS.items())
def test_a_checkpoints_name(name, wanted):
    found = recognise(name, [])
    assert (found and found.preset.name) == wanted
    assert found is None or found.because == f'the checkpoint is called "{name}"'


MERGES = {
    "juggernautXL_v9Rdphoto2Lightning": ("DPM++ SDE", "Karras", 5, 2.0),
    "realvisxlV50_v40LightningBakedvae": ("DPM++ SDE", "Karras", 5, 1.5),
    "someXL_EulerALightning": ("Euler a", "Automatic", 8, 1.0),
    "anythingxl_dmd2": ("LCM", "Exponential", 8, 1.0),
    "photonLCM_v10": ("LCM", "Automatic", 6, 1.5),
}
PUBLISHED = ("sdxl_lightning_4step", "sd_xl_turbo_1.0_fp16", "Hyper-SDXL-1step-Unet", "dmd2_sdxl_4step_unet_fp16")


@pytest.mark.parametrize(("name", "run"), MERGES.items())
def test_a_merge_may_follow_its_own_page(name, run):
    """Within what pages of few-step merges ask for; many steps and a high CFG are in no one's interest."""
    recognised = recognise(name, [])
    assert advice(RunSettings(*run), recognised, None) == []
    many = RunSettings(run[0], run[1], 25, 7.0)
    assert any("would fit better" in str(sentence) for sentence in advice(many, recognised, None))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_is_advised_as_ever(name):
    run = RunSettings("DPM++ SDE", "Karras", 4, 1.0)
    assert any("would fit better" in str(sentence) for sentence in advice(run, recognise(name, []), None))


@pytest.mark.parametrize(("name", "wanted"), LORAS.items())
def test_a_loras_name(name, wanted):
    found = recognise("dreamshaper_8", [name])
    assert (found and found.preset.name) == wanted
    assert found is None or found.because == f'the LoRA is called "{name}"'


def test_a_lora_goes_before_the_checkpoint_and_the_first_known_one_counts():
    found = recognise("sdxl_lightning_4step", ["add_detail", "TCD-SDXL-LoRA", "lcm_lora_sdxl"])
    assert found.preset.name == "TCD"
    assert recognise("sdxl_lightning_4step", ["add_detail"]).preset.name == "SDXL-Lightning 4 steps"
    assert recognise("", []) is None
