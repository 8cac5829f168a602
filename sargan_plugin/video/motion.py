"""Movement between frames, seen in small grey views of them: scene cuts, and faces that move."""

from __future__ import annotations

import cv2
import numpy as np

from sargan_plugin.video.display import Display
from sargan_plugin.video.frame import Frame
from sargan_plugin.video.planes import plane_views

# px of the longer side. In views of half the size, the face of an upright 1080p portrait drifted
# away from itself by a pixel in five seconds.
VIEW_SIDE = 1280
POINTS = 40  # followed in a face
LEVELS = 4  # halvings of the view; with WINDOW they say how far a point may go in one step
REACH = 120  # px around the points of a face in which they are looked for
WINDOW = (15, 15)  # px around a point that must be found again
THERE_AND_BACK = 0.5  # px a point may miss itself by when it is followed back
LEAST_POINTS = 6
CUT_SIZE = (32, 18)
# Of the range of grey levels, by how much a frame differs from the one before it, on average.
CUT_CHANGE = 0.10
# And by how much more than usual: a shaking camera changes every frame.
CUT_FACTOR = 4.0
USUAL_WEIGHT = 0.15


def grey_view(frame: Frame, display: Display) -> np.ndarray:
    """The frame as it is shown, 8-bit grey, at most :data:`VIEW_SIDE` on the longer side."""
    plane = plane_views(frame.video)[0]
    width, height = display.coded_size(VIEW_SIDE)
    small = cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA)
    if small.dtype != np.uint8:
        small = (small >> (frame.video.format.components[0].bits - 8)).astype(np.uint8)
    return np.ascontiguousarray(display.view(small))


class CutFinder:
    """Tells where a new scene begins: frame by frame, from grey views."""

    def __init__(self) -> None:
        self.last: np.ndarray | None = None
        self.usual = 0.0

    def is_cut(self, view: np.ndarray) -> bool:
        """Whether this view belongs to another scene than the last one; true for the first."""
        small = cv2.resize(view, CUT_SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
        last, self.last = self.last, small
        if last is None:
            return True
        change = float(np.abs(small - last).mean()) / 255
        cut = change > CUT_CHANGE and change > CUT_FACTOR * self.usual
        if not cut:
            self.usual += USUAL_WEIGHT * (change - self.usual)
        return cut


class FaceFollower:
    """Follows the movement of one face from view to view, as a similarity.

    Args:
        view: the grey view in which the face is known.
        landmarks: ``(5, 2)`` in pixels of the view.

    Attributes:
        motion: ``(2, 3)`` of the last step, in pixels of the view.
    """

    def __init__(self, view: np.ndarray, landmarks: np.ndarray) -> None:
        self.view = view
        self.landmarks = landmarks.astype(np.float64)
        self.points = _good_points(view, landmarks)
        self.motion = np.eye(2, 3)

    def follow(self, view: np.ndarray) -> np.ndarray | None:
        """The landmarks in the next view; None when the face can no longer be followed."""
        if len(self.points) < LEAST_POINTS:
            return None
        corner = (self.points.min((0, 1)) - REACH).clip(0).astype(int)
        right, bottom = (self.points.max((0, 1)) + REACH).astype(int)
        before, after = (each[corner[1] : bottom, corner[0] : right] for each in (self.view, view))
        points = self.points - corner.astype(np.float32)
        options = {"winSize": WINDOW, "maxLevel": LEVELS}
        there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, None, **options)
        back, found_again, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, **options)
        missed = np.linalg.norm(back - points, axis=-1).ravel()
        there += corner.astype(np.float32)
        sure = (found.ravel() == 1) & (found_again.ravel() == 1) & (missed < THERE_AND_BACK)
        if sure.sum() < LEAST_POINTS:
            return None
        # RANSAC leaves out what moves on its own: lips, lids, the background beside a cheek.
        matrix, inside = cv2.estimateAffinePartial2D(
            self.points[sure], there[sure], method=cv2.RANSAC, ransacReprojThreshold=1.0
        )
        if matrix is None or inside.sum() < LEAST_POINTS:
            return None
        self.motion = matrix
        self.landmarks = self.landmarks @ matrix[:, :2].T + matrix[:, 2]
        self.points, self.view = there[sure], view
        return self.landmarks


def _good_points(view: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Corners within the face, ``(N, 1, 2)`` float32."""
    centre = landmarks.mean(axis=0)
    radius = max(4.0, 1.1 * float(np.linalg.norm(landmarks - centre, axis=1).max()))
    left, top = (max(0, int(value)) for value in centre - radius)
    right, bottom = (max(0, int(value) + 1) for value in centre + radius)
    part = view[top:bottom, left:right]
    if min(part.shape) < 8:
        return np.empty((0, 1, 2), np.float32)
    points = cv2.goodFeaturesToTrack(part, POINTS, 0.01, max(2.0, radius / 12))
    if points is None:
        return np.empty((0, 1, 2), np.float32)
    return points.astype(np.float32) + np.float32([left, top])
