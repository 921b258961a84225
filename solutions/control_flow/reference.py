"""`control_flow`: the exercises, in the order of the notebook."""

from grader.authoring.exercise import exercises

TASKS = exercises(__file__, "fixed_hidden_mlp", "halve_per_sample", "stochastic_depth", "fixed_point")
