"""What lies inside the sandbox: nothing of the course, wherever the course, Python and its packages lie."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from grader.authoring.fill_in import fill_in, solution_cells
from grader.course import Course
from grader.errors import IsolationError, SandboxError
from grader.sandbox import mounts
from grader.sandbox.bubblewrap import find_bubblewrap
from grader.sandbox.inside import reach
from grader.sandbox.zygote import Zygote
from tests import ROOT
from tests.attacks import NAME, POINTS, READ
from tests.courses import release_quickly
from tests.isolation import isolation_problem
from tests.submission import submission

WHY_NOT = isolation_problem()
isolated = pytest.mark.skipif(bool(WHY_NOT), reason=f"this machine cannot isolate: {WHY_NOT}")

# It knows where everything lies, and also looks everywhere.
SPY = """
import os

wanted = {paths}
found = [path for path in wanted if os.path.exists(path)]
names = {{os.path.basename(path) for path in wanted}} | {{"nbgrader_config.py"}}
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if name not in ("site-packages", "proc")]
    found += [os.path.join(folder, name) for name in names.intersection([*files, *folders])]
found = [path for path in found if not path.startswith("/scratch/")]
print("I could " + "read" if found else "nothing " + "there", found)
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the repository with a course of one assignment, and an innocent student in it."""
    base = tmp_path_factory.mktemp("clone")
    unwanted = shutil.ignore_patterns(
        "__pycache__", "*.db", "submitted", "autograded", "feedback", "*.csv", ".grading.lock"
    )
    for name in ("d2lblocks", "grader", f"solutions/{NAME}"):
        shutil.copytree(ROOT / name, base / name, ignore=unwanted)
    release_quickly(Course(base / "grader"))
    hand_in(base, "ada")
    return base


def hand_in(base, student, *cells):
    solved = nbformat.read(base / "solutions" / NAME / f"{NAME}.ipynb", as_version=4)
    release = nbformat.read(base / "exercises" / NAME / f"{NAME}.ipynb", as_version=4)
    notebook = fill_in(release, {name: cell.source for name, cell in solution_cells(solved).items()})
    notebook.cells[1:1] = map(nbformat.v4.new_code_cell, cells)
    folder = base / "grader" / "submitted" / student / NAME
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{NAME}.ipynb")


# A folder of the system that lies in one that the sandbox needs, and is not needed itself.
BELOW_USR = next(
    path for path in map(Path, ("/usr/share/doc", "/usr/share/man", "/usr/share/locale")) if path.is_dir()
)


def below_usr(clone):
    return BELOW_USR, ["--bind", clone, BELOW_USR]


def is_the_environment(clone):
    """As after `python -m venv .`"""
    for name in ("bin", "lib"):
        (clone / name).mkdir(exist_ok=True)
    (clone / "pyvenv.cfg").touch()
    return clone, [part for name in ("bin", "lib", "pyvenv.cfg") for part in (
        "--ro-bind", Path(sys.prefix, name), clone / name)]  # fmt: skip


@isolated
@pytest.mark.parametrize("layout", [below_usr, is_the_environment])
def test_no_submission_sees_the_course_wherever_it_lies(clone, layout):
    place, mounted = layout(clone)
    python = place / "bin" / "python"
    if layout is not is_the_environment:
        (clone / ".venv").mkdir(exist_ok=True)
        mounted += ["--ro-bind", sys.prefix, place / ".venv"]
        python = place / ".venv" / "bin" / "python"
    wanted = [
        place / "solutions" / NAME / "my_linear.py",
        place / "grader" / "gradebook.db",
        place / "grader" / "submitted" / "ada",
    ]
    hand_in(clone, "mallory", SPY.format(paths=[*map(str, wanted)]))
    command = [python, "-m", "grader", "autograde", "--jobs", "1", "--students", "mallory", "--force"]
    done = subprocess.run(
        [str(each) for each in (find_bubblewrap(), "--dev-bind", "/", "/", *mounted, *command)],
        cwd=place if layout is is_the_environment else "/",
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    path = clone / "grader" / "autograded" / "mallory" / NAME / f"{NAME}.ipynb"
    text = path.read_text("utf-8")
    assert READ not in text
    assert "nothing there" in text
    with Course(clone / "grader").gradebook() as gradebook:
        assert gradebook.find_submission(NAME, "mallory").score == sum(POINTS.values())


@isolated
def test_what_is_hidden_is_looked_for_from_inside(monkeypatch):
    with Zygote() as zygote:
        monkeypatch.setattr(mounts, "covers", lambda binds, hidden: [])
        zygote.hide([BELOW_USR])
        with pytest.raises(IsolationError, match=f"could reach {BELOW_USR}, at {BELOW_USR}; move the course"):
            zygote.wait_until_ready()


def test_what_python_needs_cannot_be_hidden():
    with Zygote() as zygote:
        zygote.hide([Path(os.__file__).parent])
        with pytest.raises(SandboxError, match="because Python or the system's programs lie in it, too"):
            zygote.start()


def test_all_paths_to_a_folder_are_known_also_those_through_other_mounts():
    among = [
        reach.Mount(1, "8:1", "/", "/"),
        reach.Mount(2, "8:1", "/home/ada", "/usr/share/ada"),
        reach.Mount(3, "8:1", "/home/ada/course/solutions/a", "/mnt/a b"),
        reach.Mount(4, "8:2", "/home/ada/course", "/else"),
    ]
    to = reach.Hidden("the course", "8:1", "/home/ada/course", (0, 0))
    assert [*reach.ways(to, among)] == [
        ("/home/ada/course", True, 1),
        ("/usr/share/ada/course", True, 2),
        ("/mnt/a b", False, 3),
    ]


@pytest.fixture(scope="module")
def zygote():
    with Zygote() as made:
        made.hide([BELOW_USR, Path(os.__file__).parent / "idlelib"])
        yield made


@pytest.fixture
def run(zygote):
    with submission(zygote) as cells:
        yield cells


@isolated
def test_a_hidden_folder_is_empty_and_cannot_be_written_to(run):
    folders = [str(BELOW_USR), f"/python/lib/python3.{sys.version_info.minor}/idlelib"]
    source = f"""
import os
for folder in {folders}:
    try:
        print(os.listdir(folder), open(folder + "/note", "w"))
    except OSError as error:
        print(error.strerror)
"""
    assert run(source) == "Read-only file system\n" * 2


@isolated
def test_where_python_lies_on_this_machine_cannot_be_read(run):
    source = """
import glob, os, site, sys, sysconfig, torch

print(sys.path, sys.prefix, sys.base_prefix, sys.executable, sys.argv, os.environ, torch.__file__, os.__file__)
print(sysconfig.get_paths(), sysconfig.get_config_vars(), site.getsitepackages())
files = {module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)}
print(sorted(file for file in files if not file.startswith(("/venv/", "/python/", "/course/"))))
print(*{code.__code__.co_filename for code in map(vars(os).get, dir(os)) if hasattr(code, "__code__")})
for pattern in ("/venv/*", "/venv/lib/*/site-packages/*.pth", "/venv/lib/*/site-packages/*/direct_url.json"):
    for path in glob.glob(pattern):
        if os.path.isfile(path):
            print(open(path).read())
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
for call in (457, 458):  # statmount and listmount: where mounts come from
    libc.syscall(call, 0, 0, 0, 0)
    print(errno.errorcode[ctypes.get_errno()])
"""
    said = run(source)
    for folder in {str(ROOT), sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix), str(Path.home())}:
        assert folder not in said or folder in ("/usr", "/usr/local"), folder
    assert said.endswith("EPERM\nEPERM\n")
