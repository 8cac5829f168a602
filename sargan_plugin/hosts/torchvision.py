"""torchvision v2: the editor as a ``v2.Transform``, so that targets pass untouched."""

from __future__ import annotations

from typing import Any

import PIL.Image
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from sargan_plugin.editor import ExpressionEditor


class EditExpression(v2.Transform):
    """Edit the images and videos of a sample; boxes, masks, key points and labels pass unchanged.

    Args:
        editor: does the work.

    Example::

        v2.Compose([EditExpression(ExpressionEditor("sad")), v2.Resize(64)])
    """

    _transformed_types = (PIL.Image.Image, torch.Tensor)

    def __init__(self, editor: ExpressionEditor) -> None:
        super().__init__()
        self.editor = editor

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if isinstance(inpt, PIL.Image.Image):
            return self.editor(inpt)
        is_tv_tensor = isinstance(inpt, tv_tensors.TVTensor)
        if is_tv_tensor and not isinstance(inpt, tv_tensors.Image | tv_tensors.Video):
            return inpt
        frames = inpt.as_subclass(torch.Tensor).reshape(-1, *inpt.shape[-3:])
        edited = self.editor(frames).reshape(inpt.shape)
        return tv_tensors.wrap(edited, like=inpt) if is_tv_tensor else edited

    _transform = transform  # its name before torchvision 0.21
