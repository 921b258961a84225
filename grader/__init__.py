"""The instructor's side: exercises as their authors write them, releases, grading and marks, on top of nbgrader.

    authoring.py    what a `solutions/<assignment>/reference.py` is made of, and the exercises made from it
    inside.py       the `check` of a notebook that is being graded: secret cases, judged against the reference
    course.py       nbgrader's course: release, grade, feedback, export
    sample.py       a sample class drawn from the catalogues, with the marks that it must get
    __main__.py     python -m grader

The folder is also nbgrader's course root: nbgrader_config.py, gradebook.db, submitted/, autograded/, feedback/.
"""
