"""What networks predict: which outputs and labels belong together."""

from __future__ import annotations

from typing import Final, Literal

Task = Literal["classification", "segmentation"]

IGNORED_LABEL: Final = -100
"""Label of pixels without a class, which training and metrics ignore (torch's default for cross entropy)."""


def label_shape(task: Task, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Shape of the label of one image (C, H, W): a class, or a class per pixel."""
    return image_shape[1:] if task == "segmentation" else ()


def output_shape(task: Task, image_shape: tuple[int, ...], n_classes: int) -> tuple[int, ...]:
    """Shape of the output for one sample: logits, or logits for every pixel."""
    return (n_classes, *image_shape[1:]) if task == "segmentation" else (n_classes,)
