"""The `ldm` modules print what nobody asked for."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is printed meanwhile."""
    with redirect_stdout(io.StringIO()):
        yield
