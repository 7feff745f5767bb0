"""The models that a server has: loaded artifacts, their versions, and what they did so far."""
