"""nbgrader's course: solutions/ is the source, exercises/ the release, and this folder holds everything else."""

import os
import sys
from pathlib import Path

from nbgrader.converters import GenerateAssignment, GenerateFeedback
from nbgrader.preprocessors import AssignLatePenalties, SaveAutoGrades, SaveCells

from grader import nbgrader_fixes
from grader.files.folders import LEFT_BEHIND
from grader.gradebook.keep_marks import KeepMarks
from grader.nbgrader_plugins import BoundWhatIsShown, GradeInSandbox, WritePublicCases
from grader.publishing.export import ExportMarks

c = get_config()  # type: ignore[name-defined]  # noqa: F821 - given by nbgrader when it reads this file

# nbgrader makes a new gradebook with the program `alembic`, which stands beside this Python, activated or not.
programs, path = str(Path(sys.executable).parent), os.environ.get("PATH", "")
if programs not in path.split(os.pathsep):
    os.environ["PATH"] = os.pathsep.join([programs, path])

c.CourseDirectory.course_id = "layers-and-blocks"
c.CourseDirectory.root = str(Path(__file__).resolve().parent)
c.CourseDirectory.source_directory = "../solutions"
c.CourseDirectory.release_directory = "../exercises"
# Never handed out: secret cases (*.py), known answers (*.md), and what editors and systems leave behind.
c.CourseDirectory.ignore = ["*.py", "*.md", *LEFT_BEHIND]

nbgrader_fixes.apply()

c.ClearSolutions.code_stub = {"python": "# your code here\nraise NotImplementedError"}
# What can fail comes first; then the cells go into the gradebook, which keeps the marks of those that still exist.
c.GenerateAssignment.preprocessors = [
    one
    for usual in GenerateAssignment().preprocessors
    for one in ([WritePublicCases, KeepMarks] if usual is SaveCells else [usual])
]
# `KeepMarks` enters the assignment too: what nbgrader does here refuses to, once somebody has handed in.
c.GenerateAssignment.no_database = True

# `nbgrader export` writes what `python -m grader export` writes.
c.ExportApp.plugin_class = ExportMarks

# `nbgrader autograde` and the formgrader's button run students' code in the sandbox, like `python -m grader autograde`.
# Without these two lines nbgrader runs it in a kernel, in your account: the settings below are for that.
c.Autograde.sanitize_preprocessors = [GradeInSandbox]
c.Autograde.autograde_preprocessors = [SaveAutoGrades, AssignLatePenalties]

# A deleted autograde cell is put back, and graded.
c.OverwriteCells.add_missing_cells = True
# One cell may take this long; then it is interrupted and the notebook goes on.
c.Execute.timeout = 30
c.Execute.interrupt_on_timeout = True
# Without a history on disk; and without ipykernel's warning that loopback TCP is not encrypted, once for each kernel.
c.Execute.extra_arguments = ["--HistoryManager.hist_file=:memory:", "--log-level=ERROR"]

# `nbgrader generate_feedback` and the formgrader's button show a bounded part of what is very long.
c.GenerateFeedback.preprocessors = [BoundWhatIsShown, *GenerateFeedback().preprocessors]
