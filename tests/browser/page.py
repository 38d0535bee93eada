"""A page of the WebUI as a user sees it, by the ids of its parts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, Route, expect

OUT = Path(__file__).parent / "out"
QUIET = 40
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
PICTURE_DELAY = 700
MOST = 60.0
HEAD = " > .label-wrap"


class WebUI:
    """One page in a browser; `name` in a method is the id of a part.

    `troubles` are what the browser complains of, except what is `known`.
    """

    def __init__(self, page: Page, url: str, known: tuple[str, ...] = ()) -> None:
        self.page, self.url, self._known = page, url, known
        self.troubles: list[str] = []
        self._running = 0
        self._hasty = False
        self._events = 0
        page.on("console", lambda message: self._trouble(message.type == "error", message.text))
        page.on("pageerror", lambda error: self._trouble(True, str(error)))
        page.on("requestfailed", lambda request: self._trouble(True, f"{request.url} failed: {request.failure}"))
        page.on("response", lambda answer: self._trouble(answer.status >= 400, f"{answer.url}: {answer.status}"))
        for event, by in (("request", 1), ("requestfinished", -1), ("requestfailed", -1)):
            page.on(event, self._counting(by))
        page.on("websocket", self._opened)

    def _trouble(self, happened: bool, text: str) -> None:
        if happened and text not in self._known:
            self.troubles.append(text)

    def _counting(self, by: int) -> Callable[[Any], None]:
        def count(_: Any) -> None:
            self._running += by
            self._events += 1

        return count

    def _opened(self, socket: Any) -> None:
        self._counting(1)(socket)
        socket.on("close", self._counting(-1))

    def open(self, **query: str) -> WebUI:
        """Load the page, and wait until its scripts have run."""
        words = "&".join(f"{key}={value}" for key, value in query.items())
        self.page.goto(f"{self.url}?{words}" if words else self.url)
        self.page.wait_for_selector("#fewstep_hires_txt2img_enabled-visible-checkbox", state="attached", timeout=60_000)
        self.settle()
        return self

    @contextmanager
    def hastily(self) -> Iterator[None]:
        """Do several things one after the other, and wait for their consequences at the end."""
        self._hasty = True
        yield
        self._hasty = False
        self.settle()

    def settle(self) -> None:
        """Wait until nothing is under way between the page and its server."""
        if self._hasty:
            return
        end, seen, waiting = time.monotonic() + MOST, None, True
        while self._running > 0 or seen != self._events or waiting:
            if time.monotonic() > end:
                raise TimeoutError(f"after {MOST:g} s the page is still waiting for its server")
            seen = self._events
            self.page.evaluate(TWO_FRAMES)
            self.page.wait_for_timeout(QUIET)
            waiting = self.page.evaluate("Object.values(fewstepRefreshes).some((one) => one.timer || one.running)")

    def slow_down(self, seconds: float) -> None:
        """Let the server seem slow from now on."""

        def late(route: Route) -> None:
            self.page.wait_for_timeout(1000 * seconds)
            route.continue_()

        self.page.route("**/run/predict", late)

    def lose_an_answer(self) -> None:
        """Let the next request to the server fail."""
        self.page.route("**/run/predict", lambda route: route.abort(), times=1)

    def part(self, name: str) -> Locator:
        """A part of the page; gradio gives some ids twice, the outer one is meant."""
        return self.page.locator(f'[id="{name}"]').first

    def is_shown(self, name: str) -> bool:
        """Whether somebody could see it, after scrolling."""
        return self.part(name).is_visible()

    def tab(self, name: str) -> None:
        """Show a tab."""
        self.page.locator("#tabs > .tab-nav > button", has_text=re.compile(rf"^\s*{name}\s*$")).click()
        expect(self.part(f"tab_{name}")).to_be_visible()

    def shown_tab(self) -> str:
        """The name of the tab that is shown."""
        return self.page.locator("#tabs > .tab-nav > button.selected").inner_text().strip()

    def fold(self, name: str) -> None:
        """Click on the head of an accordion, which opens or closes."""
        before = self.is_open(name)
        self.page.locator(f'[id="{name}"]{HEAD}').click(position={"x": 60, "y": 8})
        self.settle()
        assert self.is_open(name) != before, f"the click on {name} has missed it"

    def is_open(self, name: str) -> bool:
        """Whether an accordion is open."""
        return "open" in (self.page.locator(f'[id="{name}"]{HEAD}').get_attribute("class") or "").split()

    def is_on(self, name: str) -> bool:
        """Whether an accordion that is an input is on; its two checkboxes agree."""
        boxes = [f'[id="{name}-visible-checkbox"]', f'[id="{name}-checkbox"] input']
        seen, hidden = (self.page.locator(box).is_checked() for box in boxes)
        assert seen == hidden, f"{name} shows {seen} and is {hidden}"
        return seen

    def switch(self, name: str) -> None:
        """Click on the checkbox in the head of an accordion."""
        self.part(f"{name}-visible-checkbox").click()
        self.settle()

    def choose(self, name: str, choice: str) -> None:
        """Choose in a dropdown: open it, and press the mouse on one of what it offers."""
        self.part(name).locator("input").click()
        self.part(name).locator(f'li[data-value="{choice}"]').dispatch_event("mousedown")
        self.settle()

    def chosen(self, name: str) -> str:
        """What a dropdown shows."""
        return self.part(name).locator("input").input_value()

    def set_number(self, name: str, value: float) -> None:
        """Type a number beside a slider, or into a number's field."""
        field = self.part(name).locator("input[type=number]")
        field.fill(str(value))
        field.blur()
        self.settle()

    def number(self, name: str) -> float:
        """The number of a slider or of a number's field."""
        return float(self.part(name).locator("input[type=number]").input_value())

    def write(self, name: str, text: str) -> None:
        """Put a text into a field, and leave it."""
        field = self.part(name).locator("textarea, input[type=text]")
        field.fill(text)
        field.blur()
        self.settle()

    def written(self, name: str) -> str:
        """The text of a field."""
        return self.part(name).locator("textarea, input[type=text]").input_value()

    def tick(self, name: str, value: bool) -> None:
        """Set a checkbox, by the keyboard: an answer of the server may move it away under a mouse that clicks."""
        box = self.part(name).locator("input[type=checkbox]")
        expect(box).to_be_visible()
        if box.is_checked() != value:
            box.press("Space")
        self.settle()
        expect(box).to_be_checked(checked=value)

    def ticked(self, name: str) -> bool:
        """Whether a checkbox is set."""
        return self.part(name).locator("input[type=checkbox]").is_checked()

    def held(self, name: str) -> str | float | bool:
        """What a control holds, whatever kind it is."""
        part = self.part(name)
        if part.locator("input[type=checkbox]").count():
            return self.ticked(name)
        if part.locator("input[type=number]").count():
            return self.number(name)
        return part.locator("textarea, input").input_value()

    def press(self, name: str) -> None:
        """Click on a button, and wait for what it does."""
        self.part(name).click()
        self.settle()

    def text(self, name: str) -> str:
        """The text of a part, each line of it without the space around."""
        return "\n".join(line.strip() for line in self.part(name).inner_text().strip().splitlines() if line.strip())

    def upload(self, name: str, picture: Path) -> None:
        """Put a picture into a field for one, and wait for what the WebUI does some time later."""
        self.part(name).locator("input[type=file]").set_input_files(picture)
        expect(self.part(name).locator("img").first).to_be_attached()
        self.page.wait_for_timeout(PICTURE_DELAY)
        self.settle()

    def remove(self, name: str) -> None:
        """Take the picture out of a field for one."""
        self.part(name).get_by_label("Clear").click()
        self.page.wait_for_timeout(PICTURE_DELAY)
        self.settle()

    def resize(self, how: str) -> None:
        """Let img2img resize "to" a size or "by" a factor."""
        self.part("img2img_tabs_resize").locator(".tab-nav > button", has_text=f"Resize {how}").click()
        self.settle()

    def mode(self, name: str) -> None:
        """Another way of img2img."""
        self.part("mode_img2img").locator("> .tab-nav > button").get_by_text(name, exact=True).click()
        self.settle()

    def generate(self, tab: str) -> str:
        """Make an image with what the page holds; the infotext under it."""
        self.page.evaluate(
            "id => document.querySelectorAll(`[id=${id}] p`).forEach(p => p.remove())", f"html_info_{tab}"
        )
        self.press(f"{tab}_generate")
        return self.text(f"html_info_{tab}")

    def paste(self, tab: str, infotext: str) -> None:
        """Read an infotext into a tab, by way of its prompt."""
        self.write(f"{tab}_prompt", infotext)
        self.part(f"tab_{tab}").locator("#paste").click()
        self.settle()

    def too_wide(self, name: str) -> list[str]:
        """What in a part reaches out of it, or out of the window, to the side, once folds have opened all the way."""
        end = time.monotonic() + 3
        while (found := self._too_wide(name)) and time.monotonic() < end:
            time.sleep(0.1)
        return found

    def _too_wide(self, name: str) -> list[str]:
        return self.part(name).evaluate(
            """(outer) => {
                const { left, right } = outer.getBoundingClientRect();
                const edge = Math.min(right, document.documentElement.clientWidth) + 0.5;
                const named = (element) => `${element.tagName}#${element.closest("[id]")?.id}`;
                const parts = [...outer.querySelectorAll("*")].filter((element) => element.checkVisibility());
                const out = parts.filter((element) => {
                    const box = element.getBoundingClientRect();
                    return box.width > 0 && (box.right > edge || box.left < left - 0.5);
                });
                const cut = [outer, ...parts].filter((element) => element.scrollWidth > element.clientWidth + 1
                    && element.clientWidth > 0 && !element.matches("input, textarea, svg, svg *, label, span"));
                return [...out.map(named), ...cut.map((element) => `${named(element)} is cut off`)];
            }"""
        )

    def contrast(self, name: str) -> float:
        """The contrast of a part's text with what is behind it, from 1 to 21."""
        return self.part(name).evaluate(
            """(part) => {
                const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
                const light = (colour) => numbers(colour).slice(0, 3)
                    .map((value) => value / 255)
                    .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
                    .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
                const style = (element, name) => getComputedStyle(element)[name];
                const clear = (element) => (numbers(style(element, "backgroundColor"))[3] ?? 1) === 0;
                let behind = part;
                while (behind.parentElement && clear(behind)) {
                    behind = behind.parentElement;
                }
                const text = part.querySelector(".prose") ?? part;
                const both = [light(style(text, "color")), light(style(behind, "backgroundColor"))];
                return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
            }"""
        )

    def words(self, name: str) -> list[str]:
        """The texts that a part shows, except the values of its controls and gradio's own."""
        return self.part(name).evaluate(
            """(part) => {
                const texts = [];
                const walker = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
                while (walker.nextNode()) {
                    const { parentElement, textContent } = walker.currentNode;
                    const gradios = parentElement.closest("[data-testid=file], .center");
                    if (!gradios && parentElement.checkVisibility() && /[a-z\u4e00-\u9fff]/i.test(textContent)) {
                        texts.push(textContent.trim());
                    }
                }
                return texts;
            }"""
        )

    def picture(self, file: str, *names: str) -> None:
        """Keep a screenshot of parts that stand one below the other, or of the whole page."""
        OUT.mkdir(exist_ok=True)
        expect(self.page.locator("ul.options")).to_have_count(0)
        boxes = [box for box in (self.part(name).bounding_box() for name in names) if box]
        clip: Any = None
        if boxes:
            left, top = (min(box[side] for box in boxes) for side in ("x", "y"))
            right, bottom = (
                max(box[side] + box[length] for box in boxes) for side, length in (("x", "width"), ("y", "height"))
            )
            scrolled = self.page.evaluate("window.scrollY")
            clip = {"x": left, "y": top + scrolled, "width": right - left, "height": bottom - top}
        self.page.screenshot(path=OUT / f"{file}.png", full_page=True, clip=clip)
