"""Where a page comes from: the stand-in of the WebUI, or a running one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import httpx
from playwright.sync_api import Page

from tests.browser.served import served
from tests.webui import standin
from tests.webui.exact import SCRIPTS

ROOT = Path(__file__).parents[2]
MODEL, OTHER, DISTILLED = "sdxl", "sd1", "sdxl_lightning_4step"
TIMEOUT = 600


class Place(Protocol):
    """What the tests need of either; `inside` is the stand-in's host, `troubles` what its page says in any case."""

    url: str
    prefix: str
    inside: Any
    troubles: tuple[str, ...]

    def checkpoints(self) -> list[str]:
        """The titles of all checkpoints."""

    def tidy(self) -> None:
        """Put the settings back, after each test."""

    def speak(self, page: Page, language: str) -> None:
        """Let the page speak a language when it is loaded, until the end of the test."""


class StandIn:
    """The stand-in, with a page that is served to the browser; `results` is what each tab's latest job has made."""

    prefix, troubles = "", ()

    def __enter__(self) -> StandIn:
        self._open = ExitStack()
        self.inside = self._open.enter_context(standin.webui(MODEL, SCRIPTS))
        self.inside.checkpoints.add(DISTILLED, MODEL)
        self._site = self._open.enter_context(served(self.inside))
        self.url, self.results = self._site.url, self._site.results
        self._settings = dict(self.inside.shared.opts.data)
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def checkpoints(self) -> list[str]:
        """The titles of all checkpoints."""
        return [info.title for info in map(self.inside.checkpoints.find, (MODEL, OTHER, DISTILLED))]

    def tidy(self) -> None:
        """Settings, model and page as at the start; and nothing was reported."""
        host, errors = self.inside, list(self.inside.errors)
        host.load_model(MODEL)
        host.shared.opts.data.clear()
        host.shared.opts.data.update(self._settings)
        host.errors.clear()
        self.results.clear()
        for tab in host.tabs.values():
            tab.changed.clear()
        assert not errors

    def speak(self, page: Page, language: str) -> None:
        """Change the setting, which every page reads when it is loaded."""
        self.inside.shared.opts.data["localization"] = language


class Running:
    """A running WebUI with this extension, started with --api."""

    prefix, inside = "live-", None
    troubles = ("Cannot read properties of undefined (reading 'props')",)  # at each change of the size

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") + "/"

    def __enter__(self) -> Running:
        settings = self._get("options")
        self._settings = {key: settings[key] for key in ("sd_model_checkpoint", "localization")}
        return self

    def __exit__(self, *error: object) -> None:
        self.tidy()

    def _get(self, path: str) -> Any:
        answer = httpx.get(f"{self.url}sdapi/v1/{path}", timeout=TIMEOUT)
        answer.raise_for_status()
        return answer.json()

    def _set(self, settings: dict[str, Any]) -> None:
        httpx.post(f"{self.url}sdapi/v1/options", json=settings, timeout=TIMEOUT).raise_for_status()

    def checkpoints(self) -> list[str]:
        """The titles of all checkpoints."""
        return [model["title"] for model in self._get("sd-models")]

    def tidy(self) -> None:
        """Put back what differs."""
        now = self._get("options")
        changed = {key: value for key, value in self._settings.items() if now[key] != value}
        if changed:
            self._set(changed)

    def speak(self, page: Page, language: str) -> None:
        """Change the setting; pages get its words only when the UI is reloaded, so this one gets them here."""
        words = (ROOT / "localizations" / f"{language}.json").read_text(encoding="utf-8")
        page.add_init_script(f"Object.defineProperty(window, 'localization', {{ get: () => ({words}), set() {{}} }})")
        self._set({"localization": language})
