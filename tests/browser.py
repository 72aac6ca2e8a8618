"""A test client that holds every HTML page it opens to the rules of the house."""

import contextvars
from html.parser import HTMLParser
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

_UNLABELLED = {"hidden", "submit", "button", "image", "reset"}


class Browser(FlaskClient):
    """Opens pages like the plain client and fails on a page that breaks a house rule."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        # The test's own app context must not leak into the request: `g` belongs to one request alone.
        response = contextvars.Context().run(super().open, *args, **kwargs)
        if response.mimetype == "text/html" and response.status_code not in (301, 302, 303):
            wrong = faults(response.text)
            assert not wrong, f"{response.request.path}: {wrong}"
        return response


def faults(html: str) -> list[str]:
    """What is wrong with a page or fragment, as sentences; an empty list is a good page."""
    page = _Page()
    page.feed(html)
    wrong = list(page.faults)
    wrong += [f"the id {name!r} stands there twice" for name in {name for name in page.ids if page.ids.count(name) > 1}]
    wrong += [f"the field {name!r} has no label" for name in page.unlabelled()]
    if page.is_whole:
        wrong += [] if page.h1 == 1 else [f"{page.h1} h1 instead of one"]
        wrong += [] if page.has_title else ["no title"]
        wrong += [] if page.has_language else ["no lang on html"]
        wrong += [] if page.main == 1 else [f"{page.main} main instead of one"]
    return wrong


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.ids: list[str] = []
        self.labelled: set[str] = set()
        self.fields: list[dict[str, str]] = []
        self.h1 = self.main = 0
        self.is_whole = self.has_title = self.has_language = False
        self._open_labels = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._note(tag, values)
        if "id" in values:
            self.ids.append(values["id"])
        self.faults += [f"{name} on <{tag}>" for name in values if name.startswith(("on", "hx-on")) or name == "style"]
        if tag == "form" and ("action" not in values or "method" not in values):
            self.faults.append("a form without action and method")
        if tag == "script" and "src" not in values:
            self.faults.append("an inline script")
        if tag == "img" and "alt" not in values:
            self.faults.append("an image without alt")

    def handle_endtag(self, tag: str) -> None:
        if tag == "label":
            self._open_labels -= 1

    def unlabelled(self) -> list[str]:
        """Fields that no label, aria-label or aria-labelledby names."""
        return [
            field.get("name", "?")
            for field in self.fields
            if not field.get("inside") and field.get("id") not in self.labelled
            and not field.get("aria-label") and not field.get("aria-labelledby")
        ]  # fmt: skip

    def _note(self, tag: str, values: dict[str, str]) -> None:
        self.is_whole = self.is_whole or tag == "html"
        self.has_language = self.has_language or (tag == "html" and bool(values.get("lang")))
        self.has_title = self.has_title or tag == "title"
        self.h1 += tag == "h1"
        self.main += tag == "main"
        if tag == "label":
            self._open_labels += 1
            self.labelled.add(values.get("for", ""))
        if tag in ("select", "textarea") or (tag == "input" and values.get("type", "text") not in _UNLABELLED):
            self.fields.append(values | ({"inside": "yes"} if self._open_labels else {}))
