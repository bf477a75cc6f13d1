#!/usr/bin/env python3
"""Runs the libFuzzer programs of build/fuzz and keeps what they find; `./dev fuzz` builds them and calls this.

A run starts from the tracked seeds and findings, seeds derived from the kernels and test cases of the tree, and the
corpus that earlier runs left below the build folder. Time and executions are added to hours.txt. A crash, hang or
memory blow-up is minimised, kept in findings/NAME/ for the replay test, and ends that fuzzer's run.
"""
import argparse
import datetime
import hashlib
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HOURS = HERE / "hours.txt"
NAMES = ["ptx_loader", "expander", "driver_calls", "tensor_map"]
# Largest inputs.
LIMITS = {"ptx_loader": 1 << 16, "expander": 1 << 15, "driver_calls": 4096, "tensor_map": 1024}
# An input that waits for ever; those that compute for ever are stopped by their CPU time (check.cpp).
WALL_SECONDS = 300
RESIDENT_MIB = 3072
INTERRUPTED = 72  # libFuzzer's exit status when it is stopped by a signal
TEXT = ("ptx_loader", "expander")
# Freed memory is watched for a while, not for so long that it hides a leak.
ENVIRONMENT = {"PTXOPS_QUIET": "1", "PTXOPS_VIRTUAL_THREADS": "2", "PTXOPS_CACHE": "off",
               "ASAN_OPTIONS": "quarantine_size_mb=64:detect_leaks=1"}


def kernels(bin_folder):
    """The PTX of one legal configuration of each kernel."""
    run = lambda *a: subprocess.run([str(bin_folder / "ptxops-kernel"), *a], stdout=subprocess.PIPE,
                                    stderr=subprocess.DEVNULL)
    choose = random.Random(1)
    for path in [line.split()[0] for line in run("list").stdout.decode().splitlines()]:
        domains = {}
        for name, text in re.findall(r"^param +(\w+) in (.*)$", run("head", path).stdout.decode(), re.M):
            domains[name] = values = []
            for low, high, step in re.findall(r"(\d+)(?:\.\.(\d+))?(?: step (\d+))?", text):
                values += range(int(low), int(high or low) + 1, int(step or 1))
        for _ in range(500):
            expanded = run("expand", path, *(f"-D{n}={choose.choice(v)}" for n, v in domains.items()))
            if expanded.returncode == 0:
                yield expanded.stdout
                break
        else:
            sys.exit(f"{path}: no legal configuration found for a seed")


def write(folder, data):
    data = data.encode() if isinstance(data, str) else data
    (folder / hashlib.sha1(data).hexdigest()[:16]).write_bytes(data)


def case_modules():
    """One module for some ten statements of the front end's test cases."""
    parsing = (ROOT / "tests/driver/virtual/isa/parsing.h").read_text()
    body = parsing[parsing.index('"(.param .u64 q0'):parsing.index("statement +")]
    registers = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', body)).replace("\\n", "\n")
    for name in ["accept", "refuse", "stricter"]:
        text = (ROOT / "tests/driver/virtual/isa/cases" / f"{name}.txt").read_text()
        cases = [line.split("=>")[0].strip() for line in text.splitlines() if line and not line.startswith("//")]
        step = 10 if name == "accept" else 1
        for i in range(0, len(cases), step):
            yield (".version 9.0\n.target sm_90a\n.address_size 64\n.extern .shared .align 128 .b8 sm[];\n"
                   ".global .align 16 .b8 gv[64];\n.visible .entry k" + registers +
                   "\n".join(cases[i:i + step]) + "\nL: ret;\n}\n")


def derived_seeds(name, bin_folder, folder):
    if name == "ptx_loader":
        for module in case_modules():
            write(folder, module)
        for text in kernels(bin_folder):
            write(folder, text)
    if name == "expander":
        for path in (ROOT / "ptx").rglob("*.ptx"):
            text = path.read_text()
            write(folder, text if "//% kernel " in text else "//% kernel f\n" + text)


    if name not in TEXT:
        choose = random.Random(1)
        for _ in range(100):
            write(folder, choose.randbytes(choose.randrange(8, 300)))


def dictionary(folder, path):
    """Words of the seeds, for libFuzzer."""
    words = set()
    for seed in folder.iterdir():
        words |= set(re.findall(rb"[.%]?[A-Za-z_][A-Za-z0-9_:]{1,20}", seed.read_bytes()))
    path.write_text("".join(f'"{w.decode()}"\n' for w in sorted(words)))


def commit():
    git = lambda *a: subprocess.run(["git", "-C", str(ROOT), *a], stdout=subprocess.PIPE, text=True).stdout.strip()
    dirty = "+" if git("status", "--porcelain", "--untracked-files=no", "--", "driver", "ptx") else ""
    return git("rev-parse", "--short", "HEAD") + dirty


def minimise(program, culprit, kind):
    """A smaller input with the same end, where libFuzzer finds one in a minute."""
    if kind != "crash":
        return culprit
    smaller = culprit.with_suffix(".small")
    subprocess.run([program, "-minimize_crash=1", "-max_total_time=60", f"-exact_artifact_path={smaller}",
                    str(culprit)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   env={**os.environ, **ENVIRONMENT})
    return smaller if smaller.exists() else culprit


def prepare(name, build, work):
    """The command line, with the seeds in their folder."""
    seeds, corpus, artefacts = work / "seeds", work / "grown", work / "artefacts"
    shutil.rmtree(seeds, ignore_errors=True)
    shutil.rmtree(artefacts, ignore_errors=True)
    for folder in [seeds, corpus, artefacts]:
        folder.mkdir(parents=True, exist_ok=True)
    derived_seeds(name, build / "bin", seeds)
    for kept in [HERE / "seeds" / name, HERE / "findings" / name]:
        for path in kept.glob("*"):
            write(seeds, path.read_bytes())
    command = [str(build / "bin" / f"fuzz_{name}"), f"-max_len={LIMITS[name]}", f"-timeout={WALL_SECONDS}",
               f"-rss_limit_mb={RESIDENT_MIB}", f"-malloc_limit_mb={RESIDENT_MIB // 2}", "-print_final_stats=1",
               f"-artifact_prefix={artefacts}/", str(corpus), str(seeds)]
    if name in TEXT:
        dictionary(seeds, work / "words.dict")
        command.insert(1, f"-dict={work / 'words.dict'}")
    return command


def run(name, command, minutes, log):
    """Shows progress; (exit status, executions)."""
    start, shown, executions = time.monotonic(), 0, 0
    child = subprocess.Popen([*command, f"-max_total_time={int(minutes * 60)}"], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, errors="replace", env={**os.environ, **ENVIRONMENT})
    try:
        for line in child.stdout:
            if line.startswith("ptxops virtual device"):  # the driver's remark on a fault or an unsupported call
                continue
            log.write(line)
            log.flush()
            if match := re.match(r"#(\d+)\s.*cov: (\d+).*corp: (\d+)", line):
                executions = int(match[1])
                elapsed = time.monotonic() - start
                if elapsed - shown >= 10:
                    shown = elapsed
                    print(f"{name}: {elapsed / 60:.1f} of {minutes:g} min, {executions} runs, coverage {match[2]}, "
                          f"corpus {match[3]}", end="\r" if sys.stdout.isatty() else "\n", flush=True)
            elif match := re.match(r"stat::number_of_executed_units:\s+(\d+)", line):
                executions = int(match[1])
    except KeyboardInterrupt:
        child.send_signal(signal.SIGINT)
        child.wait()
        raise
    return child.wait(), executions


def fuzz(name, minutes, build):
    """Whether it ran without a finding."""
    work = build / "corpus" / name
    command = prepare(name, build, work)
    print(f"== {name}: {minutes:g} minutes, log in {work / 'log.txt'}", flush=True)
    cpu = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    start, cpu_start = time.monotonic(), cpu()
    with open(work / "log.txt", "w") as log:
        status, executions = run(name, command, minutes, log)
    elapsed, cpu_elapsed = time.monotonic() - start, cpu() - cpu_start
    verdict = "clean" if status in (0, INTERRUPTED) else "finding"
    with open(HOURS, "a") as hours:
        hours.write(f"{name} {elapsed:.0f} {cpu_elapsed:.0f} {executions} {datetime.date.today()} {commit()} {verdict}\n")
    print(f"{name}: {elapsed:.0f} s ({cpu_elapsed:.0f} s of CPU time), {executions} runs, {verdict}")
    artefacts = work / "artefacts"
    for culprit in sorted(artefacts.glob("*-*")):
        kind = culprit.name.split("-")[0]
        if kind == "slow":  # libFuzzer's remark on an input that took long, no finding
            continue
        kept = HERE / "findings" / name / culprit.name[:len(kind) + 9]
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(minimise(command[0], culprit, kind), kept)
        print(f"{name}: {kind}, kept as {kept.relative_to(ROOT)}; fix it and let the replay test pass")
    return verdict == "clean"


def main():
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; default: all, one after another")
    parser.add_argument("--minutes", type=float, default=5, help="for each fuzzer (default: 5)")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "fuzz", help="build folder")
    options = parser.parse_args()
    for name in options.name:
        if name not in NAMES:
            parser.error(f"unknown fuzzer '{name}'; known: {', '.join(NAMES)}")
    results = [fuzz(name, options.minutes, options.build) for name in options.name or NAMES]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
