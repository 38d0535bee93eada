"""Against the reference implementation, on shared weights, step by step over whole runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import diffusers.models.attention_processor as theirs
import pytest
import torch
from ldm.modules.attention import CrossAttention

from bench.reference import diffusers_twin, reference
from lib_fewstep.highres import HighResSession, HighResSettings, ModelHints
from lib_fewstep.highres.methods.hidiffusion import window_places
from lib_fewstep.highres.windows import shift_of
from lib_fewstep.unet import inspect_unet
from tests.unets import call, contexts, latents, sd1_unet, sd2_unet, sdxl_unet, webui_cat

pytestmark = pytest.mark.long
TOLERANCE = 1e-4
LAYOUTS = {"SD1": sd1_unet, "SD2": sd2_unet, "SDXL": sdxl_unet, "SDXL Turbo": sdxl_unet}
STEPS = 7
"""The least with which every part of SDXL's RAU-Net has a step: the strided downsampler has 8 of 50."""
NAMES = {
    "SD1": "runwayml/stable-diffusion-v1-5",
    "SD2": "stabilityai/stable-diffusion-2-1-base",
    "SDXL": "stabilityai/stable-diffusion-xl-base-1.0",
    "SDXL inpainting": "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
    "SDXL Turbo": "stabilityai/sdxl-turbo",
}


def call_twin(twin, x, context, timestep=500):
    """One evaluation of a diffusers UNet."""
    with torch.no_grad():
        return twin(x, torch.full((x.shape[0],), timestep), encoder_hidden_states=context).sample


@contextmanager
def drawn_shifts(shifts: list[int]) -> Iterator[None]:
    """Let the reference draw these shifts (0 to 3), one a transformer block, in the order of the blocks."""
    numbers = iter([torch.tensor([0.25 * shift + 0.125]) for shift in shifts])
    with mock.patch.object(torch, "rand", side_effect=numbers):
        yield


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference, relative to the output's standard deviation."""
    return float((ours - theirs).abs().max() / theirs.std())


def check_close(ours: torch.Tensor, theirs: torch.Tensor, step: int) -> None:
    """Within the tolerance; `pytest -rP` shows the figures."""
    difference = distance(ours, theirs)
    print(f"step {step}: {difference:.1e}")
    assert difference < TOLERANCE, f"step {step}"


def timestep(step: int) -> int:
    return 999 - 99 * step


@pytest.mark.parametrize("name", ["SD1", "SD2", "SDXL"])
@pytest.mark.parametrize("size", [(16, 16), (8, 40)])
def test_plain_models_agree(name, size):
    unet = LAYOUTS[name]()
    ours = call(unet, latents(size), contexts())
    theirs = call_twin(diffusers_twin(unet), latents(size), contexts())
    print(f"largest difference {float((ours - theirs).abs().max()):.1e}, of the deviation {distance(ours, theirs):.1e}")
    assert distance(ours, theirs) < 2e-5


RAUNET_CASES = [
    *[("SD1", size, {}) for size in ((16, 16), (8, 40), (17, 13), (18, 26), (21, 32))],
    *[("SDXL", size, {}) for size in ((16, 16), (8, 40), (17, 13), (18, 26), (21, 32))],
    *[("SDXL", size, {"aggressive": False}) for size in ((16, 16), (17, 13))],
    ("SDXL", (16, 24), {"playground": True}),
    ("SDXL", (16, 24), {"inpainting": True}),
    ("SDXL", (16, 24), {"controlnet": True}),
    *[("SDXL Turbo", size, {}) for size in ((16, 16), (15, 24))],
    ("SD2", (20, 12), {}),
]


@pytest.mark.parametrize(("name", "size", "special"), RAUNET_CASES)
def test_raunet_in_the_lower_band(name, size, special, monkeypatch):
    run_raunet(name, size, special, monkeypatch)


@pytest.mark.parametrize(("name", "size"), [("SD1", (261, 259)), ("SDXL", (512, 512))])
def test_raunet_in_the_upper_band(name, size, monkeypatch):
    narrow_attention(monkeypatch)
    run_raunet(name, size, {}, monkeypatch, steps=4)


def run_raunet(name, size, special, monkeypatch, steps=STEPS):
    """A whole run; where the host's own plain model departs from diffusers', after the method, is told apart."""
    channels = 9 if special.get("inpainting") else 4
    unet = LAYOUTS[name](in_channels=channels)
    twin = reference(unet, NAMES["SDXL inpainting" if special.get("inpainting") else name], steps, windows=False)
    twin.info["is_playground"] = special.get("playground", False)
    twin.info["text_to_img_controlnet"] = special.get("controlnet", False)
    if "aggressive" in special:
        monkeypatch.setattr("hidiffusion.hidiffusion.is_aggressive_raunet", special["aggressive"])
    hints = ModelHints(
        turbo=name == "SDXL Turbo",
        playground=special.get("playground", False),
        controlnet=special.get("controlnet", False),
    )
    settings = HighResSettings(preset="Paper", window_attention=False, aggressive=special.get("aggressive"))
    x, context = latents(size, batch=1, channels=channels), contexts(1)
    whole = all(side % 2 ** len(inspect_unet(unet).downsamplers) == 0 for side in size)
    with webui_cat() as cat, HighResSession(unet, settings, size, steps, hints) as session:
        for step in range(steps):
            session.at_step(step)
            ours, theirs = call(unet, x, context, timestep(step)), call_twin(twin, x, context, timestep(step))
            if whole or step in session.report.active_steps:
                check_close(ours, theirs, step)
                assert cat.resized == 0
            else:
                assert cat.resized > 0, "the host's own cat makes the plain model run at this size"
    assert session.report.active_steps


@pytest.mark.parametrize("name", ["SD1", "SD2", "SDXL", "SDXL Turbo"])
@pytest.mark.parametrize("size", [(16, 16), (32, 16), (16, 64), (24, 32)])
@pytest.mark.parametrize("raunet", [False, True])
def test_windows_with_the_same_shifts(name, size, raunet):
    unet = LAYOUTS[name]()
    twin = reference(unet, NAMES[name], STEPS, raunet=raunet)
    blocks = sum(window_places(inspect_unet(unet)).values())
    settings = HighResSettings(preset="Paper", raunet=raunet)
    x, context = latents(size, batch=1), contexts(1)
    with webui_cat() as cat, HighResSession(unet, settings, size, STEPS, ModelHints(turbo="Turbo" in name)) as session:
        for step in range(STEPS):
            session.at_step(step)
            ours = call(unet, x, context, timestep(step))
            with drawn_shifts([shift_of(step, block) for block in range(blocks)]):
                theirs = call_twin(twin, x, context, timestep(step))
            check_close(ours, theirs, step)
    assert session.report.active_steps == tuple(range(STEPS))
    assert cat.resized == 0


def test_of_deep_stacks_the_first_two_transformer_blocks_are_windowed():
    unet, x, context = sdxl_unet(depth=10), latents((16, 16), batch=1), contexts(1)
    twin = reference(unet, NAMES["SDXL"], STEPS)
    assert set(window_places(inspect_unet(unet)).values()) == {2}
    with HighResSession(unet, HighResSettings(preset="Paper"), (16, 16), STEPS) as session:
        for step in range(STEPS):
            session.at_step(step)
            ours = call(unet, x, context, timestep(step))
            with drawn_shifts([shift_of(step, block) for block in range(10)]):
                check_close(ours, call_twin(twin, x, context, timestep(step)), step)


@pytest.mark.parametrize(("name", "size"), [("SD1", (33, 25)), ("SDXL", (34, 26))])
def test_odd_windows_depart_from_the_reference_towards_full_attention(name, size):
    """An improvement by intent: repeated edges disturb the plain model's output less than resizing every token."""
    unet, x, context = LAYOUTS[name](), latents(size, batch=1), contexts(1)
    twin = reference(unet, NAMES[name], STEPS, raunet=False)
    blocks = sum(window_places(inspect_unet(unet)).values())
    with webui_cat(), HighResSession(unet, HighResSettings(preset="Paper", raunet=False), size, STEPS) as session:
        session.at_step(0)
        ours = call(unet, x, context)
    with drawn_shifts([shift_of(0, block) for block in range(blocks)]):
        theirs = call_twin(twin, x, context)
    full = call_twin(diffusers_twin(unet), x, context)
    apart, ours_off, theirs_off = (float(d.std() / full.std()) for d in (ours - theirs, ours - full, theirs - full))
    print(print(f"apart {apart:.2f}; from full attention: ours {ours_off:.2f}, the reference {theirs_off:.2f}"))
    assert 0.05 < apart < 0.3
    assert ours_off < theirs_off


def narrow_attention(monkeypatch):
    """At the sizes of the upper band, self-attention in both models is that of the first 64 keys, to fit memory."""
    keys = 64

    def ours_forward(self, x, context=None, mask=None):
        q, k, v = (
            self.to_q(x),
            self.to_k(x if context is None else context),
            self.to_v(x if context is None else context),
        )
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k[:, :keys], v[:, :keys]))
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        return self.to_out(out.transpose(1, 2).flatten(2))

    def theirs_call(self, attn, hidden_states, encoder_hidden_states=None, **kwargs):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = attn.to_q(hidden_states), attn.to_k(context)[:, :keys], attn.to_v(context)[:, :keys]
        q, k, v = (t.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for t in (q, k, v))
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](out))

    monkeypatch.setattr(CrossAttention, "forward", ours_forward)
    monkeypatch.setattr(theirs.AttnProcessor2_0, "__call__", theirs_call)
