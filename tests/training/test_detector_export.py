"""The exported detector: InsightFace's format, the same answers, small and light enough."""

from __future__ import annotations

import shutil

import numpy as np
import onnxruntime
import pytest
import torch
from insightface.app import FaceAnalysis
from insightface.model_zoo import get_model
from insightface.model_zoo.scrfd import SCRFD

from sargan_plugin.detector import FaceDetector
from sargan_plugin.errors import SarganError
from sargan_training.detector.anchors import decode_boxes, decode_landmarks, make_anchors
from sargan_training.detector.export import (
    OUTPUTS,
    ScrfdOutputs,
    export_onnx,
    load_network,
    multiply_adds,
)
from sargan_training.detector.network import FaceDetectionNetwork
from sargan_training.detector.train import to_network_range

CPU = ["CPUExecutionProvider"]


@pytest.fixture(scope="module")
def network():
    """Random weights, with statistics of noise so that no layer is trivial."""
    torch.manual_seed(0)
    network = FaceDetectionNetwork()
    for _ in range(3):
        network(torch.randn(2, 3, 64, 64))
    torch.nn.init.normal_(network.head.out.weight, std=0.3)
    return network.eval()


@pytest.fixture(scope="module")
def path(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "detector_random.onnx"
    export_onnx(network, path)
    return path


def test_limits_of_size_and_work(network, path):
    assert path.stat().st_size <= 2.5e6
    assert multiply_adds(network) <= 1.5e9


@pytest.mark.parametrize(("height", "width"), [(128, 128), (96, 224)])
def test_onnx_answers_as_the_network_does(network, path, height, width):
    images = torch.randn(1, 3, height, width)
    with torch.no_grad():
        expected = ScrfdOutputs(network)(images)
    session = onnxruntime.InferenceSession(str(path), providers=CPU)
    found = session.run(None, {"input.1": images.numpy()})
    assert [output.name for output in session.get_outputs()] == OUTPUTS
    cells = [height // stride * (width // stride) for stride in (8, 16, 32)]
    for index, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
        assert theirs.shape == (2 * cells[index % 3], (1, 4, 10)[index // 3])
        np.testing.assert_allclose(theirs, ours, atol=1e-3)


def test_a_threshold_moves_scores_and_nothing_else(network):
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before, after = ScrfdOutputs(network)(images), ScrfdOutputs(network, 0.6)(images)
    for plain, moved in zip(before[:3], after[:3], strict=True):
        assert torch.equal(plain > 0.6, moved > 0.5) and (moved < plain).all()
    for plain, moved in zip(before[3:], after[3:], strict=True):
        assert torch.equal(plain, moved)


def test_insightface_decodes_what_the_losses_train(network, path):
    """Boxes and landmarks of all anchors, through SCRFD's own decoder and through ours."""
    scrfd = get_model(str(path), providers=CPU)
    assert isinstance(scrfd, SCRFD) and scrfd.use_kps
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    scores, boxes, landmarks = map(np.concatenate, scrfd.forward(pixels[..., ::-1], 0.0))
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    with torch.no_grad():
        predictions = network(to_network_range(batch))
    anchors = make_anchors(96, 128)
    np.testing.assert_allclose(scores[:, 0], predictions.logits[0].sigmoid(), atol=1e-3)
    expected = decode_boxes(anchors, predictions.distances[0])
    np.testing.assert_allclose(boxes, expected, atol=0.05)
    expected = decode_landmarks(anchors, predictions.offsets[0])
    np.testing.assert_allclose(landmarks, expected, atol=0.05)


def test_it_works_in_face_analysis_and_in_our_detector(path, tmp_path):
    folder = tmp_path / "models" / "ours"
    folder.mkdir(parents=True)
    shutil.copy(path, folder)
    analysis = FaceAnalysis(name="ours", root=str(tmp_path), providers=CPU)
    analysis.prepare(ctx_id=-1, det_size=(160, 160))
    assert isinstance(analysis.models["detection"], SCRFD)
    picture = np.zeros((90, 120, 3), np.uint8)
    assert isinstance(analysis.get(picture), list)
    assert isinstance(FaceDetector(path).detect(picture), list)


def test_a_file_that_is_no_checkpoint_is_one_clear_line(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"no")
    with pytest.raises(SarganError, match=r"checkpoint\.pt: not a detector's checkpoint"):
        load_network(tmp_path / "checkpoint.pt")
