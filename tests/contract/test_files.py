"""Pictures in files, and latents as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.contract.helpers import (
    HIRES,
    SMALL,
    module,
)


def images_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture in a file."""
    size: tuple[int, int] = module("images").read(path).size
    return size


class TestFiles:
    def test_an_image_is_written_with_its_text(self, host: Any, tmp_path: Path) -> None:
        images = module("images")
        made = host.txt2img(**SMALL).images[0]
        path, beside = images.save_image(made, str(tmp_path), "plot", info="a\nSteps: 1", save_to_dirs=False)
        assert (Path(path).name, beside, made.already_saved_as) == ("plot-0000.png", None, path)
        assert images.read_info_from_image(images.read(path))[0] == "a\nSteps: 1"
        host.shared.opts.save_txt = True
        for extension in ("png", "jpg", "webp"):
            path, beside = images.save_image(made, str(tmp_path), "", 7, "a cat", extension, info="é: b", grid=True)
            assert Path(path).name == f"0000{('png', 'jpg', 'webp').index(extension)}-7.{extension}"
            assert Path(path).parent.parent == tmp_path  # in a folder with the date
            assert Path(beside).read_text() == "é: b\n"
            assert images.read_info_from_image(images.read(path))[0] == "é: b"
        forced = images.save_image(made, str(tmp_path), "", forced_filename="mine", save_to_dirs=False, suffix="-x")[0]
        assert Path(forced).name == "mine.png"

    def test_callbacks_may_say_where(self, host: Any, tmp_path: Path) -> None:
        callbacks, saved = module("script_callbacks"), []
        callbacks.on_before_image_saved(lambda params: setattr(params, "filename", str(tmp_path / "here.png")))
        callbacks.on_image_saved(lambda params: saved.append((params.filename, params.pnginfo["parameters"])))
        result = host.txt2img(**SMALL)
        assert saved == [(str(tmp_path / "here.png"), result.infotexts[0])]

    def test_jobs_save_their_images(self, host: Any) -> None:
        outputs = Path(module("paths_internal").default_output_dir)
        assert outputs == Path(module("paths").data_path) / "outputs" == host.data_path / "outputs"
        folder = Path(host.shared.opts.outdir_txt2img_samples)
        before = set(folder.rglob("*.png"))
        result = host.txt2img(**SMALL)
        assert Path(result.p.outpath_samples).resolve() == folder.resolve() == (outputs / "txt2img-images").resolve()
        names = [path.name for path in folder.rglob("*.png") if path not in before]
        assert [name.split("-", 1)[1] for name in names] == ["1.png"]
        host.api.txt2img(SMALL)
        host.txt2img(**SMALL, do_not_save_samples=True)
        host.fault(interrupt=2)
        host.txt2img(**SMALL)
        host.shared.opts.samples_save = False
        host.txt2img(**SMALL)
        assert len(list(folder.rglob("*.png"))) == len(before) + 1
        host.shared.opts.samples_save = True
        assert host.api.txt2img({**SMALL, "save_images": True}).p.outpath_grids == host.shared.opts.outdir_txt2img_grids
        assert len(list(folder.rglob("*.png"))) == len(before) + 2

    def test_latents_become_the_jobs_pictures(self, host: Any) -> None:
        common = module("sd_samplers_common")
        result = host.txt2img(**SMALL, batch_size=2)
        for index, image in enumerate(result.images):
            assert common.sample_to_image(result.latents, index, approximation=0).tobytes() == image.tobytes()
        host.shared.opts.show_progress_type = "Approx cheap"
        sizes = [common.single_sample_to_image(result.latents[0], how).size for how in (None, 0, 2)]
        assert sizes == [(8, 8), (64, 64), (8, 8)]
        host.shared.opts.show_progress_type = "Full"
        assert common.single_sample_to_image(result.latents[0]).size == (64, 64)
        assert common.samples_to_images_tensor(result.latents, 0).shape == (2, 3, 64, 64)
        assert module("sd_samplers").samples_to_image_grid(result.latents, 0).size == (128, 64)

    def test_the_first_pass_may_be_saved(self, host: Any) -> None:
        folder = Path(host.shared.opts.outdir_txt2img_samples)
        before = set(folder.rglob("*.png"))
        host.shared.opts.save_images_before_highres_fix = True
        host.txt2img(**SMALL, **HIRES)
        new = sorted((path.name.split("-", 1)[1], images_size(path)) for path in {*folder.rglob("*.png")} - before)
        assert new == [("1-before-highres-fix.png", (64, 64)), ("1.png", (128, 128))]
