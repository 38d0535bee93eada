"""A strict stand-in of the WebUI (version 1.10.1), written from its behaviour.

    from tests.webui import standin

    with standin.webui(model="sd1", scripts_dir=Path("scripts")) as host:
        result = host.api.txt2img({"width": 128, "height": 128, "steps": 4, "seed": 1,
                                   "alwayson_scripts": {"HiDiffusion": {"args": [{"enabled": True}]}}})
        result.status, result.latents, result.infotexts, result.p

It puts modules of the WebUI's names into `sys.modules`, runs real generations on small UNets, and takes everything
away again. Reading or setting a name that it does not know is an AttributeError that says so.

- `webui(model, scripts_dir, nowebui=, config=, installed=, xyz=)`: the host as a context manager.
- `host.api.txt2img(json)`, `host.api.img2img(json)`: a `Result`, with `status` 200, 404, 422 or 500. `script_name` and
  `script_args` select a script.
- `host.txt2img(ui={label or elem_id: value}, script=title, **fields)`, `host.img2img(...)`: from the page; errors are
  raised. Other than in the host there is no grid of several images without `do_not_save_grid=False`.
- `host.xyz({axis: "1, 2", axis: ["a choice"]}, **fields)`: one `Result` for each cell of an X/Y/Z plot, with `labels`.
- `host.api.samplers()`, `host.api.schedulers()`: what the API lists.
- `host.paste(tab, text)`: the components that an infotext changes, by label.
- `host.fault(block=, step=, launch=, error=)`, `host.fault(interrupt=)`, `(skip=)`, `(nan=)`: for the next job.
- `host.load_model(name)`, `host.checkpoints.add(name, like, build)`, `host.reload_ui(reimport=)`.
- `host.tabs[name].labels`, `.components_by_elem_id`, `.duplicate_labels`, `.arguments(...)`.
- `host.tabs[name].trigger(elem_id, event, value)`: what an event changes in the page; `.value(elem_id)`.
- `result.comments`, `result.info`: what `p.comment` has said, and the JSON that the API sends.
- `result.processed`, `.images`, `.jobs`: what came of the request, and the record of each `process_images` in it.
- `host.errors`: what the host has logged and swallowed. `host.callbacks.kinds[kind]`: what is registered.
- `host.probe.hooks`, `.calls`, `.launches`, `.jobs`: hooks, UNet evaluations and passes of the latest request.
- `host.settings[key]`: the components of the settings page that extensions have added.
- `host.data_path`: a temporary folder for what is written. `host.run_installer(path)`.
- `host.shared`, `host.unet`, `host.cat.resized`.
"""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from tests.webui.standin import api
from tests.webui.standin.api import Result
from tests.webui.standin.checkpoints import RECIPES
from tests.webui.standin.host import Host, as_base64, mask_picture, picture, webui

__all__ = ["RECIPES", "Host", "Result", "api", "as_base64", "mask_picture", "picture", "webui"]
