"""The device mesh, and the coordination of a run's processes."""
