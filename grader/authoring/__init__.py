"""Exercises as their authors write them, and what is made of them.

In: `solutions/<assignment>/` with a notebook, and for each exercise its checks (`.py`) and its catalogue (`.md`).
Out: exercises that can be released and graded, the book's pages of mistakes, a sample class, a measure of accuracy.

    exercise.py       the sources of an assignment, and the exercises that are made from them
    catalogue.py      wrong and right answers, read from Markdown
    new.py            a stub of a new exercise: python -m grader new
    release.py        what a release needs in addition to nbgrader
    fill_in.py        notebooks with answers put into their cells
    sample.py         a sample class with known marks
    accuracy.py       how often the grader is right
    mistakes_page.py  the pages of common mistakes
"""
