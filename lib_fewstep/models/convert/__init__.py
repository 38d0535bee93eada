"""A diffusers folder as a checkpoint of the original layout, with the YAML file that a WebUI needs for small UNets."""

from lib_fewstep.models.convert.checkpoint import Checkpoint, checkpoint_of, write
from lib_fewstep.models.convert.folder import NotConvertible

__all__ = ["Checkpoint", "NotConvertible", "checkpoint_of", "write"]
