"""The instructor's side: exercises as their authors write them, releases, grading and marks, on top of nbgrader.

    authoring.py    what a `solutions/<assignment>/reference.py` is made of, and the exercises made from it
    course.py       nbgrader's course: release, grade, feedback, export
    class_run.py    many submissions: a judge and a zygote for each core
    engine.py       one submission: runs it in the sandbox, observes, judges
    sandbox.py         the sandbox; sandboxed/ is all that it sees of this folder
    repair.py       from what was handed in to what is graded
    fingerprint.py  what a mark depends on
    processes.py    the grader's own processes: continued if stopped, limited in memory
    record.py       the graded notebook and the marks, as nbgrader keeps them
    keep_marks.py   a release into the gradebook, which keeps what was given before; backup.py copies it first
    replace.py      files and folders that are replaced in one step
    export.py       the marks as a CSV file
    places.py       where the folders of a course are
    preprocessors.py  the same engine inside `nbgrader autograde` and the formgrader
    inside.py       the `check` of a notebook that plain nbgrader grades: without a sandbox
    sample.py       a sample class drawn from the catalogues, with the marks that it must get
    __main__.py     python -m grader: the command line
    commands.py     what its commands do

The folder is also nbgrader's course root: nbgrader_config.py, gradebook.db, submitted/, autograded/, feedback/.
"""
