"""Three threads: everything passes in order, nothing piles up, and an error anywhere ends all without hanging."""

import threading
import time
from collections.abc import Iterable, Iterator

import pytest

from oceanvar.archive.pipeline import Channel, ChannelClosedError, Stopwatch, run_pipeline


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def doubled(items: Iterable[int]) -> Iterator[int]:
    for item in items:
        yield 2 * item


def counting(n: int, fail_at: int | None = None, closed: list[str] | None = None) -> Iterator[int]:
    try:
        for i in range(n):
            if i == fail_at:
                raise OSError(f"item {i} cannot be read")
            yield i
    finally:
        if closed is not None:
            closed.append(threading.current_thread().name)


def test_everything_passes_in_order():
    written: list[int] = []
    closed: list[str] = []
    run_pipeline(counting(50, closed=closed), doubled, written.append)
    assert written == list(range(0, 100, 2))
    assert closed == ["oceanvar-reader"]


def test_reading_runs_ahead_by_few_items_only():
    read, solved = 0, 0

    def reading() -> Iterator[int]:
        nonlocal read
        for i in range(20):
            read += 1
            assert read - solved <= 4
            yield i

    def slow(items: Iterable[int]) -> Iterator[int]:
        nonlocal solved
        for item in items:
            time.sleep(0.002)
            solved += 1
            yield item

    run_pipeline(reading(), slow, lambda item: None)
    assert read == solved == 20


def test_a_reader_that_fails_ends_all():
    written: list[int] = []
    closed: list[str] = []
    with pytest.raises(OSError, match="item 5 cannot be read"):
        run_pipeline(counting(20, fail_at=5, closed=closed), doubled, written.append)
    assert written == list(range(0, 2 * len(written), 2))
    assert closed == ["oceanvar-reader"]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_solver_that_fails_ends_all_and_what_was_solved_is_written(kind):
    written: list[int] = []
    closed: list[str] = []

    def failing(items: Iterable[int]) -> Iterator[int]:
        for item in items:
            if item == 7:
                raise kind("in item 7")
            yield item

    def slowly(item: int) -> None:
        time.sleep(0.005)
        written.append(item)

    with pytest.raises(kind, match="in item 7"):
        run_pipeline(counting(10_000, closed=closed), failing, slowly)
    assert written == list(range(7))
    assert closed == ["oceanvar-reader"]


@pytest.mark.parametrize("last", [3, 19])
def test_a_writer_that_fails_ends_all_even_at_the_last_item(last):
    solved: list[int] = []

    def noted(items: Iterable[int]) -> Iterator[int]:
        for item in items:
            solved.append(item)
            yield item

    def full(item: int) -> None:
        if item == last:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        run_pipeline(counting(20), noted, full)
    assert len(solved) <= last + 4


def test_a_solver_that_needs_no_more_lets_the_reader_go():
    def first(items: Iterable[int]) -> Iterator[int]:
        yield next(iter(items))

    written: list[int] = []
    run_pipeline(counting(10_000), first, written.append)
    assert written == [0]


def test_a_closed_channel_takes_nothing():
    channel: Channel[int] = Channel()
    channel.put(1)
    channel.close()
    with pytest.raises(ChannelClosedError):
        channel.put(2)
    assert list(channel) == [1]


def test_a_stopwatch_adds_up_by_laps():
    watch = Stopwatch()
    for _ in range(2):
        with watch.time("reading"):
            time.sleep(0.002)
    assert 0.004 <= watch.lap()["reading"] < 1
    assert watch.lap() == {}
