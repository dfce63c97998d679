"""What a daemon is told: the sections of its config, and how they are read."""
