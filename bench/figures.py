#!/usr/bin/env python3
"""Measures every figure the project promises and prints one line for each; `./dev figures` builds and calls it.

Exit status: 0 when every figure reaches its target, 1 when one is short or could not be measured, 2 on bad usage.
"""
import argparse
import dataclasses
import datetime
import functools
import glob
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import typing

import mla_limits

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- figures: written by ./dev figures --markdown -->", "<!-- end of figures -->"
REPETITIONS = 5
SCALE = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


class Unmeasured(Exception):
    """Why a figure has no value on this machine."""


class Bench:
    """Runs the programs of one build folder, each at most once."""

    def __init__(self, build):
        self.bin = build / "bin"
        self.build = build

    def program(self, name):
        path = self.bin / name
        if not path.exists():
            raise Unmeasured(f"{path} is not built")
        return str(path)

    @functools.lru_cache(maxsize=None)
    def google(self, program, pattern):
        """Medians of a Google Benchmark program: {benchmark name: its JSON entry}."""
        command = [self.program(program), f"--benchmark_filter={pattern}", "--benchmark_format=json",
                   f"--benchmark_repetitions={REPETITIONS}", "--benchmark_min_time=0.2"]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env={**os.environ, "PTXOPS_QUIET": "1"})
        if run.returncode:
            raise Unmeasured(f"{program} exited with {run.returncode}: {run.stderr.strip()[-300:]}")
        entries = json.loads(run.stdout)["benchmarks"]
        for entry in entries:
            if entry.get("error_occurred"):
                raise Unmeasured(f"{entry['name']}: {entry['error_message']}")
        single = {e["run_name"]: e for e in entries if e["run_type"] == "iteration"}
        return {**single, **{e["run_name"]: e for e in entries if e.get("aggregate_name") == "median"}}

    def entry(self, program, pattern, name):
        entries = self.google(program, pattern)
        matches = [e for key, e in entries.items() if key == name or key.startswith(name + "/")]
        if len(matches) != 1:
            raise Unmeasured(f"{program} has {len(matches)} benchmarks '{name}', expected 1")
        return matches[0]

    def seconds(self, program, pattern, name):
        entry = self.entry(program, pattern, name)
        return entry["real_time"] * SCALE[entry["time_unit"]]

    def counter(self, program, pattern, name, counter):
        return self.entry(program, pattern, name)[counter]

    @functools.lru_cache(maxsize=None)
    def main_job(self, check="bounds"):
        """Wall seconds and peak bytes of the main job at 64 tokens on the virtual device."""
        with tempfile.TemporaryFile("w+") as log:
            start = time.monotonic()
            child = subprocess.Popen([self.program("ptxops-demo"), "--tokens", "64"], stdout=log, stderr=log,
                                     env={**os.environ, "PTXOPS_DRIVER": "virtual", "PTXOPS_QUIET": "1",
                                          "PTXOPS_CHECK": check})
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            elapsed = time.monotonic() - start
            if child.returncode:
                log.seek(0)
                raise Unmeasured(f"ptxops-demo exited with {child.returncode}: {log.read().strip()[-300:]}")
        return elapsed, usage.ru_maxrss * 1024

    def dirty_configurations(self, ptxas, version):
        """Configurations of all kernels with a spill, a stack frame or an advisory, and a note."""
        kernel = self.program("ptxops-kernel")
        kernels = subprocess.run([kernel, "list"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
        dirty = total = 0
        for line in kernels:
            command = [kernel, "report", line.split()[0], "--all"] + (["--ptxas", ptxas] if ptxas else [])
            run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            last = (run.stdout.strip().splitlines() or [""])[-1]
            match = re.search(r": (\d+) of (\d+) configurations clean \((.*)\)$", last)
            if not match:
                raise Unmeasured((run.stderr or run.stdout).strip()[-300:])
            tool = match[3].removeprefix("ptxas: ")
            told = subprocess.run([tool, "--version"], stdout=subprocess.PIPE, text=True).stdout
            if f"release {version}," not in told:
                raise Unmeasured(f"expected ptxas {version}, found {tool}: {told.strip().splitlines()[-1]}")
            dirty += int(match[2]) - int(match[1])
            total += int(match[2])
        return dirty, f"of {total}"

    @functools.lru_cache(maxsize=None)
    def mutants(self):
        """Scores of the mutation table: {"certain" | "synchronisation": {"mutants", "right", "results"}}."""
        with tempfile.NamedTemporaryFile("r", suffix=".json") as scores:
            # Exit status 1: a mutant is not killed as it should be, which is what the figure tells.
            run = subprocess.run([self.program("ptxops-mutants"), "--quiet", "--class", "synchronisation", "--json",
                                  scores.name],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if run.returncode not in (0, 1) or not (text := scores.read()):
                raise Unmeasured((run.stderr or run.stdout).strip()[-300:])
        return json.loads(text)

    def killed(self, kind):
        """Percent of the mutants killed with the right id, and how many results alone would have caught."""
        score = self.mutants()[kind]
        share = lambda part: 100 * score[part] / score["mutants"]
        return share("right"), f"of {score['mutants']}; results alone {share('results'):.1f}"

    @functools.lru_cache(maxsize=None)
    def mla_counts(self, kernel):
        try:
            return mla_limits.limits(kernel, self.bin)["sum"]
        except mla_limits.Uncounted as why:
            raise Unmeasured(str(why)) from why

    def mla_issue_slots(self, kernel):
        counts = self.mla_counts(kernel)
        return counts.issue, f"({counts.issue + counts.rescale:.0f} with a rescale)"

    def ptxas_of_wheel(self):
        found = glob.glob(str(ROOT / ".venv/lib/python*/site-packages/nvidia/cuda_nvcc/bin/ptxas"))
        if not found:
            raise Unmeasured("the wheel nvidia-cuda-nvcc-cu12 is not in .venv; ./dev figures installs it")
        return found[0]

    @functools.lru_cache(maxsize=None)
    def tested(self, program, test):
        """What a test on the virtual device records: {property: value}."""
        with tempfile.NamedTemporaryFile("r", suffix=".json") as record:
            run = subprocess.run([self.program(program), f"--gtest_filter={test}", f"--gtest_output=json:{record.name}"],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 env={**os.environ, "PTXOPS_DRIVER": "virtual", "PTXOPS_QUIET": "1"})
            if run.returncode or not (text := record.read()):
                raise Unmeasured(run.stdout.strip()[-300:])
        tests = [test for suite in json.loads(text)["testsuites"] for test in suite["testsuite"]]
        if len(tests) != 1:
            raise Unmeasured(f"{program} has {len(tests)} tests '{test}', expected 1")
        return tests[0]

    def accuracy(self, program, test, measure):
        return float(self.tested(program, test + ".IsAsExactAsABf16ReferenceWithFp32Softmax")[measure])

    def fuzz_minutes(self):
        """CPU time of the fuzzer that has run least; a finding not followed by a clean run leaves no figure."""
        runs = [line.split() for line in (ROOT / "tests/fuzz/hours.txt").read_text().splitlines() if line[0] != "#"]
        seconds, last = {name: 0 for name in FUZZERS}, {}
        for name, _, cpu, *_, result in runs:
            seconds[name] += int(cpu)
            last[name] = result
        if bad := [name for name in FUZZERS if last.get(name) != "clean"]:
            raise Unmeasured(f"the last run of {', '.join(bad)} was not clean")
        executions = sum(int(r[3]) for r in runs)
        return min(seconds.values()) / 60, f"of {len(FUZZERS)} fuzzers, {executions / 1e6:.1f} M runs"

    def test_seconds(self):
        record = ROOT / "build" / "test-seconds"
        if not record.exists():
            raise Unmeasured("written by ./dev test when it starts without a build folder")
        return float(record.read_text())


@dataclasses.dataclass
class Figure:
    name: str
    unit: str
    kind: str  # GPU, CPU, modelled or counted
    relation: str  # "<=" or ">=" or "<"
    target: float
    measure: typing.Callable[[Bench], typing.Any]  # the value, or (value, note)

    def reached(self, value):
        return {"<=": value <= self.target, "<": value < self.target, ">=": value >= self.target}[self.relation]


def accuracies(kernel, program, suite):
    """Errors against FP64, in those of an unfused implementation."""
    return [Figure(f"{kernel}: {name}, of that of BF16 with FP32 softmax", "x", "counted", "<=", 1,
                   lambda b, measure=measure: b.accuracy(program, suite, measure))
            for name, measure in {"rms error of an element": "rms", "cosine distance": "cosine"}.items()]


# tests/fuzz/fuzz.py runs them.
FUZZERS = ["ptx_loader", "expander", "driver_calls", "tensor_map"]
# Tensor clocks of 64 rows and keys, 576 and 512 products each, at 2048 a clock, in FP8 4096: nothing else may take longer.
MLA_CLOCKS = 64 * 64 * (576 + 512) / 2048
MLA = {"MLA decode": (mla_limits.DENSE, MLA_CLOCKS), "MLA decode, FP8 cache": (mla_limits.FP8, MLA_CLOCKS),
       "MLA decode, all FP8": (mla_limits.E4M3, MLA_CLOCKS / 2)}
# The instruction in a kernel, with all that the executor does for it.
WGMMA = "wgmma/(e4m3|bf16)_f32"

FIGURES = [
    Figure("expand + assemble one GEMM configuration, cold", "ms", "CPU", "<=", 150,
           lambda b: 1e3 * b.seconds("bench_jit", "build_", "build_cold")),
    Figure("the same, from the cache", "ms", "CPU", "<=", 2,
           lambda b: 1e3 * b.seconds("bench_jit", "build_", "build_cached")),
    Figure("one prepared run on the host, driver launch excluded", "us", "CPU", "<=", 1,
           lambda b: 1e6 * b.seconds("bench_ops", ".", "run_prepared")),
    Figure("choose a configuration for a new shape", "us", "CPU", "<=", 50,
           lambda b: 1e6 * b.seconds("bench_ops", ".", "choose_cold")),
    Figure("the first choice of a process", "us", "CPU", "<=", 50,
           lambda b: 1e6 * b.seconds("bench_ops", ".", "choose_first")),
    Figure("virtual H800: ALU code, one core", "M warp-instr/s", "CPU", ">=", 60,
           lambda b: 1e-6 * b.counter("bench_alu", "^mix$", "mix", "warp_instructions/s")),
    Figure("virtual H800: exact FP8 wgmma, one core", "GMAC/s", "CPU", ">=", 10,
           lambda b: b.counter("bench_wgmma", WGMMA, "wgmma/e4m3_f32", "GMAC/s")),
    Figure("virtual H800: exact bf16 wgmma, one core", "GMAC/s", "CPU", ">=", 10,
           lambda b: b.counter("bench_wgmma", WGMMA, "wgmma/bf16_f32", "GMAC/s")),
    Figure("virtual H800: load 20,000 lines of PTX", "ms", "CPU", "<", 100,
           lambda b: 1e3 * b.seconds("bench_isa", "load", "load")),
    Figure("main job, 64 tokens", "s", "CPU", "<", 60, lambda b: b.main_job()[0]),
    Figure("main job, 64 tokens: peak resident memory", "GiB", "CPU", "<", 4, lambda b: b.main_job()[1] / 2**30),
    Figure("judged (full) virtual H800: warp instructions, one core", "M/s", "CPU", ">=", 20,
           lambda b: 1e-6 * b.counter("bench_check", "^full", "full/real_time", "warp_instructions/s")),
    Figure("main job judged, against the same unjudged", "x", "CPU", "<=", 4,
           lambda b: b.main_job("full")[0] / b.main_job()[0]),
    Figure("fuzzers: CPU time of the one that ran least", "min", "CPU", ">=", 60, lambda b: b.fuzz_minutes()),
    Figure("./dev test from a fresh clone", "min", "CPU", "<", 20, lambda b: b.test_seconds() / 60),
    *accuracies("MLA decode", "ops_mla_decode_test", "MlaDecode"),
    *accuracies("MLA decode, FP8 cache", "ptx_mla_decode_fp8_test", "MlaDecodeFp8"),
    Figure("configurations with a spill or advisory, ptxas 13.0", "", "counted", "<=", 0,
           lambda b: b.dirty_configurations(None, "13.0")),
    Figure("configurations with a spill or advisory, ptxas 12.9", "", "counted", "<=", 0,
           lambda b: b.dirty_configurations(b.ptxas_of_wheel(), "12.9")),
    Figure("mutants (synchronisation) killed with the right id", "%", "counted", ">=", 95,
           lambda b: b.killed("synchronisation")),
    Figure("the same: waits, proxy fences, wgmma, bytes, deadlock", "%", "counted", ">=", 100,
           lambda b: b.killed("certain")),
]
for name, (kernel, clocks) in MLA.items():
    FIGURES += [
        Figure(f"{name}, 64 rows x 64 keys: tensor clocks in the SASS", "clocks", "counted", "<=", clocks,
               lambda b, kernel=kernel: b.mla_counts(kernel).tensor),
        Figure(f"{name}, the same: shared memory at 128 bytes a clock", "clocks", "counted", "<=", clocks,
               lambda b, kernel=kernel: mla_limits.shared_clocks(b.mla_counts(kernel))),
        Figure(f"{name}, the same: issue slots of the busiest scheduler", "slots", "counted", "<=", clocks,
               lambda b, kernel=kernel: b.mla_issue_slots(kernel)),
    ]


def number(value):
    return f"{value:.0f}" if value == int(value) or value >= 1000 else f"{value:.3g}"


def measure(figure, bench):
    """(value text, verdict, reason)"""
    try:
        result = figure.measure(bench)
    except Unmeasured as why:
        return "-", "not measured", str(why)
    value, note = result if isinstance(result, tuple) else (result, "")
    return f"{number(value)} {note}".strip(), "ok" if figure.reached(value) else "SHORT", ""


def provenance():
    model = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    git = lambda *a: subprocess.run(["git", "-C", str(ROOT), *a], stdout=subprocess.PIPE, text=True).stdout.strip()
    changed = " with local changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (f"Commit {git('rev-parse', '--short', 'HEAD')}{changed}, {datetime.date.today()}, {os.cpu_count()} x "
            f"{model[1] if model else 'unknown CPU'}; medians of {REPETITIONS}. CPU: measured on that CPU. "
            "No figure here was measured on a GPU.")


def write_markdown(rows):
    lines = ["| figure | value | unit | kind | target | |", "|---|---:|---|---|---:|---|"]
    lines += [f"| {f.name} | {value} | {f.unit} | {f.kind} | {f.relation.replace('<', '&lt;').replace('>', '&gt;')} "
              f"{number(f.target)} | {verdict} |" for f, value, verdict in rows]
    text = README.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"{README.name}: expected the lines '{BEGIN}' and '{END}' once each")
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    README.write_text(head + "\n".join([BEGIN, *lines, "", provenance(), END]) + tail)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", help="build folder")
    parser.add_argument("--only", metavar="REGEX", default="", help="figures whose name matches")
    parser.add_argument("--markdown", action="store_true", help="also write the table into README.md")
    options = parser.parse_args()
    if options.markdown and options.only:
        parser.error("--markdown needs every figure")
    bench = Bench(options.build)
    rows = []
    width = max(len(f.name) for f in FIGURES)
    print(f"{'figure':<{width}} {'value':>12} {'unit':<14} {'kind':<8} {'target':>8}")
    for figure in FIGURES:
        if not re.search(options.only, figure.name):
            continue
        if sys.stderr.isatty():
            print(f"measuring: {figure.name} ...", end="\r", file=sys.stderr, flush=True)
        value, verdict, why = measure(figure, bench)
        target = f"{figure.relation} {number(figure.target)}"
        print(f"{figure.name:<{width}} {value:>12} {figure.unit:<14} {figure.kind:<8} {target:>8}  {verdict}"
              f"{': ' + why if why else ''}", flush=True)
        rows.append((figure, value, verdict))
    if options.markdown:
        write_markdown(rows)
    short = sum(verdict != "ok" for _, _, verdict in rows)
    print(f"{len(rows) - short} of {len(rows)} figures reach their target")
    return 1 if short or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
