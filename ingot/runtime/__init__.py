"""What a deployed machine needs and no more."""
