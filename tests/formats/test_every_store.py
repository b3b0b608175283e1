"""Every format on every store: each sample is compared, read singly, as a batch and as columns."""

import pytest

from datastack_fs import open_dataset
from datastack_fs.errors import UnsupportedStorageError
from datastack_fs.iterators.columnar import rows_of
from datastack_fs.testing.iterators import assert_all_same, shuffled
from harness.cases import all_cases
from harness.stores import READABLE, filled_store

CASES = {case.name: case for case in all_cases()}


@pytest.mark.parametrize("kind", READABLE)
@pytest.mark.parametrize("name", CASES)
def test_every_sample_is_the_same(name, kind, request):
    case = CASES[name]
    connector = filled_store(kind, case.contents, request)
    if kind == "http" and case.needs_listing:
        with pytest.raises(UnsupportedStorageError, match="labels= takes a table"):
            open_dataset(case.identifier, storage=connector, **case.options)
        return
    iterator = open_dataset(case.identifier, storage=connector, **case.options)
    length = len(case.expected)
    assert len(iterator) == length
    assert_all_same(list(iterator), case.expected)
    order = shuffled(range(-length, length)) * 2
    wanted = [case.expected[index] for index in order]
    assert_all_same(iterator.__getitems__(order), wanted)
    assert_all_same([iterator[index] for index in order[:10]], wanted[:10])
    assert_all_same(list(zip(*map(rows_of, iterator.take(order)), strict=True)), wanted)
    assert_all_same(iterator.view(order).targets(), [target for _, target, _ in wanted])
