"""What is replaced is the old or the new, whole, at whichever moment the process is killed."""

import os
import signal
import stat
import sys
import traceback
from pathlib import Path

import pytest

from grader.files import atomic
from grader.gradebook.marks import write_notebook

MAX_STEPS = 400  # of one replacement, many more than it takes
ANNOUNCED = ("open", "os.", "shutil.", "tempfile.", "ctypes.dlsym")  # what Python tells its auditors about files


def killed_at(step, work):
    """Do some work in a child that is killed at a step; whether it got that far.

    Every system call that Python announces is a step, and every line around those that it does not.
    """
    child = os.fork()
    if child == 0:
        left = step
        own = {atomic._replace.__code__, atomic._exchange.__code__}

        def count():
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def trace(frame, event, _):
            if frame.f_code not in own:
                return None
            if event == "line":
                count()
            return trace

        sys.addaudithook(lambda event, _: count() if event.startswith(ANNOUNCED) and event != "os.kill" else None)
        sys.settrace(trace)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.fixture
def without_waiting(monkeypatch):
    """A process that is killed loses nothing that it has written; only a loss of power asks for more."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def every_moment(work, look):
    """Kill the work at one step after the other, until it is through; look at what there is each time."""
    seen = []
    for step in range(MAX_STEPS):
        killed = killed_at(step, work)
        seen.append(look())
        if not killed:
            return seen
    raise AssertionError("it takes more steps than that")


def tree(folder):
    """What a folder holds, by name, without what begins with a dot beside others."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(params=["exchanged in one step", "not possible here"])
def exchange(request, monkeypatch):
    """With and without a kernel that exchanges folders."""
    if request.param == "not possible here":
        monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    return request.param == "exchanged in one step"


def fill(place, text):
    with atomic.new_folder(place) as made:
        for name in ("one", "two"):
            (made / name).write_text(text * 1000)
        (made / "below").mkdir()
        (made / "below" / "three").write_text(text)


def test_a_folder_is_old_or_new_and_whole_at_every_moment(tmp_path, exchange, without_waiting):
    place = tmp_path / "place"
    fill(place, "old")
    old = tree(place)
    fill(tmp_path / "model", "new")
    new = tree(tmp_path / "model")

    def look():
        if not exchange:  # what the next command does first
            atomic.recover(place)
        found = tree(place)
        fill(place, "old")  # the next one finds it as the first one did, and takes away what was left
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "place"]
        return found

    seen = every_moment(lambda: fill(place, "new"), look)
    assert all(found in (old, new) for found in seen)
    assert seen[0] == old
    assert seen[-1] == new
    assert len(seen) > 20


def test_a_file_is_old_or_new_and_whole_at_every_moment(tmp_path, without_waiting):
    path = tmp_path / "marks.csv"

    def look():
        found = path.read_text()
        path.write_text("old")
        return found

    path.write_text("old")
    seen = every_moment(lambda: atomic.write_file(path, b"new"), look)
    assert set(seen) == {"old", "new"}


def test_a_graded_notebook_is_old_or_new_and_whole_at_every_moment(tmp_path, without_waiting):
    release = tmp_path / "release"
    release.mkdir()
    (release / "public.json").write_text("{}")
    (release / "lab.ipynb").write_text("the release")
    place = tmp_path / "ada" / "lab"

    def write(text):
        write_notebook(text, place, release, {".graded": text})

    def look():
        found = tree(place)
        write("old")
        return found

    write("old")
    seen = every_moment(lambda: write("new"), look)
    whole = [{".graded": text, "lab.ipynb": text, "public.json": "{}"} for text in ("old", "new")]
    assert all(found in whole for found in seen)
    assert [seen[0], seen[-1]] == whole


def test_what_fails_leaves_the_old_one_and_nothing_beside_it(tmp_path):
    place = tmp_path / "place"
    fill(place, "old")
    before = tree(place)

    def fail():
        with atomic.new_folder(place) as made:
            (made / "one").write_text("half of it")
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        fail()
    assert tree(place) == before
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_made_is_for_its_owner_only_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        release = tmp_path / "release"
        release.mkdir()
        (release / "public.json").write_text("{}")
        write_notebook("{}", tmp_path / "graded" / "ada" / "lab", release, {".graded": ""})
        atomic.write_file(tmp_path / "marks.csv", b"marks")
    finally:
        os.umask(before)
    made = [tmp_path / "graded", *(tmp_path / "graded").rglob("*"), tmp_path / "marks.csv"]
    assert len(made) == 7
    assert not [str(path) for path in made if stat.S_IMODE(path.stat().st_mode) & 0o077 and _reachable(path)]


def _reachable(path: Path):
    """Whether others may open it: the folders above it let them in."""
    return all(above.stat().st_mode & 0o001 for above in path.parents if "graded" in above.parts)
