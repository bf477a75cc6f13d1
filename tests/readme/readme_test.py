"""The READMEs are true: programs in the root README equal the files of the tree, relative links of every README exist,
commands name what there is, and every environment variable the code reads is documented."""
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PROGRAMS = {"c": "ops/examples/first_gemm.c", "python": "python/examples/first_gemm.py"}
SOURCES = ("driver", "ops", "autotune", "bench", "python", "tests")


def code_blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


class Readme(unittest.TestCase):
    def test_programs_are_the_files(self):
        for language, file in PROGRAMS.items():
            with self.subTest(file):
                self.assertEqual(code_blocks(README, language), [(ROOT / file).read_text()])

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
