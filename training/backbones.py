"""timm, whose networks judge edits, tell them from photos and find faces.

Comes with the extras for training and evaluation; pictures are edited without it.
"""

from __future__ import annotations

from sargan_plugin.errors import SarganError

try:
    import timm
    from timm.utils import ModelEmaV3
except ImportError as error:
    raise SarganError(
        f"Training and evaluation need timm: pip install 'sargan-plugin[train,eval]' ({error})"
    ) from error

__all__ = ["ModelEmaV3", "timm"]
