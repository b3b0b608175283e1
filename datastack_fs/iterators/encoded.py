"""An iterator with encoded samples or targets."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.base import DatasetIterator, check_iterator
from datastack_fs.iterators.derived import DerivedDatasetIterator
from datastack_fs.iterators.encoders import Encoder
from datastack_fs.iterators.encoding import Encoding, naming
from datastack_fs.iterators.indices import IndexArray
from datastack_fs.iterators.labels import samples_of
from datastack_fs.iterators.meta import DatasetMeta


class Transformer(Protocol):
    """What encodes a column of samples, as a fitted transformer of scikit-learn does."""

    def transform(self, column: Any) -> Any:
        """A column with as many rows."""


class FeatureEncodedDatasetIterator(DerivedDatasetIterator[tuple[Any, ...]]):
    """Samples and targets of an iterator, encoded batch by batch when they are read; nothing is learned from them.

    Args:
        iterator: what to encode: any split, with an encoding that was fitted on the training split.
        encoding: what ``fit_encoding`` or ``load_encoding`` gave; or a fitted transformer of scikit-learn, which gets
            columns of samples as ``take`` gives them, single numbers as one column, and mappings as a pandas frame.

    Raises:
        ValueError: it isn't fitted; or, when it is read, a value can't be encoded.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> from datastack_fs.iterators.encoding import fit_encoding
        >>> train = SequenceDatasetIterator(np.array([[1.0, 10.0], [3.0, 10.0]]), ["wren", "owl"])
        >>> encoding = fit_encoding(train, "standard", target="ordinal")
        >>> encoded = FeatureEncodedDatasetIterator(train, encoding)
        >>> encoded.take([1, 0])[0].tolist(), encoded.targets().tolist(), encoded.meta.class_names
        ([[1.0, 0.0], [-1.0, 0.0]], [1, 0], ('owl', 'wren'))
    """

    def __init__(self, iterator: DatasetIterator[Any], encoding: Encoding | Encoder | Transformer) -> None:
        check_iterator(iterator)
        if isinstance(encoding, Encoder):
            encoding = Encoding(encoding)
        self._encoding = (
            encoding.each(lambda _, encoder: encoder.fitted(), encoding.fitted_on)
            if isinstance(encoding, Encoding)
            else _Transformed(encoding)
        )
        super().__init__(iterator, self._encoding.of_meta(iterator.meta))

    def _samples(self, indices: IndexArray) -> list[tuple[Any, ...]]:
        return samples_of(self._take(indices))

    def _is_columnar(self) -> bool:
        return self._source._is_columnar()

    def _changed(self, columns: tuple[Any, ...]) -> tuple[Any, ...]:
        meta, changed = self.meta, list(columns)
        changed[meta.sample_pos] = self._encoding.of_sample(columns[meta.sample_pos], meta.name)
        changed[meta.target_pos] = self._encoding.of_target(columns[meta.target_pos], meta.name)
        return tuple(changed)

    def _targets(self, indices: IndexArray) -> npt.NDArray[Any]:
        return self._encoding.of_target(self._source._targets(indices), self.meta.name)


class _Transformed:
    """A fitted transformer of samples in the place of an encoding."""

    def __init__(self, transformer: Transformer) -> None:
        if not callable(getattr(transformer, "transform", None)) or isinstance(transformer, type):
            raise TypeError(
                f"samples are encoded by what fit_encoding(train, …) gives, or by a fitted transformer; "
                f"not by {transformer!r:.80}"
            )
        _check_is_fitted(transformer)
        self._transformer = transformer

    def of_sample(self, column: Any, name: str) -> npt.NDArray[Any]:
        if isinstance(column, dict):
            import pandas as pd

            column, rows = pd.DataFrame(column), len(next(iter(column.values())))
        else:
            rows = len(column)
            if column.ndim == 1:
                column = column.reshape(-1, 1)
        with naming("samples", name):
            found = self._transformer.transform(column)
        encoded = np.asarray(found.toarray() if hasattr(found, "toarray") else found)
        if len(encoded) != rows:
            raise ValueError(f"{self._transformer!r:.80} gave {len(encoded)} rows for {rows} of {name!r}")
        return encoded

    def of_target(self, column: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
        return column

    def of_meta(self, meta: DatasetMeta) -> DatasetMeta:
        return meta


def _check_is_fitted(transformer: Any) -> None:
    if not hasattr(transformer, "get_params"):  # not of scikit-learn's kind: nobody knows
        return
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(transformer)
    except NotFittedError as error:
        raise ValueError(
            f"{type(transformer).__name__} isn't fitted: fit it on the training split, and on nothing else"
        ) from error
