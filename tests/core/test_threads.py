"""Calls in threads of their own: results in order, the first error, no thread left."""

import itertools
import threading

import pytest

from datastack_fs.threads import made_ahead, map_in_threads


@pytest.mark.parametrize("most", [1, 2, 7, 100])
def test_results_are_in_order_and_no_thread_is_left(most):
    before = threading.active_count()
    assert map_in_threads(lambda number: number * 2, range(50), most) == [number * 2 for number in range(50)]
    assert map_in_threads(len, [], most) == []
    assert threading.active_count() == before


def test_at_most_so_many_run_at_once():
    running, most_seen, lock = 0, 0, threading.Lock()
    together = threading.Barrier(4)

    def call(_):
        nonlocal running, most_seen
        with lock:
            running += 1
            most_seen = max(most_seen, running)
        together.wait(30)
        with lock:
            running -= 1

    map_in_threads(call, range(20), 4)
    assert most_seen == 4


def test_the_first_error_ends_all_at_once():
    begun, release = [], threading.Event()

    def call(number):
        begun.append(number)
        if number == 1:
            raise KeyError("one")
        release.wait(30)

    try:
        with pytest.raises(KeyError, match="one"):
            map_in_threads(call, range(100), 3)
        assert len(begun) <= 4  # the one that failed may have taken up another
    finally:
        release.set()


def ahead_threads():
    return [thread for thread in threading.enumerate() if thread.name == "datastack-ahead"]


def test_values_are_made_ahead_but_not_far():
    made = []

    def values():
        for number in range(100):
            made.append(number)
            yield number
        raise OSError("at the end")

    ahead = made_ahead(values(), 3)
    for number in range(100):
        assert next(ahead) == number
        assert len(made) <= number + 5  # three that wait, and one that is put
    with pytest.raises(OSError, match="at the end"):
        next(ahead)
    assert ahead_threads() == []


def test_values_that_nobody_asks_for_end_their_thread():
    values = made_ahead(itertools.count(), 2)
    assert [next(values), next(values)] == [0, 1]
    assert len(ahead_threads()) == 1
    values.close()
    assert ahead_threads() == []
