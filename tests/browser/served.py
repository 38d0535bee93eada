"""The stand-in's page, served to a real browser: both tabs, with what the host connects them by."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from gradio.components import IOComponent
from gradio.routes import App, templates
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.staticfiles import StaticFiles

from tests.webui import standin
from tests.webui.standin import infotext
from tests.webui.standin.strict import fake

HERE = Path(__file__).parent
EXTENSION = HERE.parents[1]
SENT = ("Prompt", "Negative prompt", "Steps", "Face restoration", "Seed")
NO_INPUTS = (gr.Button, gr.HTML)


class Site:
    """The pages of a host; `results` holds what the latest job of each tab has made."""

    def __init__(self, host: standin.Host) -> None:
        self.host = host
        self.url = ""
        self.results: dict[str, standin.Result] = {}

    def page(self) -> gr.Blocks:
        """Both tabs."""
        opts = self.host.shared.opts
        with gr.Blocks(title="Stand-in", analytics_enabled=False, theme=gr.themes.Default()) as page:
            titles = self.host.checkpoints.titles()
            label, elem_id = "Stable Diffusion checkpoint", "setting_sd_model_checkpoint"
            checkpoint = gr.Dropdown(titles, value=opts.sd_model_checkpoint, label=label, elem_id=elem_id)
            settings = gr.Textbox(visible=False, elem_id="settings_json")
            with gr.Tabs(elem_id="tabs"):
                for name, tab in self.host.tabs.items():
                    with gr.Tab(name, id=name, elem_id=f"tab_{name}"):
                        tab.blocks.render()
            page.load(self._settings, outputs=settings)
            page.load(lambda: opts.sd_model_checkpoint, outputs=checkpoint)
            checkpoint.input(self._chosen, checkpoint, settings)
            settings.change(None, settings, _js="optionsChanged")
            for name in self.host.tabs:
                self._connect(name)
            self._connect_sending()
        page.queue()
        page.dev_mode = False  # in which a page would ask its server again and again whether it is new
        page.config = page.get_config_file()
        return page

    def _settings(self) -> str:
        return json.dumps(self.host.shared.opts.data)

    def _chosen(self, title: str) -> str:
        """Another checkpoint is loaded before the page hears of it."""
        self.host.load_model(title)
        return self._settings()

    def _connect(self, name: str) -> None:
        """Generating and pasting."""
        tab = self.host.tabs[name]
        part = tab.components_by_elem_id
        inputs = [component for component in tab.components if not isinstance(component, NO_INPUTS)]
        generate = partial(self._generate, name, inputs)
        part[f"{name}_generate"].click(generate, inputs, part[f"html_info_{name}"])
        filled = [component for component, _ in tab.fields]
        part["paste"].click(partial(self._paste, name), part[f"{name}_prompt"], filled, show_progress=False)

    def _generate(self, name: str, inputs: list[IOComponent], *values: Any) -> str:
        """A job with exactly what the page holds; its infotext, as HTML."""
        tab = self.host.tabs[name]
        tab.changed = {component._id: value for component, value in zip(inputs, values, strict=True)}
        selected = tab.runner.inputs[0]._id
        tab.changed[selected] = ["None", *tab.runner.titles][tab.changed[selected]]
        result = self.results[name] = getattr(self.host, name)()
        return "<p>{}</p>".format("<br>\n".join(escape(result.infotexts[0]).splitlines()))

    def _paste(self, name: str, text: str) -> list[Any]:
        fields = self.host.tabs[name].fields
        changes = {id(component): value for component, value in infotext.paste(text, fields)}
        return [gr.update(value=changes[id(c)]) if id(c) in changes else gr.update() for c, _ in fields]

    def _connect_sending(self) -> None:
        """From txt2img to img2img: the picture and its size, and the fields that both tabs have under one name."""
        source, target = self.host.tabs["txt2img"], self.host.tabs["img2img"]
        button, place = source.components_by_elem_id["txt2img_send_to_img2img"], target.components_by_elem_id
        picture = [place["img2img_image"], place["img2img_width"], place["img2img_height"]]
        button.click(self._picture, outputs=picture, show_progress=False)
        names = (*SENT, *source.runner.paste_field_names)
        ends = [[component for component, name in tab.fields if name in names] for tab in (source, target)]
        button.click(lambda *values: values, *ends, show_progress=False)
        button.click(None, _js="() => switchToTab('img2img')")

    def _picture(self) -> tuple[Any, int, int]:
        image = self.results["txt2img"].images[0]
        return image, image.width, image.height

    def html(self, body: str) -> str:
        """The page with the language's words, the host's scripts, the extension's, and its style sheet."""
        words: dict[str, str] = {}
        for path in fake("modules.localization").localizations.get(self.host.shared.opts.localization, []):
            words |= json.loads(Path(path).read_text(encoding="utf-8"))
        own = sorted(path.name for path in (EXTENSION / "javascript").glob("*.js"))
        sources = ["standin/webui.js", *(f"extension/javascript/{name}" for name in own)]
        scripts = "".join(f'<script src="{source}"></script>' for source in sources)
        head = f"<script>window.localization = {json.dumps(words)}</script>{scripts}</head>"
        style = '<link rel="stylesheet" href="extension/style.css"></body>'
        return body.replace("</head>", head).replace("</body>", style)

    def app(self) -> App:
        """gradio's application, whose page is the host's."""
        page = self.page()
        app = App.create_app(page)

        def main(request: Request) -> HTMLResponse:
            values = {"request": request, "config": {**page.config, "root": ""}}
            return HTMLResponse(self.html(templates.TemplateResponse("frontend/index.html", values).body.decode()))

        app.router.routes.insert(0, Route("/", main))
        app.mount("/standin", StaticFiles(directory=HERE))
        app.mount("/extension", StaticFiles(directory=EXTENSION))
        return app


@contextmanager
def served(host: standin.Host) -> Iterator[Site]:
    """The site of a host, while it runs."""
    site = Site(host)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site.url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server = uvicorn.Server(uvicorn.Config(site.app(), log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()  # who asks before it is ready waits in the listener's queue
        try:
            yield site
        finally:
            server.should_exit = True
            thread.join()
