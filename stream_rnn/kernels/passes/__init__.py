"""Training's passes: a batch of windows forward, the same bits as single steps, and the gradient back through time."""
