"""`performance`: what is right, what it is tried on, and what is known to go wrong."""

from grader.authoring.exercise import exercises

TASKS = exercises(__file__, "count_ops", "pairwise_distance", "batched_ensemble", "halve_bounded")
