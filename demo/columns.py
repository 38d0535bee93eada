"""The columns of the comparison: what each one is called, its size, and the settings it runs with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from demo.scenes import TRAINED_SIDE
from lib_fewstep.highres import HighResSettings

DOUBLE = (2 * TRAINED_SIDE, 2 * TRAINED_SIDE)
WIDE = (24, 40)
HIDIFFUSION = HighResSettings(method="HiDiffusion", preset="Manual", t1=0.4, t2=0.0)
DEEP_SHRINK = HighResSettings(method="Deep Shrink", preset="Manual", d1=3, d2=4, s1=0.15, s2=0.3)


@dataclass(frozen=True)
class Column:
    """One way to generate: `key` in the report, `title` for people, latent size, settings (None = plain)."""

    key: str
    title: str
    size: tuple[int, int]
    settings: HighResSettings | None = None


COLUMNS = (
    Column("native", "trained size", (TRAINED_SIDE, TRAINED_SIDE)),
    Column("plain_2x", "2x, plain", DOUBLE),
    Column("hidiffusion_2x", "2x, HiDiffusion", DOUBLE, HIDIFFUSION),
    Column("deep_shrink_2x", "2x, Deep Shrink", DOUBLE, DEEP_SHRINK),
    Column("plain_wide", "wide, plain", WIDE),
    Column("hidiffusion_wide", "wide, HiDiffusion", WIDE, HIDIFFUSION),
)


def chosen_settings() -> dict[str, dict[str, Any]]:
    """The settings of each column that has any, without those left to their preset, by the column's key."""
    return {column.key: _given(column.settings) for column in COLUMNS if column.settings is not None}


def _given(settings: HighResSettings) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if value is not None}
