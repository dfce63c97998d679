"""A stream's memory between samples: its rules, the session, the table of all sessions, and the seam."""
