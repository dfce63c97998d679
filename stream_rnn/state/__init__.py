"""What a daemon must not forget, on disk: bytes by stream key, and messages that nobody sends again."""
