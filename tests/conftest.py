"""What tests share: real pictures and detectors beside the checkout, where they are present."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import nn

from sargan_plugin.align import template
from sargan_plugin.expressions import EXPRESSIONS
from sargan_plugin.faces import Face
from sargan_plugin.generators.edit import Edit, Generator, replace_from_delta

settings.register_profile("project", deadline=None, max_examples=50)
settings.load_profile("project")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where the real data is present, a skipped test is a failure: it would hide something."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if SHARED.is_dir() and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = max(exitstatus, pytest.ExitCode.TESTS_FAILED)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real face photographs and detectors that are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the real data in {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def scrfd_path(shared: Path) -> Path:
    """An SCRFD file with dynamic input."""
    return shared / "models" / "scrfd_2.5g.onnx"


@pytest.fixture(scope="session")
def scrfd_500m_path(shared: Path) -> Path:
    """An SCRFD file with a fixed input of 640 x 640."""
    return shared / "models" / "scrfd_500m_bnkps.onnx"


class PlainGenerator(Generator):
    """A small, fast, smooth generator with flow, replace and delta, for tests of the pipeline."""

    def __init__(self, crop_size: int = 32) -> None:
        super().__init__()
        self.crop_size = crop_size
        self.calls: list[int] = []
        torch.manual_seed(0)
        self.weight = nn.Parameter(0.3 * torch.randn(6, 3))
        self.shift = nn.Parameter(0.5 * torch.randn(len(EXPRESSIONS), 6))

    def edit(self, image: torch.Tensor, condition: torch.Tensor) -> Edit:
        self.calls.append(len(image))
        values = torch.einsum("oc,bchw->bohw", self.weight, image)
        values = values + (condition @ self.shift)[:, :, None, None]
        delta, cover, flow = values.split([3, 1, 2], dim=1)
        return Edit(0.4 * torch.tanh(delta), torch.sigmoid(cover), 2 * torch.tanh(flow))


class StillGenerator(PlainGenerator):
    """The same without flow, like SARGAN, US-GAN and StarGAN."""

    def edit(self, image: torch.Tensor, condition: torch.Tensor) -> Edit:
        edit = super().edit(image, condition)
        return Edit(edit.delta, replace_from_delta(edit.delta))


class FixedDetector:
    """A detector that always finds the same faces."""

    def __init__(self, faces: list[Face]) -> None:
        self.faces = faces

    def detect(self, image: np.ndarray) -> list[Face]:
        return self.faces


@pytest.fixture
def plain_generator() -> PlainGenerator:
    return PlainGenerator().eval()


@pytest.fixture
def still_generator() -> StillGenerator:
    return StillGenerator().eval()


def photo_landmarks(x: float, y: float, eye_distance: float, degrees: float = 0.0) -> torch.Tensor:
    """Template-shaped landmarks ``(5, 2)`` float64 around a centre, at a size and an angle."""
    points = template(128, torch.float64)
    points = (points - points.mean(0)) * (eye_distance / float(points[1, 0] - points[0, 0]))
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    return points @ turn.mT + torch.tensor([x, y], dtype=torch.float64)


def smooth_photo(height: int, width: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """``(3, H, W)`` in [0.15, 0.85] of smooth random colour with some fine texture."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 6, 6, generator=random)
    photo = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0]
    photo = photo + 0.05 * torch.randn(3, height, width, generator=random)
    return (0.2 + 0.6 * photo).clamp(0.15, 0.85).to(dtype)
