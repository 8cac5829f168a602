"""What a run leaves for people: figures and sheets for TensorBoard, averages, the best of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import save_image

from sargan_training.checkpoints import save_generator
from sargan_training.files import replace_with
from sargan_training.games import Game
from sargan_training.held_out import HeldOut
from sargan_training.recipe import Recipe


class Logbook:
    """Written by the first process only; a context manager that closes TensorBoard's file.

    Args:
        run: the run's folder.
        recipe: says how often figures are written.
        held_out: people to look at; None for no sheets and no best average.
        writes: whether this is the first process.

    Attributes:
        best: the best share of held-out edits that the run's own network read as the target, see
            :meth:`HeldOut.share_read`, and the step it was reached at.
        average: the last average's file.
    """

    def __init__(self, run: Path, recipe: Recipe, held_out: HeldOut | None, writes: bool) -> None:
        self.run, self.recipe, self.held_out, self.writes = run, recipe, held_out, writes
        self.best: tuple[float, int] | None = None
        self.average: Path | None = None
        self.writer: SummaryWriter | None = None
        self._since: dict[str, float] = {}

    def open(self, step: int) -> None:
        """Go on at a step: TensorBoard drops what a killed run wrote after it."""
        if self.writes:
            self.writer = SummaryWriter(str(self.run / "tensorboard"), purge_step=step + 1)

    def __enter__(self) -> Logbook:
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()

    def figures(self, step: int, values: dict[str, float]) -> None:
        """Note the figures of a step, now and then: the last ones, for not every step has all."""
        self._since |= values
        if self.writer is not None and step % self.recipe.report_every == 0:
            for name, value in self._since.items():
                self.writer.add_scalar(name, value, step)
            self._since = {}

    def milestone(self, step: int, game: Game, average: nn.Module) -> None:
        """Write the average of a step and look at what it does to held-out people."""
        if self.writer is None:
            return
        self.average = self.run / f"average_{step:06d}.safetensors"
        self._save(self.average, average, step=step)
        if self.held_out is None:
            return
        sheet = self.held_out.sheet(game, average)
        picture = self.run / f"sheet_{step:06d}.png"
        replace_with(picture, lambda partial: save_image(sheet, partial, format="png"))
        self.writer.add_image("edits", sheet, step)
        share = self.held_out.share_read(game, average)
        self.writer.add_scalar("read_as_target", share, step)
        # Of two alike the later one has been trained longer.
        if self.best is None or share >= self.best[0]:
            self.best = share, step
            best = self.run / "best.safetensors"
            self._save(best, average, step=step, read_as_target=share)

    def _save(self, path: Path, average: nn.Module, **facts: float) -> None:
        recipe = self.recipe
        save_generator(path, average.state_dict(), recipe.system, recipe.generator, **facts)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.best = state["best"]
