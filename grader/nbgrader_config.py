"""The settings of the course: solutions/ is nbgrader's source, exercises/ its release; all else is in this folder."""

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

# To make a new gradebook, nbgrader runs `alembic`, which is installed beside this Python, activated or not.
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
# Steps that can fail come first. `KeepMarks` replaces nbgrader's step `SaveCells`, which cannot change a release.
c.GenerateAssignment.preprocessors = [
    step
    for usual in GenerateAssignment().preprocessors
    for step in ([WritePublicCases, KeepMarks] if usual is SaveCells else [usual])
]
# `KeepMarks` enters the assignment, too; nbgrader's own way fails after the first submission.
c.GenerateAssignment.no_database = True

# `nbgrader export` writes the same file as `python -m grader export`.
c.ExportApp.plugin_class = ExportMarks

# `nbgrader autograde` and the formgrader's button grade like `python -m grader autograde`, in the sandbox. Without
# these two lines, nbgrader runs students' code in a kernel, in your account; only then are the settings below used.
c.Autograde.sanitize_preprocessors = [GradeInSandbox]
c.Autograde.autograde_preprocessors = [SaveAutoGrades, AssignLatePenalties]

# Autograde cells that a student has deleted are put back.
c.OverwriteCells.add_missing_cells = True
# Seconds for one cell; then it is interrupted, and the next cell runs.
c.Execute.timeout = 30
c.Execute.interrupt_on_timeout = True
# No history on disk; and no warning of ipykernel, for each kernel, that local connections are not encrypted.
c.Execute.extra_arguments = ["--HistoryManager.hist_file=:memory:", "--log-level=ERROR"]

# `nbgrader generate_feedback` and the formgrader's button cut what is very long, so that a page is made quickly.
c.GenerateFeedback.preprocessors = [BoundWhatIsShown, *GenerateFeedback().preprocessors]
