"""Time limits: they stop what does not end, never raise later, and never leave half of a module behind."""

import ctypes
import functools
import importlib
import math
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from d2lblocks.checking import limits
from d2lblocks.checking import runner as observing
from d2lblocks.checking.case import Case
from d2lblocks.checking.limits import OutOfTime, run_within
from d2lblocks.checking.probes import NEEDS
from d2lblocks.checking.runner import observe
from grader.sandbox.inside import worker
from tests import ROOT

SOON = 1e-4  # what never ends is stopped at once; nothing else in this file has a limit as short as that
NEVER = 600.0


def forever():
    while True:
        pass


def is_quiet():
    """No alarm will come."""
    return [signal.getitimer(timer)[0] for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL)] == [0, 0]


@pytest.mark.parametrize("kind", ["working", "passing"])
def test_what_never_ends_is_stopped(kind):
    with pytest.raises(OutOfTime):
        run_within(forever, **{kind: SOON})
    assert is_quiet()


def test_sleep_is_stopped_although_it_does_no_work():
    with pytest.raises(OutOfTime):
        run_within(lambda: time.sleep(NEVER), working=NEVER, passing=SOON)


def test_who_swallows_the_first_alarm_is_stopped_by_a_later_one():
    swallowed = []

    def deaf():
        while len(swallowed) < 3:
            try:
                forever()
            except OutOfTime:
                swallowed.append(1)
        forever()

    with pytest.raises(OutOfTime):
        run_within(deaf, working=SOON, again=SOON)
    assert len(swallowed) == 3


def test_a_result_and_an_exception_come_through():
    assert run_within(lambda: 3, working=NEVER, passing=NEVER) == 3
    with pytest.raises(ZeroDivisionError):
        run_within(lambda: 1 / 0, working=NEVER)
    assert is_quiet()


# --- an alarm that is pending when the work ends ------------------------------------------------------------------


class Alarm:
    """`Alarm(number).comes` sends this process a signal, and nothing looks at it before the expression's end.

    After a call Python looks whether there is a signal; after an attribute that is computed in C it does not.
    """

    _as_parameter_ = 0

    def __init__(self, number):
        self.number = number

    alarm = property(functools.partial(ctypes.CDLL(None)["raise"], int(signal.SIGALRM)))
    work = property(functools.partial(ctypes.CDLL(None)["raise"], int(signal.SIGPROF)))


ERROR = ValueError("the work's own")


def over(limit):
    """Make the limit's time be up, so that the next alarm counts."""
    limit.ends = (0.0, 0.0)


@pytest.mark.parametrize("end", ["returns", "raises"])
def test_an_alarm_that_is_pending_when_the_work_ends_raises_nowhere(end):
    """The alarm comes between the last instruction of the work and the first one behind it."""
    pending = Alarm(None)

    def work():
        over(limits._limits[-1])
        if end == "returns":
            return pending.alarm, pending.work
        error = ERROR
        _ = pending.alarm, pending.work
        raise error

    if end == "returns":
        assert run_within(work, working=NEVER, passing=NEVER) == (0, 0)
    else:
        with pytest.raises(ValueError, match="the work's own"):
            run_within(work, working=NEVER, passing=NEVER)
    assert is_quiet()
    assert limits._limits == []


def test_the_same_alarm_a_moment_earlier_stops_the_work():
    """It is the moment that counts: this is what the test above would be if it did not meet it."""
    pending = Alarm(None)

    def work():
        over(limits._limits[-1])
        _ = pending.alarm
        return len(())  # after a call Python looks whether there is a signal

    with pytest.raises(OutOfTime):
        run_within(work, working=NEVER, passing=NEVER)


def test_an_alarm_that_is_pending_when_a_cell_ends_raises_nowhere():
    """The limit of the grader's worker is the same."""
    pending = Alarm(None)

    def run(source):
        over(limits._limits[-1])
        outputs = [], ""
        _ = pending.alarm
        return outputs

    message = {"source": "", "seconds": NEVER}
    assert worker._run(SimpleNamespace(run=run), message) == {"outputs": [], "raised": "", "changes": {}}


def test_a_cell_that_never_ends_is_interrupted():
    shell = SimpleNamespace(run=lambda source: forever())
    seen = worker._run(shell, {"source": "", "seconds": SOON})
    assert seen["raised"] == "KeyboardInterrupt"
    assert seen["outputs"][0]["evalue"] == "stopped after 0.0001 s"


def test_a_limit_that_ends_with_the_work_decides_one_way_or_the_other():
    """Real alarms, a thousand times, all about when the work ends."""
    decided = {True: 0, False: 0}
    for number in range(1000):
        seconds = 1e-5 * (1 + number % 30)
        start = time.perf_counter()

        def work(until=start + seconds):
            while time.perf_counter() < until:
                pass

        try:
            run_within(work, passing=seconds)
            decided[True] += 1
        except OutOfTime:
            decided[False] += 1
        assert is_quiet()
    assert sum(decided.values()) == 1000


def test_an_alarm_that_comes_when_no_limit_is_on_does_nothing():
    run_within(lambda: None, working=NEVER)
    signal.raise_signal(signal.SIGALRM)
    signal.raise_signal(signal.SIGPROF)


def test_a_handler_that_was_there_before_is_there_afterwards():
    def own(*_):
        pass

    before = signal.signal(signal.SIGALRM, own)
    try:
        run_within(lambda: None, working=NEVER)
        assert signal.getsignal(signal.SIGALRM) is own
    finally:
        signal.signal(signal.SIGALRM, before)


# --- one limit inside another -------------------------------------------------------------------------------------


def test_a_limit_inside_another_leaves_the_outer_one_on():
    """A cell that calls `check` still has to end."""

    def cell():
        with pytest.raises(OutOfTime):
            run_within(forever, working=SOON)
        over(limits._limits[0])
        run_within(lambda: None, working=NEVER)
        forever()

    with pytest.raises(KeyboardInterrupt):
        run_within(cell, passing=NEVER, error=lambda _: KeyboardInterrupt())
    assert is_quiet()


def test_the_outer_limit_stops_what_the_inner_one_lets_go_on():
    with pytest.raises(KeyboardInterrupt):
        run_within(lambda: run_within(forever, working=NEVER), passing=SOON, error=lambda _: KeyboardInterrupt())


# --- imports ------------------------------------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write modules that can be imported: `a`, or `b` in the package `a` as `a_of_b`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = set()

    def write(**sources):
        for name, source in sources.items():
            path = tmp_path / f"{name.replace('_of_', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
            names.add(path.relative_to(tmp_path).parts[0].removesuffix(".py"))
        importlib.invalidate_caches()

    yield write
    for name in [each for each in sys.modules if each.partition(".")[0] in names]:
        del sys.modules[name]


# Until the limit is over and the alarm has looked at the import three times, however slow the machine is.
SLOW = """
from d2lblocks.checking import limits
limit = limits._limits[-1]
looked = 0
while looked < 3:
    limit.ends = (0.0, 0.0)
    limits._set_timers()
    while limit.ends == (0.0, 0.0):
        pass
    looked += 1
"""


def test_an_import_is_not_interrupted_and_the_work_then_has_its_full_time(module):
    module(slow_to_import=SLOW + "whole = True\n")

    def work():
        slow_to_import = importlib.import_module("slow_to_import")

        limit = limits._limits[-1]
        left = [end - now for end, now in zip(limit.ends, (time.process_time(), time.monotonic()), strict=True)]
        return slow_to_import.whole, slow_to_import.looked, left

    whole, looked, (left, waiting) = run_within(work, working=300.0, passing=NEVER, again=SOON)
    assert whole
    assert looked == 3
    assert left > 100
    assert waiting > 200
    assert is_quiet()


def test_after_an_import_the_work_is_stopped_as_ever(module):
    module(slow_to_import=SLOW)

    def work():
        importlib.import_module("slow_to_import")

        over(limits._limits[-1])
        limits._set_timers()
        forever()

    with pytest.raises(OutOfTime):
        run_within(work, working=NEVER, again=SOON)
    assert "slow_to_import" in sys.modules


def test_time_that_an_import_takes_is_not_counted_by_who_has_a_clock_of_their_own(module):
    module(slow_to_import=SLOW)

    def work():
        importlib.import_module("slow_to_import")

    before = limits.working_time(), limits.passing_time()
    run_within(work, working=NEVER, passing=NEVER, again=SOON)
    # As far as these clocks are concerned, each look at the import came when the time was up, at 0.
    assert limits.working_time() < before[0]
    assert limits.passing_time() < before[1]


def test_an_import_that_never_ends_is_stopped_and_leaves_nothing_half_made(module, monkeypatch):
    module(
        endless_of___init__="from endless import done, rest\n",
        endless_of_done="whole = True\n",
        endless_of_rest="while True:\n    pass\n",
    )
    monkeypatch.setattr(limits, "IMPORT_TIMEOUT", SOON)

    def work():
        importlib.import_module("endless")

    with pytest.raises(OutOfTime, match="endless"):
        run_within(work, working=SOON, again=SOON)
    assert not [name for name in sys.modules if name.partition(".")[0] == "endless"]
    module(endless_of_rest="whole = True\n")
    monkeypatch.setattr(limits, "IMPORT_TIMEOUT", NEVER)
    endless = importlib.import_module("endless")
    assert endless.done.whole
    assert endless.rest.whole


def test_an_import_around_the_limit_does_not_protect_the_work(module):
    """A module that checks an answer while it is imported, as test modules do."""
    module(
        checks_while_imported="""
from d2lblocks.checking.limits import OutOfTime, run_within
def forever():
    while True:
        pass
try:
    run_within(forever, working=1e-4)
    stopped = False
except OutOfTime:
    stopped = True
"""
    )
    assert importlib.import_module("checks_while_imported").stopped


def test_an_answer_may_import_what_takes_longer_than_its_limit(module):
    module(slow_to_import=SLOW)

    class Imports(nn.Module):
        def forward(self, x):
            slow_to_import = importlib.import_module("slow_to_import")

            return x * slow_to_import.looked

    seen, _ = observe(Imports, "values", Case("", "answer()", (torch.ones(2),)), seconds=60)
    assert seen["output"].tolist() == [3, 3]


def test_an_answer_whose_import_never_ends_is_told_so(module, monkeypatch):
    module(
        never_imported="""
from d2lblocks.checking import limits
limits._limits[-1].ends = (0.0, 0.0)
limits._set_timers()
while True:
    pass
"""
    )
    monkeypatch.setattr(limits, "IMPORT_TIMEOUT", SOON)

    class Imports(nn.Module):
        def forward(self, x):
            importlib.import_module("never_imported")

    seen, _ = observe(Imports, "values", Case("", "answer()", (torch.ones(2),)), seconds=60)
    assert seen["raised"]["type"] == "OutOfTime"
    assert seen["raised"]["message"] == "was stopped while it imported never_imported, which takes too long"


def test_in_a_fresh_process_what_is_slow_to_import_is_imported_whole():
    """Importing the compiler takes seconds, much longer than the limits here. An answer does it, then a probe.

    Any other probe that imports something when it is first used would have to be named in `NEEDS`.
    """
    program = """
import sys, torch
from torch import nn
from d2lblocks.checking.case import Case
from d2lblocks.checking.runner import observe
from d2lblocks.checking.probes import NEEDS, PROBES

class Imports(nn.Module):
    def forward(self, x):
        import torch._dynamo
        return x + 1

for probe in PROBES.keys() - NEEDS.keys():
    before = len(sys.modules)
    observe(nn.Linear, probe, Case("", "answer(3, 2)", (torch.ones(4, 3),)), seconds=600)
    if len(sys.modules) > before:
        print(probe, "imports", len(sys.modules) - before, "modules")
assert "torch._dynamo" not in sys.modules
case = Case("", "answer()", (torch.ones(2),))
print(observe(Imports, "values", case, seconds=0.5)[0]["output"].tolist())
print(observe(nn.ReLU, "graphs", case, seconds=2)[0]["graph_break"])
print(torch._dynamo.decorators.__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[2.0, 2.0]", "none", "torch._dynamo.decorators"], done.stderr


@pytest.mark.parametrize("probe", NEEDS)
def test_what_a_probe_needs_is_ready_before_its_clock_starts(probe, monkeypatch):
    """Whoever has a clock of their own, as `check` does, prepares the probe before it starts."""
    started = []
    monkeypatch.setattr(observing, "_prepared", set())
    monkeypatch.setattr(observing, "run_within", lambda work, **more: started.append(more["working"]) or work())
    observing.prepare(probe)
    assert started == [math.inf]
    assert all(name in sys.modules for name in NEEDS[probe])
    observing.prepare(probe)
    observe(nn.ReLU, probe, Case("", "answer()", (torch.ones(2),)), seconds=7)
    assert started == [math.inf, 7]
