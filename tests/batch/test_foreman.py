"""The engine itself: what it costs, and how much it holds."""

import resource
import tracemalloc

import pytest
from jobs import SETTINGS, Told

from mmgen.batch.chunks import Chunk, Chunks
from mmgen.batch.crew import Event
from mmgen.batch.foreman import Foreman, Rules
from mmgen.batch.interruption import Interruption
from mmgen.batch.job import Job
from mmgen.batch.outcome import Outcome
from mmgen.batch.request import Item


def items(count, groups=1):
    for number in range(count):
        yield {"guidance": number % groups}, Item(number, f"{number:016x}", f"prompt {number}", number, number + 1)


class EchoCrew:
    """Workers that say of everything that it is done."""

    def __init__(self):
        self._events = []

    def start(self, place):
        raise AssertionError("there is one worker")

    def ask(self, place, method, *arguments):
        if method == "settle":
            self._events.append(Event(place, "answer", arguments[1]))
            return
        chunk = arguments[1]
        self._events += [Event(place, "part", Outcome(item, {"status": "done"})) for item in chunk.items]
        self._events.append(Event(place, "answer", None))

    def events(self):
        heard, self._events = self._events, []
        return heard

    def machines(self):
        return 1


class Silent(Told):
    def counted(self, record):
        pass


def work_off(tmp_path, count, groups):
    listener = Silent()
    listener.begin(count, 0, 0, 1)
    job, rules = Job(tmp_path, {"made_by": {}}), Rules(workers=1, batch=16)
    chunks = Chunks(items(count, groups))
    foreman = Foreman(EchoCrew(), job, SETTINGS, rules, 1, count, chunks, Interruption(), listener)
    foreman.work()
    assert foreman.made == listener.done == count


def test_memory_does_not_grow_with_the_number_of_items(tmp_path):
    peaks = []
    for count in (5_000, 50_000):
        tracemalloc.start()
        work_off(tmp_path, count, groups=30)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 100_000, peaks


@pytest.mark.parametrize("renewing, most", [(False, 16), (True, 64)])
def test_one_worker_that_begins_waiting_items_is_given_several_batches(tmp_path, renewing, most):
    given = []

    class Crew(EchoCrew):
        def ask(self, place, method, *arguments):
            given.extend([len(arguments[1].items)] if method == "draw" else [])
            super().ask(place, method, *arguments)

    listener = Silent()
    listener.begin(200, 0, 0, 1)
    job, rules = Job(tmp_path, {"made_by": {}}), Rules(workers=1, batch=16)
    chunks = Chunks(items(200))
    Foreman(Crew(), job, SETTINGS, rules, 1, 200, chunks, Interruption(), listener, renewing).work()
    assert max(given) == most and sum(given) == 200


def test_the_engine_costs_less_than_5_milliseconds_an_item(work):
    def seconds():
        spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in spent)

    work([f"warm {number}" for number in range(10)], out="warm")
    before = seconds()
    assert work([f"prompt {number}" for number in range(1000)]).done == 1000
    assert (seconds() - before) / 1000 < 0.005


@pytest.mark.parametrize("groups", [1, 7, 4500])
def test_chunks_are_of_equal_settings_and_hold_every_item_once(groups):
    chunks, seen = Chunks(items(6000, groups)), []
    while chunk := chunks.take(8):
        assert isinstance(chunk, Chunk) and 1 <= len(chunk.items) <= 8
        assert {item.number % groups for item in chunk.items} == {chunk.settings["guidance"]}
        seen += [item.number for item in chunk.items]
    assert sorted(seen) == list(range(6000))
    if groups == 7:
        assert seen != sorted(seen)


def test_chunks_read_no_further_than_they_must():
    read = []

    def listed():
        for pair in items(100):
            read.append(pair)
            yield pair

    chunks = Chunks(listed())
    assert chunks.peek().items[0].number == 0
    chunks.take(4)
    assert len(read) == 4
