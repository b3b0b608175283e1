"""An iterator with other classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator, check_iterator
from datastack_fs.iterators.derived import DerivedDatasetIterator
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.labels import label_array, rows_of


class TargetMappedDatasetIterator(DerivedDatasetIterator[tuple[Any, ...]]):
    """Samples of an iterator with new targets; samples are not read to get them.

    Args:
        iterator: where the samples come from.
        mapping: from targets, or from names of ``meta.class_names``, to the new ones. New targets that are all text are
            names of classes: targets become their numbers, in the order in which the mapping names them first, and
            ``meta.class_names`` these names. Other new targets come as they are.

    Raises:
        ValueError: the mapping has a name that is no class; or, when it is read, a target is not in the mapping.

    Examples:
        >>> from datastack_fs.iterators import DatasetMeta, SequenceDatasetIterator
        >>> meta = DatasetMeta("birds", "birds", class_names=("owl", "wren", "finch"))
        >>> birds = SequenceDatasetIterator(["a", "b", "c"], [0, 1, 2], meta=meta)
        >>> by_size = TargetMappedDatasetIterator(birds, {"owl": "large", "wren": "small", "finch": "small"})
        >>> by_size.targets().tolist(), by_size.meta.class_names
        ([0, 1, 1], ('large', 'small'))
    """

    def __init__(self, iterator: DatasetIterator[Any], mapping: Mapping[Any, Any]) -> None:
        check_iterator(iterator)
        if not isinstance(mapping, Mapping) or not mapping:
            raise TypeError(f"targets are mapped by a mapping of old to new ones, not by {mapping!r:.80}")
        old = iterator.meta.class_names
        numbers = {name: number for number, name in enumerate(old or ())}
        unknown = [key for key in mapping if old is not None and isinstance(key, str) and key not in numbers]
        if unknown:
            raise ValueError(
                f"{iterator.meta.name!r} has no class {unknown[0]!r}; its classes are {', '.join(old or ())}"
            )
        new = list(mapping.values())
        names = tuple(dict.fromkeys(new)) if all(isinstance(target, str) for target in new) else None
        super().__init__(iterator, iterator.meta.replace(class_names=names))
        self._mapping = {
            numbers.get(key, key): target if names is None else names.index(target) for key, target in mapping.items()
        }

    def _samples(self, indices: IndexArray) -> list[tuple[Any, ...]]:
        place = self.meta.target_pos
        samples = self._source._read(indices)
        targets = self._mapped([sample[place] for sample in samples])
        return [
            (*sample[:place], target, *sample[place + 1 :]) for sample, target in zip(samples, targets, strict=True)
        ]

    def _is_columnar(self) -> bool:
        return self._source._is_columnar()

    def _changed(self, columns: tuple[Any, ...]) -> tuple[Any, ...]:
        place = self.meta.target_pos
        return (*columns[:place], self._mapped(rows_of(columns[place])), *columns[place + 1 :])

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._mapped(self._source._targets(indices))

    def _mapped(self, targets: Any) -> npt.NDArray[Any]:
        plain = [target.item() if isinstance(target, np.generic) else target for target in targets]
        try:
            return label_array([self._mapping[target] for target in plain])
        except (KeyError, TypeError) as error:
            missing = next(target for target in plain if not _is_key(target, self._mapping))
            raise ValueError(
                f"target {missing!r:.80} of {self.meta.name!r} is not in the mapping, which has "
                f"{', '.join(map(repr, list(self._mapping)[:20]))}; .filter(…) leaves samples out"
            ) from error

    def _details(self) -> str:
        return f"{super()._details()}, {len(self._mapping)} targets mapped"


def _is_key(target: Any, mapping: Mapping[Any, Any]) -> bool:
    try:
        return target in mapping
    except TypeError:
        return False
