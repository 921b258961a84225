"""What a person sees of a submission and of the grader.

In: text, pictures and notebooks of any size, and numbers and names for messages. Out: what can be shown quickly and
safely.

    bounds.py      how much of a graded notebook is shown with formats and colours, and how much at all
    characters.py  characters that cannot be seen, and code that a reader would not see
    pictures.py    how many pixels a picture may have
    messages.py    parts of messages: a few of many names, counts, times
"""
