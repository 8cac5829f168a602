"""Which anchors answer for which face: adaptive training sample selection.

Zhang et al., "Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive
Training Sample Selection" (ATSS), 2020.
"""

from __future__ import annotations

import torch

from sargan_training.detector.anchors import Anchors, box_iou

CANDIDATES = 9  # anchors of each level nearest to a face's centre

BACKGROUND, IGNORED = -1, -2


def assign(anchors: Anchors, boxes: torch.Tensor, ignored: torch.Tensor) -> torch.Tensor:
    """Give every anchor a face, the background, or no say.

    Of the nearest anchors a face gets those whose overlap with it is at least the mean plus one
    standard deviation of all its candidates', and whose centre lies in it; if there is none, the
    candidate that overlaps most. An anchor wanted by two faces goes to the one it overlaps more.

    Args:
        anchors: ``A`` of them.
        boxes: ``(F, 4)`` faces in px.
        ignored: ``(K, 4)`` boxes of what may or may not be a face, in px.

    Returns:
        ``(A,)`` int64: the face's index, :data:`BACKGROUND`, or :data:`IGNORED` for anchors
        centred in an ignored box.
    """
    centres = anchors.centres
    assigned = torch.full((len(centres),), BACKGROUND, device=centres.device)
    if len(ignored):
        assigned[_contains(ignored, centres).any(0)] = IGNORED
    if not len(boxes):
        return assigned
    nearest = _nearest(anchors, boxes)
    overlap = box_iou(boxes[:, None], anchors.boxes()[nearest])
    threshold = overlap.mean(1, keepdim=True) + overlap.std(1, keepdim=True)
    centre = centres[nearest]
    inside = ((centre > boxes[:, None, :2]) & (centre < boxes[:, None, 2:])).all(-1)
    chosen = (overlap >= threshold) & inside
    best = overlap.argmax(1, keepdim=True)
    chosen |= torch.zeros_like(chosen).scatter_(1, best, True) & ~chosen.any(1, keepdim=True)
    # Written in order of overlap, so the largest has the last word.
    faces, positions = chosen.nonzero(as_tuple=True)
    for index in overlap[faces, positions].argsort().tolist():
        face = faces[index]
        assigned[nearest[face, positions[index]]] = face
    return assigned


def _nearest(anchors: Anchors, boxes: torch.Tensor) -> torch.Tensor:
    """``(F, candidates)`` indices of the anchors nearest to each face's centre, level by level."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    result, start = [], 0
    for count in anchors.counts:
        distance = torch.cdist(middle, anchors.centres[start : start + count])
        result.append(distance.topk(min(CANDIDATES, count), largest=False).indices + start)
        start += count
    return torch.cat(result, dim=1)


def _contains(boxes: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """``(K, A)``: whether each box holds each point."""
    return ((points >= boxes[:, None, :2]) & (points <= boxes[:, None, 2:])).all(-1)
