"""`HalfFourier`: the first half of the discrete Fourier transform."""

from __future__ import annotations

from random import Random
from textwrap import indent

import torch
from torch import Tensor, nn

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

CHAPTER = "custom_layers.html#custom-layers"


class HalfFourier(nn.Module):
    """The first `n // 2` Fourier coefficients of the last dimension; ``(..., n) -> (..., n // 2)``, complex."""

    def forward(self, X: Tensor) -> Tensor:
        return torch.fft.fft(X, dim=-1)[..., : X.shape[-1] // 2]


def signal(label: str, shape: tuple[int, ...], seed: int, dtype: str = "float32", group: str = "main") -> Case:
    """The layer on random signals, whose mean is not zero."""
    inputs = (0.3 + 0.5 * normal(*shape, seed=seed, dtype=dtype),)
    return Case(label, "answer()", inputs, dtype=dtype, seed=seed, group=group)


def inside(label: str, sizes: tuple[int, int, int], seed: int) -> Case:
    """The layer behind one that learns: its input has a history."""
    batch, inputs, outputs = sizes
    build = f"nn.Sequential(first := nn.Linear({inputs}, {outputs}), answer())"
    return Case(label, build, (normal(batch, inputs, seed=seed),), seed=seed, group="inside")


def secret(draw: Random) -> list[Case]:
    """Other lengths, even and odd, the leading dimensions different from them and from their half."""
    even, odd = draw.choice((4, 6, 8)), draw.choice((5, 7, 9))
    batch, extra = draw.sample((2, 11, 12), 2)
    seed = draw.randrange(10**6)
    return [
        signal("a batch, even length", (batch, even), seed),
        signal("a batch, odd length", (batch, odd), seed + 1),
        signal("one signal, odd length", (odd,), seed + 2),
        signal("two numbers", (batch, 2), seed + 3),
        signal("three leading dimensions", (extra, 1, 3, even), seed + 4),
        signal("float64, even length", (batch, even), seed + 5, "float64", "double"),
        signal("float64, odd length", (extra, 2, odd), seed + 6, "float64", "double"),
        signal("batches of one number", (batch, extra, 1), seed + 7, group="short"),
        inside("behind a layer that learns", (batch, 4, odd), seed + 8),
    ]


def forward(body: str) -> str:
    """An answer with this body of `forward`."""
    return f"class HalfFourier(nn.Module):\n    def forward(self, X):\n{indent(body, ' ' * 8)}\n"


WRONG = {"values", "precision", "gradients"}
EVERYTHING = {"values", "precision", "short", "gradients", "side_effects"}

MISTAKES = (
    Mistake(
        id="slices_batch",
        title="`[: n // 2]` slices the batch",
        source=forward("n = X.shape[-1]\nreturn torch.fft.fft(X)[: n // 2]"),
        fails=WRONG | {"short"},
        message="For a batch, some samples are missing and every signal still has all its coefficients: a slice "
        "without `...` acts on the first dimension. For a single signal the first dimension happens to be the last.",
        why="Indices are read from the left, and the dimensions that are not named are taken whole.",
        remedy="`...` in an index stands for all leading dimensions; what follows it counts from the right.",
        see=f"{CHAPTER}-fft",
    ),
    Mistake(
        id="all_of_rfft",
        title="All of `rfft`",
        source=forward("return torch.fft.rfft(X)"),
        fails=WRONG | {"short"},
        message="One coefficient too many: `rfft` gives `n // 2 + 1` of them. Here the last one is not wanted.",
        why="Of real input the other coefficients can be computed from these, so `rfft` keeps just what cannot be "
        "spared: for even n the numbers 0 to n/2, both ends included.",
        remedy="Cut off what is too much, along the last dimension.",
        see=f"{CHAPTER}-fft",
    ),
    Mistake(
        id="rounded_up",
        title="`(n + 1) // 2`: half, rounded up",
        source=forward("n = X.shape[-1]\nreturn torch.fft.fft(X)[..., : (n + 1) // 2]"),
        fails=WRONG | {"short"},
        message="For an odd number of entries there is one coefficient too many: half of n is rounded *down* here. A "
        "signal of 5 numbers has 2 coefficients, one of 1 number has none.",
        why="For even lengths the two agree, and one tends to test with 8 and 16.",
        remedy="`n // 2` rounds down. Try an odd length.",
        see=f"{CHAPTER}-fft",
    ),
    Mistake(
        id="magnitude",
        title="`.abs()`: the phase is lost",
        source=forward("n = X.shape[-1]\nreturn torch.fft.fft(X)[..., : n // 2].abs()"),
        fails=WRONG | {"short"},
        message="The output is real: `.abs()` keeps how strong each wave is and throws away where it starts. The "
        "layer gives the complex coefficients themselves.",
        why="Plots of a spectrum show magnitudes, so `.abs()` is easily copied along. Where a wave starts is its "
        "phase.",
        remedy="Return the complex tensor. float32 input gives complex64, float64 gives complex128.",
        see=f"{CHAPTER}-fft",
    ),
    Mistake(
        id="real_part",
        title="`.real`: the sines are lost",
        source=forward("n = X.shape[-1]\nreturn torch.fft.fft(X)[..., : n // 2].real"),
        fails=WRONG | {"short"},
        message="The output is real: `.real` keeps the cosines and throws away the sines. The layer gives the "
        "complex coefficients themselves.",
        why="The real part measures a cosine, the imaginary part a sine. A signal that is a pure sine would vanish.",
        remedy="Return the complex tensor. float32 input gives complex64, float64 gives complex128.",
        see=f"{CHAPTER}-fft",
    ),
    Mistake(
        id="wrong_sign",
        title="The wrong sign in the exponent",
        source=forward("n = X.shape[-1]\nreturn n * torch.fft.ifft(X)[..., : n // 2]"),
        fails=WRONG,
        message="Every coefficient is the complex conjugate of the right one: the exponent has a plus where the "
        "formula has a minus. That is the *inverse* transform, up to a factor.",
        why="Forward and inverse transform differ in the sign of the exponent and a factor 1/n. Magnitudes agree, so "
        "a plot of the spectrum looks right.",
        remedy="Compare the imaginary parts with those of the example.",
        see=f"{CHAPTER}-fft",
    ),
    Mistake(
        id="normalised",
        title='`norm="ortho"`',
        source=forward('n = X.shape[-1]\nreturn torch.fft.fft(X, norm="ortho")[..., : n // 2]'),
        fails=WRONG,
        message="All coefficients are too small by the factor √n: this transform is normalised. The contract asks "
        "for the sum as it stands, so that coefficient 0 is the sum of the entries.",
        why="There are three conventions for the factor: none, 1/√n, and 1/n. PyTorch's default is none.",
        remedy="Leave `norm` out.",
        see=f"{CHAPTER}-fft",
    ),
    Mistake(
        id="first_half_of_signal",
        title="`fft(X, n // 2)`: half of the signal",
        source=forward("n = X.shape[-1]\nreturn torch.fft.fft(X, n // 2)"),
        fails=WRONG | {"short"},
        message="The shape is right, but the second half of the signal has no influence: the second argument of "
        "`fft` cuts the *input*. Every coefficient depends on all n entries.",
        why="`torch.fft.fft(X, n)` first cuts or pads the signal to length n, and then transforms that.",
        remedy="Transform the whole signal, and slice the result.",
        see=f"{CHAPTER}-fft",
    ),
    Mistake(
        id="wrong_dimension",
        title="`dim=0`: transformed along the batch",
        source=forward("n = X.shape[-1]\nreturn torch.fft.fft(X, dim=0)[..., : n // 2]"),
        fails=WRONG,
        message="For a batch, the transform runs along the samples and mixes them: that is `dim=0`. Every signal "
        "lies along the last dimension and is transformed on its own.",
        why="For a single signal the first dimension is the last, so a test with one vector passes. (`fftn` and "
        "`fft2` mix samples in the same way.)",
        remedy="The default of `torch.fft.fft` is the last dimension.",
        see=f"{CHAPTER}-checking",
    ),
    Mistake(
        id="without_the_mean",
        title="Begins at coefficient 1",
        source=forward("n = X.shape[-1]\nreturn torch.fft.fft(X)[..., 1 : n // 2 + 1]"),
        fails=WRONG,
        message="The coefficients are shifted by one place: these are the numbers 1 to n // 2. The first one that is "
        "asked for has the number 0; it is the sum of the entries.",
        why="Coefficient 0 belongs to the constant, which does not look like a wave, but is one of the n.",
        remedy="Begin the slice at the beginning.",
        see=f"{CHAPTER}-fft",
    ),
    Mistake(
        id="single_precision",
        title="complex64, whatever comes in",
        source=forward("n = X.shape[-1]\nreturn torch.fft.fft(X)[..., : n // 2].to(torch.complex64)"),
        fails={"precision"},
        message="float64 input gives complex64: half of the digits are thrown away. The output's dtype has to follow "
        "the input's.",
        why="A dtype that is written into `forward` overrules the user who asked for double precision, as "
        "`gradcheck` does.",
        remedy="Name no dtype; or take it from the input (`X.dtype`).",
        see=f"{CHAPTER}-checking",
    ),
    Mistake(
        id="single_precision_angles",
        title="Angles in single precision",
        source=forward(
            "n = X.shape[-1]\n"
            "t, k = torch.arange(n), torch.arange(n // 2)\n"
            "angle = 2 * torch.pi * t[:, None] * k / n\n"
            "return torch.complex(X @ angle.cos().to(X.dtype), -(X @ angle.sin().to(X.dtype)))"
        ),
        fails={"precision"},
        message="For float64 input the output is complex128, but only its first seven digits are right: somewhere on "
        "the way the numbers were float32. Integers times `torch.pi` give float32.",
        why="An integer tensor times a Python float becomes a tensor of the *default* dtype. A later cast does not "
        "bring the lost digits back.",
        remedy="Make the angles in the input's dtype from the beginning: `torch.arange(n, dtype=X.dtype)`.",
        see=f"{CHAPTER}-checking",
    ),
    Mistake(
        id="loop_without_a_first",
        title="`torch.stack` of nothing",
        source=forward(
            "n = X.shape[-1]\n"
            "t = torch.arange(n, dtype=X.dtype)\n"
            "waves = [torch.exp(-2j * torch.pi * t * k / n) for k in range(n // 2)]\n"
            "return torch.stack([(X * wave).sum(-1) for wave in waves], dim=-1)"
        ),
        fails={"short"},
        message="A signal of a single number raises an error, where the output should be empty, of shape `(..., 0)`. "
        "`torch.stack` cannot know what shape nothing has.",
        why="`n // 2` is 0 for n = 1, so the list is empty. (`split(n // 2, -1)[0]` fails at the same place.)",
        remedy="An operation on whole tensors knows the shape of an empty result: a slice `[..., :0]`, or a product "
        "with a matrix that has no columns.",
        see=f"{CHAPTER}-fft",
    ),
    Mistake(
        id="detached",
        title="`X.detach()` before the transform",
        source=forward("n = X.shape[-1]\nreturn torch.fft.fft(X.detach())[..., : n // 2]"),
        fails={"gradients"},
        message="The values are right, but the input receives no gradient: `.detach()` cuts it off. Autograd knows "
        "the derivative of `torch.fft`, complex numbers included.",
        why="Everything before this layer would stop learning, without an error. NumPy's FFT cuts in the same way, "
        "because the numbers leave PyTorch.",
        remedy="Hand the tensor itself to `torch.fft`.",
        see=f"{CHAPTER}-cuts",
    ),
    Mistake(
        id="keeps_spectrum",
        title="The spectrum kept as an attribute",
        source=forward("self.spectrum = torch.fft.fft(X)\nreturn self.spectrum[..., : X.shape[-1] // 2]"),
        fails={"side_effects"},
        message="An attribute keeps the spectrum of the last call, and with it the graph of everything before. So a "
        "network with this layer can no longer be copied with `copy.deepcopy`; use a local variable.",
        why="The spectrum comes from a layer that learns, so it has a history, and `deepcopy` refuses to copy that.",
        remedy="`spectrum = ...` without `self.`; to look at it from outside, use a forward hook.",
        see=f"{CHAPTER}-hooks",
    ),
    Mistake(
        id="window_in_place",
        title="Two at once: a window, and in place",
        source=forward(
            "n = X.shape[-1]\nX *= torch.hann_window(n, dtype=X.dtype)\nreturn torch.fft.fft(X)[..., : n // 2]"
        ),
        fails=WRONG | {"side_effects"},
        message="Two things at once: the signal is multiplied by a window, which the formula does not have, and `*=` "
        "writes it into the caller's tensor. Neither is asked for.",
        why="A window softens the ends of a signal before a transform, a good habit elsewhere. In place it changes "
        "the data set: the second epoch gets a signal that was softened twice.",
        remedy="Transform the input as it is.",
        see=f"{CHAPTER}-callers-input",
    ),
)

ALTERNATIVES = {
    "rfft": forward("return torch.fft.rfft(X)[..., :-1]"),
    "narrow": forward(
        "spectrum = torch.fft.fft(X.to(X.dtype.to_complex()))\nreturn spectrum.narrow(-1, 0, X.size(-1) // 2)"
    ),
    "matrix": """\
class HalfFourier(nn.Module):
    def forward(self, X):
        n = X.shape[-1]
        t = torch.arange(n, dtype=X.dtype, device=X.device)
        angle = 2 * torch.pi / n * torch.outer(t, t[: n // 2])
        return torch.complex(X @ angle.cos(), -(X @ angle.sin()))
""",
    "einsum": """\
def roots_of_unity(n, dtype):
    turns = torch.arange(n).unsqueeze(-1) * torch.arange(n // 2) % n / n
    return torch.exp(-2j * torch.pi * turns.to(dtype))


class HalfFourier(nn.Module):
    def forward(self, X):
        n = X.shape[-1]
        turns = (torch.arange(n).unsqueeze(-1) * torch.arange(n // 2)) % n
        wave = torch.polar(torch.ones_like(turns, dtype=X.dtype), -2 * torch.pi * turns.to(X.dtype) / n)
        return torch.einsum("...t,tk->...k", X.to(wave.dtype), wave)
""",
    "stack_of_two": """\
class HalfFourier(nn.Identity):
    def forward(self, X):
        half = torch.fft.rfft(super().forward(X), dim=-1)
        parts = torch.stack([half.real, half.imag], dim=-1)[..., : X.shape[-1] // 2, :]
        return torch.view_as_complex(parts.contiguous())
""",
    "vmap": forward(
        "n = X.shape[-1]\nif X.dim() == 1:\n    return torch.fft.fft(X)[: n // 2]\nreturn torch.vmap(self)(X)"
    ),
    "hook": """\
class HalfFourier(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_forward_hook(lambda module, args, output: output[..., : args[0].shape[-1] // 2])

    def forward(self, X):
        return torch.fft.fft(X, dim=-1)
""",
    "fast_by_hand": """\
def fft(X):
    n = X.shape[-1]
    k = torch.arange(n, dtype=X.real.dtype)
    if n % 2:
        angle = -2 * torch.pi / n * torch.outer(k, k)
        return X @ torch.polar(torch.ones_like(angle), angle)
    even, odd = fft(X[..., 0::2]), fft(X[..., 1::2])
    angle = -2 * torch.pi / n * k[: n // 2]
    odd = odd * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([even + odd, even - odd], dim=-1)


class HalfFourier(nn.Module):
    def forward(self, X):
        return fft(torch.complex(X, torch.zeros_like(X)))[..., : X.shape[-1] // 2]
""",
}

VALUES = {
    "output: dtype": "The coefficients are complex: neither their real part nor their magnitude.",
    "output: shape": "`(..., n) -> (..., n // 2)`: which dimension is sliced, and how is n // 2 rounded?",
    "output: values": "Unnormalised, beginning with coefficient 0, along the last dimension.",
}
PRECISION = {
    "output: dtype": "The dtype follows the input's: complex64 from float32, complex128 from float64.",
    "output: values": "If float32 is right: was something on the way computed in single precision?",
}
SHORT = {"output: shape": "1 // 2 is 0: the output has shape `(..., 0)`."}
CUT = {"gradient.input.*: none": "Something in `forward` cuts it off: is there a `.data` or `.detach()`?"}
TRACES = {
    "change.input: *": "Does an operator ending in `_`, or `*=`, write into the caller's tensor?",
    "raised: *deepcopy*": "Does an attribute of `self` keep a tensor from the last call?",
}
CALLS = ("main", "inside")

TASK = ExerciseSource(
    name="half_fourier",
    defines="HalfFourier",
    reference=HalfFourier,
    checks=(
        Check("values", "The first n // 2 coefficients", 2, "values", VALUES),
        Check("precision", "complex128 from float64, to all its digits", 1, "values", PRECISION, ("double",)),
        Check("short", "A signal of one number has no coefficients", 1, "values", SHORT, ("short",)),
        Check("gradients", "Gradients flow back into the signal", 1, "gradients", CUT),
        Check(
            "side_effects",
            "A call leaves its input as it was, and the layer can be copied",
            1,
            "side_effects",
            TRACES,
            CALLS,
        ),
    ),
    public=(
        signal("a batch of 3, even length", (3, 8), 800),
        signal("a batch of 2, odd length", (2, 5), 801),
        signal("one signal", (6,), 802),
        signal("two leading dimensions, float64", (2, 4, 7), 803, "float64", "double"),
        signal("signals of one number", (3, 1), 804, group="short"),
        inside("behind a layer that learns", (3, 2, 6), 805),
    ),
    secret=secret,
    mistakes=MISTAKES,
    alternatives=ALTERNATIVES,
)
