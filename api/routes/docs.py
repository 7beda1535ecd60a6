"""GET /docs and /openapi.json: the contract for people and for programs.

Owns the page's HTML, rendered here from the OpenAPI document. Never loads a script or a style from another host, so it
also works where there is no Internet.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any, Final

from fastapi import APIRouter, Request, Response

router = APIRouter(include_in_schema=False)

_STYLE: Final = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--get:#2f6fd0;--post:#1c8a5a;--put:#b0701a;--patch:#7a5bc0;
--delete:#c0392b}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:.2rem}h2{margin-top:2.5rem;border-bottom:1px solid var(--line);text-transform:capitalize}
details{border:1px solid var(--line);border-radius:6px;margin:.5rem 0}summary{padding:.5rem .8rem;cursor:pointer}
details>div{padding:0 .8rem .8rem}code,pre{font:13px/1.45 ui-monospace,monospace}
pre{background:var(--soft);padding:.6rem;overflow:auto;border-radius:4px}
b.m{display:inline-block;width:4.2rem;font:600 12px ui-monospace,monospace}
b.get{color:var(--get)}b.post{color:var(--post)}b.put{color:var(--put)}b.patch{color:var(--patch)}
b.delete{color:var(--delete)}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid var(--line);padding:.25rem .5rem;
text-align:left;vertical-align:top}.what{opacity:.75;margin-left:.6rem}
"""


@router.get("/openapi.json")
async def openapi_document(request: Request) -> Response:
    """The OpenAPI 3.1 document, hot path included."""
    return Response(json.dumps(request.app.openapi()), media_type="application/json")


@router.get("/docs")
async def docs_page(request: Request) -> Response:
    """The same document as a page."""
    return Response(
        render(request.app.openapi()),
        media_type="text/html",
        headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"},
    )


def render(document: dict[str, Any]) -> str:
    """The page for an OpenAPI document."""
    info = document["info"]
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(tag, []).append(_operation(method, path, operation))
    sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(parts)}" for tag, parts in by_tag.items())
    schemas = "".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code>'
        f'<span class="what">{escape(schema.get("description", ""))}</span></summary>'
        f"<div>{_pre(schema)}</div></details>"
        for name, schema in sorted(document["components"]["schemas"].items())
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style><h1>{escape(info['title'])} API "
        f"<small>{escape(info['version'])}</small></h1><p>{escape(info['description'])}</p>"
        f'<p><a href="/openapi.json">openapi.json</a></p>{sections}<h2>Schemas</h2>{schemas}</html>'
    )


def _pre(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"<p>{escape(operation.get('description', ''))}</p>"]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = "".join(
            f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}</td>"
            f"<td>{'required' if p.get('required') else ''}</td>"
            f"<td>{escape(p.get('description') or p.get('schema', {}).get('description', ''))} "
            f"<code>{escape(json.dumps(p.get('schema', {})))}</code></td></tr>"
            for p in parameters
        )
        parts.append(f"<table><tr><th>Parameter<th>In<th><th></tr>{rows}</table>")
    body = operation.get("requestBody")
    if body:
        parts.append("<h4>Body</h4>" + _content(body["content"]))
    for status, response in operation.get("responses", {}).items():
        parts.append(f"<h4>{escape(status)} {escape(response.get('description', ''))}</h4>")
        parts.append(_content(response.get("content", {})))
    return (
        f'<details><summary><b class="m {method}">{method.upper()}</b><code>{escape(path)}</code>'
        f'<span class="what">{escape(operation.get("summary", ""))}</span></summary>'
        f"<div>{''.join(parts)}</div></details>"
    )


def _content(content: dict[str, Any]) -> str:
    parts = []
    for media in content.values():
        names = [schema["$ref"].rsplit("/", 1)[1] for schema in _references(media.get("schema", {}))]
        parts += [f'<p><a href="#{escape(name)}"><code>{escape(name)}</code></a></p>' for name in names]
        parts += [_pre(example["value"]) for example in media.get("examples", {}).values()]
    return "".join(parts)


def _references(schema: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in schema:
        return [schema]
    return [one for one in schema.get("anyOf", []) if "$ref" in one]
