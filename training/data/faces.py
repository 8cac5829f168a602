"""Labelled crops of people, split by identity, with labels as soft as they are sure."""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from sargan_plugin.detector_files import first_line
from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.images import printable_name
from sargan_training.data.crops import Crops
from sargan_training.data.photos import FaceRow

# The weight of a hand-given label against the second opinion: a hand-given label stands unless the
# opinion is more than 0.82 sure of something else.
HAND_WEIGHT = 0.45


def is_held_out(person: str, share: float = 0.12) -> bool:
    """Whether a person belongs to the people no model is trained on; stable for ever."""
    return int.from_bytes(_digest(person)[:4], "big") / 2**32 < share


def held_out_people(people: Iterable[str]) -> set[str]:
    """Those whom no model is trained on, nor on somebody of the same name turned round, as
    ``Wang_Nan`` is: whoever wrote the names down may have taken either for the surname."""
    people = set(people)
    trained = {_words_of(person) for person in people if not is_held_out(person)}
    return {person for person in people if is_held_out(person) and _words_of(person) not in trained}


def _words_of(person: str) -> tuple[str, ...]:
    """The words of a name in whatever order; numbers and paths, which have one, stay whole."""
    words = re.split(r"[_ ,]+", person)
    return tuple(sorted(words)) if all(map(str.isalpha, words)) else (person,)


def half_of(person: str) -> str:
    """Whether a held-out person is one to ``"choose"`` checkpoints by, or one to ``"report"``
    figures of; stable for ever."""
    return "report" if _digest(person)[4] & 1 else "choose"


def few_of_each(people: Sequence[str], most: int = 3) -> list[int]:
    """Photos in random order, at most ``most`` of one person: of some there are hundreds.

    Args:
        people: who is in each photo.
        most: of one person.

    Returns:
        Indices into ``people``, the same ones every time.
    """
    count: Counter[str] = Counter()
    chosen = []
    for index in np.random.default_rng(0).permutation(len(people)).tolist():
        if count[people[index]] < most:
            chosen.append(index)
            count[people[index]] += 1
    return chosen


def _digest(person: str) -> bytes:
    return hashlib.sha256(f"sargan:{person}".encode("utf-8", "surrogateescape")).digest()


@dataclass
class FaceSet:
    """Aligned crops, uint8 ``(N, 3, S + 2 margin, same)``, what they show, who they are.

    ``shares`` are ``(N, 7)`` distributions over the expressions; ``labels`` their largest;
    ``landmarks`` ``(N, 5, 2)`` say where in the photos the crops were cut.
    """

    crops: Crops
    shares: torch.Tensor
    people: list[str]
    paths: list[str]
    landmarks: np.ndarray

    @classmethod
    def labelled(cls, crops: Crops, rows: Sequence[FaceRow]) -> FaceSet:
        """Crops that show what their rows say."""
        return cls(
            crops,
            torch.eye(len(EXPRESSIONS))[[row.label for row in rows]],
            [row.person for row in rows],
            [row.path for row in rows],
            np.stack([row.landmarks for row in rows]),
        )

    @property
    def labels(self) -> torch.Tensor:
        return self.shares.argmax(dim=1)

    @property
    def digest(self) -> str:
        """Of which photos these are, how they are cut, and what they are said to show."""
        digest = hashlib.sha256("\n".join(self.paths).encode("utf-8", "surrogateescape"))
        digest.update(self.shares.numpy().tobytes())
        digest.update(self.landmarks.tobytes() + str(self.crops.side).encode())
        return digest.hexdigest()

    def subset(self, keep: np.ndarray) -> FaceSet:
        """Some of the faces; nothing is read."""
        index = np.flatnonzero(keep)
        return FaceSet(
            self.crops.subset(index),
            self.shares[index],
            [self.people[i] for i in index],
            [self.paths[i] for i in index],
            self.landmarks[index],
        )

    def split(self) -> tuple[FaceSet, FaceSet]:
        """(people to train on, people held out)."""
        train = np.array([not is_held_out(person) for person in self.people])
        kept = held_out_people(self.people)
        return self.subset(train), self.subset(np.array([each in kept for each in self.people]))

    def to_choose_by(self) -> FaceSet:
        """Those people by whom checkpoints may be chosen."""
        return self.subset(np.array([half_of(person) == "choose" for person in self.people]))

    def softened_by(self, second_opinion: Path) -> FaceSet:
        """The same faces with labels softened by a CSV that ``relabel.py`` wrote.

        Raises:
            SarganError: when the CSV says nothing of some face.
        """
        return replace(self, shares=softened(self.shares, self.paths, second_opinion))


def softened(shares: torch.Tensor, paths: Sequence[str], second_opinion: Path) -> torch.Tensor:
    """What photos show ``(N, 7)``, mixed with what a CSV of ``relabel.py`` says of them.

    Raises:
        SarganError: when the CSV says nothing of some face.
    """
    opinions = read_opinions(second_opinion)
    missing = [path for path in paths if path not in opinions]
    if missing:
        raise SarganError(
            f"{printable_name(second_opinion)}: says nothing of {printable_name(missing[0])} and "
            f"{len(missing) - 1} more."
        )
    other = torch.tensor([opinions[path] for path in paths])
    return HAND_WEIGHT * shares + (1 - HAND_WEIGHT) * other


def read_opinions(path: Path) -> dict[str, list[float]]:
    """Seven probabilities for each photograph's path.

    Raises:
        SarganError: when the file cannot be read or is no such CSV.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            return {row["path"]: _shares(row) for row in csv.DictReader(stream)}
    except OSError as error:
        reason = error.strerror or error
        raise SarganError(f"{printable_name(path)}: cannot be read: {reason}") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise SarganError(
            f"{printable_name(path)}: is no CSV of path and {len(EXPRESSIONS)} probabilities, as "
            f"relabel.py writes it ({type(error).__name__}: {first_line(error)})."
        ) from error


def _shares(row: dict[str, str]) -> list[float]:
    shares = [float(row[name]) for name in EXPRESSIONS]
    if not (min(shares) >= 0 and math.isclose(sum(shares), 1, abs_tol=0.02)):
        raise ValueError(f"{row['path']}: {shares} are no probabilities")
    return shares


def balanced_weights(shares: torch.Tensor) -> torch.Tensor:
    """Weights ``(N,)`` to draw photos by so that every expression is shown equally often, soft
    labels counted as such."""
    return shares @ (1 / shares.sum(dim=0).clamp(min=1))
