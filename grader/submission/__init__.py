"""From the folder of a submission to the notebook that is graded.

In: `submitted/<student>/<assignment>/`, with whatever a student has put there. Out: the released notebook with the
student's answers in it, and notes that say what was repaired. Nothing here runs the student's code.

    find.py        which of the files is the notebook that is graded
    read.py        bytes of any notebook format to a notebook of the current format
    repair.py      the release, with the student's answers and added cells
    definitions.py which names of exercises a cell defines, without running it
    sanitize.py    text cells and pictures that cannot run a program in the browser of the person who marks them
    students.py    names of students, which are names of folders
    timestamps.py  when a notebook was submitted
"""
