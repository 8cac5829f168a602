"""Losses of the face detector. Boxes are ``(..., 4)`` left, top, right, bottom in px."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from sargan_training.detector.anchors import Anchors, box_iou, decode_boxes, decode_landmarks
from sargan_training.detector.assignment import IGNORED
from sargan_training.detector.network import Predictions

BOX_WEIGHT = 2.0
LANDMARK_WEIGHT = 30.0
SMALL_FACE = 64  # px, below which landmarks weigh less: there, half a pixel is a large share of it
LANDMARK_BETA = 0.01  # of the face's side, where the smooth L1 turns from square to straight


@dataclass
class Targets:
    """What the anchors of ``B`` pictures should say.

    Attributes:
        assigned: ``(B, A)`` int64 from :func:`~sargan_training.detector.assignment.assign`.
        boxes: ``(P, 4)`` px of the face of each of the P anchors that have one, picture by picture.
        landmarks: ``(P, 5, 2)`` px; NaN where a face has none.
    """

    assigned: torch.Tensor
    boxes: torch.Tensor
    landmarks: torch.Tensor


def diou_loss(predicted: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """One minus distance-IoU, 0 to 2 each (Zheng et al., "Distance-IoU Loss", 2020)."""
    between = (predicted[..., :2] + predicted[..., 2:] - boxes[..., :2] - boxes[..., 2:]) / 2
    near = torch.minimum(predicted[..., :2], boxes[..., :2])
    far = torch.maximum(predicted[..., 2:], boxes[..., 2:])
    diagonal = (far - near).square().sum(-1).clamp(min=1e-6)
    return 1 - box_iou(predicted, boxes) + between.square().sum(-1) / diagonal


def quality_focal_loss(
    logits: torch.Tensor, quality: torch.Tensor, beta: float = 2.0
) -> torch.Tensor:
    """Cross-entropy with a soft target, weighted by the distance from it to the power of beta.

    Li et al., "Generalized Focal Loss", 2020.

    Args:
        logits: any shape.
        quality: the same shape, 0 for background, else the predicted box's overlap with its face.
        beta: focusing power.
    """
    cross_entropy = F.binary_cross_entropy_with_logits(logits, quality, reduction="none")
    return cross_entropy * (logits.sigmoid() - quality).abs().pow(beta)


def landmark_loss(
    predicted: torch.Tensor, landmarks: torch.Tensor, boxes: torch.Tensor
) -> torch.Tensor:
    """Smooth L1 of ``(P, 5, 2)`` landmarks as a share of the face's side, 0 where there are none.

    Returns:
        ``(P,)`` means over the coordinates, those of small faces reduced.
    """
    known = landmarks.isfinite().all(-1).all(-1)
    side = (boxes[:, 2:] - boxes[:, :2]).prod(-1).sqrt()
    difference = torch.where(known[:, None, None], predicted - landmarks, 0) / side[:, None, None]
    zero = torch.zeros_like(difference)
    each = F.smooth_l1_loss(difference, zero, beta=LANDMARK_BETA, reduction="none").mean((1, 2))
    return each * (side / SMALL_FACE).clamp(max=1)


def detection_loss(
    predictions: Predictions, targets: Targets, anchors: Anchors
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The sum that is minimised, and its parts as they weigh in it."""
    has_face = targets.assigned >= 0
    count = has_face.sum().clamp(min=1)
    which = has_face.nonzero()[:, 1]
    of_face = Anchors(anchors.centres[which], anchors.sides[which], anchors.strides[which], [])
    predicted = decode_boxes(of_face, predictions.distances[has_face])
    points = decode_landmarks(of_face, predictions.offsets[has_face])

    quality = torch.zeros_like(predictions.logits)
    quality[has_face] = box_iou(predicted.detach(), targets.boxes)
    scored = targets.assigned != IGNORED
    score = quality_focal_loss(predictions.logits, quality)[scored].sum() / count
    box = BOX_WEIGHT * diou_loss(predicted, targets.boxes).sum() / count
    landmark = LANDMARK_WEIGHT * landmark_loss(points, targets.landmarks, targets.boxes).sum()
    landmark = landmark / count
    parts = {"score": score.detach(), "box": box.detach(), "landmark": landmark.detach()}
    return score + box + landmark, parts
