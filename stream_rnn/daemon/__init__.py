"""A model served to everyone who sends samples: the only room where asyncio meets models."""
