"""How a request is ended with a sentence."""

from __future__ import annotations

from fastapi import HTTPException

from lib_fewstep.options import on_one_line


class Refusal(HTTPException):
    """A sentence that ends the request: the UI shows it, and the API answers 422 with it as the detail."""

    def __init__(self, sentence: str) -> None:
        """The sentence names the setting, its value and what is allowed; it stays on one line."""
        super().__init__(status_code=422, detail=on_one_line(sentence))

    def __str__(self) -> str:
        """The sentence alone."""
        return str(self.detail)
