"""A stand-in is the block to everybody else, and the block comes back."""

from __future__ import annotations

import copy
import io
import sys

import pytest
import torch

from lib_fewstep.unet import Place, Scaler, Scaling, install, remove
from tests.models import call, contexts, describe, latents, sd1_unet, sdxl_unet

MAKES = [sd1_unet, sdxl_unet]


def everywhere(unet):
    sides = {"input": unet.input_blocks, "output": unet.output_blocks}
    return {Place(side, index): Scaling() for side, blocks in sides.items() for index in range(len(blocks))}


@pytest.mark.parametrize("make", MAKES)
def test_names_and_keys_are_the_same(make):
    unet = make()
    names, keys = [name for name, _ in unet.named_modules()], list(unet.state_dict())
    parameters = {name: id(weight) for name, weight in unet.named_parameters()}
    install(unet, everywhere(unet))
    assert [name for name, _ in unet.named_modules()] == names
    assert list(unet.state_dict()) == keys
    assert {name: id(weight) for name, weight in unet.named_parameters()} == parameters


@pytest.mark.parametrize("make", MAKES)
def test_an_in_place_reload_reaches_every_weight(make):
    unet, other = make(seed=0), make(seed=1)
    install(unet, everywhere(unet))
    result = unet.load_state_dict(other.state_dict(), strict=False)
    assert not result.missing_keys
    assert not result.unexpected_keys
    remove(unet)
    assert torch.equal(call(unet, latents((16, 16)), contexts()), call(other, latents((16, 16)), contexts()))


@pytest.mark.parametrize("make", MAKES)
def test_it_looks_like_the_block(make):
    unet = make()
    for place in everywhere(unet):
        blocks = getattr(unet, f"{place.side}_blocks")
        block = blocks[place.index]
        install(unet, {place: Scaling()})
        scaler = blocks[place.index]
        assert scaler is not block
        assert isinstance(scaler, type(block))
        assert list(scaler) == list(block)
        assert len(scaler) == len(block)
        assert scaler[0] is block[0]
        assert scaler[-1] is block[-1]
        assert repr(scaler).split("(", 1)[1] == repr(block).split("(", 1)[1]
        remove(unet)
        assert blocks[place.index] is block


@pytest.mark.parametrize("make", MAKES)
def test_without_changes_the_output_is_the_same(make):
    unet = make()
    plain = call(unet, latents((16, 24)), contexts())
    install(unet, everywhere(unet))
    assert torch.equal(call(unet, latents((16, 24)), contexts()), plain)


def test_changes_and_contexts_run_in_order():
    unet = sd1_unet()
    block, h = unet.input_blocks[1], torch.randn(1, 32, 8, 8)
    emb, context = torch.randn(1, 128), torch.randn(1, 7, 64)
    order = []

    class Around:
        def __init__(self, seen):
            order.append(("around", tuple(seen.shape)))

        def __enter__(self):
            order.append("enter")

        def __exit__(self, *error):
            order.append("leave")

    double = Scaling(before=(lambda x: torch.cat([x, x], -1),), around=(Around,), after=(lambda x: x[..., :4],))
    again = Scaling(after=(lambda x: order.append("after") or x,))
    with torch.no_grad():
        out = Scaler(block, double + again)(h, emb, context)
        expected = block(torch.cat([h, h], -1), emb, context)[..., :4]
    assert torch.equal(out, expected)
    assert order == [("around", (1, 32, 8, 16)), "enter", "leave", "after"]


def test_installing_twice_and_removing_twice_is_harmless():
    unet = sd1_unet()
    before = describe(unet)
    install(unet, everywhere(unet))
    install(unet, everywhere(unet))
    assert all("fewstep_block" not in vars(vars(block)["fewstep_block"]) for block in unet.input_blocks)
    assert remove(unet) == 24
    assert remove(unet) == 0
    assert describe(unet) == before


def test_a_place_that_does_not_exist_installs_nothing():
    unet = sd1_unet()
    before = describe(unet)
    with pytest.raises(IndexError):
        install(unet, {Place("input", 1): Scaling(), Place("input", 12): Scaling()})
    assert describe(unet) == before


def test_blocks_left_by_an_earlier_import_are_found():
    unet = sd1_unet()
    before = describe(unet)
    ours = {name: module for name, module in sys.modules.items() if name.startswith("lib_fewstep")}
    for name in ours:
        del sys.modules[name]
    try:
        import lib_fewstep.unet as earlier

        assert earlier.Scaler is not Scaler
        earlier.install(unet, {earlier.Place(place.side, place.index): earlier.Scaling() for place in everywhere(unet)})
    finally:
        sys.modules.update(ours)
    assert remove(unet) == 24
    assert describe(unet) == before


def test_one_on_top_of_another_is_taken_down_to_the_block():
    unet = sd1_unet()
    block = unet.input_blocks[1]
    unet.input_blocks[1] = Scaler(Scaler(block, Scaling()), Scaling())
    remove(unet)
    assert unet.input_blocks[1] is block


def test_one_that_somebody_kept_does_nothing_after_removal():
    unet = sd1_unet()
    plain = call(unet, latents((16, 16)), contexts())
    install(unet, {Place("input", 1): Scaling(before=(lambda h: h * 2,))})
    kept = unet.input_blocks[1]
    assert not torch.equal(call(unet, latents((16, 16)), contexts()), plain)
    remove(unet)
    unet.input_blocks[1] = kept
    assert torch.equal(call(unet, latents((16, 16)), contexts()), plain)


def test_the_blocks_own_hooks_run_once_and_see_the_block():
    """Low-VRAM modes move blocks by forward pre-hooks."""
    unet = sd1_unet()
    block, seen = unet.input_blocks[1], []
    block.register_forward_pre_hook(lambda module, _: seen.append(module))
    install(unet, everywhere(unet))
    call(unet, latents((16, 16)), contexts())
    assert len(seen) == 1
    assert seen[0] is block


def test_a_forward_that_another_extension_put_on_the_block_still_runs():
    unet = sd1_unet()
    block, calls = unet.input_blocks[1], []
    original = block.forward
    block.forward = lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs)
    install(unet, everywhere(unet))
    call(unet, latents((16, 16)), contexts())
    assert calls == [1]


def test_a_saved_model_with_stand_ins_has_the_blocks():
    unet = sd1_unet()
    plain = call(unet, latents((16, 16)), contexts())
    install(unet, everywhere(unet))
    file = io.BytesIO()
    torch.save(unet, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert remove(loaded) == 0
    assert torch.equal(call(loaded, latents((16, 16)), contexts()), plain)


def test_a_copy_of_a_model_with_stand_ins_works():
    unet = sd1_unet()
    plain = call(unet, latents((16, 16)), contexts())
    install(unet, everywhere(unet))
    twin = copy.deepcopy(unet)
    assert remove(twin) == 0
    assert torch.equal(call(twin, latents((16, 16)), contexts()), plain)
