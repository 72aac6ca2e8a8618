"""The vault: what is sealed opens in its own place alone, what is looked up is found under old keys too."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateways import vault
from gateways.vault import SealBroken, Sealed, Vault

OLD, NEW = {"k1": b"1" * 32}, {"k2": b"2" * 32}
PLACE = "code:1:vch_1"


@pytest.fixture
def box() -> Vault:
    return Vault(OLD)


@settings(deadline=None)
@given(st.binary(max_size=2000), st.text(max_size=40).filter(lambda text: text.isprintable()))
def test_what_is_sealed_opens_again(content: bytes, context: str) -> None:
    box = Vault(OLD)
    assert box.open(box.seal(content, context=context), context=context) == content


def test_the_same_content_sealed_twice_looks_different(box: Vault) -> None:
    assert box.seal(b"7KQ4", context=PLACE).ciphertext != box.seal(b"7KQ4", context=PLACE).ciphertext


@pytest.mark.req("T27")
@pytest.mark.parametrize("context", ["code:2:vch_1", "code:1:vch_2", "pdf:vch_1", ""])
def test_a_ciphertext_that_was_moved_to_another_row_does_not_open(box: Vault, context: str) -> None:
    sealed = box.seal(b"7KQ4M2XD9PVT3HAF", context=PLACE)
    with pytest.raises(SealBroken):
        box.open(sealed, context=context)


@pytest.mark.req("T27")
def test_each_changed_byte_of_a_ciphertext_is_noticed(box: Vault) -> None:
    sealed = box.seal(b"7KQ4M2XD9PVT3HAF", context=PLACE)
    for place in range(len(sealed.ciphertext)):
        changed = bytearray(sealed.ciphertext)
        changed[place] ^= 1
        with pytest.raises(SealBroken):
            box.open(Sealed(sealed.key_id, bytes(changed)), context=PLACE)


@pytest.mark.req("T27")
@pytest.mark.parametrize("kept", [0, 1, 7, 8, 11, 12, 13, 27, 43])
def test_a_ciphertext_that_was_cut_short_is_a_broken_seal(box: Vault, kept: int) -> None:
    sealed = box.seal(b"7KQ4M2XD9PVT3HAF", context=PLACE)
    with pytest.raises(SealBroken):
        box.open(Sealed(sealed.key_id, sealed.ciphertext[:kept]), context=PLACE)


@pytest.mark.req("F65")
def test_after_a_rotation_old_seals_open_and_new_ones_are_written_under_the_new_key(box: Vault) -> None:
    sealed = box.seal(b"7KQ4", context=PLACE)
    rotated = Vault(NEW | OLD)
    assert rotated.open(sealed, context=PLACE) == b"7KQ4"
    assert rotated.key_id == rotated.seal(b"7KQ4", context=PLACE).key_id == "k2"


@pytest.mark.req("F65")
def test_without_its_key_a_seal_stays_closed_and_the_error_names_the_key(box: Vault) -> None:
    sealed = box.seal(b"7KQ4", context=PLACE)
    with pytest.raises(SealBroken, match="'k1'"):
        Vault(NEW).open(sealed, context=PLACE)


def test_another_key_under_the_same_name_opens_nothing(box: Vault) -> None:
    sealed = box.seal(b"7KQ4", context=PLACE)
    with pytest.raises(SealBroken):
        Vault({"k1": b"x" * 32}).open(sealed, context=PLACE)


@pytest.mark.req("F65")
def test_a_code_is_looked_up_under_every_key_that_is_known(box: Vault) -> None:
    rotated = Vault(NEW | OLD)
    assert rotated.code_hmacs("7KQ4") == (rotated.code_hmac("7KQ4"), box.code_hmac("7KQ4"))
    assert rotated.code_hmac("7KQ4") != box.code_hmac("7KQ4")


@pytest.mark.req("T27")
def test_the_look_up_value_says_nothing_without_the_key_and_nothing_of_the_code(box: Vault) -> None:
    assert "7KQ4" not in box.code_hmac("7KQ4")
    assert len({box.code_hmac("7KQ4"), box.code_hmac("7KQ5"), Vault(NEW).code_hmac("7KQ4")}) == 3


@pytest.mark.req("G13", "F65")
def test_the_link_of_a_voucher_has_160_bits_and_is_printed_again_under_its_own_key(box: Vault) -> None:
    link = box.voucher_link("vch_1")
    assert len(link) == 32
    assert set(link) <= set("abcdefghijklmnopqrstuvwxyz234567")
    assert Vault(NEW | OLD).voucher_link("vch_1", key_id="k1") == link
    assert len({link, box.voucher_link("vch_2"), Vault(NEW).voucher_link("vch_1")}) == 3


@pytest.mark.req("T27")
def test_what_is_stored_of_a_link_does_not_open_it(box: Vault) -> None:
    link = box.voucher_link("vch_1")
    assert link not in vault.link_hash(link)
    assert vault.link_hash(link) == vault.link_hash(link)


def test_an_order_link_is_read_back_also_after_a_rotation(box: Vault) -> None:
    ref = vault.new_order_ref()
    assert len(ref) == 16
    assert box.read_order_link(box.order_link(ref)) == ref
    assert Vault(NEW | OLD).read_order_link(box.order_link(ref)) == ref
    assert Vault(NEW).read_order_link(box.order_link(ref)) is None


@pytest.mark.req("T9")
def test_an_order_link_with_one_letter_changed_opens_nothing(box: Vault) -> None:
    token = box.order_link(vault.new_order_ref())
    for place, letter in enumerate(token):
        forged = token[:place] + ("a" if letter != "a" else "b") + token[place + 1 :]
        assert box.read_order_link(forged) is None


@pytest.mark.req("T9")
@pytest.mark.parametrize("token", ["", "a", "é" * 36, "a" * 16, "a" * 15 + "é" * 21, "\0" * 36, "🎁" * 36])
def test_a_strange_token_is_no_link_and_no_error(box: Vault, token: str) -> None:
    assert box.read_order_link(token) is None


@pytest.mark.req("T9")
@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_no_order_link(token: str) -> None:
    assert Vault(OLD).read_order_link(token) is None


@pytest.mark.req("T31")
@pytest.mark.parametrize("text", ["\0", "é", "🎁", "ß"])
def test_a_strange_code_or_link_is_looked_up_without_an_error(box: Vault, text: str) -> None:
    assert len(box.code_hmac(text)) == 64
    assert len(vault.link_hash(text)) == 64


def test_a_vault_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        Vault({})
