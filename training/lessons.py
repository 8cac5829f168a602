"""What a network is taught before a run starts: done once, kept beside the run's folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from sargan_plugin.errors import SarganError
from sargan_training.checkpoints import load_weights, save_weights
from sargan_training.data import FaceSet
from sargan_training.hardware import Fabric, fail_together
from sargan_training.interruption import Interruption
from sargan_training.pretrain import train_classifier
from sargan_training.recipe import Recipe

GOING, FINISHED, INTERRUPTED = "going", "finished", "interrupted"


@dataclass(frozen=True)
class Lessons:
    """Teaches networks to read expressions before a run starts.

    What a network learnt is kept under a name that says of which network, lessons, photos and
    labels, so runs in one folder that need the same start have the same.

    Attributes:
        run: the run's folder; what was learnt is kept beside it.
        recipe: says how long and how.
        faces: to train on.
        fabric: what to compute on.
        interruption: ends the lessons early.
        say: takes a line for people.
    """

    run: Path
    recipe: Recipe
    faces: FaceSet
    fabric: Fabric
    interruption: Interruption
    say: Callable[[str], None]

    def teach(self, network: nn.Module) -> None:
        """Load the network's weights; the first process trains them if they are not there yet.

        Raises:
            KeyboardInterrupt: when interrupted; the next call goes on from what is kept.
            SarganError: when what is kept cannot be read, or nothing was learnt.
        """
        path = self.run.parent / f"taught_{self._digest(network)}.safetensors"
        news: str | SarganError = FINISHED
        if not self.fabric.broadcast(path.exists()):
            if self.fabric.is_global_zero:
                try:
                    news = self._train(network, path)
                except SarganError as error:
                    news = error
                self.fabric.broadcast(news)
            else:  # a word now and then, or the wait would count as a failure
                while (news := self.fabric.broadcast(GOING)) == GOING:
                    pass
        if news == INTERRUPTED:
            raise KeyboardInterrupt
        if isinstance(news, SarganError):
            fail_together(self.fabric, news)
        self.say(f"the network that reads expressions starts as {path}")
        load_weights(path, network)

    def _digest(self, network: nn.Module) -> str:
        lessons = json.dumps([asdict(self.recipe.pretraining), self.recipe.seed])
        text = f"{network}\n{lessons}\n{self.faces.digest}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _train(self, network: nn.Module, path: Path) -> str:
        lessons = self.recipe.pretraining
        self.say(f"teaching a network to read expressions for {lessons.steps} steps")
        # Its gradients would vanish in float16, whose losses have to be scaled.
        half = self.fabric.strategy.precision.precision == "16-mixed"
        finished = train_classifier(
            network,
            self.faces,
            lessons,
            self.recipe.seed,
            autocast=None if half else self.fabric.autocast,
            unfinished=self.run / f"{path.stem}.unfinished",
            stopped=lambda: self.interruption.wanted,
            alive=lambda: self.fabric.broadcast(GOING),
            say=self.say,
        )
        if not finished:
            self.say("stopped before the first step; the same command goes on from there")
            return INTERRUPTED
        save_weights(path, network.state_dict())
        return FINISHED
