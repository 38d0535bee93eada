"""A stand-in is the block to everybody else, and the block comes back."""

from __future__ import annotations

import copy
import gc
import io
import sys
import types
import weakref

import pytest
import torch

from lib_fewstep.unet import Place, Scaler, Scaling, install, installed, remove
from lib_fewstep.unet.compiled import running_uncompiled
from tests.unets import call, contexts, describe, latents, sd1_unet, sdxl_unet

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
        assert repr(scaler[:1]) == repr(block[:1])
        assert repr(scaler) == repr(block)
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
    assert not any(hasattr(block.fewstep_block, "fewstep_block") for block in unet.input_blocks)
    assert remove(unet) == 24
    assert remove(unet) == 0
    assert describe(unet) == before


def test_stand_ins_are_in_place_until_one_is_exchanged():
    unet = sd1_unet()
    scalers = install(unet, everywhere(unet))
    assert installed(unet, scalers)
    unet.input_blocks[3] = unet.input_blocks[3].fewstep_block
    assert not installed(unet, scalers)
    assert installed(unet, {place: scaler for place, scaler in scalers.items() if place != Place("input", 3)})


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


def test_the_classs_own_forward_can_be_called():
    """As a method that is bound to the instance does which goes on to its class's."""
    unet = sd1_unet()
    plain = call(unet, latents((16, 16)), contexts())
    install(unet, everywhere(unet))
    for block in unet.input_blocks:
        block.forward = types.MethodType(lambda self, *args: type(self).forward(self, *args), block)
    assert torch.equal(call(unet, latents((16, 16)), contexts()), plain)
    remove(unet)
    assert torch.equal(call(unet, latents((16, 16)), contexts()), plain)


def test_a_block_can_be_called_by_name():
    unet = sd1_unet()
    given = {"emb": torch.randn(1, 128), "context": torch.randn(1, 7, 64)}
    scaler, x = Scaler(unet.input_blocks[1], Scaling(after=(lambda x: 2 * x,))), torch.randn(1, 32, 8, 8)
    with torch.no_grad():
        assert torch.equal(scaler(x=x, **given), 2 * unet.input_blocks[1](x, **given))


def doubling(module, _args, output):
    return 2 * output


def marked(block):
    """Another extension's, which knows by a mark of its own whether it is there."""
    if not hasattr(block, "_original"):
        block._original = block.forward
        block.forward = lambda *args: 2 * block._original(*args)


def unmarked(block):
    block.forward = block._original
    del block._original


def test_what_others_set_on_a_stand_in_is_the_blocks():
    unet = sd1_unet()
    plain = call(unet, latents((16, 16)), contexts())
    for _ in range(3):
        install(unet, everywhere(unet))
        marked(unet.input_blocks[1])
        once = call(unet, latents((16, 16)), contexts())
        remove(unet)
        assert torch.equal(call(unet, latents((16, 16)), contexts()), once), "it has stayed"
    assert not torch.equal(once, plain)
    install(unet, everywhere(unet))
    unmarked(unet.input_blocks[1])
    assert torch.equal(call(unet, latents((16, 16)), contexts()), plain)
    remove(unet)
    assert torch.equal(call(unet, latents((16, 16)), contexts()), plain)
    assert not hasattr(unet.input_blocks[1], "_original")


def test_whatever_changes_on_a_stand_in_changes_the_block():
    unet = sd1_unet()
    install(unet, everywhere(unet))
    stand_in, block = unet.input_blocks[1], unet.input_blocks[1].fewstep_block
    other = type("Other", (type(block),), {"more": lambda self: "more"})
    handle = stand_in.register_forward_hook(doubling)
    stand_in.add_module("last", torch.nn.Identity())
    unet.train(mode=not unet.training)
    stand_in.__class__ = other
    assert stand_in.more() == "more"
    assert type(stand_in) is not other
    remove(unet)
    assert unet.input_blocks[1] is block
    assert type(block) is other
    assert list(block._modules) == ["0", "1", "last"]
    assert all(module.training == unet.training for module in unet.modules())
    assert list(block._forward_hooks.values()) == [doubling]
    handle.remove()
    assert not block._forward_hooks


def test_a_shallow_copy_is_another_block():
    block = sd1_unet().input_blocks[1]
    copied = copy.copy(Scaler(block, Scaling()))
    assert type(copied) is type(block)
    assert copied is not block


def test_a_wrapper_that_hands_on_what_it_does_not_have_is_none_of_ours():
    class Wrapper(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, *args):
            return 3 * self.inner(*args)

        def __getattr__(self, name):
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(self.inner, name)

    unet = sd1_unet()
    block = unet.input_blocks[1]
    install(unet, everywhere(unet))
    stand_in = unet.input_blocks[1]
    wrapper = unet.input_blocks[1] = Wrapper(stand_in)
    assert remove(unet) == 24
    assert unet.input_blocks[1] is wrapper
    assert wrapper.inner is block
    assert stand_in.fewstep_scaling == Scaling()
    assert "fewstep_scaling" not in vars(wrapper)


def test_a_module_with_an_answer_to_everything_is_none_of_ours():
    class Answers(torch.nn.Identity):
        def __getattr__(self, name):
            return None

    unet = sd1_unet()
    unet.input_blocks[1].append(Answers())
    assert remove(unet) == 0


def test_a_class_that_somebody_made_is_not_kept():
    kind = type("Made", (torch.nn.Sequential,), {})
    Scaler(kind(), Scaling())
    known = weakref.ref(kind)
    del kind
    gc.collect()
    assert known() is None


def test_a_module_that_looks_compiled_and_is_not_is_left_alone():
    unet = sd1_unet()
    block = unet.input_blocks[1]
    block._modules["_orig_mod"] = torch.nn.Identity()
    with running_uncompiled(block):
        assert "forward" not in vars(block)
