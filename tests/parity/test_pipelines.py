"""Whole runs of diffusers' pipelines on a UNet of its own, and ours on the WebUI's with the same weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPAGPipeline
from diffusers.pipelines.stable_diffusion_sag.pipeline_stable_diffusion_sag import StableDiffusionSAGPipeline

from bench.reference import diffusers_twin
from lib_fewstep.guidance.attention import values_alone
from lib_fewstep.guidance.self_attention import attention_watched, degraded, moved, noisy_again
from tests.parity.nearness import check_near
from tests.unets import call, contexts, in_precision, latents, sd1_unet

SIZE, STEPS, CFG = (32, 48), 3, 5.0
MAP = (4, 6)
"""Of the middle block."""


@pytest.fixture
def unet():
    return in_precision(sd1_unet(), torch.float64)


@pytest.fixture
def given():
    """Latents, and the embeddings of a prompt and of no prompt, for two images."""
    cond, uncond = contexts(4).double().chunk(2)
    return SimpleNamespace(x=latents(SIZE).double(), cond=cond, uncond=uncond)


def scheduler(prediction):
    made = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
    )
    made.alphas_cumprod, made.final_alpha_cumprod = made.alphas_cumprod.double(), made.final_alpha_cumprod.double()
    return made


def their_run(pipeline, unet, given, prediction, **settings):
    """The latents after each step."""
    parts = dict.fromkeys(["vae", "text_encoder", "tokenizer", "safety_checker", "feature_extractor"])
    more = {"pag_applied_layers": "mid"} if pipeline is StableDiffusionPAGPipeline else {}
    twin = diffusers_twin(unet)
    twin.register_to_config(sample_size=64)  # else the pipeline takes the UNet for one of an old version
    made = pipeline(**parts, **more, unet=twin, scheduler=scheduler(prediction), requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    found = []
    keep = {"callback_on_step_end": lambda *step: found.append(step[-1]["latents"]) or {}}
    if pipeline is StableDiffusionSAGPipeline:
        keep = {"callback": lambda *step: found.append(step[-1])}
    made(
        prompt_embeds=given.cond,
        negative_prompt_embeds=given.uncond,
        latents=given.x,
        height=8 * SIZE[0],
        width=8 * SIZE[1],
        num_inference_steps=STEPS,
        output_type="latent",
        **keep,
        **settings,
    )
    return found


def our_run(unet, given, prediction, guided):
    """The latents after each step; `guided` makes an image of noisy latents and of `model`'s function."""
    steps, x, found = scheduler("epsilon"), given.x, []
    steps.set_timesteps(STEPS)
    for timestep in steps.timesteps:
        signal = steps.alphas_cumprod[timestep].sqrt()
        noise = (1 - signal**2).sqrt()
        image = guided(x / signal, model(unet, prediction, int(timestep), signal, noise))
        x = steps.step((x - signal * image) / noise, timestep, x).prev_sample
        found.append(x)
    return found


def model(unet, prediction, timestep, signal, noise):
    """What the model sees in noisy images: an image for each of the embeddings, all of them in one call."""

    def see(noisy, *embeddings):
        rows = signal * noisy.repeat(len(embeddings), 1, 1, 1)
        out = call(unet, rows, torch.cat(embeddings), timestep)
        image = (rows - noise * out) / signal if prediction == "epsilon" else signal * rows - noise * out
        return image.chunk(len(embeddings))

    return see


def check_runs(ours, theirs):
    assert len(ours) == len(theirs) == STEPS
    for our_latents, their_latents in zip(ours, theirs, strict=True):
        check_near(our_latents, their_latents)


def middle_attention(unet):
    return unet.middle_block[1].transformer_blocks[0].attn1


def rows(first, count):
    """Of a batch the images from one on, so many of them."""
    return lambda of_batch: (torch.arange(of_batch) >= first) & (torch.arange(of_batch) < first + count)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_perturbed_attention(unet, given, prediction):
    def guided(x, see):
        with values_alone(middle_attention(unet), rows(4, 2)):
            uncond, cond, perturbed = see(x, given.uncond, given.cond, given.cond)
        return uncond + CFG * (cond - uncond) + 3.0 * (cond - perturbed)

    theirs = their_run(StableDiffusionPAGPipeline, unet, given, prediction, guidance_scale=CFG, pag_scale=3.0)
    check_runs(our_run(unet, given, prediction, guided), theirs)


def test_perturbed_attention_without_cfg(unet, given):
    def guided(x, see):
        with values_alone(middle_attention(unet), rows(2, 2)):
            cond, perturbed = see(x, given.cond, given.cond)
        return cond + 3.0 * (cond - perturbed)

    theirs = their_run(StableDiffusionPAGPipeline, unet, given, "epsilon", guidance_scale=1.0, pag_scale=3.0)
    check_runs(our_run(unet, given, "epsilon", guided), theirs)


def self_guided(unet, x, see, uncond, seen):
    """The change by self-attention guidance at its usual strength; `seen` are the embeddings beside `uncond`'s."""
    with attention_watched(middle_attention(unet), rows(0, 2)) as watched:
        image, *others = see(x, uncond, *seen)
    attended = watched.map()
    assert 0.2 < float((attended > 1).double().mean()) < 0.8
    worse = degraded(image, attended, MAP)
    (again,) = see(noisy_again(x, image, worse), uncond)
    return image, others, lambda guided: moved(guided, worse, again)


def test_self_attention(unet, given):
    def guided(x, see):
        uncond, (cond,), change = self_guided(unet, x, see, given.uncond, [given.cond])
        return change(uncond + CFG * (cond - uncond))

    theirs = their_run(StableDiffusionSAGPipeline, unet, given, "epsilon", guidance_scale=CFG)
    check_runs(our_run(unet, given, "epsilon", guided), theirs)


def test_self_attention_without_cfg(unet, given):
    """Then the prompt's rows are the only ones."""

    def guided(x, see):
        cond, _, change = self_guided(unet, x, see, given.cond, [])
        return change(cond)

    theirs = their_run(StableDiffusionSAGPipeline, unet, given, "epsilon", guidance_scale=1.0)
    check_runs(our_run(unet, given, "epsilon", guided), theirs)
