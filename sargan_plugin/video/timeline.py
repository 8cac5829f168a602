"""What a video shall show when: ranges of time, and keyframes."""

from __future__ import annotations

import csv
import itertools
import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import Expression, check_intensity, condition_of
from sargan_plugin.image_errors import reason, refusal

_CLOCK = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):)?(\d+(?:\.\d*)?|\.\d+)")


@dataclass(frozen=True)
class Keyframe:
    """What a face shall show at one moment.

    Attributes:
        seconds: after the first frame.
        expression: a name or a mix.
        intensity: 0 to 1.5.
    """

    seconds: float
    expression: Expression
    intensity: float = 1.0

    def __post_init__(self) -> None:
        check_intensity(self.intensity)
        condition_of(self.expression)
        if not math.isfinite(self.seconds) or self.seconds < 0:
            raise SarganError(f"The time of a keyframe must be 0 or more, not {self.seconds}.")


@dataclass(frozen=True)
class Timeline:
    """Expression and intensity of an edit as functions of time.

    Attributes:
        keyframes: in order of time; linear between them, constant before the first and after the
            last. One alone holds all the time.
        ranges: seconds from and to which to edit; ``inf`` is the end. Empty means always.
        ramp: seconds over which an edit grows at the beginning of a range and shrinks before its
            end, inside the range. Not where a range begins or ends with the video.

    Example:
        >>> timeline = Timeline((Keyframe(0, "happy"),), ranges=((1.0, 2.0),), ramp=0.5)
        >>> [timeline.at(seconds)[1] for seconds in (0.9, 1.25, 1.5, 2.0)]
        [0.0, 0.5, 1.0, 0.0]
    """

    keyframes: tuple[Keyframe, ...]
    ranges: tuple[tuple[float, float], ...] = ()
    ramp: float = 0.25
    _conditions: tuple[torch.Tensor, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        times = [each.seconds for each in self.keyframes]
        if not times:
            raise SarganError("A timeline needs at least one keyframe.")
        if any(later <= earlier for earlier, later in itertools.pairwise(times)):
            raise SarganError("Keyframes must be in the order of time, one for each moment.")
        for start, end in self.ranges:
            if not 0 <= start < end:
                raise SarganError(f"A range must end after it starts: {start:g} to {end:g} s.")
        if not 0 <= self.ramp < math.inf:
            raise SarganError(f"The ramp must be 0 seconds or more, not {self.ramp}.")
        conditions = tuple(condition_of(each.expression) for each in self.keyframes)
        object.__setattr__(self, "_conditions", conditions)

    def at(self, seconds: float) -> tuple[torch.Tensor, float]:
        """Condition ``(7,)`` and intensity at a moment; intensity 0 where there is no edit."""
        share = self._share(seconds)
        times = [each.seconds for each in self.keyframes]
        after = bisect_right(times, seconds)
        if after in (0, len(times)):
            nearest = min(after, len(times) - 1)
            return self._conditions[nearest], share * self.keyframes[nearest].intensity
        first, second = self.keyframes[after - 1 : after + 1]
        way = (seconds - first.seconds) / (second.seconds - first.seconds)
        amounts = (1 - way) * first.intensity, way * second.intensity
        total = sum(amounts)
        if total == 0:
            return self._conditions[after - 1], 0.0
        # Each expression counts as much as it is felt: from happy at 1 to sad at 0 stays happy.
        mixed = amounts[0] * self._conditions[after - 1] + amounts[1] * self._conditions[after]
        return mixed / total, share * total

    def _share(self, seconds: float) -> float:
        if not self.ranges:
            return 1.0
        return max(self._share_of(each, seconds) for each in self.ranges)

    def _share_of(self, bounds: tuple[float, float], seconds: float) -> float:
        start, end = bounds
        if not start <= seconds <= end:
            return 0.0
        if self.ramp == 0:
            return 1.0
        rising = 1.0 if start == 0 else (seconds - start) / self.ramp
        return min(1.0, rising, (end - seconds) / self.ramp)


def parse_seconds(text: str) -> float:
    """Seconds from ``12.5``, ``1:02.5`` or ``1:00:02.5``.

    Raises:
        SarganError: for anything else.

    Example:
        >>> parse_seconds("1:02.5")
        62.5
    """
    match = _CLOCK.fullmatch(text.strip())
    if match is None or (match[2] is not None and float(match[3]) >= 60):
        raise SarganError(f"{text!r} is no time; write seconds or h:mm:ss, such as 12.5 or 1:02.5.")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds


def pair_ranges(starts: Sequence[str], ends: Sequence[str]) -> tuple[tuple[float, float], ...]:
    """Ranges from times as text: the first start belongs to the first end, and so on.

    A single range may lack its start (then 0) or its end (then the video's).

    Raises:
        SarganError: for times that are none, or starts and ends that do not pair.
    """
    if not starts and not ends:
        return ()
    if max(len(starts), len(ends)) == 1 or len(starts) == len(ends) + 1:
        ends = [*ends, "inf"][: max(1, len(starts))]
        starts = starts or ["0"]
    if len(starts) != len(ends):
        raise SarganError(f"{len(starts)} times to start and {len(ends)} times to end do not pair.")
    return tuple(
        (parse_seconds(start), math.inf if end == "inf" else parse_seconds(end))
        for start, end in zip(starts, ends, strict=True)
    )


def read_keyframes(path: Path) -> tuple[Keyframe, ...]:
    """Keyframes from a CSV file: time, expression, intensity (1 if left out).

    A heading line is skipped, and so are empty lines and lines that begin with ``#``. A mix needs
    quotes: ``2.5,"surprised:0.7,happy:0.3",0.8``.

    Raises:
        SarganError: naming the file and the line.
    """
    keyframes: list[Keyframe] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise refusal(path, f"cannot be read: {reason(error)}") from error
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#"):
            continue
        if not keyframes and cells[0].lower() in ("time", "seconds"):
            continue
        if not 2 <= len(cells) <= 3:
            raise refusal(path, f"line {number}: expected time, expression, intensity")
        try:
            intensity = float(cells[2]) if len(cells) == 3 and cells[2] else 1.0
            keyframes.append(Keyframe(parse_seconds(cells[0]), cells[1], intensity))
        except (SarganError, ValueError) as error:
            raise refusal(path, f"line {number}: {reason(error)}") from error
    if not keyframes:
        raise refusal(path, "holds no keyframe")
    try:
        return Timeline(tuple(keyframes)).keyframes
    except SarganError as error:
        raise refusal(path, str(error)) from error
