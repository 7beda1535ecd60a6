"""Files that come in as multipart/form-data: one file, a few short fields, kept on disk while they arrive.

Owns the limits of an upload and how its fields are read; never what is in the file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, BinaryIO, Final

from fastapi import Request
from msgspec import Struct
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from api.hot import asgi
from api.hot.decode import check_text
from api.problems import Problem, invalid
from api.services import ApiSettings

UPLOAD_PATHS: Final = frozenset({"/inventory/bulk-update", "/inventory/products/import", "/console/imports"})
"""Paths whose bodies may be as large as a file."""
FORM_BYTES: Final = 65_536
"""What the fields around the file may add to its size."""
MAX_NAME: Final = 255
_MAX_FIELDS: Final = 8
_MAX_FIELD_BYTES: Final = 8_192


class ReceivedFile(Struct, frozen=True):
    """A file and the fields that came with it."""

    file: BinaryIO
    name: str
    fields: dict[str, str]


def is_upload(scope: asgi.Scope) -> bool:
    """True if the body of this request may be as large as a file."""
    return scope["method"] == "POST" and scope["path"] in UPLOAD_PATHS


def body_limits(settings: ApiSettings, scope: asgi.Scope) -> tuple[int, float]:
    """How many bytes the body of this request may have, and how many seconds it may take."""
    if is_upload(scope):
        return settings.max_upload_bytes + FORM_BYTES, settings.upload_timeout_s
    return settings.max_body_bytes, settings.body_timeout_s


def ending_unread(send: asgi.Send, receive: asgi.Receive, complete: Callable[[], bool]) -> asgi.Send:
    """A `send` that ends the connection after an answer that came before the body was `complete`.

    What is left of an upload that was refused may never end, and the server would read it for as long as it comes.
    """
    closing = False

    async def ending_send(message: asgi.Message) -> None:
        nonlocal closing
        if message["type"] == "http.response.start":
            closing = not complete()
            if closing and (b"connection", b"close") not in message["headers"]:
                message["headers"] = [*message["headers"], (b"connection", b"close")]
        elif closing and not message.get("more_body", False):
            await asgi.send_last(message.get("body", b""), receive, send)
            return
        await send(message)

    return ending_send


@asynccontextmanager
async def received_file(request: Request, known: tuple[str, ...]) -> AsyncIterator[ReceivedFile]:
    """The upload of this request, which may have a `file` and the fields `known`; removed at the end of the block.

    Raises Problem: 400 for a form that cannot be read, 408, 413, 415, 422.
    """
    media, parameters = parse_options_header(request.headers.get("content-type", ""))
    if media != b"multipart/form-data":
        raise Problem("unsupported-media-type", "The body must be multipart/form-data with a file.")
    if parameters.get(b"charset", b"utf-8").lower() not in {b"utf-8", b"utf8"}:
        # Names and fields would be read by whatever codec is named here, and some of Python's are no text at all.
        raise Problem("unsupported-media-type", "A form is UTF-8.")
    try:
        await request.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_FIELD_BYTES)
    except ClientDisconnect:
        # Nobody is there to hear it; an upload that was broken off is no mistake of ours.
        raise Problem("invalid-request") from None
    async with request.form() as form:
        fields: dict[str, str] = {}
        file: UploadFile | None = None
        for name, value in form.multi_items():
            if name == "file" and isinstance(value, UploadFile):
                file = value
            elif name == "file":
                raise invalid("must be sent as a file, with a name", "file")
            elif name not in known or isinstance(value, UploadFile):
                raise invalid(f"there is no field {name[:80]!r}", name[:80])
            elif name in fields:
                raise invalid("is there twice", name)
            else:
                fields[name] = value
        if file is None or not file.filename:
            raise invalid("a file with a name is needed", "file")
        if len(file.filename) > MAX_NAME:
            raise invalid(f"the name of the file has more than {MAX_NAME} characters", "file")
        check_text(file.filename, "file")
        yield ReceivedFile(file.file, file.filename, fields)


def form_body(properties: dict[str, Any], required: list[str], example: dict[str, str]) -> dict[str, Any]:
    """The `requestBody` of OpenAPI for a file and these fields; `example`: the text of a file, and the fields."""
    file = {"type": "string", "format": "binary", "description": "CSV (UTF-8) or XLSX"}
    schema = {
        "type": "object",
        "properties": {"file": file, **properties},
        "required": ["file", *required],
        "additionalProperties": False,
    }
    form = {"schema": schema, "examples": {"a small file": {"value": example}}}
    return {"required": True, "content": {"multipart/form-data": form}}


FORM: Final = ("invalid-request", "payload-too-large", "unsupported-media-type", "validation-error", "request-timeout")
"""Problems that every upload may end in."""
