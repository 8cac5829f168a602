"""What a caller wants done to one picture: expressions, intensities, and to which faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sargan_plugin.errors import SarganError
from sargan_plugin.expressions import EXPRESSIONS, Expression, check_intensity, condition_of
from sargan_plugin.faces import Face, Selection

ExpressionRequest = Expression | Sequence[Expression] | torch.Tensor
IntensityRequest = float | Sequence[float] | torch.Tensor


@dataclass(frozen=True)
class Request:
    """The wishes for one picture.

    Attributes:
        conditions: ``(1, 7)`` for all selected faces alike, or ``(F, 7)``.
        intensities: ``(1,)`` or ``(F,)``.
        faces: a selection among the faces found, or the faces themselves: a list of
            :class:`Face`, or landmarks ``(F, 5, 2)``.
    """

    conditions: torch.Tensor
    intensities: torch.Tensor
    faces: Selection | Sequence[Face] | torch.Tensor = "all"

    @property
    def changes_nothing(self) -> bool:
        return not bool((self.intensities.detach() > 0).any())

    @property
    def given_faces(self) -> Sequence[Face] | torch.Tensor | None:
        """The faces, when the caller gave them instead of a selection."""
        if isinstance(self.faces, torch.Tensor) or are_faces(self.faces):
            return self.faces
        return None

    def for_face(self, position: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Condition ``(7,)`` and intensity ``()`` of the face at ``position`` of ``count``.

        Raises:
            SarganError: when values were given face by face, but not as many as there are faces.
        """
        return (
            _pick(self.conditions, position, count, "expressions"),
            _pick(self.intensities, position, count, "intensities"),
        )


def conditions_of(expression: ExpressionRequest) -> torch.Tensor:
    """Conditions ``(F, 7)`` of one expression, of one for each face, or of a tensor."""
    if isinstance(expression, torch.Tensor):
        conditions = expression if expression.ndim == 2 else expression[None]
        if conditions.ndim != 2 or conditions.shape[1] != len(EXPRESSIONS):
            raise SarganError(
                f"A condition has the shape (7,) or (F, 7), not {tuple(expression.shape)}."
            )
        return conditions
    if isinstance(expression, list | tuple):
        if not expression:
            raise SarganError("The list of expressions is empty.")
        return torch.stack([condition_of(each) for each in expression])
    return condition_of(expression)[None]


def intensities_of(intensity: IntensityRequest) -> torch.Tensor:
    """Intensities ``(F,)`` of a number, of one for each face, or of a tensor."""
    if isinstance(intensity, torch.Tensor):
        for value in intensity.reshape(-1).tolist():
            check_intensity(value)
        return intensity.reshape(-1)
    many = intensity if isinstance(intensity, list | tuple) else [intensity]
    if not many:
        raise SarganError("The list of intensities is empty.")
    return torch.tensor([check_intensity(value) for value in many])


def are_faces(value: object) -> bool:
    """Whether a value is a list of faces (an empty one included) and not a selection."""
    return isinstance(value, list | tuple) and all(isinstance(each, Face) for each in value)


def _pick(values: torch.Tensor, position: int, count: int, what: str) -> torch.Tensor:
    if len(values) == 1:
        return values[0]
    if len(values) != count:
        raise SarganError(f"{len(values)} {what} were given for {count} selected faces.")
    return values[position]
