"""A plain number is compared as a tensor that holds this number alone."""

import math
from itertools import product

import pytest
import torch

from d2lblocks.checking.compare import compare
from d2lblocks.checking.observation import MAX_BITS, BadObservation, decode, encode

SPECIAL = (0.0, -0.0, 1.0, -1.0, 1.0 + 3e-6, 1.0 + 1e-3, 1e-7, 1e-4, 5e-324, 1e30, math.nan, math.inf, -math.inf)


def kinds(observed, expected):
    return [difference.kind for difference in compare({"output": observed}, {"output": expected})]


@pytest.mark.parametrize(("observed", "expected"), [*product(SPECIAL, SPECIAL)])
def test_two_plain_numbers_and_two_tensors_agree_or_differ_alike(observed, expected):
    one, other = torch.tensor(observed), torch.tensor(expected)
    as_tensors = kinds(one, other)
    assert kinds(observed, expected) == as_tensors
    assert kinds([observed, None], [expected, None]) == as_tensors  # in a list, too
    assert kinds({"deeper": observed}, {"deeper": expected}) == as_tensors
    assert kinds(torch.complex(one, torch.zeros(())), torch.complex(other, torch.zeros(()))) == as_tensors


@pytest.mark.parametrize("number", SPECIAL)
def test_a_number_agrees_with_itself_after_its_way_as_json(number):
    assert not kinds(decode(encode(number)), number)


def test_infinities_and_nans_of_every_dtype_agree_with_themselves():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128):
        tensor = torch.tensor([math.nan, math.inf, -math.inf, -0.0]).to(dtype)
        assert not kinds(tensor, tensor.clone())


@pytest.mark.parametrize(
    ("observed", "expected", "words"),
    [
        (1, 1.0, "The output is 1; the reference's is 1.0."),
        (True, 1, "The output is True; the reference's is 1."),
        ("1", 1, "The output is 1 (of type str); the reference's is 1 (of type int)."),
        (0.123456, 0.123556, "The output is 0.1235; the reference's is 0.1236."),
        (math.nan, 1.5, "The output is nan; the reference's is 1.5."),
        ([1, 1], [1, True], "The output is (1, 1); the reference's is (1, True)."),
        (["1"], ["1", "1"], "The output is [1]; the reference's is [1, 1]."),
    ],
)
def test_a_message_shows_a_difference(observed, expected, words):
    (difference,) = compare({"output": observed}, {"output": expected})
    assert str(difference) == words


def test_a_number_that_no_message_can_hold_is_refused():
    assert decode(encode(2**MAX_BITS - 1)) == 2**MAX_BITS - 1
    for refuse in (encode, decode):
        with pytest.raises(BadObservation, match="bits"):
            refuse(-(10**5000))
