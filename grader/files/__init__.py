"""Files and folders of a course.

In: the folder of a course, paths and content. Out: paths, and files that are complete at every moment.

    course_directory.py  where the folders of a course are
    folders.py           what is in a folder, without what editors and operating systems leave there
    atomic.py            files and folders that are replaced in one step
"""
