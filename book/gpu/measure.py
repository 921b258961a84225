"""What the chapter *Performance* says about GPUs, measured on one.

    python book/gpu/measure.py book/gpu/results.json          on a machine with an NVIDIA GPU; a few minutes
    python book/gpu/measure.py --cpu /tmp/dry.json            the same code with tiny sizes on a CPU: does it run?

Only PyTorch is needed. Where it cannot do something on this machine (no C compiler for `torch.compile`, no
profiler of kernels), the entry is null and `notes` says why. All times are seconds, medians of several rounds.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

BATCH = 64  # rows in the input of the block whose width varies
DEPTH = 4  # Linear + ReLU pairs in that block
COMPILE_UNTIL = 130.0  # seconds after the start; no compilation begins later, so that the whole stays below 4 minutes

started = time.perf_counter()
notes: list[str] = []


def note(text: str) -> None:
    """Remember once what could not be measured, in one line."""
    if text not in notes:
        notes.append(text)
        print("note:", text, flush=True)


def synchronise(device: str) -> None:
    """Wait until the device has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def per_call(fn: Callable[[], object], device: str, rounds: int = 9, aim: float = 0.02) -> float:
    """Seconds for one call when calls follow one another: the queue is kept full and emptied once a round."""
    for _ in range(3):
        fn()
    synchronise(device)
    start = time.perf_counter()
    fn()
    synchronise(device)
    calls = max(1, min(1000, int(aim / max(time.perf_counter() - start, 1e-9))))
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            fn()
        synchronise(device)
        times.append((time.perf_counter() - start) / calls)
    return median(times)


def launch_and_finish(fn: Callable[[], object], device: str, rounds: int = 25) -> tuple[float, float]:
    """Seconds until one call has returned, and until its result is there; the queue is empty at the start."""
    for _ in range(3):
        fn()
    returned, finished = [], []
    for _ in range(rounds):
        synchronise(device)
        start = time.perf_counter()
        fn()
        returned.append(time.perf_counter() - start)
        synchronise(device)
        finished.append(time.perf_counter() - start)
    return median(returned), median(finished)


def block(width: int, device: str) -> nn.Sequential:
    """`DEPTH` times Linear and ReLU, all of one width."""
    return nn.Sequential(*(m for _ in range(DEPTH) for m in (nn.Linear(width, width), nn.ReLU()))).to(device)


def compiled(fn: Any, x: Tensor, device: str) -> tuple[Callable[[Tensor], Tensor] | None, float | None]:
    """The compiled function and the seconds that its first call took, or None and a note."""
    if time.perf_counter() - started > COMPILE_UNTIL:
        note("torch.compile: some entries are missing because the time for compiling was used up")
        return None, None
    torch.compiler.reset()
    try:
        fast = torch.compile(fn, dynamic=False)
        start = time.perf_counter()
        fast(x)
        synchronise(device)
        return fast, time.perf_counter() - start
    except Exception as error:  # whatever a compiler may raise: the other measurements are still worth having
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        note(f"torch.compile: not available here ({type(error).__name__}: {first[:160]})")
        return None, None


def cuda_graph(fn: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    """Record the kernels of ``fn(x)`` once; calling the result runs them again without Python in between."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # libraries allocate their workspaces at first use, which must not be recorded
        for _ in range(3):
            fn(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        fn(x)
    replay: Callable[[], None] = graph.replay
    return replay


def kernels(fn: Callable[[], object], device: str, calls: int = 20) -> tuple[float, float] | tuple[None, None]:
    """Number of kernels in one call and seconds that they kept the GPU busy, from the profiler."""
    if device != "cuda":
        return None, None
    from torch.profiler import ProfilerActivity, profile

    try:
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as prof:
            for _ in range(calls):
                fn()
            torch.cuda.synchronize()
        on_gpu = [
            event
            for event in prof.events()
            # Compiled regions are marked on the GPU's time line too; they are not kernels.
            if event.device_type.name == "CUDA" and event.self_device_time_total > 0 and not event.is_user_annotation
        ]
    except Exception as error:
        note(f"profiler: {type(error).__name__}")
        return None, None
    if not on_gpu:
        note("profiler: saw no kernels on this machine")
        return None, None
    return len(on_gpu) / calls, sum(e.self_device_time_total for e in on_gpu) * 1e-6 / calls


def asynchronous(device: str) -> list[dict[str, Any]]:
    """A matrix product: seconds until the call returned, and until the product was there."""
    rows = []
    for n in (128, 512, 1024, 2048, 4096, 8192) if device == "cuda" else (16, 32):
        a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
        returned, finished = launch_and_finish(lambda a=a, b=b: a @ b, device)  # type: ignore[misc]
        rows.append({"n": n, "returned": returned, "finished": finished})
    return rows


@torch.no_grad()
def width(device: str) -> list[dict[str, Any]]:
    """One forward pass of `block` against its width: eager, compiled, as a CUDA graph; and where the time goes."""
    rows = []
    for w in (16, 64, 256, 512, 1024, 2048, 4096, 8192) if device == "cuda" else (8, 16):
        net, x = block(w, device), torch.randn(BATCH, w, device=device)
        row: dict[str, Any] = {"width": w, "eager": per_call(lambda: net(x), device)}  # noqa: B023
        row["returned"], _ = launch_and_finish(lambda: net(x), device)  # noqa: B023
        row["kernels"], row["busy"] = kernels(lambda: net(x), device)  # noqa: B023
        row["graph"] = per_call(cuda_graph(net, x), device) if device == "cuda" else None
        fast, row["compile_seconds"] = compiled(net, x, device)
        row["compiled"] = per_call(lambda: fast(x), device) if fast else None  # noqa: B023
        rows.append(row)
    return rows


def gelu_by_hand(x: Tensor) -> Tensor:
    """The tanh approximation of GELU, written out: eight elementwise operators."""
    return 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3)))


@torch.no_grad()
def fusion(device: str) -> dict[str, Any]:
    """A chain of elementwise operators on a large tensor: one kernel each, fused by the compiler, fused by hand."""
    elements = 2**26 if device == "cuda" else 2**10
    x = torch.randn(elements, device=device)
    result: dict[str, Any] = {"elements": elements, "eager": per_call(lambda: gelu_by_hand(x), device)}
    result["eager_kernels"], _ = kernels(lambda: gelu_by_hand(x), device)
    fast, result["compile_seconds"] = compiled(gelu_by_hand, x, device)
    result["compiled"] = per_call(lambda: fast(x), device) if fast else None
    result["compiled_kernels"] = kernels(lambda: fast(x), device)[0] if fast else None
    result["library"] = per_call(lambda: F.gelu(x, approximate="tanh"), device)
    result["copy"] = per_call(x.clone, device)  # the floor: read everything once, write everything once
    return result


def precision(device: str) -> list[dict[str, Any]]:
    """A square matrix product in four precisions: seconds, and the largest error relative to float64."""
    kinds = [("float32", torch.float32, "highest"), ("tf32", torch.float32, "high")]
    kinds += [("bfloat16", torch.bfloat16, "highest"), ("float16", torch.float16, "highest")]
    sizes = (1024, 2048, 4096, 8192) if device == "cuda" else (32,)
    small = sizes[0]
    torch.manual_seed(0)
    a64, b64 = (torch.randn(small, small, device=device, dtype=torch.float64) for _ in range(2))
    exact = a64 @ b64
    rows = []
    for name, dtype, setting in kinds:
        torch.set_float32_matmul_precision(setting)
        error = ((a64.to(dtype) @ b64.to(dtype)).double() - exact).abs().max() / exact.abs().max()
        for n in sizes:
            a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
            seconds = per_call(lambda: a @ b, device)  # noqa: B023
            rows.append({"precision": name, "n": n, "seconds": seconds, "error": error.item()})
    torch.set_float32_matmul_precision("highest")
    return rows


def training(device: str) -> list[dict[str, Any]]:
    """One step of training an MLP in float32, in TF32 and under autocast to bfloat16: seconds and peak memory."""
    w, batch = (4096, 4096) if device == "cuda" else (16, 8)
    rows = []

    def measure_one(name: str, setting: str, mixed: bool) -> None:
        torch.set_float32_matmul_precision(setting)
        torch.manual_seed(0)
        net = block(w, device)
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
        x = torch.randn(batch, w, device=device)

        def step() -> None:
            optimizer.zero_grad()
            with torch.autocast(device, dtype=torch.bfloat16, enabled=mixed):
                loss = net(x).square().mean()
            loss.backward()
            optimizer.step()

        seconds = per_call(step, device)
        rows.append({"precision": name, "seconds": seconds, "peak_bytes": peak_bytes(step, device)})

    measure_one("float32", "highest", False)
    measure_one("tf32", "high", False)
    measure_one("bfloat16 autocast", "highest", True)
    torch.set_float32_matmul_precision("highest")
    return rows


def peak_bytes(fn: Callable[[], object], device: str) -> int | None:
    """The most memory allocated on the GPU at any time during ``fn()``."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    fn()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def checkpointing(device: str) -> dict[str, Any]:
    """Forward and backward of sixteen blocks, keeping every activation and recomputing them: seconds and peak."""
    w, batch, depth = (1024, 16384, 16) if device == "cuda" else (8, 4, 2)
    nets = nn.ModuleList(block(w, device) for _ in range(depth))
    x = torch.randn(batch, w, device=device)

    def step(save_memory: bool) -> None:
        h = x
        for net in nets:
            h = checkpoint(net, h, use_reentrant=False) if save_memory else net(h)
        h.sum().backward()
        nets.zero_grad()

    result: dict[str, Any] = {"blocks": depth, "width": w, "batch": batch}
    for name, save_memory in (("keep", False), ("recompute", True)):
        result[name] = {
            "seconds": per_call(lambda: step(save_memory), device),  # noqa: B023
            "peak_bytes": peak_bytes(lambda: step(save_memory), device),  # noqa: B023
        }
    return result


def halve_while(x: Tensor) -> Tensor:
    """The loop of the chapter *Control flow*: Python reads a number from the device at every turn."""
    while x.abs().sum() > 1:
        x = x / 2
    return x


def halve_at_once(x: Tensor) -> Tensor:
    """The same value without a loop: the number of halvings is computed, and stays, on the device."""
    mantissa, exponent = torch.frexp(x.abs().sum())
    turns = (exponent - (mantissa == 0.5).int()).clamp(min=0)
    return x * torch.exp2(-turns)


@torch.no_grad()
def reading(device: str) -> dict[str, Any]:
    """A loop whose condition lives on the device, against arithmetic that never asks: the price of `.item()`."""
    elements = 2**22 if device == "cuda" else 2**6
    x = torch.full((elements,), 3.0, device=device)
    result: dict[str, Any] = {"elements": elements, "equal": torch.equal(halve_while(x), halve_at_once(x))}
    for name, fn in (("loop", halve_while), ("at_once", halve_at_once)):
        returned, finished = launch_and_finish(lambda: fn(x), device)  # noqa: B023
        result[name] = {"returned": returned, "finished": finished}
    return result


def copying(device: str) -> dict[str, Any]:
    """Copy from host memory to the device: ordinary pages and pinned ones; when does the call return?"""
    elements = 2**26 if device == "cuda" else 2**10  # 256 MiB
    host = torch.randn(elements)
    result: dict[str, Any] = {"bytes": host.nbytes}
    sources = {"pageable": host, "pinned": host.pin_memory() if device == "cuda" else host}
    for name, source in sources.items():
        returned, finished = launch_and_finish(lambda: source.to(device, non_blocking=True), device, 9)  # noqa: B023
        result[name] = {"returned": returned, "finished": finished}
    return result


SECTIONS: dict[str, Callable[[str], Any]] = {
    "asynchronous": asynchronous,
    "fusion": fusion,
    "width": width,
    "precision": precision,
    "training": training,
    "checkpointing": checkpointing,
    "reading": reading,
    "copying": copying,
}


def seconds(value: float | None) -> str:
    """A time with its unit, or a dash where nothing was measured."""
    if value is None:
        return "–"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def share(part: float | None, whole: float) -> str:
    """How much of `whole` is `part`, in per cent, or a dash."""
    return "–" if part is None else f"{100 * part / whole:.0f} %"


def mebibytes(value: int | None) -> str:
    """Bytes as MiB, or a dash."""
    return "–" if value is None else f"{value / 2**20:,.0f} MiB"


def tables(results: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """What was measured as tables to show: caption, headings, rows. A section that failed has no table."""
    shown: list[tuple[str, list[str], list[list[str]]]] = []
    if found := results.get("asynchronous"):
        rows = [[str(r["n"]), seconds(r["returned"]), seconds(r["finished"])] for r in found]
        shown.append(("A matrix product: when the call returns, and when the product is there",
                      ["rows and columns", "returned after", "finished after"], rows))  # fmt: skip
    if found := results.get("width"):
        rows = [
            [str(r["width"]), seconds(r["eager"]), seconds(r["busy"]), share(r["busy"], r["eager"])]
            + [seconds(r[key]) for key in ("compiled", "graph", "compile_seconds")]
            for r in found
        ]
        headings = ["width", "eager", "its kernels", "GPU busy", "compiled", "CUDA graph", "first compiled call"]
        shown.append(("One forward pass of a block against its width", headings, rows))
    if found := results.get("fusion"):
        copy = found["copy"]
        rows = [
            [label, seconds(found[key]), "–" if found[key] is None else f"{found[key] / copy:.1f}"]
            for label, key in (("eight operators, eager", "eager"), ("the same, compiled", "compiled"),
                               ("F.gelu: fused by hand", "library"), ("a mere copy", "copy"))
        ]  # fmt: skip
        shown.append(("GELU on a large tensor", ["how", "time", "times a copy"], rows))
    if found := results.get("reading"):
        rows = [[label, seconds(found[key]["returned"]), seconds(found[key]["finished"])]
                for label, key in (("while loop", "loop"), ("at once", "at_once"))]  # fmt: skip
        shown.append(("Halving until the norm is at most 1", ["how", "returned after", "finished after"], rows))
    if found := results.get("copying"):
        rows = [[label, seconds(found[label]["returned"]), seconds(found[label]["finished"])]
                for label in ("pageable", "pinned")]  # fmt: skip
        shown.append((f"Copying {mebibytes(found['bytes'])} to the GPU with non_blocking=True",
                      ["host memory", "returned after", "finished after"], rows))  # fmt: skip
    if found := results.get("precision"):
        rows = [
            [r["precision"], str(r["n"]), seconds(r["seconds"]), f"{2 * r['n'] ** 3 / r['seconds'] / 1e12:.0f}",
             f"{r['error']:.0e}"] for r in found
        ]  # fmt: skip
        headings = ["precision", "rows and columns", "time", "TFLOP/s", "error at the smallest size"]
        shown.append(("A matrix product in four precisions", headings, rows))
    if found := results.get("training"):
        rows = [[r["precision"], seconds(r["seconds"]), mebibytes(r["peak_bytes"])] for r in found]
        shown.append(("One step of training an MLP", ["precision", "time", "peak memory"], rows))
    if found := results.get("checkpointing"):
        rows = [[label, seconds(found[key]["seconds"]), mebibytes(found[key]["peak_bytes"])]
                for label, key in (("kept", "keep"), ("computed again", "recompute"))]  # fmt: skip
        shown.append(("Activations for the backward pass", ["activations", "time", "peak memory"], rows))
    return shown


def rounded(value: Any) -> Any:
    """Four significant digits: more would be noise."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return value


def measure_all(device: str) -> dict[str, Any]:
    """Run every section on ``"cuda"``, or with tiny sizes on ``"cpu"``; a dict that JSON can hold."""
    global started
    started = time.perf_counter()
    notes.clear()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    results: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU (dry run)",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
        "block": {"batch": BATCH, "depth": DEPTH},
    }
    for name, section in SECTIONS.items():
        start = time.perf_counter()
        try:
            results[name] = rounded(section(device))
        except Exception as error:  # one section that fails must not cost the others
            results[name] = None
            note(f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:160] if str(error) else ''}")
        if device == "cuda":
            torch.cuda.empty_cache()
        print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
    torch.set_float32_matmul_precision(before)
    results["notes"] = list(notes)
    return results


def main() -> int:
    """Measure everything and write one JSON file."""
    parser = argparse.ArgumentParser(description="Measure on this machine's GPU what the chapter Performance shows.")
    parser.add_argument("output", type=Path, help="the JSON file to write")
    parser.add_argument("--cpu", action="store_true", help="tiny sizes on the CPU, to see that everything runs")
    arguments = parser.parse_args()
    if not arguments.cpu and not torch.cuda.is_available():
        print("measure.py: PyTorch sees no GPU here; --cpu runs the same code with tiny sizes", file=sys.stderr)
        return 1
    if not arguments.output.parent.is_dir():  # better said now than after minutes of measuring
        print(f"measure.py: no such folder: {arguments.output.parent}", file=sys.stderr)
        return 1
    results = measure_all("cpu" if arguments.cpu else "cuda")
    arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
