"""Asking a server: ``Client`` and its asynchronous twin. Needs the extra ``client``."""

from ingot.client.asynchronous import AsyncClient
from ingot.client.batcher import Batcher
from ingot.client.client import Client
from ingot.client.messages import ModelInfo, ServerError

__all__ = ["AsyncClient", "Batcher", "Client", "ModelInfo", "ServerError"]
