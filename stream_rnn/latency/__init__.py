"""How long things take, by stage and group of streams. Pure: durations are passed in."""
