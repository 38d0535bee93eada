"""The project's pages of Markdown: their blocks of code, headings, anchors, links and names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob(".github/**/*.md"))]
README, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
READMES = [README, CHINESE]
SETTINGS, MESSAGES, API = (ROOT / "docs" / name for name in ("settings.md", "messages.md", "api.md"))
TRANSLATED = {page: page.with_suffix(".zh-CN.md") for page in (README, SETTINGS, MESSAGES)}
"""The pages that are in English and in Chinese."""

_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?)\[[^\[\]]*\]\(<?([^()\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_BADGE = re.compile(r"()\[!\[[^\]]*\]\([^)]*\)\]\(([^()\s]+)\)")
_HTML = re.compile(r"<(img|a)\b[^>]*?\b(?:src|href)=\"([^\"]+)\"")


@dataclass(frozen=True)
class Block:
    """A block of code: its language, its text, and the last line of text above it."""

    language: str
    text: str
    above: str


@dataclass(frozen=True)
class Link:
    """What a page points to, or shows where it is an image."""

    target: str
    image: bool


def name_of(page: Path) -> str:
    """The page's path inside the project."""
    return str(page.relative_to(ROOT))


def read(page: Path) -> str:
    """The page's text; empty while the page does not exist, so that the page's own tests say so."""
    return page.read_text(encoding="utf-8") if page.exists() else ""


def blocks(text: str) -> list[Block]:
    """All blocks of code, in order."""
    return [
        Block(found[2], re.sub(f"^{found[1]}", "", found[3], flags=re.MULTILINE), _last_line(text[: found.start()]))
        for found in _BLOCK.finditer(text)
    ]


def prose(text: str) -> str:
    """The page without its blocks of code."""
    return _BLOCK.sub("", text)


def spans(text: str) -> list[str]:
    """What stands in backticks, outside of blocks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(text))


def links(text: str) -> list[Link]:
    """All links and images, in order, outside of code."""
    outside = re.sub(r"(?<!`)`[^`\n]+`(?!`)", "``", prose(text))
    both = (*_LINK.finditer(outside), *_BADGE.finditer(outside))
    found = [(match.start(), Link(match[2], bool(match[1]))) for match in both]
    found += [(match.start(), Link(match[2], match[1] == "img")) for match in _HTML.finditer(outside)]
    return [link for _, link in sorted(found, key=lambda pair: pair[0])]


def headings(text: str) -> list[str]:
    """All headings, in order, as they are written."""
    return re.findall(r"^#{1,6} +(.+?) *#*$", prose(text), re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors of a page: GitHub's, one for each heading, and those that are written as HTML."""
    seen: Counter[str] = Counter()
    found = set(re.findall(r"<\w+[^>]*\b(?:id|name)=\"([^\"]+)\"", text))
    for heading in headings(text):
        slug = slug_of(heading)
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def slug_of(heading: str) -> str:
    """GitHub's anchor: the shown text in lower case, without punctuation, with a hyphen for each space."""
    shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    shown = re.sub(r"<[^>]+>|[`*]|(?<!\w)_|_(?!\w)", "", shown)
    return re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")


def commands(text: str) -> Iterator[str]:
    """The lines of shell in a page's blocks, continued ones joined, without comments."""
    for block in blocks(text):
        if block.language in ("", "sh", "shell", "bash", "console"):
            joined = re.sub(r"\\\n\s*", " ", block.text)
            yield from (line for raw in joined.splitlines() if (line := re.sub(r"(^|\s)#.*$", "", raw).strip()))


def _last_line(text: str) -> str:
    lines = text.rstrip().splitlines()
    return lines[-1] if lines else ""
