"""The instructor's side: exercises as their authors write them, releases, grading and marks, on top of nbgrader.

One folder for each stage, the later ones first:

    publishing/   pages of feedback for students, marks as a CSV file
    gradebook/    marks and graded notebooks, as nbgrader keeps them; backups
    grading/      many submissions: runs them, observes, judges; what a mark depends on
    authoring/    `solutions/` read; releases, the sample class, how right the grader is
    submission/   what was submitted: found, dated, repaired
    sandbox/      where students' code runs; sandbox/inside/ is all that it sees of this folder
    display/      what students wrote, made safe to show
    files/        files and folders: listed, and replaced in one step

    __main__.py   python -m grader: the command line; commands.py has what its commands do
    course.py     nbgrader's course: release, grade, feedback, export

The folder is also nbgrader's course root: nbgrader_config.py, gradebook.db, submitted/, autograded/, feedback/.
"""
