"""Pictures with the faces in them, and a store that many processes read from one file.

Coordinates are pixels with (0, 0) at the top left *corner* of a picture, as SCRFD means them; a
pixel's centre is at half numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from sargan_plugin.errors import SarganError
from sargan_plugin.images import make_folder

STORED_SIDE = 640  # px; larger pictures are shrunk to it


@dataclass
class Picture:
    """A picture and its ``F`` faces.

    Attributes:
        pixels: ``(H, W, 3)`` uint8 RGB.
        boxes: ``(F, 4)`` float32 left, top, right, bottom.
        landmarks: ``(F, 5, 2)`` float32; NaN where a face has none that can be trusted.
        sure: ``(F,)`` bool; False for what may or may not be a face.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    landmarks: np.ndarray
    sure: np.ndarray

    def shrunk(self, side: int) -> Picture:
        """This picture, or a smaller one whose longer side is ``side``."""
        height, width = self.pixels.shape[:2]
        scale = side / max(height, width)
        if scale >= 1:
            return self
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        factors = np.divide(size, (width, height), dtype=np.float32)
        return replace(
            self,
            pixels=cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA),
            boxes=self.boxes * np.tile(factors, 2),
            landmarks=self.landmarks * factors,
        )


def without_faces(pixels: np.ndarray) -> Picture:
    return Picture(
        pixels,
        np.zeros((0, 4), np.float32),
        np.zeros((0, 5, 2), np.float32),
        np.zeros(0, bool),
    )


def read_pixels(path: Path) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB.

    Raises:
        SarganError: when the file is not a readable picture.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise SarganError(f"{path}: not a picture that can be read.")
    return np.ascontiguousarray(pixels[..., ::-1])


class PictureStore:
    """Pictures in a folder of two files; pickling it copies no pixels.

    Args:
        folder: written by :func:`write_store`.
        in_memory: read all pixels at once, for slow disks; otherwise they are mapped, and what is
            used often is kept by the system as long as it likes.

    Raises:
        SarganError: when there is no store in the folder.
    """

    def __init__(self, folder: Path, in_memory: bool = False) -> None:
        self.folder, self.in_memory = folder, in_memory
        try:
            with np.load(folder / "faces.npz") as saved:
                self.shapes, self.counts = saved["shapes"], saved["counts"]
                self.boxes, self.landmarks = saved["boxes"], saved["landmarks"]
                self.sure = saved["sure"]
            self._open_pixels()
        except OSError as error:
            raise SarganError(f"{folder}: no picture store ({error.strerror}).") from error
        self.pixel_starts = np.concatenate([[0], np.cumsum(self.shapes.prod(1) * 3)])
        self.face_starts = np.concatenate([[0], np.cumsum(self.counts)])

    def _open_pixels(self) -> None:
        path = self.folder / "pixels.bin"
        if self.in_memory:
            self.pixels = np.fromfile(path, np.uint8)
        else:
            self.pixels = np.memmap(path, np.uint8, mode="r")

    def __getstate__(self) -> dict:
        return {key: value for key, value in vars(self).items() if key != "pixels"}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._open_pixels()

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> Picture:
        start, end = self.pixel_starts[index : index + 2]
        faces = slice(*self.face_starts[index : index + 2])
        pixels = self.pixels[start:end].reshape(*self.shapes[index], 3)
        return Picture(pixels, self.boxes[faces], self.landmarks[faces], self.sure[faces])


def write_store(folder: Path, pictures: Iterable[Picture]) -> int:
    """Write pictures as ``folder``'s store; how many there were."""
    make_folder(folder)
    shapes, counts, boxes, landmarks, sure = [], [], [], [], []
    partial = folder / "pixels.part"
    with partial.open("wb") as stream:
        for picture in pictures:
            small = picture.shrunk(STORED_SIDE)
            stream.write(small.pixels.tobytes())
            shapes.append(small.pixels.shape[:2])
            counts.append(len(small.boxes))
            boxes.append(small.boxes)
            landmarks.append(small.landmarks)
            sure.append(small.sure)
    if not shapes:
        raise SarganError(f"{folder}: there are no pictures to store.")
    partial.replace(folder / "pixels.bin")
    np.savez(
        folder / "faces.npz",
        shapes=np.array(shapes),
        counts=np.array(counts),
        boxes=np.concatenate(boxes).astype(np.float32),
        landmarks=np.concatenate(landmarks).astype(np.float32),
        sure=np.concatenate(sure),
    )
    return len(shapes)
