"""`PairwiseDistance`: all distances between two sets of points, without a loop and without nan."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor, nn

from grader.authoring.exercise import Case, Check, Mistake, ExerciseSource, normal

VECTORISE = "performance.html#performance-vectorise"
BROADCAST = "performance.html#performance-broadcast"
AUTOGRAD = "performance.html#performance-autograd"


class PairwiseDistance(nn.Module):
    """Euclidean distances between the rows of two matrices."""

    def forward(self, A: Tensor, B: Tensor) -> Tensor:
        """``(n, d), (m, d) -> (n, m)``."""
        # The gradient of a norm at zero is defined as zero in PyTorch; that of a square root is infinite.
        return torch.linalg.vector_norm(A[:, None] - B, dim=-1)


# --- what it is tried on ------------------------------------------------------------------------------------------


def apart(n: int, m: int, d: int, seed: int, dtype: str = "float32") -> tuple[Tensor, Tensor]:
    """Two sets of points of which no two are close, so that |a|² + |b|² - 2ab loses no digits on them."""
    A, B = normal(n, d, seed=seed, dtype=dtype).tanh(), normal(m, d, seed=seed + 1, dtype=dtype).tanh()
    return A, B + 3 * normal(d, seed=seed + 2, dtype=dtype).sign()


def points(label: str, sizes: tuple[int, int, int], seed: int, dtype: str = "float32", group: str = "main") -> Case:
    """The layer on points that lie apart."""
    return Case(label, "answer()", apart(*sizes, seed, dtype), dtype=dtype, seed=seed, group=group)


# Where points coincide the numbers depend on how a right answer avoids nan. That they are finite does not.
COINCIDING = """\
def trial(A, B):
    A.requires_grad_()
    B.requires_grad_()
    D = answer()(A, B)
    if D.requires_grad:
        D.sum().backward()
    gradients = [t.grad for t in (A, B) if t.grad is not None]
    return {
        "answer to whether every distance is finite": bool(D.isfinite().all()),
        "answer to whether every gradient is finite": all(bool(g.isfinite().all()) for g in gradients),
        "answer to whether the distance of a point from itself is below 0.01": bool(D[0, 1] < 0.01),
    }
"""


def growing(n: int, m: int, d: int, seed: int) -> Case:
    """So few points that four times as many are fewer than 26, from which on `torch.cdist` goes another way."""
    return Case(f"from {n} and {m} points", "answer()", apart(n, m, d, seed), seed=seed, group="growing")


def coinciding(label: str, A: Tensor, seed: int) -> Case:
    """Points, and the same points in another order: the first of `A` is the second of `B`."""
    return Case(label, f"{COINCIDING}\ntrial", (A, A.roll(1, 0).clone()), seed=seed, group="coinciding")


def secret(draw: Random) -> list[Case]:
    """Other sizes, more points of the one or of the other set, one point, one dimension, none."""
    n, m, d = draw.sample(range(2, 7), 3)
    seed = draw.randrange(10**6)
    return [
        points("more points in A", (n + 5, m, d), seed),
        points("more points in B", (n, m + 5, d), seed + 10),
        points("many points", (40, 30 + n, d), seed + 20),
        points("one point each", (1, 1, d), seed + 30),
        points("numbers", (n, m, 1), seed + 40),
        points("no points in B", (n, 0, d), seed + 50, group="empty"),
        growing(n, m, d, seed + 55),
        growing(m, n, d + 20, seed + 57),
        points("float64", (n, m, d), seed + 60, "float64", "float64"),
        points("many points, float64", (40, 50, d), seed + 70, "float64", "float64"),
        coinciding("the same points, many", normal(30 + n, d, seed=seed + 80), seed),
        coinciding("the same points, float64", normal(n, d, seed=seed + 90, dtype="float64"), seed),
    ]


TASK = ExerciseSource(
    name="pairwise_distance",
    defines="PairwiseDistance",
    reference=PairwiseDistance,
    checks=(
        Check(
            "values",
            "All distances are right",
            1,
            "values",
            hints={
                "output: shape": "Row i, column j is the distance of `A[i]` from `B[j]`: `(n, m)`.",
                "output: values": "Euclidean: the root of the sum of squares, over the last dimension.",
            },
            on=("main", "empty"),
        ),
        Check(
            "operators",
            "The number of operators does not grow with the points",
            2,
            "growth",
            hints={
                "growth.*: *": "A Python loop dispatches for every turn; broadcasting, or a matrix "
                "product, does it once."
            },
            on=("growing",),
        ),
        Check(
            "side_effects",
            "The inputs are left as they were",
            1,
            "side_effects",
            hints={"change.input: *": "Which operator ends in `_`, or in `=`?"},
        ),
        Check(
            "gradients",
            "Gradients reach both sets",
            1,
            "gradients",
            hints={"gradient.input.*: none": "What cuts it off: `.detach()`, `.data`, `no_grad`?"},
        ),
        Check(
            "coinciding",
            "Finite distances and gradients where points coincide",
            2,
            "values",
            hints={
                "output.answer to whether every gradient*: *": "The slope of a square root at zero is infinite, and "
                "infinity times zero is nan.",
                "output.answer to whether every distance*: *": "Rounding makes a zero slightly negative; what is its "
                "root?",
            },
            on=("coinciding",),
        ),
        Check(
            "float64",
            "In float64 eight digits are right",
            1,
            "values",
            hints={
                "output: values": "Is there an epsilon that is too large for float64?",
                "output: dtype": "The output has the dtype of the input.",
            },
            on=("float64",),
        ),
    ),
    public=(
        points("four points and three, in the plane", (4, 3, 2), 100),
        points("two points and five, five dimensions", (2, 5, 5), 200),
        points("more than 25 points", (30, 28, 3), 300),
        points("float64", (3, 5, 4), 400, "float64", "float64"),
        growing(4, 3, 2, 450),
        growing(2, 6, 5, 460),
        # Whole numbers, so that |a|² + |b|² - 2ab is exactly zero, on every machine.
        coinciding("the same four points", torch.tensor([[0.0, 0], [1, 2], [3, -1], [-2, 2]]), 500),
        # And so many others that it is negative for some of them, on every machine.
        coinciding("the same forty points", normal(40, 3, seed=600), 600),
    ),
    secret=secret,
    mistakes=(
        Mistake(
            "row_loop",
            "A loop over the points",
            """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        return torch.stack([torch.linalg.vector_norm(a - B, dim=-1) for a in A])
""",
            {"operators"},
            "The values are right, but the loop over the rows of `A` dispatches its operators once for each. A new "
            "dimension lets one subtraction do all pairs: `A[:, None]` has shape (n, 1, d).",
            "Python repeats the body n times, and each turn dispatches anew. On small rows nearly all of the time "
            "goes into that.",
            "Broadcast, `A[:, None] - B`, or use a matrix product or `torch.cdist`.",
            VECTORISE,
        ),
        Mistake(
            "filled_entries",
            "A result that is filled in entry by entry",
            """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        D = torch.zeros(len(A), len(B))
        for i in range(len(A)):
            for j in range(len(B)):
                D[i, j] = torch.linalg.vector_norm(A[i] - B[j])
        return D
""",
            {"operators", "float64"},
            "Two loops write the entries one by one, so the operators grow with n times m, and `torch.zeros` "
            "without a dtype makes the result float32. Compute all pairs in one expression; its dtype is then that "
            "of the points.",
            "A loop over tensor entries is the slowest thing one can write in PyTorch: a few operators for each "
            "single number, in the backward pass once more.",
            "Let broadcasting make the pairs: `A[:, None] - B` has shape (n, m, d).",
            VECTORISE,
        ),
        Mistake(
            "plain_root",
            "A square root at zero",
            """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        return ((A[:, None] - B) ** 2).sum(dim=-1).sqrt()
""",
            {"coinciding"},
            "Distances are finite, but where two points coincide the gradient is nan: the root's slope at zero is "
            "infinite, and neither `clamp(min=0)` before it nor a `torch.where` after it changes that. Keep the "
            "root's argument above zero, or use a norm (`torch.linalg.vector_norm`), which knows this case.",
            r"The chain rule gives $\frac{1}{2\sqrt{0}} \cdot 2 \cdot 0 = \infty \cdot 0$, which is nan. A "
            "`torch.where` that picks a zero instead of the root sends the gradient 0 into the root, which "
            "multiplies it by infinity all the same. One nan in a gradient makes every weight nan in the next step.",
            "`torch.linalg.vector_norm(difference, dim=-1)`, whose gradient at zero is defined as zero, or "
            "`squares.clamp(min=1e-16).sqrt()`, whose gradient is zero below the bound.",
            AUTOGRAD,
        ),
        Mistake(
            "negative_square",
            "The root of a rounding error",
            """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        squares = (A * A).sum(1)[:, None] + (B * B).sum(1) - 2 * A @ B.T
        return squares.sqrt()
""",
            {"coinciding"},
            "Where points coincide |a|² + |b|² - 2ab is not zero but a rounding error, and the root of a negative "
            "one is nan. Keep it away from zero before the root, with `clamp(min=...)`.",
            "Two large numbers that are nearly equal are subtracted; what remains is the rounding of both, of "
            "either sign.",
            "`squares.clamp(min=1e-12).sqrt()`: below the bound the gradient is zero, too.",
            BROADCAST,
        ),
        Mistake(
            "large_epsilon",
            "An epsilon inside the difference",
            """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        return F.pairwise_distance(A[:, None], B)
""",
            {"float64"},
            "In float64 only six digits are right: `F.pairwise_distance` adds `eps=1e-6` to every difference. That "
            "keeps its gradient finite and shifts each distance.",
            "An epsilon that float32 cannot see is a large error in float64. This one is added to every "
            "coordinate, at every distance.",
            "`eps=0` here (it ends in a norm, whose gradient at zero is zero), or `torch.linalg.vector_norm`.",
            AUTOGRAD,
        ),
        Mistake(
            "squared",
            "Without the root",
            """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        return (A[:, None] - B).square().sum(dim=-1)
""",
            {"values", "gradients", "float64"},
            "These are squares of distances. A Euclidean distance is the root of the sum of squares.",
            "Without the root nothing is ever nan, and nearest neighbours stay the same; but the numbers are others.",
            "Take the root, and think of its slope at zero.",
            BROADCAST,
        ),
        Mistake(
            "manhattan",
            "The sum of absolute values",
            """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        return torch.cdist(A, B, p=1)
""",
            {"values", "gradients", "float64"},
            "This is the L1 distance, the sum of absolute differences. Euclidean is `p=2`: the root of the sum of "
            "squares.",
            "`p` names the norm. In one dimension all of them agree, so a test on numbers does not show it.",
            "`p=2`, which is also the default of `torch.cdist`.",
            BROADCAST,
        ),
        Mistake(
            "transposed",
            "The table the wrong way round",
            """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        return torch.linalg.vector_norm(A - B[:, None], dim=-1)
""",
            {"values", "gradients", "coinciding", "float64"},
            "The result has shape (m, n): rows for `B` and columns for `A`. The set that gets the new second "
            "dimension gives the rows: `A[:, None] - B`.",
            "`B[:, None]` has shape (m, 1, d), so the first dimension of the difference runs over `B`. With n = m "
            "the shape does not tell.",
            "`A[:, None] - B`, of shape (n, m, d).",
            BROADCAST,
        ),
        Mistake(
            "no_pairs",
            "Subtracting without a new dimension",
            """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        return (A - B).norm(dim=-1)
""",
            {"values", "operators", "gradients", "coinciding", "float64", "side_effects"},
            "`A - B` subtracts row from row and fails unless both have the same number of rows. All pairs need a "
            "dimension each: (n, 1, d) against (m, d).",
            "Broadcasting lines shapes up from the right: d with d, then n with m.",
            "`A[:, None] - B`.",
            BROADCAST,
        ),
        Mistake(
            "input_reshaped",
            "`unsqueeze_` on the caller's tensor",
            """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        A.unsqueeze_(1)
        return torch.linalg.vector_norm(A - B, dim=-1)
""",
            {"gradients", "coinciding", "side_effects"},
            "`unsqueeze_` changes the caller's own tensor: afterwards it has a dimension more. `A.unsqueeze(1)`, "
            "or `A[:, None]`, makes a new view and leaves the input alone.",
            "A trailing underscore means in place, and a shape is a property of the tensor that both of you hold. "
            "For a leaf that wants a gradient PyTorch even refuses.",
            "`A.unsqueeze(1)` without the underscore.",
            "custom_layers.html#custom-layers-callers-input",
        ),
        Mistake(
            "detached",
            "A set without gradient",
            """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        return torch.cdist(A, B.detach())
""",
            {"gradients"},
            "The values are right, but `.detach()` cuts `B` off: its gradient is None. A distance depends on both "
            "points.",
            "`detach` (like `.data` and `.numpy()`) hands on numbers without history.",
            "Leave it out.",
            "custom_layers.html#custom-layers-cuts",
        ),
    ),
    alternatives={
        "cdist": """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        return torch.cdist(A, B)
""",
        "one product, clamped": """\
class PairwiseDistance(nn.Module):
    def __init__(self):
        super().__init__()

    def forward(self, A, B):
        squares = A.pow(2).sum(1, keepdim=True) + B.pow(2).sum(1) - 2 * torch.einsum("id,jd->ij", A, B)
        return squares.clamp(min=1e-12).sqrt()
""",
        "where on both sides": """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        squares = (A.unsqueeze(1) - B.unsqueeze(0)).square().sum(-1)
        zero = squares == 0
        return torch.where(zero, 0, torch.where(zero, 1, squares).sqrt())
""",
        "a tiny epsilon": """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        difference = A[:, None, :] - B[None, :, :]
        return torch.sqrt(torch.einsum("ijd,ijd->ij", difference, difference) + 1e-16)
""",
        "vmap over both": """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        one = lambda a, b: torch.linalg.vector_norm(a - b)
        return torch.vmap(torch.vmap(one, (None, 0)), (0, None))(A, B)
""",
        "repeated rows": """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        n, m = len(A), len(B)
        left, right = A.repeat_interleave(m, dim=0), B.repeat(n, 1)
        return F.pairwise_distance(left, right, eps=0).reshape(n, m)
""",
        "norm as a method": """\
class PairwiseDistance(nn.Module):
    def forward(self, A, B):
        return (A[:, None] - B).norm(p=2, dim=2)
""",
    },
)
