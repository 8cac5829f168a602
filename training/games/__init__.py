"""The games generators are trained by: which networks, which losses, in which order."""

from __future__ import annotations

from sargan_training.games.game import Game, Turn
from sargan_training.games.hinge import HingeGame
from sargan_training.games.wasserstein import WassersteinGame

GAMES: dict[str, type[Game]] = {"hinge": HingeGame, "wasserstein": WassersteinGame}

__all__ = ["GAMES", "Game", "HingeGame", "Turn", "WassersteinGame"]
