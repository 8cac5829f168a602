"""The face detector on real pictures and real SCRFD files, and on what it must refuse."""

from __future__ import annotations

import copy
import http.server
import io
import pickle
import shutil
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sargan_plugin import detector as detector_module
from sargan_plugin import detector_files
from sargan_plugin.detector import FaceDetector, _merged, _starts, _turned_back
from sargan_plugin.detector_files import find_detector, open_detector
from sargan_plugin.errors import SarganError
from sargan_plugin.faces import Face
from sargan_plugin.manifest import Manifest

OURS = Manifest().default_detector


@pytest.fixture(scope="module")
def dynamic(scrfd_path: Path) -> FaceDetector:
    return FaceDetector(scrfd_path)


@pytest.fixture(scope="module")
def fixed(scrfd_500m_path: Path) -> FaceDetector:
    return FaceDetector(scrfd_500m_path)


@pytest.fixture(scope="module")
def bundled() -> FaceDetector:
    return FaceDetector(OURS)


@pytest.fixture(params=["bundled", "dynamic", "fixed"])
def any_detector(request: pytest.FixtureRequest) -> FaceDetector:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return pytest.importorskip("skimage.data").astronaut()


@pytest.fixture(scope="module")
def group() -> np.ndarray:
    """InsightFace's own picture of six people."""
    return np.ascontiguousarray(pytest.importorskip("insightface.data").get_image("t1")[:, :, ::-1])


@pytest.fixture(scope="module")
def two_people(shared: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(shared / "data/portraits/two_people.jpg").convert("RGB"))


def resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    import cv2

    shrinks = width < image.shape[1]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else 2)


def landmarks(faces: list[Face]) -> np.ndarray:
    return np.stack([face.landmarks5 for face in faces])


def eye_distance(face: Face) -> float:
    return float(np.linalg.norm(face.landmarks5[0] - face.landmarks5[1]))


class TestRealPictures:
    def test_the_astronaut_is_found_where_she_is(self, any_detector, astronaut):
        (face,) = any_detector.detect(astronaut)
        assert face.score > 0.7 and abs(face.roll) < 10 and face.profile_strength < 0.3
        known = [[203, 101], [246, 103], [224, 127], [204, 140], [244, 142]]  # read off the picture
        # The bundled network is a small one, see its card.
        assert np.abs(face.landmarks5 - known).max() < (8 if any_detector.model == OURS else 3)

    def test_six_people_from_left_to_right(self, any_detector, group):
        faces = any_detector.detect(group)
        assert len(faces) == 6
        assert sorted(face.center for face in faces) == [face.center for face in faces]

    def test_both_files_agree(self, dynamic, fixed, group):
        for one, other in zip(dynamic.detect(group), fixed.detect(group), strict=True):
            assert np.abs(one.landmarks5 - other.landmarks5).mean() < 0.1 * one.size

    def test_two_people_in_a_portrait(self, any_detector, two_people):
        left, right = any_detector.detect(two_people)
        assert left.center[0] < 500 < right.center[0]

    def test_grey_pictures(self, any_detector, two_people):
        grey = two_people.mean(axis=2).astype(np.uint8)
        faces = any_detector.detect(grey)
        assert len(faces) == 2
        for same in (grey[:, :, None], np.repeat(grey[:, :, None], 3, axis=2)):
            assert np.array_equal(landmarks(any_detector.detect(same)), landmarks(faces))

    def test_a_face_that_fills_a_portrait_of_12_megapixels(self, any_detector, astronaut):
        left, top, width, height = 177, 55, 96, 128
        portrait = resized(astronaut[top : top + height, left : left + width], 3000, 4000)
        (face,) = any_detector.detect(portrait)
        (known,) = any_detector.detect(astronaut)
        assert face.height > 2500
        expected = (known.landmarks5 + 0.5 - [left, top]) * 4000 / height - 0.5
        assert np.abs(face.landmarks5 - expected).mean() < 0.1 * eye_distance(face)

    @pytest.mark.parametrize("name", ["dynamic", "fixed"])
    def test_faces_of_32_px_in_a_group_photo_of_12_megapixels(self, request, name, dynamic, group):
        any_detector = request.getfixturevalue(name)
        skimage_data = pytest.importorskip("skimage.data")
        canvas = resized(skimage_data.coffee(), 4000, 3000)
        known = dynamic.detect(group)
        scale = 32 / min(face.size for face in known)
        small = resized(group, round(group.shape[1] * scale), round(group.shape[0] * scale))
        expected = []
        for x, y in ((5, 7), (1500, 400), (3650, 1423), (2222, 2731)):
            canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
            expected += [np.array(face.center) * scale + [x, y] for face in known]
        faces = any_detector.detect(canvas)
        for point in expected:
            near = [f for f in faces if np.hypot(*(np.array(f.center) - point)) < 10]
            assert len(near) == 1, f"no face, or several, at {point}"
        assert len(faces) <= len(expected) + 2, "more than that were imagined"

    def test_a_picture_in_strips_of_any_strides(self, any_detector, two_people):
        mirrored = any_detector.detect(two_people[:, ::-1])
        assert len(mirrored) == 2
        copied = any_detector.detect(np.ascontiguousarray(two_people[:, ::-1]))
        assert np.array_equal(landmarks(mirrored), landmarks(copied))

    def test_without_the_large_look_it_is_insightface_s_pair(self, scrfd_path, two_people):
        quick = FaceDetector(scrfd_path, max_pixels=0)
        assert quick._looks(4000, 3000, None) == [(640, 480), (128, 96)]
        assert len(quick.detect(two_people)) == 2

    def test_min_score(self, scrfd_path, two_people):
        assert FaceDetector(scrfd_path, min_score=0.999).detect(two_people) == []

    def test_insightface_is_given_bgr(self, dynamic, monkeypatch):
        from insightface.model_zoo.scrfd import SCRFD

        seen = []
        forward = SCRFD.forward
        monkeypatch.setattr(
            SCRFD, "forward", lambda self, im, t: seen.append(im) or forward(self, im, t)
        )
        dynamic.detect(np.full((64, 64, 3), (200, 100, 50), np.uint8))
        assert all((canvas[:10, :10] == (50, 100, 200)).all() for canvas in seen) and seen


@pytest.fixture(scope="module")
def turning(scrfd_path) -> FaceDetector:
    return FaceDetector(scrfd_path, any_rotation=True)


@pytest.fixture(scope="module")
def upright(turning, two_people) -> list[Face]:
    return turning.detect(two_people)


class TestRotation:
    @pytest.mark.parametrize("turns", [1, 2, 3])
    def test_landmarks_turn_with_the_picture(self, turning, upright, two_people, turns):
        faces = turning.detect(np.rot90(two_people, turns))
        height, width = two_people.shape[:2]
        x, y = np.moveaxis(landmarks(faces), -1, 0)
        right, bottom = width - 1, height - 1
        x, y = [(right - y, x), (right - x, bottom - y), (y, bottom - x)][turns - 1]
        back = np.stack([x, y], axis=-1)
        assert len(back) == len(upright) == 2
        for face in upright:
            assert np.abs(back - face.landmarks5).max(axis=(1, 2)).min() < 0.05
        for face in faces:
            assert abs((face.roll + 90 * turns + 180) % 360 - 180) < 20, "not upright there"

    def test_upright_answers_stay(self, dynamic, upright, two_people):
        for one, other in zip(dynamic.detect(two_people), upright, strict=True):
            assert np.abs(one.landmarks5 - other.landmarks5).max() < 0.1 * one.size

    def test_each_face_has_its_own_rotation(self, turning, two_people):
        mixed = two_people.copy()
        half = mixed.shape[1] // 2
        mixed[:, half:] = mixed[::-1, half:][:, ::-1]
        left, right = turning.detect(mixed)
        assert abs(left.roll) < 20 and abs(right.roll) > 160


class TestThreadsAndCopies:
    def test_threads_share_one_session_and_answer_as_one(
        self, scrfd_path, two_people, astronaut, monkeypatch
    ):
        opened = []
        monkeypatch.setattr(
            detector_module, "open_detector", lambda *a: opened.append(a) or open_detector(*a)
        )
        shared_one = FaceDetector(scrfd_path, max_pixels=0)
        pictures = [two_people, astronaut, two_people[:, ::-1], astronaut[:300]] * 2
        with ThreadPoolExecutor(4) as pool:
            at_once = list(pool.map(shared_one.detect, pictures))
        assert len(opened) == 1
        for picture, faces in zip(pictures, at_once, strict=True):
            alone = shared_one.detect(picture)
            assert np.allclose(landmarks(faces), landmarks(alone), atol=1e-3)

    @pytest.mark.parametrize("clone", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d))])
    def test_copies_leave_the_session_behind_and_still_detect(self, dynamic, astronaut, clone):
        faces = dynamic.detect(astronaut)
        other = clone(dynamic)
        assert other._session is None and other.model == dynamic.model
        assert np.array_equal(landmarks(other.detect(astronaut)), landmarks(faces))


class TestBadPictures:
    @pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1), (2, 5, 3), (1, 900, 3), (900, 1), (0, 0)])
    @pytest.mark.parametrize("level", [0, 200])
    def test_tiny_pictures_hold_no_face(self, any_detector, shape, level):
        if 0 in shape:
            with pytest.raises(SarganError, match="shape"):
                any_detector.detect(np.full(shape, level, np.uint8))
        else:
            assert any_detector.detect(np.full(shape, level, np.uint8)) == []

    def test_noise_holds_no_face(self, any_detector):
        noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
        assert any_detector.detect(noise) == []

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((9, 9, 3), np.float32),
            np.zeros((9, 9, 4), np.uint8),
            np.zeros((2, 9, 9, 3), np.uint8),
            np.zeros((0, 9, 3), np.uint8),
            [[1, 2], [3, 4]],
            None,
        ],
    )
    def test_what_is_no_picture_is_refused_before_anything_is_loaded(self, image):
        with pytest.raises(SarganError, match="picture"):
            FaceDetector("missing.onnx").detect(image)


def tiny_onnx(path: Path, widths: list[int], rows: int = 8, channels: int = 3) -> Path:
    """A valid ONNX file with an image input and constant outputs ``(rows, width)``."""
    onnx = pytest.importorskip("onnx")
    tensor, helper = onnx.TensorProto.FLOAT, onnx.helper
    nodes, outputs = [], []
    for index, width in enumerate(widths):
        value = helper.make_tensor(f"v{index}", tensor, [rows, width], [0.9] * rows * width)
        nodes.append(helper.make_node("Constant", [], [f"o{index}"], value=value))
        outputs.append(helper.make_tensor_value_info(f"o{index}", tensor, [rows, width]))
    shape = [1, channels, "height", "width"]
    image = helper.make_tensor_value_info("image", tensor, shape)
    graph = helper.make_graph(nodes, "tiny", [image], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


SCRFD_WIDTHS = [1] * 3 + [4] * 3 + [10] * 3
PICTURE = np.zeros((64, 64, 3), np.uint8)


class TestBadFiles:
    def refusal(self, path: Path | str, **options) -> str:
        with pytest.raises(SarganError) as caught:
            FaceDetector(path, **options).detect(PICTURE)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_missing_file(self, tmp_path):
        message = self.refusal(tmp_path / "none.onnx")
        assert "none.onnx" in message and "buffalo_s" in message

    def test_folder(self, tmp_path):
        assert str(tmp_path) in self.refusal(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"not an ONNX file", b"version https://git-lfs\n"])
    def test_corrupt_file(self, tmp_path, content):
        (tmp_path / "bad.onnx").write_bytes(content)
        assert "bad.onnx" in self.refusal(tmp_path / "bad.onnx")

    def test_truncated_file(self, tmp_path, scrfd_path):
        (tmp_path / "half.onnx").write_bytes(scrfd_path.read_bytes()[:1_000_000])
        assert "half.onnx" in self.refusal(tmp_path / "half.onnx")

    @pytest.mark.parametrize(
        ("widths", "channels"),
        [([512], 3), ([1] * 9, 3), (SCRFD_WIDTHS, 1), ([1, 1, 1, 4, 4, 4, 10, 10], 3)],
    )
    def test_onnx_that_is_no_detector(self, tmp_path, widths, channels):
        path = tiny_onnx(tmp_path / "other.onnx", widths, channels=channels)
        assert "no SCRFD" in self.refusal(path)

    def test_detector_without_landmarks(self, tmp_path):
        path = tiny_onnx(tmp_path / "scrfd.onnx", [1, 1, 1, 4, 4, 4])
        assert "landmarks" in self.refusal(path)

    def test_network_whose_answers_do_not_fit_its_input(self, tmp_path):
        path = tiny_onnx(tmp_path / "odd.onnx", SCRFD_WIDTHS)
        assert "odd.onnx failed" in self.refusal(path)

    def test_cuda_asked_for_and_absent(self, scrfd_path, monkeypatch):
        import onnxruntime

        cpu_only = ["CPUExecutionProvider"]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: cpu_only)
        assert "CUDA was asked for" in self.refusal(scrfd_path, device="cuda")
        assert FaceDetector(scrfd_path, device="auto").detect(PICTURE) == []

    @pytest.mark.filterwarnings("ignore")
    def test_cuda_that_does_not_start(self, scrfd_path, monkeypatch):
        import onnxruntime

        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("CUDA does start here")
        both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
        assert "CUDA" in self.refusal(scrfd_path, device="cuda:0")

    @pytest.mark.parametrize(
        "options",
        [
            {"device": "gpu"},
            {"min_score": 0},
            {"min_score": 2},
            {"min_score": float("nan")},
            {"max_pixels": -1},
            {"threads": 0},
        ],
    )
    def test_bad_options_are_refused_at_once(self, options):
        with pytest.raises(SarganError):
            FaceDetector(**options)


class TestFindDetector:
    @pytest.fixture(autouse=True)
    def nothing_named(self, monkeypatch, tmp_path):
        monkeypatch.delenv("SARGAN_DETECTOR", raising=False)
        monkeypatch.setattr(detector_files, "INSIGHTFACE_ROOT", str(tmp_path / "insightface"))

    @pytest.fixture
    def bundled(self) -> Path:
        manifest = Manifest()
        return manifest.folder / manifest.detectors[manifest.default_detector].file

    def touched(self, path: Path) -> Path:
        path.touch()
        return path

    def test_explicit_then_variable_then_bundled(self, tmp_path, bundled, monkeypatch):
        onnx = self.touched(tmp_path / "mine.onnx")
        named = self.touched(tmp_path / "named.onnx")
        assert find_detector() == bundled
        monkeypatch.setenv("SARGAN_DETECTOR", str(named))
        assert find_detector() == named
        assert find_detector(str(onnx)) == find_detector(onnx) == onnx
        assert find_detector(Manifest().default_detector) == bundled
        monkeypatch.setenv("SARGAN_DETECTOR", "")
        assert find_detector() == bundled

    def test_a_damaged_bundled_file_is_refused(self, tmp_path, bundled, monkeypatch):
        folder = tmp_path / "weights"
        folder.mkdir()
        shutil.copy(bundled.parent / "manifest.toml", folder)
        (folder / bundled.name).write_bytes(bundled.read_bytes()[:-1] + b"?")
        monkeypatch.setattr("sargan_plugin.manifest.files", lambda package: folder)
        with pytest.raises(SarganError, match=rf"{bundled.name}: damaged.*SHA-256"):
            find_detector()

    def test_a_wrong_variable_is_named(self, monkeypatch):
        monkeypatch.setenv("SARGAN_DETECTOR", "nowhere.onnx")
        with pytest.raises(SarganError, match=r"'nowhere.onnx' \(from \$SARGAN_DETECTOR\)"):
            find_detector()

    def test_a_pack_in_the_cache_is_not_downloaded(self, tmp_path):
        folder = tmp_path / "insightface/models/buffalo_s"
        folder.mkdir(parents=True)
        self.touched(folder / "w600k_mbf.onnx")
        with pytest.raises(SarganError, match=r"no detector in .*buffalo_s"):
            find_detector("buffalo_s")
        path = self.touched(folder / "det_500m.onnx")
        assert find_detector("buffalo_s") == path

    def test_a_nested_pack(self, tmp_path):
        folder = tmp_path / "insightface/models/antelopev2/antelopev2"
        folder.mkdir(parents=True)
        path = self.touched(folder / "scrfd_10g_bnkps.onnx")
        assert find_detector("antelopev2") == path


class TestPackDownload:
    """InsightFace's own download, against a local server in the place of GitHub."""

    @pytest.fixture
    def server(self, tmp_path, monkeypatch):
        storage = pytest.importorskip("insightface.utils.storage")
        (tmp_path / "www").mkdir()
        handler = partial(QuietHandler, directory=str(tmp_path / "www"))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(storage, "MODEL_ZOO_RELEASE_DOWNLOAD_URL", address + "/", raising=False)
        monkeypatch.setattr(storage, "BASE_REPO_URL", address)  # before InsightFace 2
        monkeypatch.setattr(detector_files, "INSIGHTFACE_ROOT", str(tmp_path / "home"))
        yield tmp_path / "www"
        server.shutdown()
        server.server_close()

    def pack(self, path: Path, files: dict[str, bytes]) -> None:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        path.write_bytes(content.getvalue())

    def test_a_pack_is_fetched_once_and_stdout_stays_clean(
        self, server, capsys, scrfd_path, caplog
    ):
        self.pack(server / "buffalo_m.zip", {"det_2.5g.onnx": scrfd_path.read_bytes()})
        assert FaceDetector("buffalo_m").detect(PICTURE) == []
        assert capsys.readouterr().out == ""
        assert "non-commercial" in caplog.text
        shutil.rmtree(server)
        assert find_detector("buffalo_m").name == "det_2.5g.onnx"

    def test_a_missing_pack_is_one_clear_line(self, server):
        with pytest.raises(SarganError, match=r"^InsightFace pack buffalo_l could not be down.*$"):
            find_detector("buffalo_l")

    def test_no_network_is_one_clear_line(self, server, monkeypatch):
        storage = pytest.importorskip("insightface.utils.storage")
        nobody = "http://127.0.0.1:9"
        monkeypatch.setattr(storage, "MODEL_ZOO_RELEASE_DOWNLOAD_URL", nobody + "/", raising=False)
        monkeypatch.setattr(storage, "BASE_REPO_URL", nobody)
        with pytest.raises(SarganError, match=r"^InsightFace pack buffalo_l could not be down.*$"):
            find_detector("buffalo_l")

    def test_a_broken_download_can_be_repeated(self, server):
        (server / "buffalo_s.zip").write_bytes(b"no zip")
        with pytest.raises(SarganError, match="could not be downloaded"):
            find_detector("buffalo_s")
        self.pack(server / "buffalo_s.zip", {"det_500m.onnx": b""})
        assert find_detector("buffalo_s").name == "det_500m.onnx"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        pass


class TestGeometry:
    @given(st.integers(1, 12000), st.integers(1, 12000))
    def test_the_promised_smallest_face_is_large_enough_in_one_look(self, width, height):
        smallest = 32 * max(1, width * height / 12e6) ** 0.5
        for fixed_size in (None, (640, 640), (640, 480)):
            looks = FaceDetector()._looks(width, height, fixed_size)
            scale = max(looks[0]) / max(width, height)
            assert looks == sorted(looks, reverse=True)
            assert scale * smallest > 25 - 0.5 * smallest / max(width, height)
            if fixed_size is None:
                assert looks[0][0] * looks[0][1] < 1.1 * detector_module.MAX_PIXELS + 640

    @given(st.integers(1, 9000), st.sampled_from([320, 480, 640]))
    def test_tiles_cover_everything_and_overlap_by_a_quarter(self, length, side):
        starts = _starts(length, side)
        assert starts[0] == 0 and starts[-1] == max(0, length - side)
        assert all(b - a <= side - side // 4 for a, b in pairwise(starts))

    @given(st.integers(0, 3), st.integers(1, 9), st.integers(1, 9), st.data())
    def test_points_turn_back_to_the_pixel_they_came_from(self, turns, width, height, data):
        x = data.draw(st.integers(0, width - 1))
        y = data.draw(st.integers(0, height - 1))
        picture = np.zeros((height, width))
        picture[y, x] = 1
        row, column = np.argwhere(np.rot90(picture, turns))[0]
        points = np.full((1, 7, 2), [column + 0.5, row + 0.5])
        assert np.array_equal(_turned_back(points, turns, width, height)[0, 3], [x + 0.5, y + 0.5])

    def candidates(self, *boxes: tuple[float, float, float, float]) -> np.ndarray:
        marks = np.float32([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
        rows = []
        for x1, y1, x2, y2 in boxes:
            rows.append([[x1, y1], [x2, y2], *(marks * [x2 - x1, y2 - y1] + [x1, y1])])
        return np.float32(rows)

    def test_candidates_of_one_face_are_averaged_by_score(self):
        points = self.candidates((0, 0, 100, 100), (4, 4, 104, 104), (300, 0, 400, 100))
        faces = _merged(np.float32([0.9, 0.3, 0.6]), points, np.zeros(3))
        assert [face.score for face in faces] == pytest.approx([0.9, 0.6])
        assert faces[0].bbox == pytest.approx(
            (0.5, 0.5, 100.5, 100.5)
        )  # 1 right, half a pixel back

    def test_candidates_of_another_rotation_have_no_say(self):
        points = self.candidates((0, 0, 100, 100), (4, 4, 104, 104))
        (face,) = _merged(np.float32([0.9, 0.3]), points, np.array([0, 2]))
        assert face.bbox == pytest.approx((-0.5, -0.5, 99.5, 99.5))

    def test_a_part_of_a_surer_face_is_no_face_but_a_surer_part_is(self):
        points = self.candidates((0, 0, 100, 100), (20, 20, 60, 60))
        assert len(_merged(np.float32([0.9, 0.6]), points, np.zeros(2))) == 1
        assert len(_merged(np.float32([0.6, 0.9]), points, np.zeros(2))) == 2

    def test_candidates_that_cannot_be_faces_are_left_out(self):
        points = self.candidates((0, 0, 100, 100))
        points[:, 2:] = 50
        assert _merged(np.float32([0.9]), points, np.zeros(1)) == []
