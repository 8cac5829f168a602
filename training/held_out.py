"""People held out, looked at while a run goes on: a sheet of edits and one cheap figure."""

from __future__ import annotations

import torch

from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.generators import Generator
from sargan_training.data import FaceSet, central, few_of_each, to_unit
from sargan_training.games import Game
from sargan_training.sheet import edited_crops, sheet_of_edits

PHOTOS = 70


class HeldOut:
    """Some photos of people that the run does not train on; the same ones every time.

    Args:
        faces: of held-out people to choose by; at least one.
        device: where to edit them.
    """

    def __init__(self, faces: FaceSet, device: torch.device) -> None:
        chosen = few_of_each(faces.people)[:PHOTOS]
        labels = faces.labels[chosen]
        # Every photo is edited towards one expression that it does not show.
        turn = torch.arange(len(labels)) % len(EXPRESSIONS)
        turn = torch.where(turn == labels, (turn + 1) % len(EXPRESSIONS), turn)
        self.condition = torch.eye(len(EXPRESSIONS))[turn].to(device)
        self.images = to_unit(central(faces.crops[chosen])).to(device)
        self.shown = to_unit(central(faces.crops[showcase(faces)])).to(device)

    def sheet(self, game: Game, generator: Generator) -> torch.Tensor:
        """A picture ``(3, H, W)`` in [0, 1] of a dozen people and their edits."""
        return sheet_of_edits(generator.eval(), self.shown, game.autocast)

    @torch.no_grad()
    def share_read(self, game: Game, generator: Generator) -> float:
        """Share of edits that the game's own network reads as the target.

        Cheap and flattering: that network guided the generator, and an edit may fool it and nobody
        else. It tells better checkpoints of one run from worse ones at best; how good a model is,
        ``sargan-cli evaluate`` tells, with networks that guided nothing.
        """
        edited = edited_crops(generator.eval(), self.images, self.condition, game.autocast)
        read = torch.cat([game.read(part) for part in edited.split(32)]).argmax(dim=1)
        wanted = (self.condition @ game.read_as).argmax(dim=1)
        return (read == wanted).float().mean().item()


def showcase(faces: FaceSet, count: int = 12) -> list[int]:
    """Indices of one photo each of people who look neutral, happy or otherwise."""
    wanted = [0] * 7 + [1] * 4 + [2]
    people, chosen = set(), []
    for label in wanted[:count]:
        for index in (faces.labels == label).nonzero()[:, 0].tolist():
            if faces.people[index] not in people:
                people.add(faces.people[index])
                chosen.append(index)
                break
    return chosen or list(range(min(count, len(faces.labels))))
