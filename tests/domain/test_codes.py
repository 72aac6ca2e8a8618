"""Voucher codes: readable by people, checked before anybody asks the database."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import codes

bodies = st.text(alphabet=codes.ALPHABET, min_size=15, max_size=15)


def _generated(body: str) -> str:
    letters = iter(body)
    return codes.generate(lambda _: next(letters))


made = bodies.map(_generated)


@pytest.mark.req("G12")
@settings(deadline=None)
@given(made)
def test_a_code_has_sixteen_letters_of_the_alphabet_and_is_well_formed(code: str) -> None:
    assert len(code) == 16
    assert set(code) <= set(codes.ALPHABET)
    assert codes.is_well_formed(code)


@settings(deadline=None)
@given(made)
def test_each_single_wrong_letter_is_found(code: str) -> None:
    for place, letter in itertools.product(range(len(code)), codes.ALPHABET):
        if letter != code[place]:
            assert not codes.is_well_formed(code[:place] + letter + code[place + 1 :])


@settings(deadline=None)
@given(made, st.integers(min_value=0, max_value=13))
def test_two_neighbours_swapped_are_found_unless_they_lie_half_an_alphabet_apart(code: str, place: int) -> None:
    first, second = code[place], code[place + 1]
    swapped = code[:place] + second + first + code[place + 2 :]
    distance = abs(codes.ALPHABET.index(first) - codes.ALPHABET.index(second))
    assert codes.is_well_formed(swapped) == (distance in (0, 16))


@pytest.mark.req("G12")
def test_the_alphabet_has_no_letter_that_looks_like_another() -> None:
    assert len(set(codes.ALPHABET)) == 32
    assert not set("ILOU") & set(codes.ALPHABET)


@pytest.mark.req("T32")
@settings(deadline=None)
@given(made, st.randoms())
def test_a_code_is_read_however_it_was_typed(code: str, luck: object) -> None:
    lookalikes = {"0": "0Oo", "1": "1IiLl"}
    typed = ""
    for letter in codes.grouped(code):
        forms = lookalikes.get(letter, letter + letter.lower())
        typed += luck.choice([*forms] if letter != "-" else ["-", " ", "–", "—", "", ".", "\u00a0", "\t", " - "])  # type: ignore[attr-defined]
    assert codes.normalise(f"  {typed} ") == code


@settings(deadline=None)
@given(made)
def test_full_width_letters_of_a_phone_keyboard_are_read(code: str) -> None:
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in code)
    assert codes.normalise(wide) == code


@settings(deadline=None)
@given(made)
def test_reading_twice_changes_nothing(code: str) -> None:
    assert codes.normalise(codes.normalise(codes.grouped(code))) == code


@settings(deadline=None)
@given(st.text(max_size=60))
def test_reading_never_fails_whatever_is_typed(text: str) -> None:
    assert isinstance(codes.is_well_formed(codes.normalise(text)), bool)


@pytest.mark.parametrize("text", ["", "7KQ4", "7KQ4-M2XD-9PVT-3HAF-0", "-" * 16, "UUUUUUUUUUUUUUUU", "ÄÖÜ" * 6])
def test_what_is_no_code_is_not_well_formed(text: str) -> None:
    assert not codes.is_well_formed(codes.normalise(text))


def test_a_code_is_printed_in_four_groups_and_its_end_may_be_shown() -> None:
    assert codes.grouped("7KQ4M2XD9PVT3HAF") == "7KQ4-M2XD-9PVT-3HAF"
    assert codes.last4("7KQ4M2XD9PVT3HAF") == "3HAF"


@pytest.mark.req("G12")
def test_ten_thousand_codes_are_ten_thousand_codes() -> None:
    assert len({codes.generate() for _ in range(10_000)}) == 10_000
