"""Arm's Ethos-U NPUs: QDQ graphs to TOSA, by Arm's Vela to command streams."""
