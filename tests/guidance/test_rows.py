"""The rows of an evaluation, and what is changed inside of a UNet for some of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lib_fewstep.guidance import GuidanceSession, GuidanceSettings, Row
from lib_fewstep.guidance.rows import RowsInUNet
from lib_fewstep.options import SettingError
from tests import unets
from tests.unets import describe

LEVEL, CFG = 2.0, 5.0
LEVELS = [4.0, LEVEL, 1.0, 0.0]
INDEX = 1
ALL = {"attention_blocks": "All"}
KINDS = {
    "plain": {},
    "PAG": {"pag_scale": 2.0} | ALL,
    "SEG": {"seg_scale": 2.0, "seg_sigma": 1.0} | ALL,
    "SAG": {"sag_scale": 0.75},
    "NAG": {"nag_scale": 3.0},
    "all": {"pag_scale": 2.0, "seg_scale": 1.0, "sag_scale": 0.5, "nag_scale": 3.0, "apg_eta": 0.5, "rescale": 0.3}
    | ALL,
}


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def unet(request):
    return (unets.sd1_unet if request.param == "sd1" else unets.sdxl_unet)()


class Model:
    """A UNet as a library user calls it: each kind of row with its own text."""

    def __init__(self, unet, images=2, *, split=False):
        width = next(m for m in unet.modules() if "attn2" in m._modules).attn2.to_k.in_features
        draw = torch.Generator().manual_seed(3)
        self.unet, self.split = unet, split
        self.prompt, self.negative = (torch.randn(images, 5, width, generator=draw) for _ in range(2))
        self.x = LEVEL * torch.randn(images, 4, 16, 24, generator=draw)
        self.sigma = torch.full((images,), LEVEL)
        self.batches = []

    def __call__(self, x, kinds):
        self.batches.append([kind.name for kind in kinds])
        return torch.cat([self._part(x, part) for part in ([[kind] for kind in kinds] if self.split else [kinds])])

    def _part(self, x, kinds):
        without = (Row.NEGATIVE, Row.DEGRADED)
        text = torch.cat([self.negative if kind in without else self.prompt for kind in kinds])
        rows = x.repeat(len(kinds), 1, 1, 1)
        noise = unets.call(self.unet, rows / (1 + LEVEL**2) ** 0.5, text)
        return rows - LEVEL * noise

    def guided(self, settings, cfg=CFG):
        with GuidanceSession(GuidanceSettings(**settings), LEVELS, unet=self.unet) as session:
            return session.denoised(self.x, self.sigma, cfg, self, self.negative)


def close(a, b):
    return float((a - b).abs().max()) < 1e-4 * float(b.abs().max())


def test_a_plain_step_is_ordinary_guidance(unet):
    model = Model(unet)
    cond, uncond = model(model.x, [Row.PROMPT, Row.NEGATIVE]).chunk(2)
    assert torch.equal(model.guided({}), uncond + CFG * (cond - uncond))


@pytest.mark.parametrize(
    ("name", "cfg", "batches"),
    [
        ("plain", 1, [["PROMPT"]]),
        ("NAG", 1, [["PROMPT"]]),
        ("PAG", 1, [["PROMPT", "PERTURBED"]]),
        ("PAG", CFG, [["PROMPT", "PERTURBED", "NEGATIVE"]]),
        ("SAG", 1, [["PROMPT", "NEGATIVE"], ["DEGRADED"]]),
        ("all", CFG, [["PROMPT", "PERTURBED", "SMOOTHED", "NEGATIVE"], ["DEGRADED"]]),
    ],
)
def test_what_is_evaluated(unet, name, cfg, batches):
    model = Model(unet)
    model.guided(KINDS[name], cfg)
    assert model.batches == batches


@pytest.mark.parametrize("name", [name for name in KINDS if name != "plain"])
def test_each_changes_the_image_and_nothing_else(unet, name):
    before, model = describe(unet), Model(unet)
    plain, found = model.guided({}), model.guided(KINDS[name])
    assert not close(found, plain)
    assert describe(unet) == before
    assert not unet._forward_pre_hooks
    assert torch.equal(model.guided({}), plain)


def test_rows_that_come_in_several_calls_are_those_of_one(unet):
    assert close(Model(unet, split=True).guided(KINDS["all"]), Model(unet).guided(KINDS["all"]))


def test_a_batch_is_its_single_images(unet):
    model = Model(unet)
    batch = model.guided(KINDS["all"])
    for index in range(2):
        single = Model(unet)
        for tensor in ("x", "sigma", "prompt", "negative"):
            setattr(single, tensor, getattr(model, tensor)[index : index + 1])
        assert close(single.guided(KINDS["all"]), batch[index : index + 1])


def test_outside_of_the_interval_no_row_is_added_but_nag_acts(unet):
    model = Model(unet)
    found = model.guided(KINDS["all"] | {"start": 0.9})
    assert model.batches == [["PROMPT"]]
    assert close(found, Model(unet).guided(KINDS["NAG"], cfg=1))


@pytest.mark.parametrize("passes", ["First", "All"])
def test_the_passes_of_what_adds_rows(unet, passes):
    settings = GuidanceSettings(pag_scale=3, sag_scale=0.5, nag_scale=1, attention_passes=passes)
    later = GuidanceSession(settings, LEVELS, unet=unet, first_pass=False)
    assert later.adds_rows == later.degrades(INDEX) == bool(later.added(INDEX)) == (passes == "All")


@pytest.mark.parametrize("precision", filter(unets.has_layers_in, (torch.float16, torch.bfloat16)), ids=str)
@pytest.mark.parametrize("make", [unets.sd1_unet, unets.sdxl_unet])
def test_half_precisions(make, precision):
    model = Model(unets.in_precision(make(), precision))
    for name in ("prompt", "negative", "x", "sigma"):
        setattr(model, name, getattr(model, name).to(precision))
    found = model.guided(KINDS["all"])
    assert found.dtype == precision
    assert bool(torch.isfinite(found).all())


class Echo(nn.Module):
    """A UNet without anything in it."""

    def forward(self, x):
        return x


def test_calls_with_rows_that_nobody_has_announced_are_left_alone():
    """As of an extension that cuts the image into tiles; announced ones are known again afterwards."""
    unet = Echo()
    rows = RowsInUNet(unet, GuidanceSettings(nag_scale=2), perturbing=False)
    with rows.changed():
        rows.expect([Row.PROMPT, Row.NEGATIVE], torch.zeros(2, 1, 1))
        unet(torch.zeros(4, 1))
        assert rows.strange_calls == 1
        assert not rows._prompted(4).any()
        rows.expect([Row.PROMPT, Row.NEGATIVE], torch.zeros(2, 1, 1))
        unet(torch.zeros(2, 1))
        assert rows._prompted(2).tolist() == [True, False]
        assert rows._prompted(8).tolist() == [True] * 4 + [False] * 4, "windows of one image stand next to each other"
    assert rows.strange_calls == 1


def test_an_error_leaves_nothing_behind(unet):
    before = describe(unet)
    with (
        pytest.raises(RuntimeError, match="planted"),
        GuidanceSession(GuidanceSettings(**KINDS["all"]), LEVELS, unet=unet),
    ):
        raise RuntimeError("planted")
    assert describe(unet) == before


@pytest.mark.parametrize("scale", ["pag_scale", "seg_scale", "sag_scale"])
def test_what_needs_a_middle_block_says_so_where_there_is_none(scale):
    sentence = rf"^{scale} = 2 is not allowed with this UNet, .* in its part Middle: it must be 0\.$"
    with pytest.raises(SettingError, match=sentence):
        GuidanceSession(GuidanceSettings(**{scale: 2.0}), LEVELS, unet=unets.bk_sdm_unet())


def test_attention_to_the_prompt_twice_is_no_self_attention():
    """As at the largest feature maps of SDXS 0.9, in which every token alone would have no size."""
    unet = unets.sdxs_09_unet()
    model = Model(unet)
    assert not torch.equal(model.guided({"pag_scale": 2.0} | ALL), model.guided({}))
    shallow = [unet.input_blocks[1], *unet.output_blocks[-2:]]
    with GuidanceSession(GuidanceSettings(pag_scale=2.0, **ALL), LEVELS, unet=unet):
        assert not any(module._forward_pre_hooks or module._forward_hooks for b in shallow for module in b.modules())
