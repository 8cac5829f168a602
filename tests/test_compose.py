"""The editor inside the real packages it promises to compose with."""

from __future__ import annotations

import kornia.augmentation as K
import pytest
import torch
from conftest import FixedDetector, photo_landmarks, smooth_photo
from kornia.filters import GaussianBlur2d
from PIL import Image
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from sargan_plugin import ExpressionEditor, RandomExpression
from sargan_plugin.errors import SarganError
from sargan_plugin.faces import Face
from sargan_plugin.hosts.torchvision import EditExpression

PHOTOS = torch.stack([smooth_photo(120, 120), smooth_photo(120, 120).flip(-1)])


@pytest.fixture
def editor(plain_generator):
    face = Face.from_landmarks(photo_landmarks(60, 60, 30).float().numpy())
    detector = FixedDetector([face])
    return ExpressionEditor("happy", model=plain_generator, detector=detector, dtype="float32")


def test_in_sequential(editor):
    edited = nn.Sequential(editor, nn.Identity())(PHOTOS)
    assert torch.equal(edited, editor(PHOTOS))
    assert not torch.equal(edited, PHOTOS)


def test_in_kornia_image_sequential(editor):
    blur = GaussianBlur2d((3, 3), (1.0, 1.0))
    edited = K.ImageSequential(editor, blur)(PHOTOS)
    torch.testing.assert_close(edited, blur(editor(PHOTOS)))


def test_in_kornia_video_sequential(editor):
    """Frames of a clip ``(B, C, T, H, W)`` one by one."""
    clip = PHOTOS.repeat(2, 1, 1, 1).view(2, 2, 3, 120, 120).transpose(1, 2)
    video = K.VideoSequential(editor, data_format="BCTHW", same_on_frame=False)
    edited = video(clip)
    assert edited.shape == clip.shape
    for batch in range(2):
        for time in range(2):
            frame = editor(clip[batch, :, time])
            torch.testing.assert_close(edited[batch, :, time], frame)


def test_random_expression_in_kornia_augmentation_sequential(editor):
    augment = K.AugmentationSequential(
        RandomExpression(("sad",), (1.0, 1.0), editor=editor, p=1.0),
        K.RandomHorizontalFlip(p=1.0),
        data_keys=["input", "mask"],
    )
    mask = torch.rand(2, 1, 120, 120)
    edited, moved_mask = augment(PHOTOS, mask)
    torch.testing.assert_close(edited, editor(PHOTOS, expression="sad").flip(-1))
    torch.testing.assert_close(moved_mask, mask.flip(-1))


def test_random_expression_can_be_replayed(editor):
    torch.manual_seed(0)
    augment = RandomExpression(editor=editor, p=1.0)
    first = augment(PHOTOS)
    assert torch.equal(augment(PHOTOS, params=augment._params), first)
    assert not torch.equal(augment(PHOTOS), first)


def test_random_expression_same_on_batch(editor):
    augment = RandomExpression(editor=editor, p=1.0, same_on_batch=True)
    for seed in range(5):
        torch.manual_seed(seed)
        augment(PHOTOS)
        drawn = augment._params
        assert len(drawn["expression"].unique()) == len(drawn["intensity"].unique()) == 1


def test_random_expression_probability_zero_is_the_input(editor):
    assert torch.equal(RandomExpression(editor=editor, p=0.0)(PHOTOS), PHOTOS)


def test_random_expression_draws_from_its_ranges(editor):
    augment = RandomExpression(("sad", "angry"), (0.2, 0.3), editor=editor, p=1.0)
    drawn = augment.forward_parameters(torch.Size([500, 3, 8, 8]))
    assert set(drawn["expression"].tolist()) == {0, 1}
    assert 0.2 <= drawn["intensity"].min() < drawn["intensity"].max() <= 0.3


def test_random_expression_keeps_dimensions(editor):
    augment = RandomExpression(editor=editor, p=1.0, keepdim=True)
    assert augment(PHOTOS[0]).shape == PHOTOS[0].shape


@pytest.mark.parametrize("options", [{"expressions": ["grumpy"]}, {"intensity": (0.9, 0.1)}])
def test_random_expression_refuses_nonsense(editor, options):
    with pytest.raises(SarganError):
        RandomExpression(editor=editor, **options)


def test_in_torchvision_compose_targets_pass_untouched(editor):
    boxes = tv_tensors.BoundingBoxes(
        torch.tensor([[1, 2, 30, 40]]), format="XYXY", canvas_size=(120, 120)
    )
    sample = {
        "image": tv_tensors.Image((PHOTOS[0] * 255).round().byte()),
        "boxes": boxes,
        "mask": tv_tensors.Mask(torch.ones(120, 120, dtype=torch.uint8)),
        "label": 3,
        "embedding": torch.arange(4.0),
    }
    transform = v2.Compose([EditExpression(editor), v2.ToDtype(torch.float32, scale=True)])
    edited = transform(sample)
    assert isinstance(edited["image"], tv_tensors.Image)
    assert (edited["image"] - PHOTOS[0]).abs().max() > 0.02
    assert torch.equal(edited["boxes"], boxes) and edited["label"] == 3
    assert torch.equal(edited["mask"], sample["mask"])
    assert torch.equal(edited["embedding"], sample["embedding"])


def test_torchvision_takes_pil_images_tensors_and_videos(editor):
    picture = Image.fromarray((PHOTOS[0] * 255).byte().permute(1, 2, 0).numpy())
    assert isinstance(EditExpression(editor)(picture), Image.Image)
    assert torch.equal(EditExpression(editor)(PHOTOS[0]), editor(PHOTOS[0]))
    video = tv_tensors.Video(PHOTOS[None])
    edited = EditExpression(editor)(video)
    assert isinstance(edited, tv_tensors.Video)
    assert torch.equal(edited.as_subclass(torch.Tensor)[0], editor(PHOTOS))


def test_state_moves_with_the_module(editor):
    """An editor is a module: its generator is in state_dict and follows .double()."""
    assert any(key.startswith("generator.") for key in editor.state_dict())
    assert editor.double()(PHOTOS.double()).dtype == torch.float64
