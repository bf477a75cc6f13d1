"""The READMEs are true: programs in the root README equal the files of the tree, relative links of every README exist,
commands name what there is, and every environment variable the code reads is documented."""
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PROGRAMS = {"c": "ops/examples/first_gemm.c", "python": "python/examples/first_gemm.py"}
KERNEL_TOOL = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else None
SOURCES = ("driver", "ops", "autotune", "bench", "python", "tests")


def code_blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


class Readme(unittest.TestCase):
    def test_programs_are_the_files(self):
        for language, file in PROGRAMS.items():
            with self.subTest(file):
                program, *excerpts = code_blocks(README, language)
                self.assertEqual(program, (ROOT / file).read_text())
                others = [other.read_text() for other in (ROOT / file).parent.iterdir()]
                for excerpt in excerpts:  # of a function's body
                    indented = "".join("  " + line if line.strip() else line for line in excerpt.splitlines(True))
                    self.assertTrue(any(indented in other for other in others), excerpt)

    @unittest.skipUnless(KERNEL_TOOL, "the path of ptxops-kernel was not given")
    def test_table_of_mla_decode(self):
        rows = re.findall(r"^\| `(mla_decode\w*)` \| \d.*\n", README, re.M)
        self.assertLessEqual({"mla_decode", "mla_decode_fp8", "mla_decode_e4m3"}, set(rows))
        for kernel in rows:
            head = subprocess.run([KERNEL_TOOL, "head", kernel], stdout=subprocess.PIPE, text=True, check=True).stdout
            legal = re.search(r"^legal +(\d+)", head, re.M)[1]
            smem, tensor, shared = (re.search(rf"^note +{note} = (.*)$", head, re.M)[1]
                                    for note in ("smem_bytes", "tensor_clocks", "smem_clocks"))
            row = rf"^\| `{kernel}` \| {legal} \| [^|]+ \| {smem} \| {tensor} \| {shared} \|$"
            self.assertTrue(re.search(row, README, re.M), f"README.md has no row {row}")

    def test_relative_links_exist(self):
        readmes = [p for p in ROOT.glob("**/README.md") if not {"build", ".venv"} & set(p.relative_to(ROOT).parts)]
        self.assertGreater(len(readmes), 5)
        for readme in readmes:
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", readme.read_text()):
                if "://" not in target:
                    with self.subTest(f"{readme.relative_to(ROOT)} -> {target}"):
                        self.assertTrue((readme.parent / target).exists())

    def test_commands_exist(self):
        commands = set(re.findall(r"\./dev ([a-z]+)", README))
        self.assertGreaterEqual(commands, {"demo", "test"})
        known = set(re.findall(r"^cmd_([a-z]+)\(\)", (ROOT / "dev").read_text(), re.M))
        self.assertLessEqual(commands, known)

    def test_environment_variables_are_documented(self):
        read = set()
        for room in SOURCES:
            for suffix in ("cpp", "h", "py"):
                for file in (ROOT / room).glob(f"**/*.{suffix}"):
                    read |= set(re.findall(r'(?:getenv|environment|environ(?:\.get)?)[(\[]"(PTXOPS_[A-Z0-9_]+)"',
                                           file.read_text()))
        documented = set(re.findall(r"`(PTXOPS_[A-Z0-9_]+)", README))
        self.assertGreater(len(read), 10)
        self.assertEqual(read - documented, set(), "read by the code, not in README.md")
        self.assertEqual(documented - read, set(), "in README.md, read by nobody")


if __name__ == "__main__":
    unittest.main()
