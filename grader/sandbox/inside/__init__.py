"""What runs inside the sandbox: students' code, and the probes that look at it.

    wire.py      messages between the sandbox and the grader: framed JSON, capped
    confine.py   the walls around one submission: namespaces, mounts, limits, capabilities
    syscalls.py  the system calls that are refused to it
    reach.py     which paths lead to a folder; looks from inside whether the course is hidden
    shell.py     a warm IPython that runs a cell and returns its outputs
    worker.py    one submission: runs cells and observes answers, one message at a time
    __main__.py  the zygote: imports everything once, then forks a worker for each submission

Nothing here knows a reference, an expected value, a mark or another student, and none of it can be reached from here.
This package and `d2lblocks` are all that the sandbox sees of the course.
"""
