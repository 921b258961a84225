"""Call an answer's module on a case: the parts of which probes are made.

In: a module that `case.build` made, and its case. Out: tensors, and numbers that are computed from them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2lblocks.checking.case import Built, Case, seed_everything
from d2lblocks.checking.observation import FailureKind


def fresh_inputs(case: Case, *, requires_grad: bool = False) -> tuple[Tensor, ...]:
    """Copies of a case's inputs."""
    return tuple(
        t.clone().requires_grad_(requires_grad and (t.is_floating_point() or t.is_complex())) for t in case.inputs
    )


def call(module: Any, case: Case, inputs: Sequence[Tensor] | None = None) -> Any:
    """Call the module on copies of the case's inputs, or on those given."""
    seed_everything(case.seed)
    return module(*(fresh_inputs(case) if inputs is None else inputs))


def tensors_in(output: Any) -> Iterator[Tensor]:
    """The tensors in what a call returned: it may be a tensor, or tuples, lists and dicts of them."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, list | tuple):
        for member in output:
            yield from tensors_in(member)
    elif isinstance(output, dict):
        for member in output.values():
            yield from tensors_in(member)


class NoTensorReturned(TypeError):
    """A call returned no tensor where the probe needs one.

    Args:
        output: what it returned; its type is the message.
    """

    def __init__(self, output: object) -> None:
        super().__init__("None" if output is None else f"a {type(output).__name__}")
        self.kind = FailureKind.RETURNED_NONE if output is None else FailureKind.RETURNED_NO_TENSOR


def call_for_tensors(module: Any, case: Case, inputs: Sequence[Tensor] | None = None) -> list[Tensor]:
    """`call`, for a probe that computes with the result.

    Raises:
        NoTensorReturned: there is no tensor in the result.
    """
    output = call(module, case, inputs)
    found = list(tensors_in(output))
    if not found:
        raise NoTensorReturned(output)
    return found


def along_a_direction(outputs: Sequence[Tensor], seed: int) -> Tensor | None:
    """A number to differentiate: the outputs, weighted by fixed random numbers. None if none requires a gradient."""
    generator = torch.Generator().manual_seed(seed + 1)
    total = None
    for output in outputs:
        direction = torch.randn(output.shape, generator=generator, dtype=torch.float64)
        if output.requires_grad:
            if output.is_complex():  # both parts count, with weights of their own
                other = torch.randn(output.shape, generator=generator, dtype=torch.float64)
                term = (output.real * direction).sum() + (output.imag * other).sum()
            else:
                term = (output * direction.to(output.dtype)).sum()
            total = term if total is None else total + term
    return total


def distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """The largest difference between two lists of tensors, as a number of their dtype.

    It is nan if one entry is, and infinite if the shapes differ.
    """
    if any(a.shape != b.shape for a, b in zip(one, other, strict=True)):
        return torch.tensor(math.inf)
    gaps = [(a.detach() - b.detach()).abs().max() for a, b in zip(one, other, strict=True) if a.numel() and b.numel()]
    return torch.stack(gaps).max() if gaps else torch.zeros(())


def detached(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Copies that nothing which happens later can change."""
    return [output.detach().clone() for output in outputs]


def evaluating(built: Built) -> Built:
    """Switch the module to evaluation mode; the parts only as far as they are registered in it."""
    if isinstance(built.module, nn.Module):
        built.module.eval()
    return built
