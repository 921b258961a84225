"""The sandbox: where students' code runs, and what starts and ends it.

bubblewrap.py     makes the sandbox: the command line of bubblewrap, and whether it runs on this machine
mounts.py         the folders and files that the sandbox holds, and what is covered in it
zygote.py         starts a zygote in the sandbox, and with it workers; checks that this machine isolates
prestart.py       a zygote that starts while a command imports the rest of its program
worker_client.py  sends cells and cases to the worker of a submission, and replaces a worker that was lost
limits.py         limits of this user that are too low, for the messages of errors
processes.py      the grader's own processes: continue those that were stopped, limit their memory
doctor.py         what this machine offers for grading
inside/           all that the sandbox sees of this folder
"""
