"""Perspective placements: where a photograph and its faces come to lie on another picture."""

from __future__ import annotations

import cv2
import numpy as np

# A box's inscribed ellipse is what turns with a face; its corners would make turned boxes too big.
_ROUND = np.linspace(0, 2 * np.pi, 32, endpoint=False)
ELLIPSE = np.stack([np.cos(_ROUND), np.sin(_ROUND)], axis=1).astype(np.float32)
OTHER_SIDE = [1, 0, 2, 4, 3]  # a mirrored face's left eye is its right one


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map ``(..., 2)`` points by a ``(3, 3)`` homography, float32."""
    mapped = points @ matrix[:, :2].T + matrix[:, 2]
    return (mapped[..., :2] / mapped[..., 2:]).astype(np.float32)


def similarity(
    source: np.ndarray, target: np.ndarray, scale: float, angle: float, mirrored: bool = False
) -> np.ndarray:
    """Homography that maps one point to another, scales and turns (radians, clockwise)."""
    flip = np.diag([-1.0 if mirrored else 1.0, 1.0])
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[cos, -sin], [sin, cos]]) @ flip
    matrix[:2, 2] = target - matrix[:2, :2] @ source
    return matrix


def placement(
    box: np.ndarray,
    size: float,
    centre: np.ndarray,
    angle: float,
    mirrored: bool,
    random: np.random.Generator,
) -> np.ndarray:
    """Homography that puts a face's box at a centre, ``size`` px long, a little distorted."""
    length = (box[2:] - box[:2]).max()
    middle = (box[:2] + box[2:]) / 2
    stretch = np.exp(random.uniform(-0.1, 0.1))
    tilt = random.uniform(-0.25, 0.25, 2) / length * (random.random() < 0.5)
    distort = np.array([[stretch, random.uniform(-0.1, 0.1), 0], [0, 1 / stretch, 0], [*tilt, 1]])
    to_origin = np.array([[1, 0, -middle[0]], [0, 1, -middle[1]], [0, 0, 1]])
    place = similarity(np.zeros(2), centre, size / length, angle, mirrored)
    return place @ distort @ to_origin


def face_points(
    matrix: np.ndarray, boxes: np.ndarray, landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes ``(F, 4)`` and landmarks ``(F, 5, 2)`` after a homography."""
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    outline = transform(matrix, middle[:, None] + ELLIPSE * half[:, None])
    moved = np.concatenate([outline.min(axis=1), outline.max(axis=1)], axis=1)
    return moved, transform(matrix, landmarks)


def swap_sides(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks ``(5, 2)`` of a mirrored face, named as the viewer sees them."""
    return landmarks[OTHER_SIDE]


def covered_share(box: np.ndarray, region: np.ndarray) -> float:
    """The part of a box, 0 to 1, that a convex region ``(K, 2)`` covers."""
    left, top, right, bottom = box
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
    shared, _ = cv2.intersectConvexConvex(corners, region.astype(np.float32))
    return float(shared / max((right - left) * (bottom - top), 1e-6))


def warp_into(
    canvas: np.ndarray,
    pixels: np.ndarray,
    matrix: np.ndarray,
    region: np.ndarray,
    feather: bool = False,
) -> None:
    """Paint the part of a picture that lands in a convex region of the canvas.

    Args:
        canvas: ``(H, W, 3)`` uint8, changed in place.
        pixels: ``(h, w, 3)`` uint8.
        matrix: homography from ``pixels`` to ``canvas``, corners at (0, 0).
        region: ``(K, 2)`` outline on the canvas.
        feather: blend softly over the outline instead of cutting at it.
    """
    height, width = canvas.shape[:2]
    left, top = np.floor(region.min(axis=0)).clip(0).astype(int)
    right, bottom = np.minimum(np.ceil(region.max(axis=0)), (width, height)).astype(int)
    if right <= left or bottom <= top:
        return
    pixels, matrix = _reduced(pixels, matrix)
    to_index = np.array([[1, 0, -left - 0.5], [0, 1, -top - 0.5], [0, 0, 1]])
    from_index = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    size = (int(right - left), int(bottom - top))
    warped = cv2.warpPerspective(
        pixels,
        to_index @ matrix @ from_index,
        size,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    mask = np.zeros(size[::-1], np.uint8)
    cv2.fillConvexPoly(mask, (region - (left, top)).round().astype(np.int32), 255)
    part = canvas[top:bottom, left:right]
    if not feather:
        part[:] = cv2.copyTo(warped, mask, part.copy())
        return
    reach = max(1, min(size) // 12) * 2 + 1
    inner = cv2.erode(mask, np.ones((reach // 2 + 1, reach // 2 + 1), np.uint8))
    alpha = cv2.blur(inner, (reach, reach))[..., None].astype(np.uint16)
    part[:] = ((warped * alpha + part * (255 - alpha)) // 255).astype(np.uint8)


def _reduced(pixels: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A picture reduced by area averaging before it is drawn at a fraction of its size.

    Bilinear sampling alone would alias there. Whole factors are averaged several times faster.
    """
    scale = np.sqrt(abs(np.linalg.det(matrix[:2, :2]))) / abs(matrix[2, 2])
    factor = min(round(1 / scale), *pixels.shape[:2])
    if factor < 2:
        return pixels, matrix
    height, width = (side // factor for side in pixels.shape[:2])
    whole = pixels[: height * factor, : width * factor]
    reduced = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    return reduced, matrix @ np.diag([factor, factor, 1.0])
