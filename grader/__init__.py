"""The instructor's side, on top of nbgrader: exercises from their sources, releases, grading, marks and feedback.

A submission goes through these folders in this order:

    submission/   collect   find the notebook that counts, read it, repair it
    sandbox/      run       run its cells and observe its answers, isolated from this machine
    grading/      judge     compare the observations with the reference's: an outcome with marks and reports
    gradebook/    enter     enter the marks into nbgrader's gradebook, and keep those that a person gave
    publishing/   publish   the feedback pages of the students, and the marks as a CSV file

    authoring/    the sources of exercises, the catalogues of mistakes, and what is made of them
    display/      what is shown: characters, pictures and messages that are safe, of limited size
    files/        files and folders: replaced in one step, where a course has them

    __main__.py          the command line: python -m grader
    commands.py          what its commands do
    course.py            an nbgrader course: release, grade, feedback, export
    nbgrader_plugins.py  what we put into nbgrader's own pipeline, also behind the formgrader's buttons
    nbgrader_fixes.py    repairs of nbgrader itself
    lock.py              one command at a time for a course
    progress.py          the progress of a grading run, on a terminal or in a log
    errors.py            every exception, and the errors of disks and databases in one line

Each folder imports only folders after it in this list: publishing, gradebook, grading, authoring, submission,
sandbox, display, files, errors. This folder is also nbgrader's course root. It holds nbgrader_config.py,
gradebook.db, submitted/, autograded/ and feedback/.
"""
