"""What is known about an iterator without reading it."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class DatasetMeta:
    """What is known about an iterator without reading it.

    Attributes:
        identifier: where it comes from: the identifier of its resource, or any name that tells it from others.
        name: what people call it.
        tag: which part of the dataset it is ("train"), if it is one.
        sample_pos: where the sample stands in the tuple that an index gives.
        target_pos: where the target (the label) stands.
        tag_pos: where the tag stands.
        class_names: the names of the classes, when targets are their numbers.
        feature_names: what the values of a sample are called, when it is a vector.

    Examples:
        >>> meta = DatasetMeta("birds/train.h5", "birds", class_names=("owl", "wren"))
        >>> meta.replace(tag="train").tag
        'train'
    """

    identifier: str
    name: str
    tag: str | None = None
    sample_pos: int = 0
    target_pos: int = 1
    tag_pos: int = 2
    class_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for field in ("class_names", "feature_names"):
            names = getattr(self, field)
            if isinstance(names, str):
                raise TypeError(f"{field} must be a tuple of names, not the text {names!r}")
            if names is not None:
                object.__setattr__(self, field, tuple(names))
        positions = self.positions
        if min(positions) < 0 or len(set(positions)) != len(positions):
            raise ValueError(f"sample_pos, target_pos and tag_pos must differ and not be negative: {positions}")

    @property
    def positions(self) -> tuple[int, int, int]:
        """Where sample, target and tag stand."""
        return self.sample_pos, self.target_pos, self.tag_pos

    def replace(self, **changes: Any) -> DatasetMeta:
        """Returns a copy with some fields changed."""
        fields = [field.name for field in dataclasses.fields(self)]
        unknown = sorted(set(changes) - set(fields))
        if unknown:
            raise TypeError(f"DatasetMeta has no {', '.join(unknown)}; its fields are {', '.join(fields)}")
        return dataclasses.replace(self, **changes)
