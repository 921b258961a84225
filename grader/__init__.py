"""The instructor's side: from `solutions/` to `exercises/`, and from submissions to marks, on top of nbgrader.

A submission goes through these folders in this order: submission, sandbox, grading, gradebook, publishing. A folder
may import what is below it in this list, never what is above it.

    __main__.py      the command line: python -m grader
    commands.py      what the commands do
    course.py        one method for each step
    publishing/      pages of feedback, and the marks as a CSV file
    gradebook/       marks and comments in nbgrader's database
    grading/         runs the exercises of a submission, and judges what was observed
    authoring/       exercises and their known answers, as authors write them; releases
    submission/      finds, reads and repairs the notebook of a submission
    sandbox/         runs students' code; `sandbox/inside` is all of this folder that it can see
    display/         what a person sees: text, pictures, messages
    files/           folders of a course; files that are replaced in one step
    errors.py        the exceptions

    nbgrader_config.py, nbgrader_plugins.py, nbgrader_fixes.py   the same steps inside nbgrader and the formgrader
    lock.py, progress.py                                         one command at a time; how far a grading run is

The folder is also nbgrader's course: `gradebook.db`, `submitted/`, `autograded/` and `feedback/` are made here.
"""
