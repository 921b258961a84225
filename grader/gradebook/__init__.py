"""nbgrader's gradebook: a database with the marks and comments of a course.

In: graded notebooks, and released notebooks with their cells. Out: marks, as plain data.

    marks.py       enters the marks of a graded submission, each in one transaction
    queries.py     reads the marks of a class, with few queries
    keep_marks.py  enters the cells of a release, and keeps all marks of cells that still exist
    backup.py      copies the gradebook before anything is deleted from it
    status.py      which submissions there are, and which of them have to be graded
    failures.py    why submissions could not be graded, in files beside the gradebook
"""
