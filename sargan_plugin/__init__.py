"""SARGAN plugin: change the expression of a face and leave everything else alone.

The names below are loaded when they are first used, so that asking for the version, or for the
command line's help, does not import torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sargan_plugin.augmentation import RandomExpression
    from sargan_plugin.detector import FaceDetector
    from sargan_plugin.editor import EditedFace, EditResult, ExpressionEditor
    from sargan_plugin.errors import SarganError
    from sargan_plugin.expressions import EXPRESSIONS
    from sargan_plugin.faces import Face
    from sargan_plugin.generators import Edit, Generator
    from sargan_plugin.video.editor import VideoEditor
    from sargan_plugin.zoo import create_generator

__version__ = "0.1.0"

_HOMES = {
    "EXPRESSIONS": "expressions",
    "Edit": "generators",
    "EditResult": "editor",
    "EditedFace": "editor",
    "ExpressionEditor": "editor",
    "Face": "faces",
    "FaceDetector": "detector",
    "Generator": "generators",
    "RandomExpression": "augmentation",
    "SarganError": "errors",
    "VideoEditor": "video.editor",
    "create_generator": "zoo",
}

__all__ = [
    "EXPRESSIONS",
    "Edit",
    "EditResult",
    "EditedFace",
    "ExpressionEditor",
    "Face",
    "FaceDetector",
    "Generator",
    "RandomExpression",
    "SarganError",
    "VideoEditor",
    "__version__",
    "create_generator",
]
if sys.version_info < (3, 11):  # video needs a PyAV that needs more
    __all__.remove("VideoEditor")


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
