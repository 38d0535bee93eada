"""Beside others on the same blocks, whoever comes or goes first, both act, or ours yields and says to whom."""

from __future__ import annotations

import collections
import copy
import functools
from contextlib import ExitStack
from functools import cache

import pytest
import torch
from ldm.modules.diffusionmodules.util import timestep_embedding
from torch import nn

from lib_fewstep.highres import HighResSession, HighResSettings
from lib_fewstep.highres.skips import upsampling_to
from lib_fewstep.highres.token_counts import replaced_attention
from lib_fewstep.unet import Place, blocks_of, remove
from tests.neighbours import NEIGHBOURS, WITHOUT_SMOOTHING, own_attribute, regions, token_merging, transformers
from tests.unets import call, contexts, describe, latents, sd1_unet, sdxl_unet, webui_cat

MAKES = {"SD1": sd1_unet, "SDXL": sdxl_unet}
STEPS = 10
METHODS = {
    "HiDiffusion": {"preset": "Paper", "t2": 0.2, "aggressive": False},
    "Deep Shrink": {"preset": "Paper", "method": "Deep Shrink"},
}
TOLERANCE = 2e-5


FREE = {}
"""By family, a model that no test has in use; one that a test has failed on is not given back."""


@pytest.fixture(autouse=True)
def _as_in_the_webui():
    with webui_cat(), torch.no_grad():
        yield


def evaluated(unet, size, step=1):
    return call(unet, latents(size, batch=1), contexts(1), 900 - step)


def near(ours, expected):
    return bool(torch.allclose(ours, expected, rtol=0, atol=TOLERANCE * float(expected.abs().max())))


@cache
def plain(family, size):
    return evaluated(MAKES[family](), size)


def run(unet, settings, size):
    """The output of step 1, on which all parts of a method act."""
    with HighResSession(unet, HighResSettings(**settings), size, STEPS) as session:
        session.at_step(1)
        return evaluated(unet, size)


@cache
def ours_alone(family, method, size):
    return run(MAKES[family](), METHODS[method], size)


@cache
def theirs_alone(family, name):
    unet, neighbour = MAKES[family](), NEIGHBOURS[name]
    if neighbour.neutral:
        return plain(family, neighbour.size)
    with neighbour.patch(unet, neighbour.size):
        return evaluated(unet, neighbour.size)


@cache
def together(family, method, name):
    """What both mean: the neighbour's effect put into the model in another way, under what is left of the method."""
    unet, neighbour = MAKES[family](), NEIGHBOURS[name]
    given_up, _ = neighbour.yields.get(method, ({}, ""))
    with neighbour.twin(unet, neighbour.size):
        return run(unet, METHODS[method] | given_up, neighbour.size)


CASES = [
    *[("SD1", "HiDiffusion", arrives, leaves) for arrives in ("before", "during") for leaves in ("ours", "theirs")],
    ("SD1", "Deep Shrink", "before", "theirs"),
    ("SDXL", "HiDiffusion", "before", "ours"),
]


@pytest.mark.parametrize("name", NEIGHBOURS)
@pytest.mark.parametrize(("family", "method", "arrives", "leaves"), CASES)
def test_both_act_and_each_can_go_first(family, method, arrives, leaves, name):
    neighbour, unet = NEIGHBOURS[name], FREE.pop(family, None) or MAKES[family]()
    size, (_, note) = neighbour.size, neighbour.yields.get(method, ({}, None))
    both, ours, theirs = together(family, method, name), ours_alone(family, method, size), theirs_alone(family, name)
    before = describe(unet)
    with ExitStack() as their_patch, ExitStack() as our_session:
        if arrives == "before":
            their_patch.enter_context(neighbour.patch(unet, size))
            assert near(evaluated(unet, size), theirs)
        session = our_session.enter_context(HighResSession(unet, HighResSettings(**METHODS[method]), size, STEPS))
        session.at_step(0)
        if arrives == "during":
            their_patch.enter_context(neighbour.patch(unet, size))
        session.at_step(1)
        assert near(evaluated(unet, size), both)
        assert all(note and note in line for line in session.report.notes)
        assert bool(session.report.notes) == bool(note)
        if leaves == "ours":
            our_session.close()
            assert near(evaluated(unet, size), theirs)
        else:
            their_patch.close()
            session.at_step(1)
            assert near(evaluated(unet, size), ours)
    assert describe(unet) == before
    assert torch.equal(evaluated(unet, size), plain(family, size))
    FREE[family] = unet


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_one_who_comes_after_the_last_step_stays(name):
    neighbour, unet = NEIGHBOURS[name], FREE.pop("SD1", None) or sd1_unet()
    theirs, before = theirs_alone("SD1", name), describe(unet)
    with ExitStack() as their_patch:
        with HighResSession(unet, HighResSettings(**METHODS["HiDiffusion"]), neighbour.size, STEPS) as session:
            session.at_step(1)
            their_patch.enter_context(neighbour.patch(unet, neighbour.size))
        assert near(evaluated(unet, neighbour.size), theirs)
    assert describe(unet) == before
    FREE["SD1"] = unet


@pytest.mark.parametrize("name", [name for name, neighbour in NEIGHBOURS.items() if not neighbour.neutral])
@pytest.mark.parametrize("method", METHODS)
def test_a_neighbour_is_seen_in_the_output(method, name):
    """What the test above compares is neither the plain model's output nor ours without the neighbour."""
    size = NEIGHBOURS[name].size
    assert not near(theirs_alone("SD1", name), plain("SD1", size))
    assert not near(together("SD1", method, name), ours_alone("SD1", method, size))


@pytest.mark.parametrize("neighbour", [token_merging, regions])
@pytest.mark.parametrize(
    ("size", "settings", "yielding"),
    [
        ((17, 13), {}, "shrinking is off"),
        ((16, 24), {"downscale": 0.75}, "shrinking is off"),
        ((16, 24), {"early_out": True}, "shrinking is off"),
        ((16, 24), WITHOUT_SMOOTHING, None),
    ],
)
def test_deep_shrink_beside_those_who_count_tokens(neighbour, size, settings, yielding):
    unet = sd1_unet()
    with neighbour(unet, size):
        alone = evaluated(unet, size)
        with HighResSession(unet, HighResSettings(**METHODS["Deep Shrink"] | settings), size, STEPS) as session:
            session.at_step(1)
            assert torch.equal(evaluated(unet, size), alone) == (yielding is not None)
    assert session.report.active_steps == (() if yielding else (1,))
    assert [line.startswith(yielding) for line in session.report.notes] == ([True] if yielding else [])


def test_a_forward_that_was_put_back_on_the_instance_is_nobodys():
    unet = sd1_unet()
    attention = unet.input_blocks[1][1].transformer_blocks[0].attn2
    attention.forward = type(attention).forward.__get__(attention)
    with HighResSession(unet, HighResSettings(**METHODS["Deep Shrink"]), (17, 13), STEPS) as session:
        session.at_step(1)
        evaluated(unet, (17, 13))
    assert session.report.active_steps == (1,)


def layer_by_layer(block, h, emb, context):
    """As those do who cache what the deeper blocks make: the block itself is not called."""
    for layer in block:
        h = layer(h, context[:1]) if hasattr(layer, "transformer_blocks") else layer(*inputs(layer, h, emb))
    return h


def inputs(layer, h, emb):
    return (h, emb) if hasattr(layer, "emb_layers") else (h,)


def block_by_block(block, h, emb, context):
    return block(h, emb, context)


def running(unet, run):
    """A `forward` of the UNet that runs its blocks in this way."""

    def forward(x, timesteps, context):
        emb = unet.time_embed(timestep_embedding(timesteps, unet.model_channels))
        h, skips = x, []
        for block in unet.input_blocks:
            h = run(block, h, emb, context)
            skips.append(h)
        h = run(unet.middle_block, h, emb, context)
        for block in unet.output_blocks:
            h = run(block, torch.cat([h, skips.pop()], 1), emb, context)
        return unet.out(h)

    return forward


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("run_block", [layer_by_layer, block_by_block])
def test_who_runs_the_layers_of_the_blocks_is_named(method, run_block):
    unet, size = sd1_unet(), (16, 24)
    alone = evaluated(unet, size)
    with own_attribute([unet], "forward", lambda _: running(unet, run_block)):
        assert near(evaluated(unet, size), alone)
        with HighResSession(unet, HighResSettings(**METHODS[method]), size, STEPS) as session:
            session.at_step(1)
            output = evaluated(unet, size)
    skipped = run_block is layer_by_layer
    assert near(output, alone if skipped else ours_alone("SD1", method, size))
    assert (session.active_steps, session.used is None) == (() if skipped else (1,), skipped)
    who = "tests.highres.test_neighbours (which replaces the UNet's forward)"
    assert session.report.notes == skipped * [
        f"nothing is done, because {who} runs the layers of the UNet's blocks itself"
    ]


def test_nobody_is_named_where_the_unet_fails_before_its_blocks():
    unet, size = sd1_unet(), (16, 24)

    def forward(*_args, **_kwargs):
        raise ValueError("before the blocks")

    session = HighResSession(unet, HighResSettings(**METHODS["HiDiffusion"]), size, STEPS)
    with own_attribute([unet], "forward", lambda _: forward), session:
        session.at_step(1)
        with pytest.raises(ValueError, match="before the blocks"):
            evaluated(unet, size)
        session.disown()
    assert (session.active_steps, session.report.notes) == ((), [])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("called", [False, True])
def test_what_acts_is_what_has_run_whatever_happens_to_the_first_block(method, called):
    """No method changes it."""
    unet, size = sd1_unet(), (16, 24)

    def run_block(block, h, emb, context):
        first = len(block) == 1 and isinstance(block[0], nn.Conv2d)
        return (block_by_block if first == called else layer_by_layer)(block, h, emb, context)

    with own_attribute([unet], "forward", lambda _: running(unet, run_block)):
        alone = evaluated(unet, size)
        with HighResSession(unet, HighResSettings(**METHODS[method]), size, STEPS) as session:
            session.at_step(1)
            changed = not near(evaluated(unet, size), alone)
    assert changed is not called
    assert session.active_steps == ((1,) if changed else ())


def test_a_step_on_which_the_changed_blocks_do_not_run_is_none_on_which_the_method_acts():
    """As with one who makes the deeper blocks anew on every other step."""
    unet, size, step = sd1_unet(), (16, 24), 0

    def run_block(block, h, emb, context):
        return (layer_by_layer if step == 1 else block_by_block)(block, h, emb, context)

    session = HighResSession(unet, HighResSettings(**METHODS["HiDiffusion"]), size, STEPS)
    with own_attribute([unet], "forward", lambda _: running(unet, run_block)), session:
        for step in range(3):
            session.at_step(step)
            evaluated(unet, size)
    assert (session.active_steps, session.report.notes) == ((0, 2), [])


@pytest.mark.parametrize("index", [0, 2])
def test_a_stand_in_that_is_exchanged_in_the_middle_of_a_step(index):
    unet = sd1_unet()
    before, block = describe(unet), unet.input_blocks[index]
    with HighResSession(unet, HighResSettings(**METHODS["HiDiffusion"]), (17, 13), STEPS) as session:
        session.at_step(0)
        unet.input_blocks[index] = block
        assert evaluated(unet, (17, 13)).isfinite().all()
        assert session.report.notes == [f"another extension has replaced input_blocks[{index}] in the middle of a step"]
        session.at_step(1)
        assert torch.equal(evaluated(unet, (17, 13)), ours_alone("SD1", "HiDiffusion", (17, 13)))
    assert describe(unet) == before


def test_a_forward_that_was_taken_from_a_stand_in_is_put_back_on_the_block():
    unet = sd1_unet()
    with HighResSession(unet, HighResSettings(**METHODS["HiDiffusion"]), (17, 13), STEPS) as session:
        session.at_step(1)
        original = unet.input_blocks[1].forward
        unet.input_blocks[1].forward = lambda *args: 2 * original(*args)
    assert not near(evaluated(unet, (17, 13)), plain("SD1", (17, 13)))
    unet.input_blocks[1].forward = original
    assert torch.equal(evaluated(unet, (17, 13)), plain("SD1", (17, 13)))


class Box(nn.Module):
    """A block in a box of its own."""

    def __init__(self, block):
        super().__init__()
        self.inner = block

    def forward(self, x, *args, **kwargs):
        return self.inner(x, *args, **kwargs)


@pytest.mark.parametrize("wrapped", [(0,), (0, 1)])
def test_a_transformer_block_in_a_box_is_left_alone_and_all_else_acts(wrapped):
    """SDXL's deeper stack has two that get windows, side by side."""
    unet, size = sdxl_unet(), (16, 24)
    stack = unet.input_blocks[4][1].transformer_blocks
    for index in wrapped:
        stack[index] = Box(stack[index])
    with HighResSession(unet, HighResSettings(**METHODS["HiDiffusion"]), size, STEPS) as session:
        session.at_step(1)
        ours = evaluated(unet, size)
    assert session.report.notes == [
        "window attention left a transformer block of input_blocks[4] alone: another extension has replaced it"
    ]
    assert not near(ours, ours_alone("SDXL", "HiDiffusion", size))
    assert not near(ours, run(unet, METHODS["HiDiffusion"] | {"window_attention": False}, size))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrap", [lambda _, twin: twin, lambda block, _: Box(block), lambda _, twin: Box(twin)])
@pytest.mark.parametrize("started", [False, True])
def test_blocks_that_are_exchanged_between_steps_are_followed(method, wrap, started):
    """By copies, which have windows and sizes of their own, or by boxes around them."""
    unet, size = sd1_unet(), (17, 13)
    with HighResSession(unet, HighResSettings(**METHODS[method]), size, STEPS) as session:
        if started:
            session.at_step(0)
        blocks = {side: getattr(unet, f"{side}_blocks") for side in ("input", "output")}
        for side, twins in (("input", copy.deepcopy(unet.input_blocks)), ("output", copy.deepcopy(unet.output_blocks))):
            for index in (1, 2, 5, 8):
                blocks[side][index] = wrap(blocks[side][index], twins[index])
        session.at_step(1)
        assert near(evaluated(unet, size), ours_alone("SD1", method, size))
    assert remove(unet) == 0
    assert torch.equal(evaluated(unet, size), plain("SD1", size))


def test_all_acts_inside_of_boxed_blocks():
    """They were there before: the model is known for what it is."""
    unet, size = sd1_unet(), (16, 24)
    for blocks in (unet.input_blocks, unet.output_blocks):
        for index in (0, 1, 2, 3, 8):
            blocks[index] = Box(blocks[index])
    assert near(run(unet, METHODS["HiDiffusion"], size), ours_alone("SD1", "HiDiffusion", size))


def test_those_who_count_tokens_are_found_in_boxes_and_behind_partials():
    unet, size = sd1_unet(), (17, 13)
    for block in transformers(unet):
        block.attn2.forward = functools.partial(regional, block.attn2.forward)
    for stack in [module for module in unet.modules() if hasattr(module, "transformer_blocks")]:
        stack.transformer_blocks[0] = Box(stack.transformer_blocks[0])
    alone = evaluated(unet, size)
    with HighResSession(unet, HighResSettings(**METHODS["Deep Shrink"]), size, STEPS) as session:
        session.at_step(1)
        assert torch.equal(evaluated(unet, size), alone)
    assert session.report.active_steps == ()
    assert session.report.notes[0].startswith(
        "shrinking is off, because tests.highres.test_neighbours (which replaces the forward of cross-attention)"
    )


def regional(original, x, context, *args, **kwargs):
    """The second half of the tokens sees the text from behind."""
    half = (torch.arange(x.shape[1]) < x.shape[1] // 2)[:, None]
    return torch.where(half, original(x, context), original(x, context.flip(1) * 2))


def flips_in_between(state, attention, x, context):
    """Another text every other call, as one does that tells the prompt from the negative one by counting calls."""
    global calls_in_all  # noqa: PLW0603 (as others do)
    state.count += 1
    state.sizes = (*getattr(state, "sizes", ()), x.shape[1])
    calls_in_all += 1
    return type(attention).forward(attention, x, context if state.count % 2 else context.flip(1))


calls_in_all = 0


def recording(attention):
    """As self-attention guidance does, which makes an image of the map."""

    def forward(x, context=None, mask=None):
        MAPS.append(x.shape[1])
        return type(attention).forward(attention, x, context)

    return forward


MAPS = []


@pytest.mark.parametrize(
    ("settings", "left", "off"),
    [
        (METHODS["HiDiffusion"], {"raunet": False}, ["strided downsampler", "pool"]),
        ({"preset": "Paper", "method": "Deep Shrink"}, None, ["shrinking"]),
        ({"preset": "Paper", "raunet": False}, {}, []),
    ],
)
@pytest.mark.parametrize("family", MAKES)
def test_the_map_that_another_reads_keeps_its_size(family, settings, left, off):
    """What shrinks yields, and windows act."""
    unet, size = MAKES[family](), (16, 24)
    attention = next(module.attn1 for module in unet.middle_block.modules() if hasattr(module, "attn1"))
    expected = plain(family, size) if left is None else run(unet, settings | left, size)
    with own_attribute([attention], "forward", recording):
        MAPS.clear()
        evaluated(unet, size)
        with HighResSession(unet, HighResSettings(**settings), size, STEPS) as session:
            session.at_step(1)
            assert near(evaluated(unet, size), expected)
    assert len(set(MAPS)) == 1
    why = "because tests.highres.test_neighbours reads the map of middle_block's self-attention"
    assert [f"{part} is off, {why}" for part in off] == session.report.notes
    assert session.report.active_steps == (() if left is None else (1,))


class Counter:
    count = 0

    def forward(self, attention, x, context=None):
        return flips_in_between(self, attention, x, context)


def closing_over(state, attention):
    return lambda x, context=None: flips_in_between(state, attention, x, context)


def bound_to(state, attention):
    return functools.partial(state.forward, attention)


@pytest.mark.parametrize("made", [closing_over, bound_to])
def test_asking_leaves_what_others_count_as_it_was(made):
    unet, size, state = sd1_unet(), (17, 13), Counter()
    for block in transformers(unet):
        block.attn2.forward = made(state, block.attn2)
    state.count, before = 5, calls_in_all
    blocks = {Place("input", 1): unet.input_blocks[1]}
    (found,) = replaced_attention(blocks.items())
    found.counts_tokens((9, 4), latents(size, batch=2))
    assert vars(state) == {"count": 5}
    assert calls_in_all == before


class Store:
    """Keeps maps as those do who show which word is where: lists in a dict, a sum, a set of sizes, a count."""

    def __init__(self):
        self.maps, self.total, self.sizes = {"down": [], "up": [0]}, torch.zeros(2), {7}
        self.counts = collections.Counter(layers=5)

    def forward(self, attention, x, context=None):
        self.maps["down"].append(x)
        self.maps[x.shape[1]] = [x]
        self.total += x.abs().sum()
        self.sizes.add(x.shape[1])
        FILLED.append(x)
        return type(attention).forward(attention, x, context)


FILLED = []


def test_asking_leaves_what_others_fill_as_it_was():
    unet, store = sd1_unet(), Store()
    attention = unet.input_blocks[1][1].transformer_blocks[0].attn2
    number = 0

    def forward(x, context=None):
        nonlocal number
        number += 1
        torch.randn(1)
        return store.forward(attention, x, context)

    attention.forward = functools.partial(lambda own, *args, **more: own(*args, **more), forward)
    random_state = torch.get_rng_state()
    lists = store.maps["down"], store.maps["up"]
    (found,) = replaced_attention([(Place("input", 1), unet.input_blocks[1])])
    assert not found.counts_tokens((9, 4), latents((4, 4), batch=2))
    assert store.maps == {"down": [], "up": [0]}
    assert (store.maps["down"] is lists[0], store.maps["up"] is lists[1]) == (True, True)
    assert (store.total.tolist(), store.sizes, FILLED, number) == ([0, 0], {7}, [], 0)
    assert store.counts == {"layers": 5}
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("place", [Place("input", 4), Place("output", 3), Place("output", 8), None])
@pytest.mark.parametrize("known", [False, True])
def test_one_who_counts_in_a_single_block_is_found(place, known):
    """One function in every block, which does another thing in that one, or in the middle block (None).

    Perhaps only at the number of tokens that the block has without the shrinking.
    """
    unet, size = sd1_unet(), (17, 13)

    def forward(attention, x, context):
        output = type(attention).forward(attention, x, context)
        if attention not in counting or (known and x.shape[1] not in usual):
            return output
        return output * torch.linspace(0, 1, x.shape[1])[:, None]

    for block in transformers(unet):
        block.attn2.forward = functools.partial(forward, block.attn2)
    counting = {block.attn2 for block in transformers(blocks_of(unet)[place] if place else unet.middle_block)}
    assert counting
    usual = {-(-17 // 2**level) * -(-13 // 2**level) for level in range(4)}
    alone = evaluated(unet, size)
    with HighResSession(unet, HighResSettings(**METHODS["Deep Shrink"]), size, STEPS) as session:
        session.at_step(1)
        assert torch.equal(evaluated(unet, size), alone)
    assert session.active_steps == ()


@pytest.mark.parametrize(
    ("forward", "counts"),
    [
        (lambda own, x, context: own(x, context), False),
        (lambda own, x, context: own(x, context) * 1.5 + 0.1, False),
        (lambda own, x, context: own(x[:, torch.arange(x.shape[1]).flip(0)], context).flip(1), False),
        (lambda own, x, context: own(x, context) * torch.linspace(0, 1, x.shape[1])[:, None], True),
        (lambda own, x, context: own(x, context) + torch.zeros(1, 4, 1), True),
        (lambda own, x, context: own(x, context) * x.shape[1], True),
        (lambda own, x, context: own(x, context)[:, :4], True),
        (lambda own, x, context: own(x, context).reshape(len(x), 3, -1, x.shape[-1]).flatten(1, 2), True),
        (lambda own, x, context: own(x, context) * torch.nan, True),
        (lambda own, x, context: own(x, context).missing, True),
    ],
)
@pytest.mark.parametrize("rows", [1, 3])
def test_what_counts_tokens(forward, counts, rows):
    unet = sd1_unet()
    attention = unet.input_blocks[1][1].transformer_blocks[0].attn2
    attention.forward = functools.partial(forward, attention.forward)
    (found,) = replaced_attention([(Place("input", 1), unet.input_blocks[1])])
    assert found.counts_tokens((9, 4), latents((4, 4), batch=rows)) is counts


def handed_on(module):
    """A `forward` of its own that changes nothing, as a hook of accelerate's leaves it."""
    module.forward = functools.partial(module.forward)


def test_a_partial_of_cross_attentions_own_forward_is_nobodys():
    unet = sd1_unet()
    for block in transformers(unet):
        handed_on(block.attn2)
    assert replaced_attention(blocks_of(unet).items()) == ()


def test_no_cross_attention_counts_nothing():
    unet = sd1_unet()
    for block in transformers(unet):
        block.attn2 = None
    assert replaced_attention(blocks_of(unet).items()) == ()


def test_a_transformer_block_without_self_attention_is_left_alone():
    unet, size = sd1_unet(), (16, 24)
    block = unet.input_blocks[1][1].transformer_blocks[0]
    block.attn1, block._forward = None, lambda x, context=None: x
    with HighResSession(unet, HighResSettings(**METHODS["HiDiffusion"]), size, STEPS) as session:
        session.at_step(1)
        assert evaluated(unet, size).isfinite().all()
    assert session.report.notes == [
        "window attention left a transformer block of input_blocks[1] alone: another extension has replaced it"
    ]


def compiled_upsampler(upsampler):
    upsampler.compile(backend="eager")


@pytest.mark.parametrize("change", [handed_on, compiled_upsampler])
@pytest.mark.parametrize("size", [(16, 24), (17, 13)])
def test_an_upsampler_that_another_has_changed_runs_as_it_is(change, size):
    unet = sd1_unet()
    for block in (unet.output_blocks[2], unet.output_blocks[8]):
        change(block[-1])
    assert torch.equal(run(unet, METHODS["HiDiffusion"], size), ours_alone("SD1", "HiDiffusion", size))


@pytest.mark.parametrize("size", [(5, 7), (8, 8), (17, 16), None])
def test_an_upsamplers_own_forward_acts(size):
    """Twice what it would give: by hand, one resize from the input to the size, and the convolution."""
    upsampler, h, unused = sd1_unet().output_blocks[8][-1], torch.randn(1, 64, 4, 4), []
    own = upsampler.forward
    upsampler.forward = lambda h: 2 * own(h)
    expected = 2 * upsampler.conv(nn.functional.interpolate(h, size or (8, 8), mode="nearest"))
    with upsampling_to(upsampler, lambda: size, lambda: unused.append(1)):
        assert torch.equal(upsampler(h), expected)
    assert torch.equal(upsampler(h), 2 * own(h))
    with upsampling_to(upsampler, lambda: size, lambda: unused.append(1)):
        pass
    assert unused == [1]


class Lookalike(nn.Module):
    """A block that runs something else than what it holds, or shows nothing of what it runs."""

    def __init__(self, block, holds):
        super().__init__()
        self.held, self.runs = block if holds else None, [copy.deepcopy(block)]

    def forward(self, *args, **kwargs):
        return self.runs[0](*args, **kwargs)


EXCHANGED = "another extension has replaced it"


@pytest.mark.parametrize(
    ("side", "index", "holds", "note"),
    [
        ("input", 1, True, "window attention left a block alone: another extension runs something else in its place"),
        ("input", 1, False, f"window attention left a transformer block of input_blocks[1] alone: {EXCHANGED}"),
        ("output", 8, True, "another extension runs something other than the upsampler of output_blocks[8]"),
        ("output", 5, False, "another extension runs something other than the upsampler of output_blocks[5]"),
    ],
)
@pytest.mark.parametrize("started", [False, True])
def test_a_block_that_does_not_run_what_it_holds_is_told_of(side, index, holds, note, started):
    unet, size = sd1_unet(), (17, 13)
    blocks = getattr(unet, f"{side}_blocks")
    with HighResSession(unet, HighResSettings(**METHODS["HiDiffusion"]), size, STEPS) as session:
        if started:
            session.at_step(0)
            evaluated(unet, size, 0)
            assert session.report.notes == []
        blocks[index] = Lookalike(blocks[index], holds)
        session.at_step(1)
        evaluated(unet, size)
    assert session.report.notes == [note]


def test_an_extra_block_is_left_alone():
    unet, size = sd1_unet(), (16, 24)
    with HighResSession(unet, HighResSettings(**METHODS["HiDiffusion"]), size, STEPS) as session:
        unet.output_blocks.append(nn.Identity())
        session.at_step(1)
        assert type(unet.output_blocks[-1]) is nn.Identity


def test_attention_that_is_called_by_name_gets_windows():
    unet, size = sd1_unet(), (16, 24)
    with (
        own_attribute(transformers(unet), "_forward", by_name),
        HighResSession(unet, HighResSettings(**METHODS["HiDiffusion"]), size, STEPS) as session,
    ):
        session.at_step(1)
        assert torch.equal(evaluated(unet, size), ours_alone("SD1", "HiDiffusion", size))


def by_name(block):
    def forward(x, context=None):
        x = block.attn1(x=block.norm1(x), context=None) + x
        x = block.attn2(block.norm2(x), context=context) + x
        return block.ff(block.norm3(x)) + x

    return forward
