"""`layers_and_blocks`: one file for each exercise, in the order of the notebook."""

from grader.authoring.exercise import exercises

TASKS = exercises(__file__, "my_sequential", "mlp", "parallel_block", "repeat_block", "init_xavier")
