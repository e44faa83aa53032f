"""Windows that are drawn while a step is computed."""

import threading

import pytest

from oceanvar.training.ahead import N_AHEAD, drawn_ahead


def test_the_items_are_those_of_the_source_in_their_order():
    assert list(drawn_ahead(iter(range(20)))) == list(range(20))
    assert list(drawn_ahead([])) == []


def test_the_next_items_are_drawn_while_the_caller_works():
    """With the caller in possession of the first item, the thread gets to the ones that may wait, and no further."""
    drawn = [threading.Event() for _ in range(N_AHEAD + 2)]

    def source():
        for i, event in enumerate(drawn):
            event.set()
            yield i

    items = drawn_ahead(source())
    assert next(items) == 0
    for event in drawn[: N_AHEAD + 1]:
        assert event.wait(10)
    assert not drawn[N_AHEAD + 1].wait(0.05)
    assert list(items) == [1, 2, 3]


def test_an_error_is_raised_where_its_item_would_have_come():
    def source():
        yield from (0, 1)
        raise ValueError("no window")

    items = drawn_ahead(source())
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(ValueError, match="no window"):
        next(items)


def test_no_thread_is_left_when_the_caller_stops():
    def names():
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("oceanvar-draws")]

    items = drawn_ahead(iter(range(100)))
    next(items)
    assert names()
    items.close()
    assert not names()
