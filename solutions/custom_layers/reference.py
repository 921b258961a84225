"""`custom_layers`: its exercises, in the order of the notebook."""

from grader.authoring.exercise import exercises

TASKS = exercises(__file__, "centered_layer", "my_linear", "tensor_reduction", "half_fourier", "running_center")
