"""The console's own script, style and pictures, from memory, under a name that changes with what is in them.

Owns /console/static; never a file from elsewhere. Scripts find each other by relative paths, so all share one version.
"""

from __future__ import annotations

import gzip
from hashlib import blake2b
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response
from msgspec import Struct

from api.problems import Problem

FOLDER: Final = Path(__file__).parent / "static"
FOR_EVER: Final = "public, max-age=31536000, immutable"
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

router = APIRouter(prefix="/console/static", include_in_schema=False)


class Asset(Struct, frozen=True):
    """One file."""

    media_type: str
    body: bytes
    packed: bytes
    """gzip."""


class Assets:
    """Every file of the folder, read once."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = {path.name: _asset(path) for path in sorted(folder.iterdir()) if path.suffix in _TYPES}
        digest = blake2b(digest_size=8)
        for name, asset in self._files.items():
            digest.update(name.encode() + asset.body)
        self.version = digest.hexdigest()

    def url(self, name: str) -> str:
        """Where `name` is found. Raises KeyError: a page asks for what is not there."""
        self._files[name]
        return f"/console/static/{self.version}/{name}"

    def get(self, version: str, name: str) -> Asset | None:
        """The file, if this is the version that is served."""
        return self._files.get(name) if version == self.version else None


@router.get("/{version}/{name}")
async def static_file(version: str, name: str, request: Request) -> Response:
    """A file; kept by browsers for ever, since its address changes when it does."""
    assets: Assets = request.app.state.assets
    asset = assets.get(version, name)
    if asset is None:
        raise Problem("not-found")
    headers = {"cache-control": FOR_EVER, "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(asset.packed, headers={**headers, "content-encoding": "gzip"}, media_type=asset.media_type)
    return Response(asset.body, headers=headers, media_type=asset.media_type)


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(_TYPES[path.suffix], body, gzip.compress(body, 9, mtime=0))
