"""How good are the edits of several models, on people that none was trained on? One run for all.

``sargan-cli evaluate`` prints what is measured here. Every photo is edited as a user's would be,
by :class:`ExpressionEditor` at its own resolution, with the data set's landmarks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sargan_plugin import ExpressionEditor, FaceDetector
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.zoo import create_generator
from sargan_training.data import Crops, central, load_faces, to_unit
from sargan_training.evaluation import appearance, identity
from sargan_training.evaluation.intervals import Estimate, estimate
from sargan_training.evaluation.judges import (
    BACKBONES,
    FaceApiJudge,
    compressed,
    halved,
    readings,
    trained_judge,
)
from sargan_training.evaluation.realism import kernel_distance, two_sample_test
from sargan_training.evaluation.subjects import edit_subjects, held_out_subjects, pictures_in

FREQUENT = 5  # the first five expressions have enough photos to be judged by


@dataclass(frozen=True)
class Setting:
    """What to evaluate with.

    Attributes:
        data: the data set, prepared or annotated, see :func:`sargan_training.data.load_faces`.
        run: folder for the judges, which are trained once; crops of annotated photos are kept
            beside it, where training runs keep theirs.
        photos: how many to edit towards each expression.
        pictures: folder of paintings, drawings or other photos without labels, to edit as well.
        half: ``"choose"`` to pick a checkpoint by, ``"report"`` for figures to be told.
        judge_minutes: training time of each judge that ``run`` does not hold yet.
        realism_minutes: training time of the network that tells edits from photos; 0 for none.
        identity: whether to compare face descriptors (slow).
        recognition: an ONNX file or a pack of InsightFace to describe faces with, instead of dlib.
        face_api: the npm package of face-api, for a third judge.
        second_opinion: labels' CSV written by ``relabel.py``, for training the judges.
    """

    data: Path
    run: Path
    photos: int = 200
    pictures: Path | None = None
    half: str = "report"
    judge_minutes: float = 15
    realism_minutes: float = 3
    identity: bool = True
    recognition: str | None = None
    face_api: Path | None = None
    second_opinion: Path | None = None


@dataclass
class Figures:
    """What was measured of one model; every list has an entry for each expression."""

    model: str
    ecs: dict[str, list[Estimate]] = field(default_factory=dict)
    confusion: dict[str, list[list[float]]] = field(default_factory=dict)
    kid: list[float] = field(default_factory=list)
    kid_photos: list[int] = field(default_factory=list)
    colour: list[float] = field(default_factory=list)
    sharpness: list[float] = field(default_factory=list)
    clipped: list[float] = field(default_factory=list)
    similarity: list[Estimate] = field(default_factory=list)
    verified: list[Estimate] = field(default_factory=list)
    skin_tones: dict[str, dict[str, Any]] = field(default_factory=dict)
    two_sample_auc: float | None = None

    def mean_ecs(self, way: str) -> float:
        """Mean over the five frequent expressions."""
        return mean_of_frequent([each.mean for each in self.ecs[way]])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def mean_of_frequent(values: Sequence[float]) -> float:
    """Mean over the five frequent expressions, of a value for each expression."""
    return float(np.mean(values[:FREQUENT]))


class Evaluation:
    """Judges and subjects, made once, and then any number of models.

    Args:
        setting: what to evaluate with.
        say: takes a line about what is being done.
        warn: takes a line about a picture that is left out.

    Raises:
        SarganError: when dlib is wanted and missing, or there is nobody to measure on.
    """

    def __init__(
        self,
        setting: Setting,
        say: Callable[[str], None] = print,
        warn: Callable[[str], None] = print,
    ) -> None:
        self.setting, self.say = setting, say
        self.subjects = held_out_subjects(setting.data, setting.half, setting.photos)
        self.recogniser = self._recogniser() if setting.identity else None
        if self.recogniser is not None:
            self.descriptors = self.recogniser.describe(self.subjects.crops)
        self.elsewhere = {"grey photos": self.subjects.grey()}
        if setting.pictures is not None:
            self.elsewhere["other pictures"] = pictures_in(
                setting.pictures, FaceDetector(), setting.photos, warn
            )
        faces = load_faces(
            setting.data,
            setting.run.parent / "crops_128.npy",
            second_opinion=setting.second_opinion,
        )
        train, held_out = faces.split()
        self.judges: dict[str, nn.Module] = {}
        for name in BACKBONES:
            say(f"judge {name}")
            self.judges[name] = trained_judge(name, train, setting.run, setting.judge_minutes)
        if setting.face_api is not None:
            self.judges["face-api"] = FaceApiJudge(setting.face_api).eval()
        self.real = held_out
        self.real_features = self._features(held_out.crops)
        self.tones = appearance.skin_tones(self.subjects.crops)

    def _recogniser(self) -> identity.Recogniser:
        if self.setting.recognition is None:
            return identity.Dlib()
        return identity.InsightFace(
            self.setting.recognition, self.subjects.crops, self.subjects.people
        )

    def ceiling(self) -> dict[str, list[float]]:
        """What each judge makes of real photos: the share read as labelled, per expression."""
        labels, result = self.real.labels, {}
        for name, judge in self.judges.items():
            right = (readings(judge, self.real.crops).argmax(dim=1) == labels).float()
            result[name] = [right[labels == k].mean().item() for k in range(len(EXPRESSIONS))]
        return result

    def measure(self, model: str) -> tuple[Figures, list[torch.Tensor]]:
        """The figures of one model, and the edited crops of each expression.

        Args:
            model: a name in the manifest, or a ``.safetensors`` file such as a run's averages.
        """
        editor = ExpressionEditor(model=create_generator(model))
        figures = Figures(model)
        edits, hits, same = [], [], []
        for target, expression in enumerate(EXPRESSIONS):
            self.say(f"{model}: {expression}")
            edited = edit_subjects(editor, self.subjects, target)
            edits.append(edited.crops)
            figures.clipped.append(float(edited.clipped.mean()))
            figures.sharpness.append(float(np.median(edited.sharpness)))
            hits.append(self._judge(figures, edited.crops, target))
            self._look(figures, edited.crops, target)
            if self.recogniser is not None:
                same.append(self._recognise(figures, edited.crops))
        self._tell_tones_apart(figures, hits, same)
        self._judge_elsewhere(figures, editor)
        if self.setting.realism_minutes:
            self.say(f"{model}: telling edits from photos")
            figures.two_sample_auc = self._two_sample(edits)
        return figures, edits

    def _judge(self, figures: Figures, crops: torch.Tensor, target: int) -> np.ndarray:
        """Expression scores as they are, after JPEG and at half size.

        Returns:
            The share of judges that each photo's edit convinced; NaN where it showed that before.
        """
        asked = (self.subjects.labels != target).numpy()
        people = np.array(self.subjects.people)[asked]
        ways = {"": crops, ", JPEG 75": compressed(crops), ", half size": halved(crops)}
        hits = []
        for name, judge in self.judges.items():
            for way, shown in ways.items():
                read = readings(judge, shown).argmax(dim=1).numpy()
                figures.ecs.setdefault(name + way, []).append(
                    estimate(read[asked] == target, people)
                )
                if not way:
                    hits.append(read == target)
                    share = np.bincount(read[asked], minlength=len(EXPRESSIONS)) / asked.sum()
                    figures.confusion.setdefault(name, []).append(share.tolist())
        return np.where(asked, np.mean(hits, axis=0), np.nan)

    def _look(self, figures: Figures, crops: torch.Tensor, target: int) -> None:
        difference = appearance.colour_difference(self.subjects.crops, crops)
        figures.colour.append(difference.mean().item())
        shown = self.real_features[self.real.labels == target]
        figures.kid_photos.append(len(shown))
        figures.kid.append(
            kernel_distance(self._features(crops), shown) if len(shown) > 1 else float("nan")
        )

    def _recognise(self, figures: Figures, crops: torch.Tensor) -> np.ndarray:
        """Similarity to the photos, and whether each is taken for the same person."""
        described, people = self.recogniser.describe(crops), self.subjects.people
        same = self.recogniser.same_person(self.descriptors, described)
        figures.similarity.append(
            estimate(identity.similarity(self.descriptors, described), people)
        )
        figures.verified.append(estimate(same, people))
        return same

    def _tell_tones_apart(
        self, figures: Figures, hits: list[np.ndarray], same: list[np.ndarray]
    ) -> None:
        """Shares of edits read as the target and of people recognised, by the tone of the skin."""
        for tone in appearance.SKIN_TONES:
            chosen = np.array([each == tone for each in self.tones])
            if chosen.any():
                figures.skin_tones[tone] = {
                    "photos": int(chosen.sum()),
                    "ecs": float(np.nanmean(np.stack(hits[:FREQUENT])[:, chosen])),
                    "fvs": float(np.stack(same)[:FREQUENT, chosen].mean()) if same else None,
                }

    def _judge_elsewhere(self, figures: Figures, editor: ExpressionEditor) -> None:
        """Expression scores out of distribution: without colour, and of what else was given."""
        for kind, subjects in self.elsewhere.items():
            people, labels = np.array(subjects.people), subjects.labels
            for target in range(FREQUENT):
                crops = edit_subjects(editor, subjects, target).crops
                asked = (labels != target).numpy()
                for name, judge in self.judges.items():
                    hit = (readings(judge, crops).argmax(dim=1) == target).numpy()
                    figures.ecs.setdefault(f"{name}, {kind}", []).append(
                        estimate(hit[asked], people[asked])
                    )

    def _two_sample(self, edits: list[torch.Tensor]) -> float:
        """Each photo is edited towards one of the frequent expressions it does not show."""
        labels = self.subjects.labels
        turn = torch.arange(len(labels)) % FREQUENT
        turn = torch.where(turn == labels, (turn + 1) % FREQUENT, turn)
        mixed = torch.stack([edits[target][i] for i, target in enumerate(turn.tolist())])
        photos = to_unit(central(self.subjects.crops))
        people = self.subjects.people
        return two_sample_test(
            photos, to_unit(central(mixed)), people, self.setting.realism_minutes
        )

    @torch.no_grad()
    def _features(self, crops: torch.Tensor | Crops) -> torch.Tensor:
        judge = self.judges[BACKBONES[0]]
        return torch.cat([judge.features(to_unit(part)) for part in crops.split(64)])
