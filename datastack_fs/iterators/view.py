"""Some samples of an iterator, in any order."""

from collections.abc import Mapping

from datastack_fs.iterators.base import DatasetIterator
from datastack_fs.iterators.index_map import IndexMapDatasetIterator, source_of
from datastack_fs.iterators.indices import Indices
from datastack_fs.iterators.selections import as_selection, composed, read_only
from datastack_fs.iterators.stacking import SampleT_co

_PLAIN_TAG = "view"


class DatasetIteratorView(IndexMapDatasetIterator[SampleT_co]):
    """Some samples of an iterator, in the order of the indices; nothing is read or copied.

    Args:
        iterator: what to look at.
        indices: integers (negative ones count from the end, repeats are fine), or a mask of one bool per sample.
        view_tags: what the view is: a word (``"train"``), or a mapping (``{"fold": 3, "split": "train"}``). They
            are joined to ``meta.tag`` (``"3/train"``) and kept in ``view_tags``; the samples stay as they are.

    A view of a view, or of a shuffle, is one array of indices into what that stands on, of four bytes each below
    2^31 samples; slices of slices take no memory.

    Examples:
        >>> from datastack_fs.iterators import SequenceDatasetIterator
        >>> letters = SequenceDatasetIterator(["a", "b", "c", "d"])
        >>> train = DatasetIteratorView(letters, [3, 0, 1], "train")
        >>> train[0], train.meta.tag, train[1:].underlying_iterators == (letters,)
        (('d', None, None), 'train', True)
    """

    def __init__(
        self,
        iterator: DatasetIterator[SampleT_co],
        indices: Indices,
        view_tags: str | Mapping[str, str | int] | None = None,
    ) -> None:
        source, outer, tags_below = source_of(iterator)
        chosen = as_selection(indices, len(iterator))
        tags = _as_tags(view_tags)
        meta = iterator.meta
        if tags:
            meta = meta.replace(tag=_joined(meta.tag, *tags.values()))
        merged = {key: _joined(tags_below.get(key), tag) for key, tag in tags.items()}
        super().__init__(source, meta, {**tags_below, **merged})
        self._indices = read_only(composed(outer, chosen))

    def _details(self) -> str:
        tags = "".join(f", {key} {tag}" for key, tag in self.view_tags.items() if key != _PLAIN_TAG)
        return super()._details() + tags


def _as_tags(view_tags: str | Mapping[str, str | int] | None) -> dict[str, str]:
    if view_tags is None:
        return {}
    if isinstance(view_tags, str):
        view_tags = {_PLAIN_TAG: view_tags}
    if not isinstance(view_tags, Mapping):
        raise TypeError(f"view tags must be a word or a mapping of words, not {type(view_tags).__name__}")
    return {str(key): str(tag) for key, tag in view_tags.items()}


def _joined(*tags: str | None) -> str:
    return "/".join(tag for tag in tags if tag is not None)
