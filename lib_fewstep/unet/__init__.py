"""What a loaded UNet is, and how to change it and put it back."""

from lib_fewstep.unet.scaler import Around, Change, Scaler, Scaling, rescale
from lib_fewstep.unet.swapper import Place, blocks_of, install, installed, remove, uninstall, unwatch, watch
from lib_fewstep.unet.topology import Attention, Topology, UnsupportedModel, inspect_unet

__all__ = [
    "Around",
    "Attention",
    "Change",
    "Place",
    "Scaler",
    "Scaling",
    "Topology",
    "UnsupportedModel",
    "blocks_of",
    "inspect_unet",
    "install",
    "installed",
    "remove",
    "rescale",
    "uninstall",
    "unwatch",
    "watch",
]
