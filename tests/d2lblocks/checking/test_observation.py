"""Observations: what is written is what is read, and nothing that a stranger writes gets through or hurts."""

import base64
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2lblocks.checking import observation
from d2lblocks.checking.compare import compare
from d2lblocks.checking.observation import BadObservation, decode, encode

DTYPES = list(observation._DTYPES.values())

shapes = st.lists(st.integers(0, 4), max_size=4)
plain = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20) | st.floats()
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@given(values)
def test_plain_data_survive(value):
    read = decode(json.loads(json.dumps(encode(value), allow_nan=False)))
    assert read == value or any(isinstance(x, float) and math.isnan(x) for x in _leaves(value))


def _leaves(value):
    if isinstance(value, list):
        return [leaf for member in value for leaf in _leaves(member)]
    if isinstance(value, dict):
        return [leaf for member in value.values() for leaf in _leaves(member)]
    return [value]


@given(shapes, st.sampled_from(DTYPES), st.integers(0, 99))
def test_tensors_survive_bit_by_bit(shape, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randint(0, 2, shape, generator=generator).to(dtype)
    read = decode(json.loads(json.dumps(encode({"t": tensor}))))["t"]
    assert read.dtype == dtype
    assert read.shape == tensor.shape
    assert torch.equal(read, tensor)


def test_nan_and_infinity_survive():
    tensor = torch.tensor([math.nan, math.inf, -math.inf])
    assert torch.equal(decode(encode(tensor)).isnan(), tensor.isnan())
    assert decode(encode(-math.inf)) == -math.inf
    assert math.isnan(decode(encode(math.nan)))


def test_views_are_written_as_what_they_show():
    base = torch.arange(12.0).reshape(3, 4)
    for view in (base.T, base[:, ::2], torch.ones(1).expand(5), torch.tensor([1 + 2j]).conj()):
        assert torch.equal(decode(encode(view)), view.resolve_conj())


@pytest.mark.parametrize(
    "hostile",
    [
        object(),
        {"a": lambda: 0},
        torch.ones(1, device="meta"),
        torch.eye(3).to_sparse(),
        torch.ones(()).expand(10**8),
        [0] * 10**5,
        {str(i): 0 for i in range(10**4)},
    ],
    ids=["object", "function", "meta", "sparse", "expanded", "long list", "large dict"],
)
def test_what_is_not_an_observation_is_refused(hostile):
    with pytest.raises(BadObservation):
        encode(hostile)


def test_deep_nesting_is_refused_on_both_sides():
    deep = form = 0
    for _ in range(100):
        deep, form = [deep], [form]
    for function, value in ((encode, deep), (decode, form)):
        with pytest.raises(BadObservation):
            function(value)


def test_a_long_string_is_cut():
    assert len(encode("x" * 10**7)) == observation.MAX_CHARACTERS


GOOD = {"dtype": "float32", "shape": [2], "data": base64.b64encode(bytes(8)).decode()}


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float33"},
        {"shape": [3]},
        {"shape": [-2]},
        {"shape": [True, 2]},
        {"shape": ["2"]},
        {"shape": 2},
        {"shape": [2**62, 2**62, 0]},
        {"data": "not base64!"},
        {"data": 5},
        {"dtype": "bool", "shape": [8], "data": base64.b64encode(bytes([7] * 8)).decode()},
    ],
    ids=str,
)
def test_a_forged_tensor_is_refused(change):
    with pytest.raises(BadObservation):
        decode({"tensor": GOOD | change})
    assert decode({"tensor": GOOD}).tolist() == [0, 0]


forms = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["tensor", "dict", "float", "dtype", "shape", "data", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(max_examples=2000)
@given(forms)
def test_whatever_a_stranger_sends_is_read_or_refused_and_never_passes(form):
    try:
        value = decode(form)
    except BadObservation:
        return
    assert list(compare(value, {"output": torch.ones(2)}))
