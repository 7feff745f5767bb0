"""Recurrent layers in one kernel."""
