"""Data only: the manifest, bundled weights and their cards.

A bundled face detector has one place: ``detector_*.onnx`` in this folder.
"""
