"""Comparisons of steps, CFG, samplers and methods, and the record of what an image cost."""

from lib_fewstep.compare.curves import draw_curves
from lib_fewstep.compare.grid import draw_grid, draw_strip
from lib_fewstep.compare.metrics import psnr, ssim
from lib_fewstep.compare.outcome import Outcome
from lib_fewstep.compare.prompts import Prompt, read_prompts
from lib_fewstep.compare.record import Record
from lib_fewstep.compare.settings import Cell, ComparisonSettings, cells
from lib_fewstep.compare.table import tabulate, write_csv

__all__ = [
    "Cell",
    "ComparisonSettings",
    "Outcome",
    "Prompt",
    "Record",
    "cells",
    "draw_curves",
    "draw_grid",
    "draw_strip",
    "psnr",
    "read_prompts",
    "ssim",
    "tabulate",
    "write_csv",
]
