"""The loops: one step, a run of steps, and the gradient back through time. Only numba, numpy and math."""
