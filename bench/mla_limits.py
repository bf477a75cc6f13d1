#!/usr/bin/env python3
"""Counts what MLA decode costs an SM for a block of 64 keys and a CTA of 64 rows, in the machine code that ptxas made.

Of each role the main loop is found (by an instruction that only this role's has), and in it the way of a block in the
middle of a long piece: through all products, copies, loads and stores of shared memory and arrivals, and the shortest of
these. Beside that way lie page tables, masks, tails, waits that fail, and the rescale of the output.

  tensor clocks  N / 2 for a product m64nN with 32 bytes of K
  shared clocks  128 bytes each: what products read (B, and A where registers do not hold it), what copies write, and what
                 a warp's load or store may touch, at least one clock. Operations on mbarriers are counted beside it.
  issue slots    instructions of the warps of the busiest of the four schedulers, predicated-off ones too

Usage: mla_limits.py [--build DIR] prints the parts; `./dev figures` reads the sums.
"""
import argparse
import dataclasses
import glob
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEYS, COLUMNS, V_COLUMNS = 64, 576, 512
BLOCK_BYTES = KEYS * COLUMNS * 2  # in shared memory


# The same of a whole block: products n * k of the warpgroup (for the output each has half the columns), bytes.
OF_BLOCK = {"scores": KEYS * COLUMNS, "output": V_COLUMNS // 2 * KEYS, "stored": BLOCK_BYTES}


class Uncounted(Exception):
    """Why the code could not be counted."""


@dataclasses.dataclass(frozen=True)
class Role:
    name: str
    anchor: str  # an instruction that no other role's main loop has
    warps: int  # of the CTA
    sharing: int  # of these, on the busiest scheduler
    unit: str  # what tells how many blocks an iteration does: "scores", "output", or bytes "stored"
    rare: str = r"(?!)"  # of PASSES: what this role does not do for every block


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
    name: str
    parameters: dict
    copied: int  # bytes of a block that TMA writes to shared memory: no instruction tells
    roles: list


# What a block's way through a main loop must pass.
PASSES = r"[HQ]GMMA|VOTE\.ALL|LDSM|STSM|LDS|STS|LDG|UTMALDG|SYNCS\.ARRIVE"
TAIL_AND_TABLES = r"STS|LDG"
RESCALE = r"LDS\.64$"  # the scales of all rows; those of two tell whether it is due
LOADS = r"UTMALDG|SYNCS\.ARRIVE\.TRANS64$"  # the latter announces their bytes

DENSE = Kernel("mla_decode", {"TYPE": 0, "PAGE": 64, "CLUSTER": 1, "FUSED": 0}, BLOCK_BYTES, [
    Role("scores", r"HGMMA\.64x64x16", 4, 1, "scores"),
    Role("output", r"HGMMA\.64x256x16", 6, 0, "output", f"{TAIL_AND_TABLES}|{LOADS}"),
    # Counted alike, though only one of the two loads the rope.
    Role("output and loads", r"HGMMA\.64x256x16", 2, 2, "output", TAIL_AND_TABLES),
])
FP8 = Kernel("mla_decode_fp8", {"SPARSE": 0}, 0, [
    Role("producer", r"LDG\.E\.64\.CONSTANT", 4, 1, "stored", r"LDG\.E\.128$"),  # the table of pieces
    Role("scores", r"HGMMA\.64x64x16", 4, 1, "scores"),
    Role("output", r"HGMMA\.64x128x16", 8, 2, "output"),
])
E4M3 = Kernel("mla_decode_e4m3", {"TYPE": 0, "PAGE": 64, "CLUSTER": 1}, KEYS * COLUMNS, [
    Role("scores", r"QGMMA\.64x32x32", 4, 1, "scores"),
    Role("output", r"QGMMA\.64x64x32", 7, 1, "output", f"{TAIL_AND_TABLES}|{RESCALE}|{LOADS}"),
    Role("output and loads", r"QGMMA\.64x64x32", 1, 1, "output", f"{TAIL_AND_TABLES}|{RESCALE}"),
])


@dataclasses.dataclass
class Instruction:
    guard: str
    opcode: str
    operands: str


class Code:
    """Basic blocks of a kernel's machine code, and its loops."""

    def __init__(self, listing, entry):
        section = listing.split(f"\n.text.{entry}:\n")
        if len(section) != 2:
            raise Uncounted(f"nvdisasm's listing has {len(section) - 1} sections .text.{entry}, expected 1")
        self.blocks, labels, targets = [[]], {}, {}
        for line in section[1].splitlines():
            if label := re.match(r"(\.L_\w+):", line):
                if self.blocks[-1]:
                    self.blocks.append([])
                labels[label[1]] = len(self.blocks) - 1
            elif found := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;", line):
                self.blocks[-1].append(Instruction(found[1] or "", found[2], found[3]))
                if found[2].split(".")[0] in ("BRA", "EXIT", "RET", "JMP", "BRX", "JMX"):
                    self.blocks.append([])
        self.next = [[] for _ in self.blocks]
        for i, block in enumerate(self.blocks):
            last = block[-1] if block else Instruction("", "NOP", "")
            kind = last.opcode.split(".")[0]
            if kind in ("JMP", "BRX", "JMX"):
                raise Uncounted(f"{entry}: expected direct branches, found {last.opcode}")
            target = re.fullmatch(r"(?:.*, *)?`\((\.L_\w+)\)", last.operands) if kind == "BRA" else None
            if kind == "BRA":
                if not target:
                    raise Uncounted(f"{entry}: no label in '{last.opcode} {last.operands}'")
                self.next[i].append(labels[target[1]])
            always = not last.guard and (kind in ("EXIT", "RET") or (kind == "BRA" and last.operands.startswith("`")))
            if not always and i + 1 < len(self.blocks):
                self.next[i].append(i + 1)

    def loops(self):
        """[(header, blocks)] of the natural loops."""
        before = [[] for _ in self.blocks]
        for i, following in enumerate(self.next):
            for j in following:
                before[j].append(i)
        # Dominators, from above: all but unreachable blocks shrink.
        everything = set(range(len(self.blocks)))
        over = [{0}] + [everything] * (len(self.blocks) - 1)
        changed = True
        while changed:
            changed = False
            for i in range(1, len(self.blocks)):
                if before[i]:
                    common = set.intersection(*(over[j] for j in before[i])) | {i}
                    if common != over[i]:
                        over[i], changed = common, True
        found = {}
        for i, following in enumerate(self.next):
            for header in following:
                if header in over[i] and over[i] is not everything:
                    inside = found.setdefault(header, {header})
                    waiting = [i]
                    while waiting:
                        block = waiting.pop()
                        if block not in inside:
                            inside.add(block)
                            waiting += before[block]
        return list(found.items())

    def has(self, block, pattern):
        return any(re.match(pattern, instruction.opcode) for instruction in self.blocks[block])

    def way(self, anchor, passes):
        """Instructions of the shortest iteration of the innermost loop around `anchor` through all blocks of `passes`."""
        around = [loop for loop in self.loops() if any(self.has(block, anchor) for block in loop[1])]
        if not around:
            raise Uncounted(f"no loop has an instruction {anchor}")
        header, inside = min(around, key=lambda loop: len(loop[1]))
        order, seen = [], set()

        def visit(block):
            seen.add(block)
            for following in self.next[block]:
                if following in inside and following not in seen:
                    visit(following)
            order.append(block)

        visit(header)
        order.reverse()
        place = {block: i for i, block in enumerate(order)}
        must = {block for block in inside if self.has(block, passes)}
        best = {header: (int(header in must), -len(self.blocks[header]), [header])}
        for block in order:
            for following in self.next[block] if block in best else []:
                if following in inside and place[following] > place[block]:
                    passed, length, path = best[block]
                    candidate = (passed + (following in must), length - len(self.blocks[following]), path + [following])
                    best[following] = max(best.get(following, candidate), candidate)
        passed, _, path = max(best[block] for block in best if header in self.next[block])
        if passed != len(must):
            raise Uncounted(f"the longest way through the loop of {anchor} passes {passed} of {len(must)} blocks that "
                            "have products, copies, loads, stores or arrivals")
        return [instruction for block in path for instruction in self.blocks[block]]


@dataclasses.dataclass
class Counts:
    """Of a block and CTA; `issue` and `rescale` of the busiest scheduler."""
    tensor: float = 0
    operands: float = 0  # bytes that products read
    moved: float = 0  # bytes of loads and stores of shared memory
    barriers: float = 0  # operations on mbarriers
    issue: float = 0
    rescale: float = 0  # slots more when the output is rescaled


def touched(opcode):
    """Bytes of shared memory that a warp's load or store may touch, a whole clock at least."""
    if re.match("STSM|LDSM", opcode):
        return 128 * int(opcode.rsplit(".", 1)[1])
    size = re.search(r"\.(64|128)\b", opcode)
    return 4 * int(size[1]) if size else 128


def count(role, way):
    total = Counts()
    done = {"scores": 0, "output": 0, "stored": 0}
    for instruction in way:
        if shape := re.match(r"[HQ]GMMA\.64x(\d+)x(\d+)\.", instruction.opcode):
            n, k = int(shape[1]), int(shape[2])
            a_in_registers = instruction.operands.split(",")[1].strip().startswith("R")
            total.tensor += n / 2 * role.warps / 4
            total.operands += (32 * n + (0 if a_in_registers else 2048)) * role.warps / 4
            done["scores"] += n * k
            done["output"] += n * k
        elif re.match(r"(LDS|STS)M?(\.|$)", instruction.opcode) and instruction.guard != "@!PT":
            total.moved += touched(instruction.opcode) * role.warps
            done["stored"] += touched(instruction.opcode) * role.warps if ".128" in instruction.opcode else 0
        elif instruction.opcode.startswith("SYNCS"):
            total.barriers += role.warps
        elif instruction.opcode.startswith("CALL"):
            raise Uncounted(f"{role.name}: a call, of unknown length, on a block's way")
        total.issue += role.sharing
    blocks = done[role.unit] / OF_BLOCK[role.unit]
    if blocks not in (0.5, 1, 2):
        raise Uncounted(f"{role.name}: an iteration does {blocks} blocks, expected 1/2, 1 or 2")
    return Counts(*(value / blocks for value in dataclasses.astuple(total)))


def disassembler():
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    wheel = glob.glob(str(ROOT / ".venv/nvdisasm/nvidia/cu*/bin/nvdisasm"))
    found = shutil.which("nvdisasm") or shutil.which(f"{home}/bin/nvdisasm") or (wheel[0] if wheel else None)
    if not found:
        raise Uncounted("no nvdisasm on PATH, in CUDA_HOME or in .venv; ./dev figures installs the wheel")
    return found


def machine_code(kernel, bin_folder):
    with tempfile.TemporaryDirectory() as folder:
        cubin = f"{folder}/{kernel.name}.cubin"
        given = [text for name, value in kernel.parameters.items() for text in ("-D", f"{name}={value}")]
        for command in ([str(bin_folder / "ptxops-kernel"), "assemble", kernel.name, "-o", cubin, *given],
                        [disassembler(), "-c", cubin]):
            run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if run.returncode:
                raise Uncounted(f"{' '.join(command)}: {run.stderr.strip()[-300:]}")
    return Code(run.stdout, kernel.name)


def limits(kernel, bin_folder):
    """{role's name: Counts}, "sum" among them."""
    code = machine_code(kernel, bin_folder)
    counts, total = {}, Counts(moved=kernel.copied)
    for role in kernel.roles:
        passes = f"(?!{role.rare})({PASSES})"
        found = count(role, code.way(role.anchor, passes))
        if role.unit == "output":
            found.rescale = count(role, code.way(role.anchor, f"{passes}|FMUL")).issue - found.issue
        counts[role.name] = found
        total = Counts(*map(sum, zip(dataclasses.astuple(total), dataclasses.astuple(found))))
    counts["sum"] = total
    return counts


def shared_clocks(counts):
    return (counts.operands + counts.moved) / 128


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", help="build folder")
    options = parser.parse_args()
    for kernel in (DENSE, FP8, E4M3):
        counts = limits(kernel, options.build / "bin")
        print(kernel.name, *(f"{name}={value}" for name, value in kernel.parameters.items()))
        print(f"  {'':<20} tensor   shared = operands +    moved  mbarrier ops  issue slots  + rescale")
        for name, c in counts.items():
            print(f"  {name:<20} {c.tensor:6.0f} {shared_clocks(c):8.0f} {c.operands:10.0f} {c.moved:10.0f} "
                  f"{c.barriers:13.0f} {c.issue:12.0f} {c.rescale:10.0f}")


if __name__ == "__main__":
    main()
