"""Generators: one system a file, all with the same contract (see :class:`Generator`)."""

from __future__ import annotations

from sargan_plugin.generators.edit import Edit, Generator, apply_edit

__all__ = ["Edit", "Generator", "apply_edit"]
