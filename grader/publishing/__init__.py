"""What leaves the course: pages of feedback for students, and a table of marks.

In: graded notebooks and the gradebook. Out: `feedback/<student>/<assignment>/<assignment>.html`, and a CSV file.

    feedback.py     which pages there are, and which of them are outdated
    page_writer.py  writes pages, each in a process with limits on time and memory
    plain_page.py   a page without formats and colours, for a notebook that takes too long
    export.py       the marks as a CSV file
"""
