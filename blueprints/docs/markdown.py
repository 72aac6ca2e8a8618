"""Our own texts in the little Markdown that they need, read into blocks that a template writes as HTML. Pure.

Headings, paragraphs, lists, tables, fenced code, notes (`>`), and within a line code, strong words and links.
Neighbouring fences in several programming languages are one block of samples.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

TABBED = frozenset({"sh", "py", "mjs", "php", "cs"})
_SPAN = re.compile(r"`(?P<code>[^`]+)`|\*\*(?P<strong>[^*]+)\*\*|\[(?P<link>[^\]]+)\]\((?P<href>[^)\s]+)\)")
_ITEM = re.compile(r"(?:- |\d+\. )(?P<text>.*)")
_NOT_IN_ID = re.compile(r"[^a-z0-9_]+")


@dataclass(frozen=True)
class Span:
    """A piece of a line; `kind` is text, code, strong or link."""

    kind: str
    text: str
    href: str = ""
    is_code: bool = False


Line = list[Span]


@dataclass(frozen=True)
class Block:
    """One thing on the page; `kind` says which, and with it which of the other members mean something."""

    kind: str
    id: str = ""
    line: Line = field(default_factory=list)
    items: list[Line] = field(default_factory=list)
    head: list[Line] = field(default_factory=list)
    rows: list[list[Line]] = field(default_factory=list)
    language: str = ""
    title: str = ""
    text: str = ""
    samples: list["Block"] = field(default_factory=list)

    @property
    def is_code(self) -> bool:
        return self.kind in ("code", "samples")

    @property
    def words(self) -> str:
        """The line without its marks."""
        return "".join(span.text for span in self.line)


@dataclass(frozen=True)
class Section:
    """What stands below one heading, prose and code apart, so that code can stand beside."""

    heading: Block | None
    prose: list[Block]
    code: list[Block]


def read(text: str) -> tuple[str, list[Section]]:
    """The title of the page, and its sections."""
    blocks = list(_joined(_blocks(text.splitlines())))
    title = next((block.words for block in blocks if block.kind == "h1"), "")
    return title, list(_sections(block for block in blocks if block.kind != "h1"))


def read_line(text: str) -> Line:
    """One line as spans."""
    spans, end = [], 0
    for found in _SPAN.finditer(text):
        spans += [Span("text", text[end : found.start()])] if found.start() > end else []
        spans.append(_span(found))
        end = found.end()
    return [*spans, *([Span("text", text[end:])] if end < len(text) else [])]


def _span(found: re.Match[str]) -> Span:
    if found["code"]:
        return Span("code", found["code"])
    if found["strong"]:
        return Span("strong", found["strong"])
    return Span("link", found["link"].strip("`"), href=found["href"], is_code=found["link"].startswith("`"))


def _sections(blocks: Iterator[Block]) -> Iterator[Section]:
    section = Section(None, [], [])
    for block in blocks:
        if block.kind == "h2":
            yield section
            section = Section(block, [], [])
        else:
            (section.code if block.is_code else section.prose).append(block)
    yield section


def _joined(blocks: Iterator[Block]) -> Iterator[Block]:
    samples: list[Block] = []
    for block in blocks:
        is_sample = block.kind == "code" and block.language in TABBED
        if samples and (not is_sample or block.language in {sample.language for sample in samples}):
            yield _set_of(samples)
            samples = []
        if is_sample:
            samples.append(block)
        else:
            yield block
    if samples:
        yield _set_of(samples)


def _set_of(samples: list[Block]) -> Block:
    return Block("samples", samples=samples) if len(samples) > 1 else samples[0]


def _blocks(lines: list[str]) -> Iterator[Block]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif line.startswith("```"):
            end = lines.index("```", at + 1)
            language, _, title = line[3:].partition(" ")
            yield Block("code", language=language, title=title, text="\n".join(lines[at + 1 : end]))
            at = end + 1
        elif line.startswith("#"):
            yield _heading(line)
            at += 1
        else:
            ends = (n for n in range(at, len(lines)) if not lines[n].strip() or lines[n].startswith("```"))
            end = next(ends, len(lines))
            yield _text(lines[at:end])
            at = end


def _heading(line: str) -> Block:
    marks, _, text = line.partition(" ")
    spans = read_line(text)
    block = Block(f"h{len(marks)}", line=spans)
    return Block(block.kind, id=_NOT_IN_ID.sub("-", block.words.lower()).strip("-"), line=spans)


def _text(lines: list[str]) -> Block:
    if lines[0].startswith("|"):
        cells = [[read_line(cell.strip()) for cell in line.strip("|").split(" | ")] for line in lines]
        return Block("table", head=cells[0], rows=cells[2:])
    if lines[0].startswith("> "):
        return Block("note", line=read_line(" ".join(line.removeprefix("> ") for line in lines)))
    if _ITEM.fullmatch(lines[0]):
        return Block("steps" if lines[0][0].isdigit() else "list", items=[read_line(item) for item in _items(lines)])
    return Block("paragraph", line=read_line(" ".join(lines)))


def _items(lines: list[str]) -> list[str]:
    items: list[str] = []
    for line in lines:
        found = _ITEM.fullmatch(line)
        if found:
            items.append(found["text"])
        else:
            items[-1] += " " + line.strip()
    return items
