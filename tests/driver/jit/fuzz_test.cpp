// Random text never does anything but expand or throw TemplateError (run it under the asan preset).
#include <random>
#include <vector>

#include "driver/jit/head.h"
#include "tests/driver/jit/template_fixture.h"

namespace ptxops::jit {
namespace {

constexpr const char* kPieces[] = {
    "//% ",
    "//% let ",
    "//% for ",
    "//% if ",
    "//% elif ",
    "//% else\n",
    "//% end\n",
    "//% macro ",
    "//% include \"",
    "\"",
    "//% param ",
    "//% note ",
    "//% require ",
    "//% error ",
    "//% kernel ",
    "//% smem ",
    "in ",
    "0..4",
    "..",
    "step ",
    "{{",
    "}}",
    "{{{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    "=",
    "==",
    "+",
    "-",
    "*",
    "/",
    "%",
    "<<",
    ">>",
    "&&",
    "||",
    "?",
    ":",
    "!",
    "~",
    "a",
    "b",
    "i",
    "m",
    "uid",
    "regs",
    "hex",
    "f32",
    "min",
    "log2",
    "ceil_div",
    "1",
    "2",
    "64",
    "0x10",
    "9223372036854775807",
    " ",
    " ",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\t",
    "mov.u32 a, b;",
    "//",
    "lib.ptx",
    "\"x\"",
    "\xff",
    "m(a)",
    "//% end\n",
    "//% end\n",
    "//% let a = 1\n",
    "//% m(1, a)\n",
    "//% for i in 0..3\n",
    "//% macro m(x, y)\n",
    "{{a}}",
    "{{i * 2}}",
    "{{regs(\"r\", 4)}}",
    "//% if a\n",
    "//% include \"lib.ptx\"\n",
    "//% param P in 1, 2..8 step 2\n",
};

class Fuzz : public TemplateTest {
 protected:
  // Whether it expanded.
  bool survive(const std::string& text, const Params& params = {}) {
    try {
      const KernelHead head = parse_head_text("f.ptx", text);
      const Expansion e = expand(*head.parsed, params);
      EXPECT_EQ(std::count(e.ptx.begin(), e.ptx.end(), '\n'), e.lines.line_count());
      for (int line = 1; line <= std::min(e.lines.line_count(), 50); ++line)
        EXPECT_GT(e.lines.locate(line).line, 0);
      if (head.params.size() < 4) enumerate(head);
      return true;
    } catch (const TemplateError& e) {
      EXPECT_GE(e.line(), 1) << e.what();
      return false;
    }
  }
};

TEST_F(Fuzz, RandomPieces) {
  file("lib.ptx", "//% macro lib(z)\n{{z}}\n//% end\n");
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  int expanded = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = "//% kernel f\n";
    for (size_t n = random() % 24; n > 0; --n) text += kPieces[random() % std::size(kPieces)];
    expanded += survive(text);
  }
  EXPECT_GT(expanded, 100);
}

TEST_F(Fuzz, DamagedTemplates) {
  const std::string good =
      "//% kernel f\n//% param P in 2, 4..8 step 2\n//% let a = P * 2\n//% require a > 1 \"small {{a}}\"\n"
      "//% note n = ceil_div(a, 3)\n//% macro m(x, y)\nL{{uid}}: add {{x}}, {{y + 1}};\n//% end\n"
      "//% for i in 0..a step 2\n//% if i % 4 == 0\n//% m(r{{i}}, i)\n//% elif i > 5\n{ {{regs(\"acc\", i)}} "
      "}\n"
      "//% else\n{{hex(i)}} {{f32(i)}}\n//% end\n//% end\n";
  ASSERT_TRUE(survive(good, {{"P", 4}}));
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 20000; ++round) {
    std::string text = good;
    for (size_t n = 1 + random() % 3; n > 0; --n) {
      const size_t at = 13 + random() % (text.size() - 13);
      switch (random() % 4) {
        case 0:
          text.erase(at, 1 + random() % 8);
          break;
        case 1:
          text[at] = static_cast<char>(random());
          break;
        case 2:
          text.insert(at, kPieces[random() % std::size(kPieces)]);
          break;
        case 3:
          text.insert(at, text.substr(random() % text.size(), random() % 30));
          break;
      }
    }
    survive(text, {{"P", 4}});
  }
}

}  // namespace
}  // namespace ptxops::jit
