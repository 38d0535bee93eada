"""X/Y/Z plots."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.contract.helpers import (
    SMALL,
    act,
    applied,
    loaded,
    recorded,
    script,
)
from tests.webui import standin


def act_on_axis(label: str, action: Any) -> None:
    """Have an axis of the extension do something, for one test."""
    script("axes").module.actions[label] = action


class TestXYZ:
    def test_cells(self, host: Any) -> None:
        cells = host.xyz({"Seed": "1, 2", "Steps": "2, 3"}, **SMALL)
        assert [(cell.p.seed, cell.p.steps) for cell in cells] == [(1, 2), (1, 3), (2, 2), (2, 3)]
        assert [len(recorded(name)) for name in ("setup", "before_process", "postprocess")] == [1, 4, 4]
        assert torch.equal(cells[3].latents, host.txt2img(**{**SMALL, "seed": 2, "steps": 3}).latents)

    def test_an_axis_of_an_extension(self, host: Any) -> None:
        assert [cell.p.mine for cell in host.xyz({"My float": "0.5,1"}, **SMALL)] == [0.5, 1.0]

    def test_a_reload_makes_the_axes_anew(self, host: Any) -> None:
        before = [axis.label for axis in script("xyz_grid").module.axis_options]
        host.reload_ui()
        assert [axis.label for axis in script("xyz_grid").module.axis_options] == before

    def test_a_cell_that_fails_is_reported(self, host: Any) -> None:
        host.fault(block=3, launch=0)
        cells = host.xyz({"Seed": "1, 2"}, **SMALL)
        assert [cell.status for cell in cells] == [500, 200]
        assert len(host.errors) == 1


class TestPlots:
    @pytest.mark.parametrize(
        ("label", "text", "values"),
        [
            ("Mine", 'a, "b, c" ,d', ["a", "b, c", "d"]),
            ("Mine", "a,,b", ["a", "", "b"]),
            ("My int", "1-5", [1, 2, 3, 4, 5]),
            ("My int", "1-5 (+2), 9", [1, 3, 5, 9]),
            ("My int", "10-5 (-3)", [10, 7]),
            ("My int", "1-10 [4]", [1, 4, 7, 10]),
            ("My int", "-1", [-1]),
            ("My int", "1, , 2", [1, 2]),
            ("My float", "0.5, 1-2", [0.5, 1.0, 2.0]),
            ("My float", "1-2 (+0.5)", [1.0, 1.5, 2.0]),
            ("My float", "0-1 [3]", [0.0, 0.5, 1.0]),
            ("My prepared", "a, b; c", ["a, b", " c"]),
        ],
    )
    def test_values(self, host: Any, label: str, text: str, values: list[Any]) -> None:
        host.xyz({label: text}, **{**SMALL, "steps": 1})
        assert applied() == [(value, values) for value in values]

    def test_choices_come_as_a_list_or_as_text(self, host: Any) -> None:
        host.xyz({"My choice": ["c", "a, b"], "Steps": "1"}, **SMALL)
        host.xyz({"My choice": "c", "Steps": "1"}, **SMALL)
        assert [value for value, _ in applied()] == ["c", "a, b", "C"]

    def test_all_values_are_confirmed_first(self, host: Any) -> None:
        with pytest.raises(RuntimeError, match=r"\[1, 2\] of seed 1"):
            host.xyz({"Mine": "a", "My refused": "1-2"}, **SMALL)
        assert (applied(), host.probe.jobs, host.shared.state.job_count) == ([], [], 0)
        with pytest.raises(ValueError, match="invalid literal"):
            host.xyz({"Seed": "1, x"}, **SMALL)
        with pytest.raises(RuntimeError, match="Nobody"):
            host.xyz({"Sampler": "Nobody"}, **SMALL)

    def test_no_values_make_no_images(self, host: Any) -> None:
        assert host.xyz({"Steps": " ", "Seed": "1, 2"}, **SMALL) == []
        assert host.probe.jobs == []

    def test_what_an_axis_raises_ends_the_plot(self, host: Any) -> None:
        with pytest.raises(RuntimeError, match="dog"):
            host.xyz({"Mine": "a, b", "Prompt S/R": "dog, cat"}, **SMALL)
        assert (len(applied()), host.probe.jobs, host.errors) == (1, [], [])

    def test_the_order_of_the_host(self, host: Any) -> None:
        state, order = host.shared.state, []
        act_on_axis("Mine", lambda p, x, xs: order.append((p.seed, p.steps, x, state.job)))
        cells = host.xyz({"Seed": "1, 2", "Steps": "1, 2", "Mine": "a, b"}, **SMALL)
        places = [(seed, steps, mine) for mine in "ab" for steps in (1, 2) for seed in (1, 2)]
        assert order == [(*place, f"{number} out of 8") for number, place in enumerate(places, 1)]
        assert [(cell.p.seed, cell.p.steps, cell.labels[2]) for cell in cells] == [
            (seed, steps, f"Mine: {mine}") for seed in (1, 2) for steps in (1, 2) for mine in "ab"
        ]

    def test_a_costly_axis_is_outermost(self, host: Any) -> None:
        host.xyz({"My costly": "a, b", "Steps": "1, 2"}, **SMALL)
        assert [value for value, _ in applied()] == ["a", "a", "b", "b"]
        cells = host.xyz({"Checkpoint name": "sd1, sd1-other", "Steps": "1, 2"}, **SMALL)
        assert ["Model: sd1-other" in cell.infotexts[0] for cell in cells] == [False, False, True, True]
        assert loaded(host) == "sd1"

    def test_labels(self, host: Any) -> None:
        (cell,) = host.xyz({"My label": "a", "CFG Scale": "1.123456789", "Sampler": "Heun"}, **SMALL)
        assert cell.labels == ["<a>", "CFG Scale: 1.12345679", "Heun"]

    def test_seeds_by_chance_are_the_same_in_all_cells(self, host: Any) -> None:
        cells = host.xyz({"Steps": "1, 2"}, **{**SMALL, "seed": -1})
        assert cells[0].p.seed == cells[1].p.seed >= 0
        cells = host.xyz({"Seed": "-1, -1"}, **{**SMALL, "steps": 1})
        assert cells[0].p.seed != cells[1].p.seed

    def test_the_state_knows_the_axes(self, host: Any) -> None:
        state, bar = host.shared.state, host.shared.total_tqdm
        seen: list[Any] = []
        act(process=lambda p, *args: seen.append((state.job_count, bar._tqdm.total, state.xyz_plot_x.values)))
        host.xyz({"Steps": "1, 2", "Seed": "1-3"}, **SMALL, n_iter=2)
        assert seen == 6 * [(12, 18, [1, 2])]
        assert (state.xyz_plot_y.axis.label, state.xyz_plot_y.values) == ("Seed", [1, 2, 3])
        assert (state.xyz_plot_z.axis.label, state.xyz_plot_z.values) == ("Nothing", [0])
        host.txt2img(**SMALL)
        assert state.xyz_plot_x.axis.label == "Steps"  # for good

    def test_cells_share_what_is_not_copied(self, host: Any) -> None:
        act_on_axis("Mine", lambda p, x, xs: (p.styles.append(x), p.override_settings.update({"rho": 1.0})))
        cells = host.xyz({"Mine": "a, b"}, **{**SMALL, "steps": 1})
        assert [cell.p.styles for cell in cells] == [["a"], ["b"]]
        assert cells[0].p.override_settings is cells[1].p.override_settings

    def test_an_interrupt_leaves_the_other_cells_empty(self, host: Any) -> None:
        host.fault(interrupt=2)
        cells = host.xyz({"Mine": "a, b, c"}, **SMALL)
        assert [(cell.status, len(cell.images)) for cell in cells] == [(200, 1), (200, 0), (200, 0)]
        assert ([value for value, _ in applied()], len(host.probe.jobs)) == (["a"], 1)

    def test_a_first_cell_that_fails_early_ends_the_plot(self, host: Any) -> None:
        """The host writes its infotext all the same, and there are no prompts yet."""
        fields = {**SMALL, "refiner_checkpoint": "nobody", "refiner_switch_at": 0.5}
        with pytest.raises(TypeError):
            host.xyz({"Seed": "1, 2"}, **fields)
        assert len(host.errors) == 1

    def test_every_cell_has_its_own_record(self, host: Any) -> None:
        cells = host.xyz({"Steps": "1, 3"}, **SMALL)
        assert [len(cell.jobs[0].calls) for cell in cells] == [1, 3]
        assert [job.launches for job in host.probe.jobs] == [[("Euler", 1)], [("Euler", 3)]]

    def test_axes_of_one_tab(self, host: Any) -> None:
        for tab, there in (("txt2img", True), ("img2img", False)):
            offered = host.tabs[tab].runner.script("X/Y/Z plot").current_axis_options
            assert ("Hires steps" in [axis.label for axis in offered]) is there
            assert [axis.label for axis in offered].count("Sampler") == 1
        picture = standin.picture(64, 64)
        assert len(host.xyz({"Sampler": "Euler, Heun"}, tab="img2img", init_images=[picture], **SMALL)) == 2

    def test_cells_share_what_their_infotexts_say_besides(self, host: Any) -> None:
        def note(p: Any, x: Any, xs: Any) -> None:
            p.extra_generation_params[f"Mine {x}"] = x

        act_on_axis("Mine", note)
        cells = host.xyz({"Mine": "a, b"}, **{**SMALL, "steps": 1})
        assert ["Mine a" in cell.infotexts[0] for cell in cells] == [True, True]
        assert ["Mine b" in cell.infotexts[0] for cell in cells] == [False, True]
