"""Serving artifacts: batching, the server and its protocols.

Imports nothing of the compile side: a server needs the runtime and the extra ``serve``.
"""
