"""The guide at `/docs/api`: every topic as page and as Markdown, links that lead somewhere, and a key to begin with."""

import html
import re
from urllib.parse import urldefrag, urljoin

import flask
import pytest

from blueprints.api import examples, problems, schemas, wording
from blueprints.api.calls import CALLS
from blueprints.docs import markdown, samples, topics
from domain import api_keys
from domain.api_keys import Scope
from effects import test_codes
from models import ApiKey, TimelineEntry
from tests import cast as casting
from tests import sales
from tests.browser import Browser

START = "/docs/api"
KEY = re.compile(r"gv_test_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")


def _address(topic: str) -> str:
    return f"{START}/{topic}"


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_every_topic_is_a_page_and_a_markdown_file_with_the_same_title(client: Browser) -> None:
    for topic in topics.TOPICS:
        page, text = client.get(_address(topic)), client.get(f"{START}/{topic}.md")
        assert (page.status_code, text.status_code) == (200, 200), topic
        assert text.mimetype == "text/markdown"
        title = re.search(r"<h1[^>]*>(.*?)</h1>", page.text)
        assert title and html.unescape(title.group(1)) == text.text.splitlines()[0].removeprefix("# ")
        assert 'lang="en"' in page.text and "{{" not in text.text
        assert "Set-Cookie" not in page.headers


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_every_link_of_the_guide_leads_to_something_that_is_there(client: Browser) -> None:
    pages: dict[str, str] = {}
    for topic in topics.TOPICS:
        here = _address(topic)
        for found in re.findall(r'<a [^>]*href="([^"]+)"', client.get(here).text):
            path, anchor = urldefrag(urljoin(here, html.unescape(found)))
            if path not in pages:
                answer = client.get(path, follow_redirects=True)
                assert answer.status_code == 200, f"{here} leads to {path}"
                pages[path] = answer.text
            assert not anchor or f'id="{anchor}"' in pages[path], f"{here} leads to {found}"


def test_what_does_not_exist_is_not_there(client: Browser) -> None:
    for path in ("/docs/api/nothing", "/docs/api/nothing.md", "/docs/api/.md", "/docs/api/key", "/docs/api/..%2f"):
        assert client.get(path).status_code == 404
    assert client.get(START).text == client.get(f"{START}/start").text


def test_the_guide_speaks_english_to_everybody(client: Browser) -> None:
    page = client.get(START, headers={"Accept-Language": "de"}).text
    assert 'lang="en"' in page and "Skip to content" in page
    assert "Zum Inhalt" not in client.get(f"{START}?lang=de").text


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_every_error_says_what_it_means_what_the_till_shows_and_how_to_see_it(client: Browser) -> None:
    text = client.get(f"{START}/errors.md").text
    assert set(topics.PROVOKE) == set(problems.KINDS)
    for code, kind in problems.KINDS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{code}` | {kind.status} |")]
        assert kind.title in row and topics.PROVOKE[code] in row
        assert ("| yes |" in row) == (code in topics.SAFE_TO_REPEAT)
        for outcome in topics.SENTENCES_OF.get(code, (code,) if code in wording.SENTENCES else ()):
            assert topics.sentence(outcome, "de") in row and topics.sentence(outcome, "en") in row
    assert all(f"`{code}`" in text for code in schemas.FIELD_CODES)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_every_call_scope_and_test_code_is_described(client: Browser) -> None:
    reference = client.get(f"{START}/reference").text
    assert re.findall(r'<h2 id="(\w+)"', reference) == [call.name for call in CALLS]
    keys = client.get(f"{START}/keys.md").text
    assert all(f"`{scope}`" in keys for scope in Scope)
    testing = client.get(f"{START}/testing.md").text
    assert all(f"`TEST-{kind}-5000`" in testing for kind in test_codes.Kind)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_the_samples_are_shown_as_they_are_run(client: Browser) -> None:
    for topic in ("redeem", "reverse"):
        page = html.unescape(client.get(_address(topic)).text)
        for language in samples.LANGUAGES:
            assert (samples.FOLDER / f"{topic}.{language.ending}").read_text().rstrip() in page
    for topic in topics.TOPICS:
        assert "style=" not in client.get(_address(topic)).text


def test_whoever_is_not_signed_in_sees_where_a_key_goes_and_gets_no_cookie(client: Browser) -> None:
    page = client.get(START)
    assert "gv_test_…" in page.text and "Make a test key" not in page.text
    assert "Authorization: Bearer gv_test_…" in page.text
    assert "VOUCHSAFE_" not in page.text, "every program is filled in"
    assert "Set-Cookie" not in page.headers
    assert client.post(f"{START}/key").status_code == 400


@pytest.mark.req("S1-37")
def test_an_owner_gets_a_test_key_filled_into_the_first_sample_once(client: Browser, cast: casting.Cast) -> None:
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    answer = sales.press(client, START, "/key#key")
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    found = set(KEY.findall(answer.text))
    assert len(found) == 1
    secret = found.pop()
    assert f"Authorization: Bearer {secret}" in answer.text
    (key,) = ApiKey.select()
    assert (key.merchant, key.is_test, key.name) == (cast.alba, True, "Documentation")
    assert set(key.scopes) == {Scope.POS_VALIDATE, Scope.POS_REDEEM}
    assert TimelineEntry.get(TimelineEntry.kind == "api_key_created").actor == "Anna"
    assert not KEY.search(client.get(START).text)
    body = {"code": "TEST-VALID-5000", "amount_minor": 3000, "currency": "EUR"}
    verdict = client.post("/api/v1/vouchers/validate", json=body, headers={"Authorization": f"Bearer {secret}"})
    assert verdict.json["valid"] is True


def test_the_button_makes_one_key_however_often_it_is_pressed(client: Browser, cast: casting.Cast) -> None:
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    page = client.get(START).text
    form = dict(re.findall(r'name="(csrf_token|nonce)" value="([^"]+)"', page))
    assert [client.post(f"{START}/key", data=form).status_code for _ in range(2)] == [201, 409]
    assert ApiKey.select().count() == 1
    assert client.post(f"{START}/key", data=form | {"nonce": "x"}).status_code == 422


def test_staff_reads_the_guide_and_makes_no_keys(client: Browser, cast: casting.Cast) -> None:
    sales.sign_in(client, "ben@alba.example", casting.PASSWORD)
    page = client.get(START).text
    assert "Make a test key" not in page and "owner of the shop" in page
    token = re.search(r'name="csrf-token" content="([^"]+)"', page)
    assert token
    form = {"csrf_token": token.group(1), "nonce": "abcdefgh12345678"}
    assert client.post(f"{START}/key", data=form).status_code == 403
    assert not ApiKey.select().exists()


def test_a_form_without_its_token_makes_no_key(client: Browser, cast: casting.Cast) -> None:
    sales.sign_in(client, "anna@alba.example", casting.PASSWORD)
    assert client.post(f"{START}/key", data={"nonce": "abcdefgh12345678"}).status_code == 400
    assert not ApiKey.select().exists()


def test_our_markdown_is_read_into_blocks() -> None:
    title, sections = markdown.read(
        "# A `b` page\n\nSome **strong** [words](/x)\nand more.\n\n## Next\n\n- one\n- two\n  goes on\n\n"
        "| a | b |\n| --- | --- |\n| `c` | d |\n\n> Mind\n> this\n\n```sh curl\nls\n```\n```py Python\n1\n```\n"
        "```json x\n{}\n```\n"
    )
    assert title == "A b page"
    first, second = sections
    assert [span.kind for span in first.prose[0].line] == ["text", "strong", "text", "link", "text"]
    assert first.prose[0].words == "Some strong words and more."
    assert second.heading and second.heading.id == "next"
    assert [block.kind for block in second.prose] == ["list", "table", "note"]
    assert [len(items) for items in (second.prose[0].items, second.prose[1].rows)] == [2, 1]
    assert second.prose[2].words == "Mind this"
    assert [block.kind for block in second.code] == ["samples", "code"]
    assert [sample.title for sample in second.code[0].samples] == ["curl", "Python"]


def test_text_is_never_html_before_the_template(app: flask.Flask) -> None:
    title, sections = markdown.read("# <b>\n\n<script>alert(1)</script> `<i>`\n")
    with app.test_request_context():
        show = app.jinja_env.get_template("docs/blocks.html").module.show  # type: ignore[attr-defined]
        shown = show(sections[0].prose[0], "x")
    assert title == "<b>"
    assert "<script>" not in shown and "&lt;script&gt;" in shown


def test_the_examples_name_no_real_key() -> None:
    assert not KEY.search(str(examples.ANSWERS) + str(examples.REQUESTS))
    assert api_keys.ROLL_OVERLAP.total_seconds() == topics.limits()["overlap_hours"] * 3600  # type: ignore[operator]
