"""HiDiffusion beside what the WebUI itself puts on the same model: each alone, both, and nothing is left behind."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from tests.live.client import generate, options, same

METHODS = {
    "HiDiffusion": {"preset": "Paper"},
    "Deep Shrink": {"method": "Deep Shrink", "preset": "Manual", "s1": 0.75},
}
NEIGHBOURS = {
    "HyperTile": ({"hypertile_enable_unet": True}, {}),
    "token merging": ({"token_merging_ratio": 0.5}, {}),
    "tiling": ({}, {"tiling": True}),
    "everything": ({"hypertile_enable_unet": True, "token_merging_ratio": 0.5}, {"tiling": True}),
}


@contextmanager
def beside(name):
    """The fields of a request, while the settings are those of the neighbour."""
    settings, fields = NEIGHBOURS[name]
    with options(settings):
        yield fields


EVEN, ODD = (256, 256), (264, 200)


@pytest.mark.parametrize("size", [EVEN, ODD])
@pytest.mark.parametrize("name", NEIGHBOURS)
@pytest.mark.parametrize("method", METHODS)
def test_both(method, name, size):
    with beside(name) as theirs:
        fields = {"width": size[0], "height": size[1], **theirs}
        both, _ = generate(METHODS[method], **fields)
        assert both[0].shape[:2] == size[::-1]
        assert same(generate(METHODS[method], **fields)[0], both)
        yields = (method, size) == ("Deep Shrink", ODD) and name in ("token merging", "everything")
        assert same(generate(**fields)[0], both) == yields, "who merges tokens divides sizes, so these must be even"


@pytest.mark.parametrize("name", ["HyperTile", "token merging"])
def test_window_attention_gives_way(name):
    """The image is that of the method without windows."""
    settings = METHODS["HiDiffusion"]
    with beside(name) as fields:
        without = generate(settings | {"window_attention": False}, **fields)[0]
        assert same(generate(settings, **fields)[0], without)
    assert not same(generate(settings, **fields)[0], without)
