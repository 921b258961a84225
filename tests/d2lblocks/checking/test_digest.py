"""Digests: a known mistake is recognised within rounding, and nothing else is taken for it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from d2lblocks.checking.compare import TOLERANCE
from d2lblocks.checking.digest import PROJECTIONS, Recogniser, digest_case, same_digests

T = torch.tensor
DTYPES = sorted(TOLERANCE, key=str)
FINE = [torch.float32, torch.float64, torch.complex64, torch.complex128]
EXPECTED = {"output": T([0.0])}
shapes = st.lists(st.integers(1, 5), max_size=3)


def numbers(shape, dtype, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    wide = torch.complex128 if dtype.is_complex else torch.float64
    return (torch.randn(shape, generator=generator, dtype=wide) * scale).to(dtype)


def is_taken_for(observed, mistake, expected=EXPECTED, exactly=True):
    digest = digest_case({"output": mistake}, expected)
    return Recogniser({"output": observed}, expected).matches(digest, exactly=exactly)


@given(shapes, st.sampled_from(DTYPES), st.integers(0, 99), st.sampled_from([1e-3, 1.0, 1e3]))
def test_a_mistake_is_taken_for_itself(shape, dtype, seed, scale):
    mistake = numbers(shape, dtype, seed, scale)
    assert is_taken_for(mistake.clone(), mistake)


@given(shapes, st.sampled_from(FINE), st.integers(0, 99), st.sampled_from([1e-3, 1.0, 1e3]))
def test_rounding_makes_no_difference(shape, dtype, seed, scale):
    mistake = numbers(shape, dtype, seed, scale)
    relative, absolute = TOLERANCE[dtype]
    noise = numbers(shape, dtype, seed + 1)
    # A few hundredths of the tolerance: what another order of summation changes.
    assert is_taken_for(mistake + 0.02 * noise * (absolute + relative * mistake.abs()), mistake)


@given(shapes, st.sampled_from(DTYPES), st.integers(0, 999), st.data())
def test_one_entry_beyond_its_tolerance_makes_another_answer(shape, dtype, seed, data):
    mistake = numbers(shape, dtype, seed)
    at = data.draw(st.integers(0, mistake.numel() - 1))
    relative, absolute = TOLERANCE[dtype]
    beyond = max(2.0, math.sqrt(mistake.numel()))  # in tolerances
    observed = mistake.clone().flatten()
    observed[at] += beyond * 1.5 * (absolute + relative * observed[at].abs())
    assert not is_taken_for(observed.reshape(shape), mistake)


def test_errors_in_many_entries_do_not_cancel():
    """Answers that differ in every entry, by about 1000 tolerances: 2,000 pairs of many sizes."""
    taken = 0
    for seed in range(2_000):
        dtype = FINE[seed % len(FINE)]
        shape = (2 + seed % 30,)
        mistake = numbers(shape, dtype, seed)
        relative, absolute = TOLERANCE[dtype]
        observed = mistake + 1000 * numbers(shape, dtype, -seed - 1) * (absolute + relative * mistake.abs())
        taken += is_taken_for(observed, mistake)
    assert taken == 0


@pytest.mark.parametrize(
    "observed",
    [
        T([1.0, 2.0]).double(),
        T([[1.0, 2.0]]),
        T([1.0, 2.0, 0.0]),
        T([2.0, 1.0]),
        T([-1.0, 2.0]),
        T([1.0, math.nan]),
        T([1.0, math.inf]),
        T([1, 2]),
        [1.0, 2.0],
        None,
        "1 2",
        {"0": T([1.0, 2.0])},
    ],
    ids=str,
)
def test_what_looks_similar_is_another_answer(observed):
    assert not is_taken_for(observed, T([1.0, 2.0]))


SPECIAL = [0.0, 1.0, -1.0, math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nan_and_infinities_count_where_they_are(dtype):
    for one in SPECIAL:
        for other in SPECIAL:
            a, b = T([5.0, one]).to(dtype), T([5.0, other]).to(dtype)
            assert is_taken_for(a, b) == bool(torch.isclose(a, b, equal_nan=True).all()), (one, other)
            assert not is_taken_for(a.flip(0), b) or one == 5.0


@pytest.mark.parametrize("value", [True, 1, 1.0, "1", None, [1, 2], [True], {"a": 1}, T([1, 2]), T([True])], ids=str)
def test_plain_data_must_be_the_same(value):
    others = [True, 1, 1.0, "1", None, [1, 2], [2, 1], [True], {"a": 1}, {"a": 1.0}, T([1, 2]), T([2, 1]), T([True])]
    assert sum(is_taken_for(other, value) for other in others) == 1


def test_a_key_that_is_missing_or_unexpected_counts():
    expected = {"parameter.weight": [3], "parameter.bias": [3]}
    digest = digest_case({"parameter.weight": [3], "buffer.bias": [3]}, expected)
    assert set(digest) == {"parameter.bias", "buffer.bias"}
    assert digest["parameter.bias"] is None

    def taken(**observed):
        seen = {key.replace("_", "."): [3] for key in observed}
        return Recogniser(seen, expected).matches(digest, exactly=True)

    assert taken(parameter_weight=1, buffer_bias=1)
    assert not taken(parameter_weight=1)
    assert not taken(buffer_bias=1)
    assert not taken(parameter_weight=1, parameter_bias=1, buffer_bias=1)
    assert not taken(parameter_weight=1, buffer_bias=1, buffer_more=1)


def test_a_case_that_the_mistake_gets_right_must_be_right():
    assert digest_case(EXPECTED, EXPECTED) == {}
    assert is_taken_for(T([0.0]), T([0.0]))
    assert not is_taken_for(T([1.0]), T([0.0]))


def raised(kind, message="", *bases):
    return {"raised": {"type": kind, "bases": [*bases], "message": message, "line": ""}}


def test_an_exception_is_recognised_by_its_class_and_its_words():
    digest = digest_case(raised("TypeError", "takes 2 arguments"), EXPECTED)
    taken = lambda seen, to=EXPECTED: Recogniser(seen, to).matches(digest, exactly=True)  # noqa: E731
    assert taken(raised("TypeError", "takes 3 arguments"))
    assert taken(raised("Special", "takes 3 arguments", "TypeError"))
    assert not taken(raised("TypeError", "needs 3 arguments"))
    assert not taken(raised("ValueError", "takes 2 arguments"))
    assert not taken({"output": T([1.0])})
    assert not taken(EXPECTED)


def test_where_an_exception_is_right_its_words_do_not_count():
    right = raised("ValueError", "not finite", "Exception")
    assert digest_case(raised("ValueError", "mine"), right) == {}
    wrong = digest_case(raised("TypeError", "mine"), right)
    assert Recogniser(raised("TypeError", "yours"), right).matches(wrong, exactly=True)
    silent = digest_case({"output": T([1.0])}, right)
    assert Recogniser({"output": T([1.0])}, right).matches(silent, exactly=True)
    assert not Recogniser(raised("TypeError"), right).matches(silent, exactly=True)


def test_of_accidental_values_only_the_keys_count():
    expected = {"spread.smallest.weight": T(0.0), "spread.largest.weight": T(1.0)}
    digest = digest_case({"spread.smallest.weight": T(-1.0), "spread.largest.weight": T(1.0)}, expected)

    def taken(smallest, largest, exactly=False):
        seen = {"spread.smallest.weight": T(smallest), "spread.largest.weight": T(largest)}
        return Recogniser(seen, expected).matches(digest, exactly=exactly)

    assert taken(-2.0, 1.0)
    assert not taken(-2.0, 1.0, exactly=True)
    assert not taken(-2.0, 2.0)
    assert not taken(0.0, 1.0)


def test_a_digest_is_small_and_says_the_same_after_rounding():
    mistake = numbers((20, 20), torch.float32, 1)
    digest = digest_case({"output": mistake}, EXPECTED)
    assert len(digest["output"].numbers) == PROJECTIONS
    assert same_digests(digest, digest_case({"output": mistake * (1 + 1e-7)}, EXPECTED))
    assert not same_digests(digest, digest_case({"output": mistake * 1.01}, EXPECTED))
    assert not same_digests(digest, {"output": None})
    assert not same_digests(digest, {})
