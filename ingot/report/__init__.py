"""Measuring, comparing, rendering.

This package imports nothing by itself: the worker processes below it are measured, and must carry
no more than what they measure. Import from its modules, such as ``ingot.report.compare``.
"""
