"""Disks that are full, gradebooks that are locked, submissions that vanish, two graders: what is said, what is kept.

Each is the real thing: a small disk, a mount that is read-only, a lock that another connection holds. The command is
the one that an instructor gives, in a process of its own.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import threading
import time

import nbformat
import psutil
import pytest

from grader.__main__ import parser
from grader.errors import SandboxError
from grader.gradebook.backup import LOCK_TIMEOUT
from grader.sandbox.bubblewrap import START_TIMEOUT, find_bubblewrap
from grader.sandbox.zygote import WorkerSpec, Zygote
from tests import ROOT
from tests.isolation import isolation_problem
from tests.stress.kills import ASSIGNMENT, Trial, _kind, isolated

TIMEOUT = 600  # seconds, for what takes ten on a machine with nothing else to do
BUBBLEWRAP = find_bubblewrap()
mounts = pytest.mark.skipif(bool(isolation_problem()), reason=f"nothing can be mounted here: {isolation_problem()}")


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """A course with a few students, graded once: what must come out is known."""
    return Trial(tmp_path_factory.mktemp("faults"), students=4)


@pytest.fixture(autouse=True)
def at_the_beginning(trial):
    trial.reset()


def grade(trial, *before, **more):
    return subprocess.run(
        [*before, *trial.command(**more)], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT
    )


def with_mounts(*mounts):
    """What gives a command the file system as it is, but for these mounts."""
    return [str(BUBBLEWRAP), "--dev-bind", "/", "/", *map(str, mounts)]


def is_one_line(done, *words):
    """Exit status 1 and one line on stderr, which has these words and no traceback."""
    assert done.returncode == 1, done.stderr
    assert re.fullmatch(r"grader: [^\n]+\n", done.stderr), done.stderr
    assert "Traceback" not in done.stdout
    for word in words:
        assert word in done.stderr
    return True


def ends_well(trial, **more):
    """The same command goes on, and in the end nothing has happened."""
    done = grade(trial, **more)
    assert done.returncode == 0, done.stderr
    assert trial.differences() == []
    return True


# --- the gradebook ------------------------------------------------------------------------------------------------


def gradebook(trial):
    return trial.course.root / "gradebook.db"


# The command, but that it waits for a locked gradebook for a second only.
IMPATIENT = """
from grader.gradebook import backup
from grader.__main__ import main

backup.LOCK_TIMEOUT = 1
raise SystemExit(main())
"""


@pytest.mark.parametrize("lock", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_gradebook_that_stays_locked_is_said_and_nothing_is_entered(trial, lock):
    """Nobody may even read (the first), or somebody else is about to write (the second)."""
    python, _, _, *arguments = trial.command()
    with sqlite3.connect(gradebook(trial), isolation_level=None) as other:
        other.execute(f"BEGIN {lock}")
        done = subprocess.run(
            [python, "-c", IMPATIENT, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT
        )
        other.execute("ROLLBACK")
    assert is_one_line(done, "gradebook.db", "another program has locked it", "same command again")
    assert all(mark.score == 0 for mark in trial.course.marks())
    assert ends_well(trial)


def test_a_gradebook_that_is_locked_for_a_moment_is_waited_for(trial):
    other = sqlite3.connect(gradebook(trial), isolation_level=None, check_same_thread=False)
    running = subprocess.Popen(trial.command(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "to grade" in running.stdout.readline()
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(LOCK_TIMEOUT / 5, lambda: other.execute("ROLLBACK"))
    release.start()
    _, said = running.communicate(timeout=TIMEOUT)
    release.join()
    other.close()
    assert running.returncode == 0, said
    assert trial.differences() == []


def test_a_gradebook_that_fails_in_the_middle_holds_no_half_of_a_mark(trial):
    """nbgrader would have entered the student and a submission without marks, which counts as a zero."""
    with sqlite3.connect(gradebook(trial)) as book:
        book.execute("CREATE TRIGGER full BEFORE UPDATE ON grade BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
    book.close()
    assert is_one_line(grade(trial), "gradebook.db", "no room is left on its disk")
    assert trial.course.marks() == []
    with trial.course.gradebook() as book:
        assert book.students == []
    with sqlite3.connect(gradebook(trial)) as book:
        book.execute("DROP TRIGGER full")
    book.close()
    for student in students(trial):  # as a run that was killed while it wrote leaves it
        (trial.course.autograded / student / f".{ASSIGNMENT}-abcd1234.new").mkdir(parents=True)
    assert ends_well(trial)
    assert not list(trial.course.autograded.glob("*/.*"))


@mounts
def test_a_gradebook_that_is_read_only_is_said(trial):
    path = gradebook(trial)
    done = grade(trial, *with_mounts("--ro-bind", path, path))
    assert is_one_line(done, "gradebook.db", "read-only", "may you write there")
    assert not list(trial.course.autograded.glob("*/*"))


@pytest.mark.parametrize("damage", ["no database", "cut off", "something else"])
def test_a_gradebook_that_is_none_is_said_and_left_as_it_is(trial, damage):
    path = gradebook(trial)
    whole = path.read_bytes()
    path.write_bytes({"no database": b"these are no marks\n" * 100, "cut off": whole[:20_000]}.get(damage, b""))
    if damage == "something else":
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE course (something TEXT)")
        other.close()
    before = path.read_bytes()
    done = grade(trial)
    assert is_one_line(done, "gradebook.db", "nbgrader db upgrade" if damage == "something else" else "copy of your")
    if damage != "something else":  # there nbgrader adds its tables
        assert path.read_bytes() == before


def test_a_database_server_that_is_not_there_is_said_without_its_password(trial):
    config = trial.course.root / "nbgrader_config.py"
    address = "postgresql+nodriver://me:secret@localhost:1/marks"
    config.write_text(config.read_text("utf-8") + f"\nc.CourseDirectory.db_url = {address!r}\n", "utf-8")
    done = grade(trial)
    assert is_one_line(done, "gradebook postgresql", "CourseDirectory.db_url")
    assert "secret" not in done.stderr


# --- the disk -----------------------------------------------------------------------------------------------------


@mounts
@pytest.mark.parametrize("room", [0, 100_000])
def test_a_full_disk_is_said_and_what_was_graded_is_kept(trial, room):
    """The whole course lies on a small disk, which is full at once, or after some students."""
    root, small = trial.course.root, "/mnt/course/grader"
    command = shlex.join(trial.command()).replace(str(root), small)
    script = f"""
        cp -a {root}/. {small}
        head -c 1G /dev/zero > {small}/filler
        truncate -s -{room} {small}/filler
        {command} > /mnt/out/first 2>&1; echo $? > /mnt/out/status
        rm {small}/filler
        cp {small}/gradebook.db /mnt/out
        {command} > /mnt/out/second 2>&1; echo $? >> /mnt/out/status
        rm -r {root}/* && cp -a {small}/. {root}
    """
    out = root.parent / f"out-{room}"
    out.mkdir()
    mounts = ["--tmpfs", "/mnt", "--dir", small, "--size", 8_000_000, "--tmpfs", small, "--bind", out, "/mnt/out"]
    for name in ("solutions", "exercises"):
        mounts += ["--ro-bind", root.parent / name, f"/mnt/course/{name}"]
    subprocess.run([*with_mounts(*mounts), "sh", "-c", script], cwd=ROOT, capture_output=True, timeout=2 * TIMEOUT)
    first = (out / "first").read_text("utf-8")
    assert (out / "status").read_text().split() == ["1", "0"], first + (out / "second").read_text("utf-8")
    assert first.splitlines()[-1].startswith("grader: ")
    assert "no room is left on" in first
    assert "make room, then give the same command again" in first
    assert "Traceback" not in first
    assert trial.differences() == []
    with sqlite3.connect(out / "gradebook.db") as book:
        assert book.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@mounts
def test_a_folder_that_is_read_only_is_said_before_anything_is_graded(trial):
    trial.course.autograded.mkdir(exist_ok=True)
    done = grade(trial, *with_mounts("--ro-bind", trial.course.autograded, trial.course.autograded))
    assert is_one_line(done, str(trial.course.autograded), "cannot be written", "read-only")
    assert trial.course.marks() == []


@mounts
def test_a_course_that_is_read_only_is_said(trial):
    done = grade(trial, *with_mounts("--ro-bind", trial.course.root, trial.course.root))
    assert is_one_line(done, ".grading.lock", "cannot be written", "read-only")


def test_a_limit_on_the_size_of_files_is_said(trial):
    done = grade(trial, "prlimit", f"--fsize={gradebook(trial).stat().st_size}")
    assert is_one_line(done, "grader: ")


# --- submissions --------------------------------------------------------------------------------------------------


def students(trial):
    return sorted(path.name for path in trial.course.submitted.iterdir())


def started(trial, **more):
    """A grading that has given its first line about a submission."""
    running = subprocess.Popen(
        trial.command(**more), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in running.stdout:
        if re.match(r" +1 / ", line):
            return running
    raise AssertionError(running.communicate())


def test_a_submission_that_vanishes_is_said_and_the_others_are_graded(trial):
    running = started(trial, jobs=1)
    *others, last = students(trial)
    shutil.move(trial.course.submitted / last, trial.course.root.parent / last)
    printed, said = running.communicate(timeout=TIMEOUT)
    assert running.returncode == 1
    assert re.search(rf"{last} .*FAILED\n +\S*/{last}/{ASSIGNMENT} no longer exists", printed)
    assert said == "grader: 1 submission could not be graded; see above\n"
    assert {mark.student for mark in trial.course.marks()} == set(others)
    assert {path.name for path in trial.course.autograded.iterdir()} == set(others)
    shutil.move(trial.course.root.parent / last, trial.course.submitted / last)
    assert ends_well(trial)


def test_what_cannot_be_graded_at_all_is_said_once(trial):
    (trial.course.exercises / ASSIGNMENT / "public.json").rename(trial.course.root.parent / "public.json")
    try:
        assert is_one_line(grade(trial), f"{ASSIGNMENT} cannot be graded", "public.json")
    finally:
        (trial.course.root.parent / "public.json").rename(trial.course.exercises / ASSIGNMENT / "public.json")


def test_an_assignment_that_the_gradebook_does_not_know_is_said(trial):
    gradebook(trial).unlink()
    assert is_one_line(grade(trial), ASSIGNMENT, "python -m grader release")


# --- the sandbox --------------------------------------------------------------------------------------------------


@mounts
def test_a_sandbox_that_is_killed_while_it_starts_is_noticed_at_once_and_leaves_nothing(trial):
    """Bubblewrap is two processes; in its first milliseconds the second one does not die with the first."""
    started = set()
    for delay in range(8):
        zygote = Zygote()
        zygote.start()
        time.sleep(delay / 1300)
        first = psutil.Process(zygote._process.pid)
        started |= {first, *first.children(recursive=True)}
        zygote._process.kill()
        start = time.monotonic()
        with pytest.raises(SandboxError):
            zygote.start_worker(WorkerSpec())
        assert time.monotonic() - start < START_TIMEOUT / 2
        zygote.stop()
    # A zygote that is still importing sees its end a moment later.
    _, left = psutil.wait_procs(started, timeout=TIMEOUT)
    assert not left


def test_what_somebody_has_stopped_is_continued(trial):
    """One process of each kind at once, in the middle of a run: a stopped one would never answer."""
    running = started(trial)
    kinds = {"judge", "zygote", "bubblewrap", "worker"} if isolated() else {"judge", "zygote"}
    victims = {}
    while victims.keys() != kinds:
        assert running.poll() is None, "the run has ended before there was one of each kind"
        below = psutil.Process(running.pid).children(recursive=True)
        victims = {kind: process for process in below if (kind := _kind(process, running.pid)) in kinds}
    for process in victims.values():
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker lives for a moment
            process.suspend()
    printed, said = running.communicate(timeout=600)
    assert running.returncode == 0, printed + said
    assert trial.differences() == []


# --- graders ------------------------------------------------------------------------------------------------------


def test_a_second_grader_says_who_is_at_work_and_goes(trial):
    first = started(trial, jobs=1)
    first.send_signal(signal.SIGSTOP)  # so that it is still at work then
    second = grade(trial)
    assert is_one_line(second, f"another command is working on this course: process {first.pid}")
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=TIMEOUT)
    assert first.returncode == 0
    assert trial.differences() == []


def test_control_c_says_that_the_same_command_goes_on(trial):
    """As a terminal does it: to all processes of the group."""
    *_, last = students(trial)
    path = trial.course.submitted / last / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    before = path.read_text("utf-8")
    notebook = nbformat.reads(before, as_version=4)
    for _ in range(6):  # for as long as a submission may take: it is still at work then
        notebook.cells.append(nbformat.v4.new_code_cell("import time\ntime.sleep(29)"))
    nbformat.write(notebook, path)
    running = subprocess.Popen(
        trial.command(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What a shell starts in the background ignores it, and so would all that these tests start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in running.stdout:
        if re.match(r" +2 / ", line):
            break
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=TIMEOUT)
    assert running.returncode == 130
    assert said == "\ngrader: stopped; all marks so far are kept, the same command continues\n"
    assert last not in {mark.student for mark in trial.course.marks()}
    path.write_text(before, "utf-8")
    assert ends_well(trial)


@pytest.mark.parametrize("command", ["release", "autograde", "sample", "feedback", "export", "status", "doctor"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args([command, "--help"])
    printed = capsys.readouterr().out
    assert f"examples:\n  python -m grader {command}" in printed
    assert max(map(len, printed.splitlines())) <= 120
