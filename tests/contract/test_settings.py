"""Settings of the host and of extensions."""

from __future__ import annotations

import json
from typing import Any

import gradio
import pytest

from tests.contract.helpers import (
    SMALL,
    loaded,
    module,
    script,
    watched,
)


class TestSettings:
    def test_an_extension_adds_its_own(self, host: Any) -> None:
        opts = host.shared.opts
        assert (opts.mine_depth, opts.mine_on) == (3, True)
        assert opts.data["mine_depth"] == 3
        assert "how deep" in opts.data_labels["mine_depth"].comment_after
        assert (type(host.settings["mine_depth"]), host.settings["mine_on"].value) == (gradio.Slider, True)
        assert host.settings["mine_depth"].elem_id == "setting_mine_depth"
        assert [opts.set("mine_on", value) for value in (False, False, True)] == [True, False, True]
        assert script("settings").module.calls == [False, True]
        assert (opts.get_default("mine_depth"), opts.get_default("nothing")) == (3, None)
        assert (opts.cast_value("mine_depth", "7"), opts.cast_value("mine_on", "False")) == (7, False)
        opts.save(host.shared.config_filename)
        assert json.loads((host.data_path / "config.json").read_text())["mine_depth"] == 3

    def test_what_onchange_raises_takes_the_change_back(self, host: Any) -> None:
        opts = host.shared.opts
        with pytest.raises(ZeroDivisionError):
            opts.onchange("rho", lambda: 1 / 0)
        assert opts.set("rho", 3.0) is False
        assert (opts.rho, len(host.errors)) == (None, 1)  # what was stored before: nothing
        with pytest.raises(KeyError):
            opts.set("nothing", 1)

    def test_overrides_hold_for_one_job(self, host: Any) -> None:
        opts = host.shared.opts
        opts.add_option("mine", module("options").OptionInfo(1, "Mine", section=("a", "A")))
        assert set(watched(host, lambda: opts.mine, override_settings={"mine": 2})) == {2}
        assert opts.mine == 1
        seen = watched(host, lambda: loaded(host))
        assert set(seen) == {"sd1"}
        names = {"sd_model_checkpoint": "sd1-other"}
        seen = watched(host, lambda: loaded(host), override_settings=names)
        assert set(seen) == {"sd1-other"}
        assert host.txt2img(**SMALL, override_settings={"sd_model_checkpoint": "nobody"}).p.override_settings == {}
