"""How fast the grader is: the same submissions through plain nbgrader and through the engine, in one run.

    python -m tests.stress.bench [--submissions 60] [--many 2000] [--rounds 3] [--to book/guides]

Plain nbgrader is the real command, `nbgrader autograde`, with its own repair and its own execution; the engine is
the real command, `python -m grader autograde`. The floor is what cannot be saved: in a fork of a process that has
imported PyTorch, the student's cells and the probes, without sandbox, judge, notebook or database. Nothing else must
run: the time of the processors is that of the whole machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import psutil
import torch

from d2lblocks.checking.exercise import Exercise
from d2lblocks.checking.pipeline import observe_all
from d2lblocks.checking.runner import observe
from d2lblocks.tables import Table
from grader.authoring import sample
from grader.authoring.exercise import assignments, load
from grader.authoring.fill_in import fill_in
from grader.files import folders
from grader.sandbox.processes import default_jobs
from grader.submission.repair import repair
from tests.stress.origin import origin
from tests.stress.plain import make_plain

ROOT = Path(__file__).resolve().parents[2]
SEED = "5"
ENDLESS = "endless_loop"
POLL_INTERVAL = 1.0  # at memory; each look costs a tenth of a second
MB = 2**20


@dataclass(frozen=True)
class Work:
    """A submission to be graded.

    Attributes:
        student: made up.
        assignment: its name.
        notebook: as handed in.
        endless: whether one of its answers never ends.
    """

    student: str
    assignment: str
    notebook: str
    endless: bool


@dataclass
class Run:
    """What a command took.

    Attributes:
        count: of submissions.
        wall: seconds.
        cpu: seconds of the processors, of the whole machine.
        memory: bytes at the peak, of all its processes together, shared pages counted once.
        done: when each line of its progress was printed, in seconds from the start.
        of: of which assignment each of them speaks.
        sampled: memory at those moments when it was looked at: seconds, bytes.
    """

    count: int
    wall: float = 0.0
    cpu: float = 0.0
    memory: int = 0
    done: list[float] = field(default_factory=list)
    of: list[str] = field(default_factory=list)
    sampled: list[tuple[float, int]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Submissions a second."""
        return self.count / self.wall


def chosen(count: int) -> list[Work]:
    """Submissions of the sample class, as many of each assignment, in the order in which the class hands them in."""
    found_in = [ROOT / "solutions" / each.name for each in assignments(ROOT / "solutions")]
    everybody = sample.students(
        [(load(folder), nbformat.read(folder / f"{folder.name}.ipynb", as_version=4)) for folder in found_in]
    )
    found: list[Work] = []
    for folder in found_in:
        release = nbformat.read(ROOT / "exercises" / folder.name / f"{folder.name}.ipynb", as_version=4)
        own = [student for student in everybody if folder.name in student.answers]
        wanted = count // len(found_in)
        for k in range(wanted):
            student = own[k * len(own) // wanted]
            answers = student.answers[folder.name]
            notebook = fill_in(release, {n: a.source for n, a in answers.items() if a.source is not None})
            endless = any(answer.id == ENDLESS for answer in answers.values())
            found.append(Work(student.name, folder.name, nbformat.writes(notebook), endless))
    return found


@contextmanager
def course(work: Sequence[Work], plain: bool) -> Iterator[Path]:
    """An nbgrader course of its own in which these submissions have been handed in and none is graded."""
    with tempfile.TemporaryDirectory() as made:
        base = Path(made)
        shutil.copytree(ROOT / "solutions", base / "solutions", ignore=folders.ignored)
        root = base / "grader"
        root.mkdir()
        shutil.copy(ROOT / "grader" / "nbgrader_config.py", root)
        if plain:
            make_plain(root)
        subprocess.run([*grader(root), "release"], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        for one in work:
            folder = root / "submitted" / one.student / one.assignment
            folder.mkdir(parents=True)
            (folder / f"{one.assignment}.ipynb").write_text(one.notebook, encoding="utf-8")
        yield root


def grader(root: Path) -> list[str]:
    """Our command, on a course."""
    return [sys.executable, "-m", "grader", "--course", str(root)]


def nbgrader(assignment: str, *more: str) -> list[str]:
    """nbgrader's command; it is started in the course."""
    program = Path(sys.executable).with_name("nbgrader")
    return [str(program), "autograde", assignment, "--force", *more]


def measure(commands: Sequence[Sequence[str]], where: Path, count: int) -> Run:
    """Run commands one after the other, and measure them together.

    Raises:
        SystemExit: one of them failed.
    """
    run = Run(count)
    before = busy()
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GRADER_SEED": SEED, "OMP_NUM_THREADS": "1"}
    for command in commands:
        process = subprocess.Popen(
            command, cwd=where, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        watching = threading.Thread(target=_watch, args=(psutil.Process(process.pid), run, start), daemon=True)
        watching.start()
        lines = []
        for line in process.stdout:
            lines.append(line)
            if said := re.match(r"\s+\d+ / \d+  \S+ +(\w+)", line):
                run.done.append(time.perf_counter() - start)
                run.of.append(said[1])
        if process.wait():
            sys.exit(f"bench: {' '.join(command)} failed:\n{''.join(lines[-20:])}")
    run.wall = time.perf_counter() - start
    run.cpu = busy() - before
    run.memory = max((used for _, used in run.sampled), default=0)
    return run


def busy() -> float:
    """Seconds that this machine's processors have worked; what a killed namespace did is in no other sum."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def _watch(process: psutil.Process, run: Run, start: float) -> None:
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        used = 0
        for each in [process, *_of(process)]:
            try:
                used += each.memory_full_info().pss
            except psutil.Error:
                continue  # it has just ended
        run.sampled.append((time.perf_counter() - start, used))
        time.sleep(POLL_INTERVAL)


def _of(process: psutil.Process) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.Error:
        return []
    return found


def floor(work: Sequence[Work]) -> list[float]:
    """Seconds of the processor that each submission takes in a bare fork: its cells, and the probes."""
    torch.set_num_threads(1)
    ready = {name: _exam(name) for name in dict.fromkeys(one.assignment for one in work)}
    taken = []
    for one in work:
        release, exercises = ready[one.assignment]
        repaired = repair(release, nbformat.reads(one.notebook, as_version=4)).notebook
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        pid = os.fork()
        if pid == 0:
            with open(os.devnull, "w") as nowhere:
                sys.stdout = sys.stderr = nowhere
                _plainly(repaired, exercises)
                os._exit(0)
        os.waitpid(pid, 0)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return taken


def _exam(assignment: str) -> tuple[nbformat.NotebookNode, list[Exercise]]:
    release = nbformat.read(ROOT / "exercises" / assignment / f"{assignment}.ipynb", as_version=4)
    tasks = load(ROOT / "solutions" / assignment).exercises.values()
    for name in {name for task in tasks for name in task.imports}:
        __import__(name)
    return release, [task.without_known(int(SEED)) for task in tasks]


def _plainly(notebook: nbformat.NotebookNode, exercises: Sequence[Exercise]) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and "check(" not in cell.source:
            try:
                exec(compile(cell.source, "<cell>", "exec"), names)
            except BaseException:
                continue
    for exercise in exercises:
        if exercise.defines in names:
            observe_all(exercise, partial(observe, names[exercise.defines]))


def machine() -> str:
    """The machine and the versions, in one sentence."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"))
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"Measured by {origin('`make bench`')}: {default_jobs()} cores "
        f"({model[1] if model else platform.machine()}), "
        f"{memory:.0f} GB, Linux, Python {platform.python_version()}, torch {torch.__version__}, "
        f"nbgrader {version('nbgrader')}."
    )


def growth(run: Run) -> tuple[float, float]:
    """How much longer, and with how much more memory, the last tenth of each assignment took than its first tenth.

    Assignments are graded one after the other and cost differently, so each is compared with itself.
    """
    first = last = 0.0
    larger = []
    for assignment in dict.fromkeys(run.of):
        done = [moment for moment, of in zip(run.done, run.of, strict=True) if of == assignment]
        tenth = max(1, len(done) // 10)
        first += done[tenth] - done[0]
        last += done[-1] - done[-1 - tenth]
        larger.append(_memory(run, done[-1 - tenth], done[-1]) / _memory(run, done[0], done[tenth]))
    return last / first, statistics.median(larger)


def _memory(run: Run, low: float, high: float) -> float:
    """The memory between two moments; where nobody looked between them, the nearest look."""
    between = [used for moment, used in run.sampled if low <= moment <= high]
    nearest = min(run.sampled, key=lambda look: abs(look[0] - (low + high) / 2))
    return statistics.median(between or [nearest[1]])


def _spread(values: Sequence[float], form: Callable[[float], str] = "{:.1f}".format) -> str:
    low, high = form(min(values)), form(max(values))
    return low if low == high else f"{low} to {high}"


def _said(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _engine(work: Sequence[Work], jobs: int) -> Run:
    with course(work, plain=False) as root:
        command = [*grader(root), "autograde", "--seed", SEED, "--jobs", str(jobs)]
        return measure([command], ROOT, len(work))


def _single(one: Work, rounds: int) -> dict[str, list[float]]:
    """Seconds of `nbgrader autograde` for one submission: plain, and through the engine."""
    found: dict[str, list[float]] = {}
    for name, plain in (("plain", True), ("engine", False)):
        with course([one], plain) as root:
            command = nbgrader(one.assignment, "--student", one.student)
            found[name] = [measure([command], root, 1).wall for _ in range(rounds)]
    for name, plain in (("button, plain", True), ("button, engine", False)):
        with course([one], plain) as root:
            program = _BUTTON.format(one=one, clicks=rounds + 1)
            ran = subprocess.run(
                [sys.executable, "-c", program], cwd=root, check=True, capture_output=True, text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), "GRADER_SEED": SEED},
            )  # fmt: skip
            found[name] = json.loads(ran.stdout.splitlines()[-1])
    return found


# What the formgrader's server does at a click; the first one also imports and starts what is needed.
_BUTTON = """
import json, time
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from traitlets.config.loader import PyFileConfigLoader
config = PyFileConfigLoader("nbgrader_config.py").load_config()
api = NbGraderAPI(CourseDirectory(config=config), config=config)
taken = []
for _ in range({clicks}):
    start = time.perf_counter()
    result = api.autograde("{one.assignment}", "{one.student}", force=True)
    taken.append(time.perf_counter() - start)
    assert result["success"], result
print(json.dumps(taken))
"""


def main() -> None:
    """Measure, print, and write the table and the picture."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--submissions", type=int, default=60, help="of the sample class, of all assignments")
    parser.add_argument("--many", type=int, default=2000, help="for the steady state")
    parser.add_argument("--rounds", type=int, default=3, help="for the spread")
    parser.add_argument("--jobs", type=int, default=default_jobs())
    parser.add_argument(
        "--to", type=Path, default=ROOT / "book" / "guides", help="folder for _bench.md and bench.svg"
    )
    arguments = parser.parse_args()

    work = chosen(arguments.submissions)
    ending = [one for one in work if not one.endless]

    _said("the floor")
    floors = [sum(floor(ending)) / len(ending) for _ in range(arguments.rounds)]
    lowest = statistics.median(floors)

    _said("the engine")
    ours = [_engine(work, arguments.jobs) for _ in range(arguments.rounds)]
    ours_ending = [_engine(ending, arguments.jobs) for _ in range(arguments.rounds)]

    _said(f"plain nbgrader, {len(work)} submissions")
    theirs = []
    for part in (ending, [one for one in work if one.endless]):
        commands = [nbgrader(assignment) for assignment in dict.fromkeys(one.assignment for one in part)]
        with course(part, plain=True) as root:
            theirs.append(measure(commands, root, len(part)))
    plain_ending, plain_endless = theirs
    plain = Run(len(work), plain_ending.wall + plain_endless.wall, plain_ending.cpu + plain_endless.cpu)
    plain.memory = max(run.memory for run in theirs)

    _said(f"the engine, {arguments.many} submissions")
    order = random.Random(0)
    many = [
        Work(f"student-{k:05}", one.assignment, one.notebook, one.endless)
        for k, one in enumerate(order.choices(ending, k=arguments.many))
    ]
    long = _engine(many, arguments.jobs)
    steady = (long.count - 10) / (long.done[-1] - long.done[9])
    slower, larger = growth(long)

    _said("single submissions")
    single = _single(ending[0], arguments.rounds)

    def row(name: str, runs: Sequence[Run], than: Run) -> list[str]:
        return [
            name,
            str(runs[0].count),
            _spread([run.rate for run in runs], "{:.2f}".format),
            _spread([run.cpu / run.count for run in runs], "{:.2f}".format),
            _spread([run.memory / MB for run in runs], "{:.0f}".format),
            _spread([run.rate / than.rate for run in runs], "{:.0f}".format) if runs[0] is not than else "1",
        ]

    marginal = steady_cpu(ours_ending, long)
    rows = [
        row("plain nbgrader", [plain], plain),
        row("engine, with its start", ours, plain),
        row("plain nbgrader, without answers that never end", [plain_ending], plain_ending),
        row("engine, the same, with its start", ours_ending, plain_ending),
        ["engine, the same, going on", str(long.count), f"{steady:.2f}", f"{marginal:.2f}",
         f"{long.memory / MB:.0f}", f"{steady / plain_ending.rate:.0f}"],
        ["floor: a bare fork, cells and probes", str(len(ending)), "", _spread(floors, "{:.2f}".format), "", ""],
    ]  # fmt: skip
    heads = ["", "submissions", "a second", "CPU seconds each", "peak memory, MB", "times plain's rate"]
    lines = [
        machine(),
        "",
        "| " + " | ".join(heads) + " |",
        "|---|" + "---:|" * (len(heads) - 1),
        *("| " + " | ".join(cells) + " |" for cells in rows),
        "",
        f"- CPU of the engine, going on, to that of the floor: {marginal / lowest:.2f}.",
        f"- Of {long.count} submissions, the last tenth of each assignment took {slower:.2f} times as long as its "
        f"first tenth, and {larger:.2f} times the memory.",
        f"- One submission with `nbgrader autograde`, the whole command: plain {_spread(single['plain'])} s, through "
        f"the engine {_spread(single['engine'])} s.",
        f"- One submission with the formgrader's button: plain {_spread(single['button, plain'][1:])} s, through "
        f"the engine {_spread(single['button, engine'][1:], '{:.2f}'.format)} s; the first click, which starts the "
        f"sandbox, {single['button, engine'][0]:.1f} s.",
    ]
    print(Table(heads, rows))
    print("\n".join(lines[-4:]))
    arguments.to.mkdir(parents=True, exist_ok=True)
    (arguments.to / "_bench.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    picture(plain_ending, long, arguments.to / "bench.svg")


def steady_cpu(short: Sequence[Run], long: Run) -> float:
    """CPU seconds that one more submission costs, without the start: from a short and a long run."""
    start = statistics.median(run.cpu for run in short)
    return (long.cpu - start) / (long.count - short[0].count)


def picture(plain: Run, long: Run, path: Path) -> None:
    """How many submissions are graded after so many seconds: the engine, and plain nbgrader at its measured rate."""
    with plt.style.context(ROOT / "d2lblocks" / "book.mplstyle"):
        figure, axes = plt.subplots(figsize=(6, 3))
        axes.plot(long.done, range(1, len(long.done) + 1), label="engine")
        axes.plot([0, long.done[-1]], [0, plain.rate * long.done[-1]], label="plain nbgrader")
        axes.set(xlabel="seconds", ylabel="submissions graded", xlim=(0, None), ylim=(0, None))
        axes.legend()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    main()
