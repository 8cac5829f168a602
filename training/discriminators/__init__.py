"""The networks that generators are trained against."""

from __future__ import annotations

from sargan_training.discriminators.pair import ExpressionReader, RealismCritic
from sargan_training.discriminators.patchgan import PatchGAN

__all__ = ["ExpressionReader", "PatchGAN", "RealismCritic"]
