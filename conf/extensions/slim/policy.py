"""Write into each page what it may load: a strict Content-Security-Policy."""

from __future__ import annotations

import base64
import hashlib
import re

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "style-src-attr": "'unsafe-inline'",  # KaTeX places every sign by one
    "img-src": "'self' data:",
    "media-src": "data:",  # a sound that a cell has made
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
}
CHARSET = re.compile(r'<meta charset="utf-8" ?/>')


def with_policy(text: str) -> str:
    """Write into a page what it may load: its own files, and its inline scripts as they are."""
    scripts = _hashes(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", text)
    styles = _hashes(r"<style>(.*?)</style>", text)
    policy = POLICY | {
        "script-src": POLICY["script-src"] + scripts,
        "style-src": POLICY["style-src"] + styles,
    }
    content = "; ".join(f"{name} {value}" for name, value in policy.items())
    tag = f'<meta http-equiv="Content-Security-Policy" content="{content}"/>'
    return CHARSET.sub(lambda match: f"{match[0]}\n{tag}", text, count=1)


def _hashes(pattern: str, text: str) -> str:
    """Name what stands in a page itself by its hashes, so that it alone may run there."""
    found = {hashlib.sha256(code.encode()).digest() for code in re.findall(pattern, text, re.S)}
    return "".join(sorted(f" 'sha256-{base64.b64encode(mark).decode()}'" for mark in found))
