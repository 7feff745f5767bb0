"""A description of the HTTP interface for tools: OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

from ingot.serving.protocol.description import server_metadata

_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 1024},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 32},
        "datatype": {
            "enum": [
                "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
                "FP16", "BF16", "FP32", "FP64", "BYTES",
            ]
        },
        "data": {"type": "array"},
        "parameters": {"type": "object"},
    },
}  # fmt: skip
_REQUEST = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "maxLength": 1024},
        "inputs": {"type": "array", "items": _TENSOR, "maxItems": 256},
        "outputs": {
            "type": "array",
            "maxItems": 256,
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 1024},
                    "parameters": {"type": "object"},
                },
            },
        },
        "parameters": {
            "type": "object",
            "properties": {
                "priority": {"type": "integer", "minimum": 0},
                "timeout": {"type": "integer", "minimum": 0},
                "binary_data_output": {"type": "boolean"},
            },
        },
    },
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
_MODEL = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
_VERSION = [
    *_MODEL,
    {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}},
]
_OBJECT = {"type": "object"}
_OF_MODEL = ("401", "404", "503")
_REFUSED = {
    "400": "The request is wrong.",
    "401": "No valid token.",
    "404": "There is no such model.",
    "413": "The body is too large.",
    "500": "The model failed.",
    "503": "There is no room, or the model is not loaded.",
    "504": "No answer in time.",
}


def description() -> dict[str, Any]:
    """Describes what the server answers."""
    paths: dict[str, Any] = {
        "/v2/health/live": {"get": _operation("Whether the process answers.", answer=_OBJECT)},
        "/v2/health/ready": {
            "get": _operation("Whether it takes requests.", answer=_OBJECT, refused=("503",))
        },
        "/v2": {"get": _operation("Name, version and extensions.", answer=_OBJECT)},
        "/v2/models/stats": {"get": _operation("Counts of all models.", answer=_OBJECT)},
        "/v2/repository/index": {
            "post": _operation(
                "All models with their state.",
                body={"type": "object", "properties": {"ready": {"type": "boolean"}}},
                answer={"type": "array"},
                refused=("400", "401", "413"),
            )
        },
        "/metrics": {"get": _operation("Figures for Prometheus.", refused=("401",))},
    }
    for action in ("load", "unload"):
        paths[f"/v2/repository/models/{{model}}/{action}"] = {
            "post": _operation(f"{action.title()}s a model.", _MODEL, answer=_OBJECT)
        }
    for where, parameters in (
        ("/v2/models/{model}", _MODEL),
        ("/v2/models/{model}/versions/{version}", _VERSION),
    ):
        paths[where] = {
            "get": _operation("Inputs and outputs.", parameters, None, _OBJECT, _OF_MODEL)
        }
        paths[f"{where}/ready"] = {
            "get": _operation(
                "Whether it is loaded.", parameters, answer=_OBJECT, refused=_OF_MODEL
            )
        }
        paths[f"{where}/stats"] = {
            "get": _operation("Counts of it.", parameters, None, _OBJECT, _OF_MODEL)
        }
        paths[f"{where}/infer"] = {"post": _operation("Inference.", parameters, _REQUEST, _OBJECT)}
        paths[f"{where}/infer-list"] = {
            "post": _operation(
                "Several inferences in one message.",
                parameters,
                {
                    "type": "object",
                    "required": ["requests"],
                    "properties": {
                        "requests": {
                            "type": "array", "items": _REQUEST, "minItems": 1, "maxItems": 1024,
                        }
                    },
                },
                _OBJECT,
            )
        }  # fmt: skip
    said = server_metadata()
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ingot: Open Inference Protocol", "version": said["version"]},
        "paths": paths,
    }


def _operation(
    summary: str,
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
    answer: dict[str, Any] | None = None,
    refused: tuple[str, ...] = tuple(_REFUSED),
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "The answer."}}
    if answer is not None:
        responses["200"]["content"] = {"application/json": {"schema": answer}}
    for status in refused:
        responses[status] = {
            "description": _REFUSED[status],
            "content": {"application/json": {"schema": _ERROR}},
        }
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": body}},
        }
    return operation
