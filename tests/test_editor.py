from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import FixedDetector, PlainGenerator, StillGenerator, photo_landmarks, smooth_photo
from PIL import Image

from sargan_plugin import ExpressionEditor
from sargan_plugin.align import apply_matrix, face_matrices
from sargan_plugin.errors import SarganError
from sargan_plugin.faces import Face
from sargan_plugin.generators.edit import Edit


def face_at(x: float, y: float, eyes: float = 30.0, degrees: float = 0.0) -> Face:
    return Face.from_landmarks(photo_landmarks(x, y, eyes, degrees).float().numpy())


TWO_FACES = [face_at(80, 90), face_at(220, 110)]


def editor_of(generator, faces=TWO_FACES, **options) -> ExpressionEditor:
    options.setdefault("detector", FixedDetector(list(faces)))
    return ExpressionEditor("happy", model=generator, dtype="float32", **options)


def as_bytes(photo: torch.Tensor) -> np.ndarray:
    return (photo * 255).round().byte().permute(1, 2, 0).numpy()


PHOTO = smooth_photo(200, 300)
PICTURES = {
    "float tensor": PHOTO,
    "batch": torch.stack([PHOTO, PHOTO.flip(-1)]),
    "grey tensor": PHOTO[:1],
    "uint8 tensor": (PHOTO * 255).round().byte(),
    "half tensor": PHOTO.half(),
    "double tensor": PHOTO.double(),
    "numpy": as_bytes(PHOTO),
    "flipped numpy view": as_bytes(PHOTO)[:, ::-1],
    "grey numpy": as_bytes(PHOTO)[..., 0],
    "grey uint16 numpy": as_bytes(PHOTO)[..., 0].astype(np.uint16) * 257,
    "uint16 numpy": as_bytes(PHOTO).astype(np.uint16) * 257,
    "RGB": Image.fromarray(as_bytes(PHOTO)),
    "L": Image.fromarray(as_bytes(PHOTO)).convert("L"),
    "RGBA": Image.fromarray(as_bytes(PHOTO)).convert("RGBA"),
    "LA": Image.fromarray(as_bytes(PHOTO)).convert("LA"),
}


def same(first, second) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return np.array_equal(np.asarray(first), np.asarray(second))


@pytest.mark.parametrize("kind", PICTURES)
def test_output_has_the_type_size_and_dtype_of_the_input(kind, plain_generator):
    picture = PICTURES[kind]
    edited = editor_of(plain_generator)(picture)
    assert type(edited) is type(picture)
    if isinstance(picture, Image.Image):
        assert (edited.mode, edited.size) == (picture.mode, picture.size)
    else:
        assert (edited.shape, edited.dtype) == (picture.shape, picture.dtype)
    assert not same(edited, picture)


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("options", [{"intensity": 0}, {"intensity": 0, "neutralise_first": True}])
def test_zero_intensity_returns_input_bytes(kind, options, plain_generator):
    picture = PICTURES[kind]
    assert same(editor_of(plain_generator, **options)(picture), picture)


@pytest.mark.parametrize("kind", PICTURES)
def test_input_is_not_modified(kind, plain_generator):
    picture = PICTURES[kind]
    before = picture.clone() if isinstance(picture, torch.Tensor) else np.array(picture)
    editor_of(plain_generator)(picture)
    assert same(picture, before)


@pytest.mark.parametrize("generator", [PlainGenerator, StillGenerator])
@pytest.mark.parametrize("degrees", [0, 30, 45])
@pytest.mark.parametrize("eyes", [9, 30, 200])
def test_no_byte_outside_the_feather_differs(generator, degrees, eyes):
    photo = (smooth_photo(400, 500) * 255).round().byte()
    landmarks = photo_landmarks(250, 200, eyes, degrees)
    edited = editor_of(generator(crop_size=64).eval())(photo, faces=landmarks[None].float())
    ys, xs = torch.meshgrid(torch.arange(400.0), torch.arange(500.0), indexing="ij")
    pixels = torch.stack([xs, ys], dim=-1).view(1, -1, 2)
    positions = apply_matrix(face_matrices(landmarks[None].float(), 64), pixels).view(400, 500, 2)
    share = (positions + 0.5) / 64
    inside = torch.minimum(share, 1 - share).amin(dim=-1) > 1 / 40
    touched = (edited != photo).any(0)
    assert touched[~inside].sum() == 0
    assert touched[inside].sum() > 0.3 * inside.sum()


def test_result_is_a_copy_even_when_nothing_was_edited(plain_generator):
    for kind in ("float tensor", "numpy", "grey numpy"):
        picture = PICTURES[kind]
        untouched = editor_of(plain_generator, faces=[])(picture)
        before = picture.clone() if isinstance(picture, torch.Tensor) else picture.copy()
        untouched[...] = 0
        assert same(picture, before)


@torch.no_grad()
def test_pictures_of_one_call_may_differ_in_kind(plain_generator):
    editor = editor_of(plain_generator)
    kinds = ("double tensor", "uint8 tensor", "grey numpy", "RGBA", "uint16 numpy")
    pictures = [PICTURES[kind] for kind in kinds]
    for picture, result in zip(pictures, editor.edit(pictures), strict=True):
        alone = editor(picture)
        assert type(result.image) is type(picture)
        difference = np.asarray(result.image, np.float64) - np.asarray(alone, np.float64)
        assert np.abs(difference).max() <= 1


def test_image_that_is_not_upright_is_told(plain_generator):
    picture = PICTURES["RGB"].copy()
    picture.getexif()[0x0112] = 6
    with pytest.warns(UserWarning, match="exif_transpose"):
        editor_of(plain_generator)(picture)


def test_an_orientation_that_means_nothing_is_upright(plain_generator, recwarn):
    picture = PICTURES["RGB"].copy()
    picture.getexif()[0x0112] = 0
    editor_of(plain_generator)(picture)
    assert not [warning for warning in recwarn if "upright" in str(warning.message)]


def test_alpha_survives(plain_generator):
    picture = Image.fromarray(as_bytes(PHOTO)).convert("RGBA")
    alpha = Image.effect_noise(picture.size, 60)
    picture.putalpha(alpha)
    edited = editor_of(plain_generator)(picture)
    assert np.array_equal(np.asarray(edited.getchannel("A")), np.asarray(alpha))


def test_grey_output_is_the_luminance_of_the_change(plain_generator):
    grey = as_bytes(PHOTO)[..., 0]
    colour = editor_of(plain_generator)(np.repeat(grey[..., None], 3, axis=2)).astype(float)
    edited = editor_of(plain_generator)(grey).astype(float)
    expected = colour @ [0.299, 0.587, 0.114]
    assert np.abs(edited - expected).max() <= 0.51


def test_all_faces_of_all_pictures_go_through_the_generator_in_one_call(plain_generator):
    editor = editor_of(plain_generator)
    editor.edit([PHOTO, as_bytes(PHOTO), Image.fromarray(as_bytes(PHOTO))])
    assert plain_generator.calls == [6]


def test_memory_limit_splits_the_call_and_changes_nothing(plain_generator):
    whole = editor_of(plain_generator)(PHOTO)
    plain_generator.calls.clear()
    cut = editor_of(plain_generator, memory_limit_mb=1)(PHOTO)
    assert plain_generator.calls == [1, 1]
    torch.testing.assert_close(cut, whole)


def test_selection_edits_only_the_selected_face(plain_generator):
    edited = editor_of(plain_generator)(PHOTO, faces=1)
    touched = (edited != PHOTO).any(0)
    assert touched[:, :150].sum() == 0
    assert touched[:, 150:].sum() > 1000


def test_one_value_for_each_face(plain_generator):
    editor = editor_of(plain_generator)
    edited = editor(PHOTO, expression=["sad", "angry"], intensity=[1.0, 0.0])
    sad = editor(PHOTO, expression="sad", faces=0)
    torch.testing.assert_close(edited, sad)
    with pytest.raises(SarganError, match="3 expressions were given for 2 selected faces"):
        editor(PHOTO, expression=["sad", "angry", "happy"])


def test_call_overrides_the_settings(plain_generator):
    editor = editor_of(plain_generator)
    other = editor_of(plain_generator)
    other.expression, other.intensity = "sad", 0.5
    torch.testing.assert_close(editor(PHOTO, expression="sad", intensity=0.5), other(PHOTO))


def test_neutralise_first_runs_the_generator_twice_and_ends_elsewhere(plain_generator):
    direct = editor_of(plain_generator)(PHOTO)
    plain_generator.calls.clear()
    by_way = editor_of(plain_generator, neutralise_first=True)(PHOTO)
    assert plain_generator.calls == [2, 2]
    assert (direct - by_way).abs().max() > 0.01


def test_on_no_face(plain_generator):
    for policy in ("pass", "warn"):
        editor = editor_of(plain_generator, faces=[], on_no_face=policy)
        if policy == "warn":
            with pytest.warns(UserWarning, match="No face"):
                edited = editor(PHOTO)
        else:
            edited = editor(PHOTO)
        assert same(edited, PHOTO)
    with pytest.raises(SarganError, match="No face"):
        editor_of(plain_generator, faces=[], on_no_face="error")(PHOTO)


def test_small_faces_are_edited_or_left_with_a_warning_that_says_which(plain_generator):
    faces = [face_at(50, 50, eyes=6)]
    with pytest.warns(UserWarning, match="edited all the same: it is small"):
        edited = editor_of(plain_generator, faces, small_faces="edit")(PHOTO)
    assert not same(edited, PHOTO)
    with pytest.warns(UserWarning, match="left as it is: it is small"):
        result = editor_of(plain_generator, faces, small_faces="leave").edit([PHOTO])[0]
    assert same(result.image, PHOTO)
    assert not result.edited
    assert "small" in result.faces[0].left_because


def test_strong_profiles_are_edited_or_left_with_a_warning(plain_generator):
    points = photo_landmarks(150, 100, 30).float().numpy()
    points[2, 0] = points[0, 0]  # the nose stands level with an eye
    profile = [Face.from_landmarks(points)]
    with pytest.warns(UserWarning, match="left as it is: it is turned"):
        edited = editor_of(plain_generator, profile, profiles="leave")(PHOTO)
    assert same(edited, PHOTO)
    with pytest.warns(UserWarning, match="edited all the same: it is turned"):
        assert not same(editor_of(plain_generator, profile)(PHOTO), PHOTO)


def test_face_outside_the_picture_is_left(plain_generator):
    result = editor_of(plain_generator, [face_at(-500, 50)]).edit([PHOTO])[0]
    assert same(result.image, PHOTO)
    assert "outside" in result.faces[0].left_because


def test_given_faces_need_no_detector(plain_generator):
    editor = editor_of(plain_generator, detector="/no/such/file.onnx")
    by_faces = editor(PHOTO, faces=TWO_FACES)
    landmarks = torch.stack([torch.tensor(face.landmarks5) for face in TWO_FACES])
    assert same(by_faces, editor(PHOTO, faces=landmarks))
    batch = editor(torch.stack([PHOTO, PHOTO]), faces=torch.stack([landmarks, landmarks]))
    assert same(by_faces, batch[1])
    batch = editor(torch.stack([PHOTO, PHOTO]), faces=[TWO_FACES, []])
    assert same(by_faces, batch[0]) and same(PHOTO, batch[1])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_editing_a_rotated_picture_is_rotating_the_edited_one(turns):
    """With landmarks given and rotated along; 0.5 grey levels on average in the face."""
    generator = PlainGenerator(crop_size=64).eval()
    photo = smooth_photo(300, 300)
    landmarks = photo_landmarks(150, 150, 70).float()
    editor = editor_of(generator)
    upright = editor(photo, faces=landmarks[None])
    turned_landmarks = landmarks
    for _ in range(turns):  # a quarter turn anticlockwise takes (x, y) to (y, 299 - x)
        x, y = turned_landmarks.unbind(1)
        turned_landmarks = torch.stack([y, 299 - x], 1)
    turned = editor(photo.rot90(turns, (1, 2)), faces=turned_landmarks[None])
    difference = (turned.rot90(-turns, (1, 2)) - upright).abs()
    touched = (upright != photo).any(0)
    assert difference[:, touched].mean() * 255 < 0.5


def test_gradcheck_from_pixels_intensity_and_condition_to_the_result():
    generator = PlainGenerator(crop_size=16).double().eval()
    editor = editor_of(generator)
    photo = smooth_photo(24, 24, torch.float64).requires_grad_()
    landmarks = photo_landmarks(12.3, 11.7, 4.1, 10)[None].requires_grad_()
    intensity = torch.tensor([0.8], dtype=torch.float64, requires_grad=True)
    condition = torch.full((1, 7), 1 / 7, dtype=torch.float64, requires_grad=True)

    def run(photo, landmarks, intensity, condition):
        return editor(photo, faces=landmarks, intensity=intensity, expression=condition)

    with pytest.warns(UserWarning, match="small"):
        assert torch.autograd.gradcheck(
            run, (photo, landmarks, intensity, condition), fast_mode=True
        )


def test_outer_bfloat16_autocast_changes_nothing(plain_generator):
    editor = editor_of(plain_generator)
    plain = editor(PHOTO)
    with torch.autocast("cpu", torch.bfloat16):
        assert same(editor(PHOTO), plain)


def test_same_seed_same_bytes(plain_generator):
    photo = smooth_photo(400, 400)
    faces = [face_at(200, 200, eyes=150)]
    first, again = (editor_of(plain_generator, faces, seed=3)(photo) for _ in range(2))
    assert same(first, again)
    assert not same(first, editor_of(plain_generator, faces, seed=4)(photo))


def test_generator_without_flow_or_parameters_works():
    class Painter(StillGenerator):
        def __init__(self):
            super().__init__()
            del self.weight, self.shift

        def edit(self, image, condition):
            return Edit(0.2 * torch.ones_like(image), torch.zeros_like(image[:, :1]))

    assert not same(editor_of(Painter())(PHOTO), PHOTO)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expression": "grumpy"}, "Unknown expression 'grumpy'"),
        ({"intensity": math.nan}, "between 0 and 1.5"),
        ({"intensity": 9}, "between 0 and 1.5"),
        ({"model": "nonesuch"}, "nonesuch"),
        ({"device": "cuda:99"}, "'cuda:99' is not available"),
        ({"device": "tpu9"}, "device 'tpu9'"),
        ({"dtype": "float8"}, "Unknown dtype 'float8'"),
        ({"on_no_face": "shrug"}, "on_no_face must be one of"),
        ({"expression": torch.zeros(3)}, "shape"),
        ({"expression": []}, "empty"),
    ],
)
def test_impossible_settings_are_one_clear_line(options, message, plain_generator):
    with pytest.raises(SarganError) as caught:
        ExpressionEditor(**{"model": plain_generator, **options})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 7), np.uint8),
        torch.zeros(4, 4),
        torch.zeros(3, 4, 4, dtype=torch.int64),
        Image.new("CMYK", (4, 4)),
        "photo.jpg",
    ],
)
def test_what_is_no_picture_is_refused(picture, plain_generator):
    with pytest.raises(SarganError):
        editor_of(plain_generator)(picture)
