"""What an answer is tried on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from d2lblocks.checking.observations import BadObservation, decode, encode


@dataclass(frozen=True)
class Case:
    """One trial of an answer: how the module is made, which numbers are loaded into it, what it is called with.

    Attributes:
        label: what is special about it, for a student's eyes: ``"a batch of 5"``.
        build: a Python expression that makes the module from `answer`, the student's class or function; it may use
            `torch` and `nn`: ``"answer(4, 3)"``.
        inputs: what the module is called with.
        state: numbers that are copied into the module's tensors of these names before anything else, so that what
            it computes can be foretold.
        dtype: the dtype to which the module is cast, ``"float32"`` or ``"float64"``; that of `inputs`.
        seed: of PyTorch's generator, before the module is made and again before it is called.
    """

    label: str
    build: str
    inputs: tuple[Tensor, ...] = ()
    state: dict[str, Tensor] = field(default_factory=dict)
    dtype: str = "float32"
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """This case as JSON."""
        return {
            "label": self.label,
            "build": self.build,
            "inputs": encode(list(self.inputs)),
            "state": encode(self.state),
            "dtype": self.dtype,
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> Case:
        """The case that `to_json` wrote.

        Raises:
            BadObservation: `inputs` or `state` hold something else than tensors.
        """
        inputs, state = decode(form["inputs"]), decode(form["state"])
        if not (isinstance(inputs, list) and isinstance(state, dict)):
            raise BadObservation("a case has a list of inputs and a dict as state")
        if not all(isinstance(t, Tensor) for t in (*inputs, *state.values())):
            raise BadObservation("inputs and state of a case are tensors")
        return cls(
            label=form["label"],
            build=form["build"],
            inputs=tuple(t for t in inputs if isinstance(t, Tensor)),
            state={k: t for k, t in state.items() if isinstance(t, Tensor)},
            dtype=form["dtype"],
            seed=form["seed"],
        )


def normal(*shape: int, seed: int, dtype: str = "float32") -> Tensor:
    """Standard normal numbers, the same on every machine, for the inputs and the state of a case.

    Drawn in float64 and then rounded, so that the two dtypes try an answer on the same numbers.

    Args:
        *shape: of the result.
        seed: of a generator of its own; PyTorch's global one is left alone.
        dtype: ``"float32"`` or ``"float64"``.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(getattr(torch, dtype))
