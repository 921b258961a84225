"""Kill or stop a grading at random moments, and see that nothing is lost and nothing is wrong.

    python -m tests.stress.kills --times 50      (make kills)

A small class is graded once without disturbance. Then, again and again from the beginning, with one process killed
at a random moment: the grader itself, one of its judges, the sandbox of one, the zygote in it, a worker with a
student's code. After the grader's death the same command is given once more; whoever else dies, the same run must go
on. In every third round the process is stopped (SIGSTOP) and not killed; the grader itself is continued a second
later. In the end the gradebook must be that of the undisturbed run, row by row, the graded notebooks too, and no
process may be left.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil

from grader.authoring import sample
from grader.authoring.exercise import load
from grader.gradebook.marks import FINGERPRINT
from tests.courses import make_course, release_quickly
from tests.isolation import isolation_problem
from tests.stress.origin import origin

ROOT = Path(__file__).resolve().parents[2]
ASSIGNMENT = "layers_and_blocks"
STUDENTS = 8
SEED = 5  # of the secret cases: with the same ones everything must come out the same
VICTIMS = ("grader", "judge", "bubblewrap", "zygote", "worker")
_PR_SET_CHILD_SUBREAPER = 36  # of <linux/prctl.h>
_CALLED = {"bwrap": "bubblewrap", "grading": "judge", "zygote": "zygote", "submission": "worker"}
RUN_TIMEOUT = 600
VANISH_TIMEOUT = 60

State = dict[str, Any]


@dataclass(frozen=True)
class Kill:
    """One trial.

    Attributes:
        seed: from which the moment is drawn.
        moment: when, in seconds after the start.
        victim: who was killed; empty if there was nobody of the kind any more.
        stopped: whether it was stopped instead.
        problems: what was not as it should be.
        seconds: how long it took until all was graded.
    """

    seed: int
    moment: float
    victim: str
    problems: tuple[str, ...]
    seconds: float
    stopped: bool = False

    def __str__(self) -> str:
        how = "stopped" if self.stopped else "killed"
        what = f"{self.victim} {how}" if self.victim else "nobody there to kill"
        more = f"; and {len(self.problems) - 3} more" if len(self.problems) > 3 else ""
        said = "; ".join(self.problems[:3]) + more or "gradebook and notebooks are the same, nothing is left running"
        return f"seed {self.seed:>10}  {self.moment:5.2f} s  {what:<21} {self.seconds:5.1f} s  {said}"


class Trial:
    """A course with one assignment and a few students, that can be graded from the beginning many times.

    Args:
        base: an empty folder.
        students: how many.
    """

    def __init__(self, base: Path, students: int = STUDENTS) -> None:
        self.course = release_quickly(make_course(base, ASSIGNMENT))
        solution = nbformat.read(self.course.solutions / ASSIGNMENT / f"{ASSIGNMENT}.ipynb", as_version=4)
        release = nbformat.read(self.course.exercises / ASSIGNMENT / f"{ASSIGNMENT}.ipynb", as_version=4)
        everybody = sample.students([(load(self.course.solutions / ASSIGNMENT), solution)])
        for student in everybody[:students]:
            path = self.course.submitted / student.name / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
            sample.hand_in(student.answers[ASSIGNMENT], release, path)
        self._beginning = base / "beginning"
        shutil.copytree(self.course.root, self._beginning)
        start = time.monotonic()
        problems = list(self._wait(self._start()))
        if problems:
            raise SystemExit(f"kills: the undisturbed run failed: {'; '.join(problems)}")
        self.seconds = time.monotonic() - start
        self.expected = self.state()

    def reset(self) -> None:
        """Make it a course in which nothing is graded."""
        shutil.rmtree(self.course.root)
        shutil.copytree(self._beginning, self.course.root)

    def command(self, jobs: int = 2) -> list[str]:
        """What grades it."""
        command = [sys.executable, "-m", "grader", "--course", str(self.course.root), "autograde"]
        return [*command, "--jobs", str(jobs), "--seed", str(SEED), *([] if isolated() else ["--no-isolation"])]

    def differences(self) -> list[str]:
        """Where its state is not that after the undisturbed run."""
        return _differences(self.state(), self.expected)

    def state(self) -> State:
        """What the gradebook and the graded notebooks say, without what says when."""
        found: State = {}
        with self.course.gradebook() as gradebook:
            found["students"] = sorted(student.id for student in gradebook.students)
            for submission in gradebook.assignment_submissions(ASSIGNMENT):
                for notebook in submission.notebooks:
                    for g in notebook.grades:
                        row = (g.auto_score, g.manual_score, g.extra_credit, g.needs_manual_grade, g.max_score)
                        found[f"grade of {submission.student.id}, {g.cell.name}"] = row
                    for c in notebook.comments:
                        found[f"comment for {submission.student.id}, {c.cell.name}"] = (
                            c.auto_comment,
                            c.manual_comment,
                        )
        for path in sorted(self.course.autograded.rglob("*")):
            if path.is_file():
                found[f"file {path.relative_to(self.course.autograded)}"] = path.read_bytes()
        return found

    def again(self, seed: int, victim: str, moment: float, stop: bool = False) -> Kill:
        """Grade from the beginning, and kill.

        Args:
            seed: which of several processes of the kind, and for the log.
            victim: one of `VICTIMS`.
            moment: in seconds after the start. If there is nobody of the kind then, the next one is killed.
            stop: whether it is stopped instead.
        """
        self.reset()
        start = time.monotonic()
        running = self._start()
        time.sleep(moment)
        killed = _kill_one(running, victim, random.Random(seed), stop)
        problems: list[str] = []
        if stop and killed == "grader":
            time.sleep(1)
            running.send_signal(signal.SIGCONT)
        if killed == "grader" and not stop:
            running.wait()
            wrong = self._wrong_marks()
            problems += [f"after the kill: {line}" for line in wrong]
            problems += self._wait(self._start())
        else:
            problems += self._wait(running)
        seconds = time.monotonic() - start
        # The machine was busy, perhaps; late moments would be after the end.
        self.seconds = min(self.seconds, seconds)
        problems += self.differences()
        problems += [f"left running: {name}" for name in _left_running()]
        return Kill(seed, moment, killed, tuple(problems), seconds, stop)

    def _wrong_marks(self) -> list[str]:
        """What is there must be right, finished or not."""
        rows = {key: value for key, value in self.state().items() if key.startswith("grade")}
        return [f"{key} is {row[0]}" for key, row in rows.items() if row[0] is not None and row != self.expected[key]]

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    @staticmethod
    def _wait(running: subprocess.Popen[str]) -> Iterator[str]:
        try:
            printed, _ = running.communicate(timeout=RUN_TIMEOUT)
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()
            yield f"the run did not end in {RUN_TIMEOUT} s"
            return
        if running.returncode:
            last = " / ".join(line.strip() for line in printed.splitlines()[-3:])
            yield f"the run ended with exit status {running.returncode}: {last}"


@functools.cache
def isolated() -> bool:
    """Whether there is a sandbox on this machine; without one there are fewer kinds of processes."""
    return not isolation_problem()


def _kind(process: psutil.Process, grader: int) -> str:
    """Which of `VICTIMS` a process below the grader is; empty if it is none."""
    with contextlib.suppress(psutil.Error):
        return "grader" if process.pid == grader else _CALLED.get(process.name(), "")
    return ""


def _kill_one(running: subprocess.Popen[str], victim: str, chance: random.Random, stop: bool) -> str:
    """Kill or stop one process of a kind, as soon as there is one; returns whom, empty if the run ended before."""
    while running.poll() is None:
        with contextlib.suppress(psutil.Error):
            grader = psutil.Process(running.pid)
            everybody = [grader, *(grader.children(recursive=True) if victim != "grader" else ())]
            found = [process for process in everybody if _kind(process, grader.pid) == victim]
            if found:
                chosen = chance.choice(found)
                if stop:
                    chosen.suspend()
                else:
                    chosen.kill()
                return victim
        time.sleep(0.002)
    return ""


def _differences(state: State, expected: State) -> list[str]:
    return [
        f"{key} is {'missing' if key not in state else 'there' if key not in expected else 'another'}"
        for key in sorted(state.keys() | expected.keys())
        if not key.endswith(FINGERPRINT) and state.get(key) != expected.get(key)
    ]


def _left_running() -> list[str]:
    """What is still there below this process, which inherits whatever lost its parent, after some seconds."""
    deadline = time.monotonic() + VANISH_TIMEOUT
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                left.append(f"{process.name()} {' '.join(process.cmdline()[-4:])}")
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _adopt_orphans() -> None:
    """Become the parent of what this process's children leave behind."""
    if ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError("prctl(child_subreaper) failed")


def kill(times: int, seed: int, say: Callable[[str], None], students: int = STUDENTS) -> list[Kill]:
    """Kill so many times; a line is said about each.

    The kinds of victims take turns, and so do the parts of a run; when exactly is drawn.
    """
    _adopt_orphans()
    victims = VICTIMS if isolated() else ("grader", "judge", "zygote")
    kills: list[Kill] = []
    with tempfile.TemporaryDirectory() as base:
        trial = Trial(Path(base), students)
        say(f"undisturbed: {students} submissions of {ASSIGNMENT} in {trial.seconds:.1f} s")
        number = 0
        while sum(bool(one.victim) for one in kills) < times:
            one = seed + number
            turn = number // len(victims) % 4
            stop = number // len(victims) % 3 == 2
            moment = trial.seconds * (turn + random.Random(one).random()) / 4
            kills.append(trial.again(one, victims[number % len(victims)], moment, stop))
            say(str(kills[-1]))
            number += 1
    say(_summary(kills))
    return kills


def _summary(kills: list[Kill]) -> str:
    whom = Counter(one.victim + (" stopped" if one.stopped else "") for one in kills if one.victim)
    bad = sum(bool(one.problems) for one in kills)
    counts = ", ".join(f"{name} {count}" for name, count in whom.items())
    done = f"{whom.total()} kills ({counts}) in {len(kills)} runs"
    return f"{done}: {len(kills) - bad} ended as if nothing had happened, {bad} did not"


def main() -> int:
    """Kill as the command line says; exit status 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.stress.kills", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--times", type=int, default=50, metavar="N", help="how often (default: 50)")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="to repeat a kill of the log: its seed")
    parser.add_argument("--students", type=int, default=STUDENTS, metavar="N", help=f"default: {STUDENTS}")
    parser.add_argument("--log", type=Path, metavar="FILE", help="default: only what is printed")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**9) if arguments.seed is None else arguments.seed
    with arguments.log.open("w", encoding="utf-8") if arguments.log else contextlib.nullcontext() as log:

        def say(line: str) -> None:
            print(line, flush=True)
            if log:
                print(line, file=log, flush=True)

        say(origin(f"python -m tests.stress.kills --times {arguments.times}"))
        kills = kill(arguments.times, seed, say, arguments.students)
    return 1 if any(one.problems for one in kills) else 0


if __name__ == "__main__":
    sys.exit(main())
