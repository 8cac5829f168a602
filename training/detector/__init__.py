"""A face detector of our own in InsightFace's SCRFD format, from pictures to ONNX.

The commands, in order; each explains itself with ``--help``::

    python -m sargan_training.detector.prepare     pictures into one store
    python -m sargan_training.detector.train       store to checkpoint, resumable
    python -m sargan_training.detector.export      checkpoint to ONNX
    python -m sargan_training.detector.evaluate    ONNX files side by side

Coordinates are pixels with (0, 0) at the top left corner of a picture, SCRFD's convention.
"""
