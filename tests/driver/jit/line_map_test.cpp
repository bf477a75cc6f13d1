#include "driver/jit/line_map.h"

#include <stdexcept>

#include "driver/jit/serial.h"
#include "tests/driver/jit/template_fixture.h"

namespace ptxops::jit {
namespace {

class LineMapTest : public TemplateTest {
 protected:
  Expansion sample() {
    file("lib.ptx",
         "//% macro inner(n)\ninner {{n}}\n//% end\n\n//% macro outer()\nouter\n//% inner(1)\n//% end\n");
    // k.ptx:      2                        3      4                   5       6            7          8
    return expansion(
        "//% include \"lib.ptx\"\nfirst\n//% for i in 0..2\nloop {{i}}\n//% outer()\n//% end\nlast\n");
  }
};

TEST_F(LineMapTest, EveryLineIsTraced) {
  const Expansion e = sample();
  EXPECT_EQ(e.ptx, "first\nloop 0\nouter\ninner 1\nloop 1\nouter\ninner 1\nlast\n");
  EXPECT_EQ(e.lines.line_count(), 8);
  EXPECT_EQ(e.lines.describe(1), "k.ptx:3");
  EXPECT_EQ(e.lines.describe(2), "k.ptx:5");
  EXPECT_EQ(e.lines.describe(3), "lib.ptx:6 (in outer, called at k.ptx:6)");
  EXPECT_EQ(e.lines.describe(4), "lib.ptx:2 (in inner, called at lib.ptx:7, in outer, called at k.ptx:6)");
  EXPECT_EQ(e.lines.describe(8), "k.ptx:8");
  EXPECT_EQ(e.lines.describe(0), "");
  EXPECT_EQ(e.lines.describe(9), "");
  const LineMap::Location at = e.lines.locate(7);
  EXPECT_EQ(at.file, "lib.ptx");
  EXPECT_EQ(at.line, 2);
  ASSERT_EQ(at.stack.size(), 2u);
  EXPECT_EQ(at.stack[0].macro, "inner");
  EXPECT_EQ(at.stack[1].file, "k.ptx");
  EXPECT_EQ(at.stack[1].line, 6);
}

TEST_F(LineMapTest, LogsCiteTheTemplate) {
  const LineMap lines = sample().lines;
  EXPECT_EQ(lines.remap_log("ptxas k.ptx, line 8; error   : Not a name\nptxas fatal : aborted\n"),
            "ptxas k.ptx, k.ptx:8 [ptx line 8]; error   : Not a name\nptxas fatal : aborted\n");
  EXPECT_EQ(lines.remap_log("line 3, line 99, line x, outline 3, line "),
            "lib.ptx:6 (in outer, called at k.ptx:6) [ptx line 3], line 99, line x, outline 3, line ");
  EXPECT_EQ(lines.remap_log(""), "");
}

TEST_F(LineMapTest, SurvivesTheCache) {
  const LineMap lines = sample().lines;
  std::string bytes;
  Writer writer{bytes};
  lines.write(writer);
  Reader reader{bytes};
  const LineMap again = LineMap::read(reader);
  EXPECT_TRUE(reader.bytes.empty());
  ASSERT_EQ(again.line_count(), lines.line_count());
  for (int i = 0; i <= lines.line_count() + 1; ++i) EXPECT_EQ(again.describe(i), lines.describe(i));
  for (size_t size = 0; size < bytes.size(); ++size) {
    Reader cut{std::string_view(bytes).substr(0, size)};
    EXPECT_THROW(LineMap::read(cut), std::runtime_error) << size;
  }
}

}  // namespace
}  // namespace ptxops::jit
