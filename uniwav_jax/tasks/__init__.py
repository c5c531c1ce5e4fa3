"""What is trained: each task is a module of functions `init`, `draw`, `loss`, `update`, ..."""
