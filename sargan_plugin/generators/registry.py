"""Registration with timm, for generators that have no weights on timm's hub."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from timm.models import register_model

from sargan_plugin.errors import SarganError
from sargan_plugin.generators.edit import Generator

# What timm.create_model adds to every call for its own weight loading.
TIMM_BOOKKEEPING = {"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"}


def register_generator(build: Callable[..., Generator]) -> Callable[..., Generator]:
    """Make ``build`` known to ``timm.create_model`` under its own name."""

    @wraps(build)
    def entry(pretrained: bool = False, **options: object) -> Generator:
        if pretrained:
            raise SarganError(
                f"timm has no weights of {build.__name__}; use sargan_plugin.create_generator."
            )
        for name, value in options.items():
            # Python makes no blocks at all of range(-1).
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"{name} cannot be negative")
        return build(**{key: options[key] for key in options.keys() - TIMM_BOOKKEEPING})

    return register_model(entry)
