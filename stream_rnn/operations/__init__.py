"""What a daemon owes those who run it: metrics, health, logs, and word to systemd."""
