"""Which of our functions and files a request runs through: `python -m tools.journey`.

One small image for each request on the tests' stand-in of the WebUI. Counted are the functions of `lib_fewstep` that
run between its start and its end; those that run for an image without any of our settings, too, are not listed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from tests.webui import standin

ROOT = Path(__file__).parents[1]
REQUESTS: dict[str, dict[str, Any]] = {
    'HiDiffusion {"enabled": true, "preset": "Paper"}': {
        "alwayson_scripts": {"HiDiffusion": {"args": [{"enabled": True, "preset": "Paper"}]}}
    },
    "Euler CFG++": {"sampler_name": "Euler CFG++"},
}
_BASE = {"prompt": "a cat", "width": 96, "height": 80, "steps": 4, "seed": 1}


def main() -> None:
    """Print the figures, and under them the functions by file."""
    always = journey({})
    for title, request in REQUESTS.items():
        functions = journey(request)
        own = functions - always
        print(f"{title}: {len(functions)} functions in {len(_files(functions))} files")
        print(f"  of its own: {len(own)} functions in {len(_files(own))} files")
        for file in _files(own):
            print(f"    {file}: {', '.join(sorted(name for where, name in own if where == file))}")


def _files(functions: set[tuple[str, str]]) -> list[str]:
    return sorted({file for file, _ in functions})


def journey(request: dict[str, Any]) -> set[tuple[str, str]]:
    """(file, function) of everything in `lib_fewstep` that runs during one request."""
    functions: set[tuple[str, str]] = set()
    with standin.webui("sd1", ROOT / "scripts") as host:
        sys.setprofile(_noting(functions))
        try:
            result = host.api.txt2img(_BASE | request)
        finally:
            sys.setprofile(None)
    if result.status != 200:
        raise RuntimeError(f"the request was answered {result.status}: {result.message}")
    return functions


def _noting(functions: set[tuple[str, str]]) -> Callable[[FrameType, str, Any], None]:
    ours = str(ROOT / "lib_fewstep")

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(ours):
            place = Path(code.co_filename).relative_to(ROOT).as_posix()
            functions.add((place, getattr(code, "co_qualname", code.co_name)))

    return note


if __name__ == "__main__":
    main()
