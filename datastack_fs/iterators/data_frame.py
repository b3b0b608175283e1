"""A pandas frame as samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from datastack_fs.iterators.columnar import Names
from datastack_fs.iterators.columns import own
from datastack_fs.iterators.indices import IndexArray, Indices, as_indices
from datastack_fs.iterators.meta import DatasetMeta
from datastack_fs.iterators.planning import Plan
from datastack_fs.iterators.tabular import TabularDatasetIterator

if TYPE_CHECKING:
    import pandas as pd

_EXACT_IN_FLOAT64: Final = 2**53
_PLAIN_KINDS: Final = frozenset("biufcmM")
_DAYS: Final = "datetime64[D]"


class DataFrameDatasetIterator(TabularDatasetIterator):
    """The rows of a pandas frame as samples; nothing of it is copied until it is read.

    Args:
        frame: the frame; column names that are no text are taken as text.
        sample: the columns of the sample; it, ``target``, ``tag`` and ``vector`` are as in ``TabularDatasetIterator``.
        target: those of the target.
        tag: those of the tag.
        vector: give the columns of a sample as one array.
        index_as: the name of a column that the frame's index becomes; without, the index is left out.
        meta: what is known about it.

    A target that is categorical comes as the numbers of its categories, which become ``meta.class_names``; any other
    categorical column comes as its values. Otherwise numbers and times come as numpy has them (a time with a zone in
    UTC), the rest as objects. Where a value is missing, floats have NaN, times NaT and objects None; integers become
    float64 with NaN (or objects with None, if that would round one), bools objects.

    Raises:
        DatasetNotFoundError: there is no column of that name; the message lists those that there are.
        ValueError: a categorical target has missing values.

    Examples:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"grams": [480, 9], "label": pd.Categorical(["owl", "wren"])})
        >>> iterator = DataFrameDatasetIterator(frame, sample="grams", target="label")
        >>> iterator[1], iterator.meta.class_names
        ((np.int64(9), np.int64(1), None), ('owl', 'wren'))
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        *,
        sample: Names | None = None,
        target: Names | None = None,
        tag: Names | None = None,
        vector: bool = False,
        index_as: str | None = None,
        meta: DatasetMeta | None = None,
    ) -> None:
        import pandas as pd

        if not isinstance(frame, pd.DataFrame):
            raise TypeError(f"a pandas frame is needed, not {type(frame).__name__}: most others have .to_pandas()")
        if isinstance(frame.columns, pd.MultiIndex):
            raise TypeError("the column names must be of one level: frame.columns = frame.columns.map('.'.join)")
        self._frame = frame.copy(deep=False)  # what the caller adds to theirs later is not added to this one
        self._index_as = index_as
        names = [*map(str, frame.columns), *([] if index_as is None else [index_as])]
        meta = meta or DatasetMeta("data frame", "data frame")
        super().__init__(names, meta, sample=sample, target=target, tag=tag, vector=vector)
        self._coded = self._categorical_target()
        self._lacking: dict[str, bool] = {}

    def __len__(self) -> int:
        return len(self._frame)

    def to_pandas(self, indices: Indices | None = None) -> pd.DataFrame:
        """The frame, or some of its rows, as it is: with its own types and index.

        Args:
            indices: which rows; by default all.
        """
        return self._frame.copy() if indices is None else self._frame.iloc[as_indices(indices, len(self))]

    def _categorical_target(self) -> str | None:
        """The name of the target if it is categorical, of which ``meta`` then names the classes."""
        import pandas as pd

        target = self._names[1]
        if not isinstance(target, str) or not isinstance(self._values(target).dtype, pd.CategoricalDtype):
            return None
        values = self._values(target)
        missing = int(values.isna().sum())
        if missing:
            raise ValueError(
                f"the target {target!r} is categorical and misses {missing:,} of {len(self):,} values: "
                f"frame.dropna(subset=[{target!r}]) leaves those rows out"
            )
        if self.meta.class_names is None:
            self._meta = self.meta.replace(class_names=tuple(map(str, values.dtype.categories)))
        return target

    def _values(self, name: str) -> Any:
        """A column, or the index."""
        place = self._column_names.index(name)
        return self._frame.index.to_flat_index() if place == len(self._frame.columns) else self._frame.iloc[:, place]

    def _read_columns(self, names: Sequence[str], indices: IndexArray) -> Mapping[str, npt.NDArray[Any]]:
        return {name: self._read_column(name, indices) for name in names}

    def _plan_columns(self, names: Sequence[str], indices: IndexArray) -> Plan[Mapping[str, npt.NDArray[Any]]]:
        return Plan.unfetched(lambda: self._read_columns(names, indices))

    def _read_column(self, name: str, indices: IndexArray) -> npt.NDArray[Any]:
        values = self._values(name)
        if name == self._coded:
            return np.asarray(values.cat.codes.to_numpy()[indices].astype(np.int64))
        if name not in self._lacking:
            self._lacking[name] = bool(values.isna().any())
        return _as_numpy(values.array.take(indices), self._lacking[name])


def _as_numpy(values: Any, lacking: bool) -> npt.NDArray[Any]:
    """Values of a pandas array as a new array; ``lacking`` says that some of the column are missing."""
    import pandas as pd

    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _as_numpy(_of_categories(values, lacking), lacking)
    if isinstance(dtype, pd.ArrowDtype) and dtype.kind == "M":
        return _times_of_arrow(values)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return np.array(values.tz_convert("UTC").tz_localize(None).to_numpy())
    if dtype.kind not in _PLAIN_KINDS or (dtype.kind == "b" and lacking):
        return _as_objects(values)
    plain = getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", None))
    if not lacking or isinstance(values, pd.arrays.NumpyExtensionArray) or isinstance(dtype, np.dtype):
        return np.array(values.to_numpy(dtype=plain))
    if dtype.kind in "iu":
        known = values[~values.isna()].astype(object)
        exact = max(map(abs, known), default=0) <= _EXACT_IN_FLOAT64
        return np.array(values.to_numpy(dtype=np.float64, na_value=np.nan)) if exact else _as_objects(values)
    missing = np.array("NaT", plain)[()] if dtype.kind == "m" else np.nan
    return np.array(values.to_numpy(dtype=plain, na_value=missing))


def _of_categories(values: Any, lacking: bool) -> Any:
    """The values of a categorical array, as an array of the categories' type or one that knows what is missing."""
    import pandas as pd

    dtype = values.dtype.categories.dtype
    if lacking and isinstance(dtype, np.dtype) and dtype.kind in "iub":
        nullable = {"i": "Int64", "u": "UInt64", "b": "boolean"}[dtype.kind]
        return pd.array(values.astype(object), dtype=nullable)
    return pd.Series(values).astype(dtype).array


def _times_of_arrow(values: Any) -> npt.NDArray[Any]:
    import pyarrow as pa

    kind = values.dtype.pyarrow_dtype
    if pa.types.is_timestamp(kind):
        kind = pa.timestamp(kind.unit)  # of UTC, if it has a zone
    times = pa.array(values).cast(kind).to_numpy(zero_copy_only=False)
    return np.array(times, dtype=_DAYS if pa.types.is_date(kind) else None)


def _as_objects(values: Any) -> npt.NDArray[Any]:
    objects = np.empty(len(values), dtype=object)
    missing = np.asarray(values.isna())
    for place, value in enumerate(values):  # one by one: numpy would take lists apart
        objects[place] = None if missing[place] else own(value)
    return objects
