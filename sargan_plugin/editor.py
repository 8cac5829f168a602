"""``ExpressionEditor``: pictures in, pictures with another expression out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from sargan_plugin.align import crop_face, crop_rectangle, face_matrices
from sargan_plugin.boundary import Picture, detector_view, unpack
from sargan_plugin.compute import autocast_dtype, detector_device, resolve_device
from sargan_plugin.errors import FaceWarning, SarganError
from sargan_plugin.faces import Face, Selection, parse_selection, select_faces
from sargan_plugin.generation import edits_of_crops
from sargan_plugin.generators import Edit, Generator
from sargan_plugin.paste import paste_edit
from sargan_plugin.request import (
    ExpressionRequest,
    IntensityRequest,
    Request,
    are_faces,
    conditions_of,
    intensities_of,
)
from sargan_plugin.zoo import create_generator

# Faces whose longer side has fewer pixels hold too little to show an expression.
MIN_FACE_SIZE = 24
# See Face.profile_strength: from here on one eye or mouth corner is nearly hidden.
STRONG_PROFILE = 0.6


class Detector(Protocol):
    """Anything that finds faces in a uint8 RGB picture ``(H, W, 3)``."""

    def detect(self, image: np.ndarray) -> list[Face]: ...


@dataclass(frozen=True)
class EditedFace:
    """What became of one selected face.

    Attributes:
        face: the face.
        left_because: why it was left alone, or an empty string when it was edited.
        remark: why the result may be poor (small face, strong profile), or an empty string.
        changed: pixels of the photo that its edit touched.
        clipped: touched pixels that would have left the range of the dtype.
    """

    face: Face
    left_because: str = ""
    remark: str = ""
    changed: int = 0
    clipped: int = 0


@dataclass(frozen=True)
class EditResult:
    """An edited picture and what became of its selected faces, left to right."""

    image: Picture
    faces: list[EditedFace]

    @property
    def edited(self) -> bool:
        """Whether any pixel may differ from the input."""
        return any(face.changed for face in self.faces)


@dataclass(frozen=True)
class _Job:
    """One face to edit: where it is and what it shall show."""

    photo: int
    position: int
    matrix: torch.Tensor
    condition: torch.Tensor
    intensity: torch.Tensor


class ExpressionEditor(nn.Module):
    """Change the expression of the faces in pictures and leave everything else alone.

    Args:
        expression: ``"happy"``, a mix such as ``"surprised:0.7,happy:0.3"`` or a mapping, a list
            with one entry for each selected face (left to right), or a condition tensor ``(7,)``
            or ``(F, 7)``.
        intensity: 0 (nothing changes, bit for bit) to 1 (the full expression) up to 1.5, or one
            value for each face as a list or tensor.
        model: name in the manifest, path of a ``.safetensors`` file, a :class:`Generator`, or
            None for the default weights.
        faces: which faces: ``"all"``, ``"largest"``, an index or several, ``("nearest", x, y)``.
        detector: an object with ``detect``, the path of an SCRFD ONNX, the name of an InsightFace
            pack, or None for ``$SARGAN_DETECTOR`` or the bundled detector.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        dtype: of the generator: ``"auto"`` (bfloat16 where that is fast), ``"float32"``,
            ``"bfloat16"``. Geometry always runs in the picture's float dtype.
        neutralise_first: go by way of a neutral face, so that the expression that is there does
            not shine through.
        on_no_face: ``"pass"``, ``"warn"`` or ``"error"`` when a picture has no face.
        small_faces: ``"edit"`` or ``"leave"`` faces below ``min_face_size`` pixels.
        profiles: ``"edit"`` or ``"leave"`` faces turned strongly to the side.
        min_face_size: in pixels of the picture.
        grain: whether texture like the photo's is laid over what is painted.
        seed: of the grain.
        memory_limit_mb: bounds how many faces go through the generator at once.

    Shape:
        ``forward`` takes a ``PIL.Image``, a numpy picture ``(H, W, 3)`` (uint8, uint16; or grey),
        or a tensor ``(3, H, W)`` or ``(B, 3, H, W)`` in [0, 1], and returns the same type, size,
        dtype and device.

    Raises:
        SarganError: for unknown expressions, models or selections, impossible intensities, a
            device that is not there.

    Example::

        editor = ExpressionEditor("surprised", intensity=0.8)
        editor(Image.open("me.jpg")).save("surprised.png")
    """

    def __init__(
        self,
        expression: ExpressionRequest = "happy",
        intensity: IntensityRequest = 1.0,
        model: str | Path | Generator | None = None,
        faces: Selection = "all",
        detector: Detector | str | Path | None = None,
        device: str | torch.device = "auto",
        dtype: str = "auto",
        *,
        neutralise_first: bool = False,
        on_no_face: str = "pass",
        small_faces: str = "edit",
        profiles: str = "edit",
        min_face_size: float = MIN_FACE_SIZE,
        grain: bool = True,
        seed: int = 0,
        memory_limit_mb: float = 1024,
    ) -> None:
        super().__init__()
        _one_of("on_no_face", on_no_face, ("pass", "warn", "error"))
        _one_of("small_faces", small_faces, ("edit", "leave"))
        _one_of("profiles", profiles, ("edit", "leave"))
        conditions_of(expression)
        intensities_of(intensity)
        self.expression, self.intensity, self.faces = expression, intensity, faces
        self.neutralise_first, self.on_no_face = neutralise_first, on_no_face
        self.small_faces, self.profiles, self.min_face_size = small_faces, profiles, min_face_size
        self.grain, self.seed, self.memory_limit_mb = grain, seed, memory_limit_mb
        parse_selection(faces)
        chosen = resolve_device(device)
        self.autocast_dtype = autocast_dtype(dtype, chosen)
        generator = model if isinstance(model, Generator) else create_generator(model)
        self.generator = generator.to(chosen).eval()
        self._detector, self._detector_device = detector, detector_device(device)

    def train(self, mode: bool = True) -> ExpressionEditor:
        """Edits are the same while a pipeline around this transform trains."""
        super().train(mode)
        self.generator.eval()
        return self

    @property
    def detector(self) -> Detector:
        """The face detector, made on first use: a caller who gives faces needs none."""
        if self._detector is None or isinstance(self._detector, str | Path):
            from sargan_plugin.detector import FaceDetector

            self._detector = FaceDetector(self._detector, device=self._detector_device)
        return self._detector

    def forward(
        self,
        image: Picture,
        *,
        expression: ExpressionRequest | None = None,
        intensity: IntensityRequest | None = None,
        faces: Selection | Sequence[Face] | Sequence[Sequence[Face]] | torch.Tensor | None = None,
    ) -> Picture:
        """Return ``image`` with the expression changed; the keywords override the settings.

        ``faces`` may also be the faces themselves: a list of :class:`Face` (one list a picture
        for a batch), or landmarks ``(F, 5, 2)`` for one picture, ``(B, F, 5, 2)`` for a batch.
        Then nothing is detected and the result is differentiable in the pixels, the intensity,
        the condition and landmarks given as a tensor.
        """
        unpacked = unpack(image)
        request = self.request(expression, intensity, faces)
        requests = [request] * len(unpacked.photos)
        by_picture = isinstance(faces, torch.Tensor) and faces.ndim == 4
        if isinstance(faces, list | tuple) and faces:
            by_picture = all(map(are_faces, faces))
        if by_picture:
            requests = [replace(request, faces=each) for each in faces]
        elif len(requests) > 1 and request.given_faces is not None:
            raise SarganError("Faces for a batch are given picture by picture.")
        if len(requests) != len(unpacked.photos):
            raise SarganError(f"Faces of {len(requests)} pictures for {len(unpacked.photos)}.")
        edited = [photo for photo, _ in self._edit(unpacked.photos, requests)]
        copies = [
            after.clone() if after is before else after
            for before, after in zip(unpacked.photos, edited, strict=True)
        ]
        return unpacked.pack(copies)

    def request(
        self,
        expression: ExpressionRequest | None = None,
        intensity: IntensityRequest | None = None,
        faces: Selection | Sequence[Face] | torch.Tensor | None = None,
    ) -> Request:
        """The wishes for one picture; what is not given is as in the editor's settings."""
        return Request(
            conditions_of(self.expression if expression is None else expression),
            intensities_of(self.intensity if intensity is None else intensity),
            self.faces if faces is None else faces,
        )

    def edit(
        self, images: Sequence[Picture], requests: Request | Sequence[Request] | None = None
    ) -> list[EditResult]:
        """Edit pictures of any sizes together, and say what became of every face.

        All faces of all pictures go through the generator in one call (in several when they would
        not fit into the memory limit). ``requests`` is one for all pictures or one a picture;
        the editor's settings without it. Where nothing was edited the result is the picture
        itself and no copy.
        """
        unpacked = [unpack(image) for image in images]
        photos = [photo for each in unpacked for photo in each.photos]
        if requests is None or isinstance(requests, Request):
            requests = [requests or self.request()] * len(photos)
        if not len(photos) == len(images) == len(requests):
            raise SarganError("edit() takes single pictures, and as many requests as pictures.")
        return [
            EditResult(each.pack([photo]), report)
            for each, (photo, report) in zip(unpacked, self._edit(photos, requests), strict=True)
        ]

    def find_faces(self, image: Picture, selection: Selection | None = None) -> list[Face]:
        """The selected faces of one picture, left to right.

        Raises:
            SarganError: when there is no face and ``on_no_face`` is ``"error"``, or the
                selection names a face that is not there.
        """
        (photo,) = unpack(image).photos
        found = self.detector.detect(detector_view(photo))
        if not found and self.on_no_face == "error":
            raise SarganError("No face was found.")
        if not found and self.on_no_face == "warn":
            warnings.warn(
                FaceWarning("No face was found; the picture stays as it is."), stacklevel=2
            )
        return select_faces(found, self.faces if selection is None else selection) if found else []

    def _edit(
        self, photos: Sequence[torch.Tensor], requests: Sequence[Request]
    ) -> list[tuple[torch.Tensor, list[EditedFace]]]:
        """Edit ``(3, H, W)`` photos; each comes back with the reports of its selected faces."""
        reports: list[list[EditedFace]] = [[] for _ in photos]
        jobs: list[_Job] = []
        for index, (photo, request) in enumerate(zip(photos, requests, strict=True)):
            if request.changes_nothing:
                continue
            faces = request.given_faces
            faces = self.find_faces(photo, request.faces) if faces is None else faces
            for position, face in enumerate(faces):
                condition, intensity = request.for_face(position, len(faces))
                report, matrix = self._look_at(face, photo)
                reports[index].append(report)
                if not report.left_because and float(intensity.detach()) > 0:
                    jobs.append(_Job(index, position, matrix, condition, intensity))
        return self._paste_all(photos, jobs, reports)

    def _look_at(self, face: Face | torch.Tensor, photo: torch.Tensor):
        """Decide whether a face can be edited: its report, and its similarity to the crop."""
        landmarks = face if isinstance(face, torch.Tensor) else torch.tensor(face.landmarks5)
        if isinstance(face, torch.Tensor):
            face = Face.from_landmarks(face.detach().cpu().numpy())
        float_type = photo.dtype if photo.dtype.is_floating_point else torch.float32
        if float_type in (torch.float16, torch.bfloat16):
            float_type = torch.float32
        landmarks = landmarks.to(device=photo.device, dtype=float_type)
        matrix = face_matrices(landmarks[None], self.generator.crop_size)[0]
        top, left, bottom, right = crop_rectangle(
            matrix, self.generator.crop_size, *photo.shape[-2:]
        )
        if bottom - top < 2 or right - left < 2:
            return EditedFace(face, left_because="it lies outside the picture"), matrix
        left_because, remarks = "", []
        if face.size < self.min_face_size:
            remark = f"it is small ({face.size:.0f} px, below {self.min_face_size:g})"
            remarks.append(remark)
            left_because = remark if self.small_faces == "leave" else ""
        if face.profile_strength > STRONG_PROFILE:
            remarks.append("it is turned strongly to the side")
            if self.profiles == "leave":
                left_because = remarks[-1]
        remark = " and ".join(remarks)
        if remark:
            x, y = face.center
            done = "left as it is" if left_because else "edited all the same"
            message = f"The face at ({x:.0f}, {y:.0f}) is {done}: {remark}."
            warnings.warn(FaceWarning(message), stacklevel=5)
        return EditedFace(face, left_because, remark), matrix

    def _paste_all(self, photos, jobs: list[_Job], reports: list[list[EditedFace]]):
        results = list(photos)
        size = self.generator.crop_size
        crops = [crop_face(photos[job.photo], job.matrix, size) for job in jobs]
        edits = self.edits_of(
            crops, [job.condition for job in jobs], [job.intensity for job in jobs]
        )
        for job, crop, edit in zip(jobs, crops, edits, strict=True):
            if results[job.photo] is photos[job.photo]:
                results[job.photo] = photos[job.photo].clone()
            photo = results[job.photo]
            rectangle = paste_edit(
                photo,
                edit.to(crop),
                crop,
                job.matrix,
                grain=self.grain,
                seed=self.seed + job.position,
            )
            rectangle.write_into(photo)
            report = reports[job.photo][job.position]
            reports[job.photo][job.position] = EditedFace(
                report.face, "", report.remark, rectangle.changed, rectangle.clipped
            )
        return list(zip(results, reports, strict=True))

    def edits_of(
        self,
        crops: Sequence[torch.Tensor],
        conditions: Sequence[torch.Tensor],
        intensities: Sequence[torch.Tensor],
    ) -> list[Edit]:
        """The edits of canonical crops, in as few generator calls as fit into the memory limit.

        Args:
            crops: ``(3, S, S)`` each, in [0, 1], as :func:`sargan_plugin.align.crop_face` cuts.
            conditions: ``(7,)`` for each crop.
            intensities: ``()`` for each crop; above 0.

        Returns:
            An edit of batch size 1 for each crop, feathered and at its intensity.
        """
        return edits_of_crops(
            self.generator,
            crops,
            conditions,
            intensities,
            neutralise_first=self.neutralise_first,
            autocast_dtype=self.autocast_dtype,
            memory_limit_mb=self.memory_limit_mb,
        )

    def extra_repr(self) -> str:
        return f"expression={self.expression!r}, intensity={self.intensity}, faces={self.faces!r}"


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SarganError(f"{name} must be one of {', '.join(known)}, not {value!r}.")
