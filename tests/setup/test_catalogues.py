"""Translations: compiled when older than their source, collected without touching what has not changed."""

import gettext
import os

import pytest

from setup import catalogues


@pytest.fixture
def shop(tmp_path):
    """A tiny shop with texts in code and in a template."""
    (tmp_path / "blueprints").mkdir()
    (tmp_path / "templates/shop").mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    (tmp_path / "blueprints/shop.py").write_text('title = _l("Buy a voucher")\n')
    (tmp_path / "templates/shop/page.html").write_text('{{ ngettext("%(n)s voucher", "%(n)s vouchers", n, n=n) }}\n')
    (tmp_path / "tests/test_shop.py").write_text('_("Not a text of the shop")\n')
    return tmp_path


def german(shop):
    return shop / "translations/de/LC_MESSAGES/messages.po"


def translate(shop, text, german_text):
    source = german(shop)
    source.write_text(
        source.read_text().replace(f'msgid "{text}"\nmsgstr ""', f'msgid "{text}"\nmsgstr "{german_text}"')
    )


def read_german(shop):
    return gettext.translation("messages", shop / "translations", ["de"])


def test_no_translations_at_all_is_fine(tmp_path):
    catalogues.compile_stale(tmp_path / "translations")


def test_texts_of_code_and_templates_come_into_both_catalogues(shop):
    catalogues.collect(shop)

    for language in ("de", "en"):
        text = (shop / f"translations/{language}/LC_MESSAGES/messages.po").read_text()
        assert 'msgid "Buy a voucher"' in text
        assert 'msgid_plural "%(n)s vouchers"' in text
        assert "Not a text of the shop" not in text


def test_collecting_again_changes_no_byte(shop):
    catalogues.collect(shop)
    translate(shop, "Buy a voucher", "Gutschein kaufen")
    before = german(shop).read_bytes()
    (shop / "blueprints/shop.py").write_text('\n\n\ntitle = _l("Buy a voucher")\n')

    catalogues.collect(shop)

    assert german(shop).read_bytes() == before


def test_a_translation_stays_while_texts_come_and_go(shop):
    catalogues.collect(shop)
    translate(shop, "Buy a voucher", "Gutschein kaufen")
    (shop / "templates/shop/page.html").write_text('{{ _("Redeem") }}')

    catalogues.collect(shop)

    text = german(shop).read_text()
    assert "Gutschein kaufen" in text
    assert 'msgid "Redeem"' in text
    assert "vouchers" not in text


def test_the_compiled_catalogue_speaks(shop):
    catalogues.collect(shop)
    translate(shop, "Buy a voucher", "Gutschein kaufen")

    catalogues.compile_stale(shop / "translations")

    assert read_german(shop).gettext("Buy a voucher") == "Gutschein kaufen"


def test_only_a_changed_catalogue_is_compiled_again(shop):
    catalogues.collect(shop)
    catalogues.compile_stale(shop / "translations")
    compiled = german(shop).with_suffix(".mo")
    os.utime(german(shop), (1, 1))
    os.utime(compiled, (2, 2))
    catalogues.compile_stale(shop / "translations")
    assert compiled.stat().st_mtime == 2

    translate(shop, "Buy a voucher", "Gutschein kaufen")
    catalogues.compile_stale(shop / "translations")

    assert "Gutschein kaufen" in compiled.read_text("utf-8", errors="replace")


def test_a_broken_catalogue_is_named(shop):
    german(shop).parent.mkdir(parents=True)
    german(shop).write_text('msgid "Buy\n')

    with pytest.raises(SystemExit, match=r"de/LC_MESSAGES/messages\.po cannot be read"):
        catalogues.compile_stale(shop / "translations")
