"""How good are the edits of several models, on people that none was trained on? One run for all.

``sargan-cli evaluate`` prints what is measured here. Every photo is edited by
:class:`ExpressionEditor` at its own resolution, as a user's would be, along the data set's
landmarks; expression scores are also told of faces that the default detector finds, and the network
that tells edits from photos sees both where that detector finds the face. An edit towards what a
photo shows already is hardly one and counts nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sargan_plugin import ExpressionEditor, FaceDetector
from sargan_plugin.compute import resolve_device
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.zoo import create_generator
from sargan_training.data import central, few_of_each, load_faces
from sargan_training.evaluation import appearance, identity
from sargan_training.evaluation.figures import FREQUENT, Figures
from sargan_training.evaluation.intervals import Estimate, estimate
from sargan_training.evaluation.judges import (
    BACKBONES,
    FaceApiJudge,
    compressed,
    features,
    halved,
    readings,
    trained_judge,
)
from sargan_training.evaluation.realism import (
    kernel_distance,
    told_by_expression,
    two_sample_test,
)
from sargan_training.evaluation.subjects import (
    Edits,
    Subjects,
    edit_subjects,
    held_out_subjects,
    pictures_in,
)


@dataclass(frozen=True)
class Setting:
    """What to evaluate with.

    Attributes:
        data: the data set, prepared or annotated, see :func:`sargan_training.data.load_faces`.
        run: folder for the judges, which are trained once; crops of annotated photos are kept
            beside it, where training runs keep theirs.
        photos: how many to edit towards each expression; that edits are told from photos is tried
            on all that there are, at most three of a person.
        pictures: folder of paintings, drawings or other photos without labels, to edit as well.
        half: ``"choose"`` to pick a checkpoint by, ``"report"`` for figures to be told.
        judge_steps: of training of each judge that ``run`` does not hold yet.
        realism_minutes: training time of the network that tells edits from photos; 0 for none.
        realism_steps: of it, however long they take; None for as many as it does in those minutes.
        brief: whether to measure only what a checkpoint is chosen by, expression and realism, on
            the data set's photos as they are (and on ``pictures``).
        identity: whether to compare face descriptors (slow).
        recognition: an ONNX file or a pack of InsightFace to describe faces with, instead of dlib.
        face_api: the npm package of face-api, for a third judge.
        second_opinion: labels' CSV written by ``relabel.py``, mixed with all labels.
        device: to train and compute on.
    """

    data: Path
    run: Path
    photos: int = 200
    pictures: Path | None = None
    half: str = "report"
    judge_steps: int = 3000
    realism_minutes: float = 3
    realism_steps: int | None = None
    brief: bool = False
    identity: bool = True
    recognition: str | None = None
    face_api: Path | None = None
    second_opinion: Path | None = None
    device: str = "auto"


def _asked(subjects: Subjects) -> torch.Tensor:
    """Which edits count, ``(N, 7)``: those towards what a photo does not show already."""
    return subjects.labels[:, None] != torch.arange(len(EXPRESSIONS))


def _hits(subjects: Subjects, read: np.ndarray) -> np.ndarray:
    """Which edits towards the first K expressions were read ``(K, N)`` as the target; NaN for those
    that do not count."""
    targets = np.arange(len(read))[:, None]
    return np.where(_asked(subjects).T[: len(read)], read == targets, np.nan)


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
        self.device = resolve_device(setting.device)
        everybody = held_out_subjects(setting.data, setting.half, setting.second_opinion)
        self.subjects, self.rest = everybody.parted(setting.photos)
        self.recogniser = self._recogniser() if setting.identity else None
        if self.recogniser is not None:
            self.descriptors = self.recogniser.describe(self.subjects.crops)
        self.detector = FaceDetector()
        self.elsewhere: dict[str, Subjects] = {}
        if not setting.brief:
            self.elsewhere["faces found"] = self.subjects.found_by(self.detector)
            self.elsewhere["grey photos"] = self.subjects.grey()
            self.elsewhere["intensity 0.5"] = self.subjects.weakly(0.5)
        if setting.pictures is not None:
            self.elsewhere["other pictures"] = pictures_in(
                setting.pictures, self.detector, setting.photos, warn
            )
        face_api = None if setting.face_api is None else FaceApiJudge(setting.face_api).eval()
        faces = load_faces(setting.data, setting.run.parent, second_opinion=setting.second_opinion)
        train, held_out = faces.split()
        self.judges: dict[str, nn.Module] = {}
        for name in BACKBONES:
            say(f"judge {name}")
            self.judges[name] = trained_judge(
                name, train, setting.run, setting.judge_steps, self.device, say
            )
        if face_api is not None:
            self.judges["face-api"] = face_api.to(self.device)
        few = np.isin(np.arange(len(held_out.people)), few_of_each(held_out.people))
        self.real = held_out.subset(few)
        self.real_features = features(self.judges[BACKBONES[0]], self.real.crops)
        self.tones = np.array(appearance.skin_tones(self.subjects.crops))
        self.asked = _asked(self.subjects)

    def _recogniser(self) -> identity.Recogniser:
        if self.setting.recognition is None:
            return identity.Dlib()
        return identity.InsightFace(
            self.setting.recognition, self.subjects.crops, self.subjects.people
        )

    @cached_property
    def photos_found(self) -> torch.Tensor:
        """Everybody's photos, each cut where the detector finds the face."""
        parts = [part for part in (self.subjects, self.rest) if part.rows]
        return torch.cat([part.crops_found(self.detector) for part in parts])

    @cached_property
    def photos_read(self) -> dict[str, torch.Tensor]:
        """What each judge reads in them."""
        return {name: readings(judge, self.photos_found) for name, judge in self.judges.items()}

    def ceiling(self) -> dict[str, list[Estimate]]:
        """What each judge makes of real photos of all held-out people, few of each: the share read
        as labelled, per expression."""
        labels, result = self.real.labels, {}
        for name, judge in self.judges.items():
            right = (readings(judge, self.real.crops).argmax(dim=1) == labels).numpy()
            result[name] = [
                estimate(np.where(labels == k, right, np.nan), self.real.people)
                for k in range(len(EXPRESSIONS))
            ]
        return result

    def measure(self, model: str) -> tuple[Figures, list[torch.Tensor]]:
        """The figures of one model, and the edited crops of each expression.

        Args:
            model: a name in the manifest, or a ``.safetensors`` file such as a run's averages.
        """
        editor = ExpressionEditor(model=create_generator(model), device=self.setting.device)
        finder = self.detector if self.setting.realism_minutes else None
        edits: list[Edits] = []
        for target, expression in enumerate(EXPRESSIONS):
            self.say(f"{model}: {expression}")
            finds = finder if target < FREQUENT else None
            edits.append(edit_subjects(editor, self.subjects, expression, finds))
        crops = [edited.crops for edited in edits]

        figures = Figures(model)
        read = self._judge(figures, self.subjects, crops)
        self._confuse(figures, read)
        if not self.setting.brief:
            self._judge(figures, self.subjects, [compressed(each) for each in crops], ", JPEG 75")
            self._judge(figures, self.subjects, [halved(each) for each in crops], ", half size")
            self._mix(figures, editor)
            for target, edited in enumerate(edits):
                self._look(figures, edited, target)
        for kind, subjects in self.elsewhere.items():
            others = [
                edit_subjects(editor, subjects, each).crops for each in EXPRESSIONS[:FREQUENT]
            ]
            self._judge(figures, subjects, others, f", {kind}")
        same = None if self.recogniser is None else self._recognise(figures, crops)
        self._tell_tones_apart(figures, read, same)
        if self.setting.realism_minutes:
            self.say(f"{model}: telling edits from photos")
            self._tell_from_photos(figures, editor, edits)
        return figures, crops

    def _judge(
        self, figures: Figures, subjects: Subjects, crops: Sequence[torch.Tensor], way: str = ""
    ) -> dict[str, np.ndarray]:
        """Expression scores of edits towards the first few expressions, or all of them.

        Returns:
            As what each judge read them, ``(K, N)``.
        """
        read = {}
        for name, judge in self.judges.items():
            read[name] = np.stack([readings(judge, each).argmax(dim=1).numpy() for each in crops])
            hits = _hits(subjects, read[name])
            figures.ecs[name + way] = [estimate(each, subjects.people) for each in hits]
            figures.mean_ecs[name + way] = estimate(hits[:FREQUENT].T, subjects.people)
        return read

    def _confuse(self, figures: Figures, read: dict[str, np.ndarray]) -> None:
        """As what each judge read edits towards each expression."""
        for name, rows in read.items():
            shares = []
            for target, row in enumerate(rows):
                counts = np.bincount(row[self.asked[:, target]], minlength=len(EXPRESSIONS))
                shares.append((counts / max(1, counts.sum())).tolist())
            figures.confusion[name] = shares

    def _mix(self, figures: Figures, editor: ExpressionEditor) -> None:
        """What edits half towards one expression and half towards another are read as."""
        self.say(f"{figures.model}: mixes")
        for pair in combinations(range(1, FREQUENT), 2):  # half of neutral is but a weaker edit
            first, second = (EXPRESSIONS[k] for k in pair)
            crops = edit_subjects(editor, self.subjects, {first: 0.5, second: 0.5}).crops
            asked = self.asked[:, list(pair)].all(dim=1).numpy()
            for name, judge in self.judges.items():
                read = readings(judge, crops).argmax(dim=1).numpy()
                figures.mixes.setdefault(name, {})[f"{first}+{second}"] = [
                    estimate(np.where(asked, read == k, np.nan), self.subjects.people) for k in pair
                ]

    def _tell_from_photos(
        self, figures: Figures, editor: ExpressionEditor, edits: Sequence[Edits]
    ) -> None:
        """The two-sample test on everybody: those whose edits are there, and the rest."""
        photos, asked = self.photos_found, self.asked[:, :FREQUENT]
        edited = [edits[target].found for target in range(FREQUENT)]
        if self.rest.rows:
            asked = torch.cat([asked, _asked(self.rest)[:, :FREQUENT]])
            for target, some in enumerate(edited):
                expression = EXPRESSIONS[target]
                others = edit_subjects(editor, self.rest, expression, self.detector).found
                edited[target] = torch.cat([some, others])
        people = self.subjects.people + self.rest.people
        for name, judge in self.judges.items():
            read = [readings(judge, each) for each in edited]
            figures.by_expression[name] = told_by_expression(
                self.photos_read[name], read, asked, people
            )
        photos, *edited = [central(each) for each in (photos, *edited)]
        figures.realism = two_sample_test(
            photos,
            edited,
            asked,
            people,
            self.setting.realism_minutes,
            self.setting.realism_steps,
            self.device,
        )

    def _estimate(self, values: np.ndarray, target: int) -> Estimate:
        """Of values ``(N,)``, without photos that show the target already."""
        values = np.where(self.asked[:, target], values, np.nan)
        return estimate(values, self.subjects.people)

    def _look(self, figures: Figures, edited: Edits, target: int) -> None:
        """What the edits look like beside the photos, and beside real photos of the target."""
        colour = appearance.colour_difference(self.subjects.crops, edited.crops)
        figures.colour.append(self._estimate(colour.mean(axis=1), target))
        figures.blotches.append(self._estimate(np.quantile(colour, 0.95, axis=1), target))
        figures.clipped.append(self._estimate(edited.clipped, target))
        ratio = self._estimate(np.log(edited.sharpness), target)
        figures.sharpness.append(
            Estimate(*np.exp([ratio.value, ratio.low, ratio.high]).tolist(), ratio.photos)
        )
        asked, shown = self.asked[:, target].numpy(), (self.real.labels == target).numpy()
        figures.kid_photos.append(int(shown.sum()))
        figures.kid.append(
            kernel_distance(
                features(self.judges[BACKBONES[0]], edited.crops[asked]),
                self.real_features[shown],
                [self.subjects.people[i] for i in np.flatnonzero(asked)],
                [self.real.people[i] for i in np.flatnonzero(shown)],
            )
        )

    def _recognise(self, figures: Figures, crops: Sequence[torch.Tensor]) -> np.ndarray:
        """Similarity to the photos, and whether each edit ``(7, N)`` is of the same person."""
        same = []
        for target, edited in enumerate(crops):
            described = self.recogniser.describe(edited)
            alike = identity.similarity(self.descriptors, described)
            same.append(self.recogniser.same_person(self.descriptors, described))
            figures.similarity.append(self._estimate(alike, target))
            figures.verified.append(self._estimate(same[-1], target))
        return np.stack(same)

    def _tell_tones_apart(
        self, figures: Figures, read: dict[str, np.ndarray], same: np.ndarray | None
    ) -> None:
        """Shares of edits read as the target and of people recognised, by the tone of the skin."""
        hits = np.mean([_hits(self.subjects, each) for each in read.values()], axis=0)[:FREQUENT]
        asked = self.asked.T[:FREQUENT].numpy()
        verified = None if same is None else np.where(asked, same[:FREQUENT], np.nan)
        for tone in appearance.SKIN_TONES:
            chosen = self.tones == tone
            if chosen.any():
                people = np.array(self.subjects.people)[chosen].tolist()
                figures.skin_tones[tone] = {
                    "photos": int(chosen.sum()),
                    "ecs": estimate(hits[:, chosen].T, people),
                    "fvs": None if verified is None else estimate(verified[:, chosen].T, people),
                }
