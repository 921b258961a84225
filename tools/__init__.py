"""Programs that make and keep the project: environment, website, notebooks."""
