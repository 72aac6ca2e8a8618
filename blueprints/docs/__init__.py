"""The documentation for programmers of tills: `/docs/api`, the same as Markdown, and the contract as OpenAPI."""

from blueprints.docs import contract, pages
from blueprints.docs.pages import blueprint

__all__ = ["blueprint", "contract", "pages"]
