"""Training's passes: windows forward, with the bits of single steps, and their gradient back through time."""
