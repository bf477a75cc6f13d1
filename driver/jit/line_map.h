// Where each line of expanded PTX came from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ptxops::jit {

struct Writer;
struct Reader;

class LineMap {
 public:
  struct Call {
    std::string macro;
    std::string file;  // of the call
    int line = 0;
  };
  struct Location {
    std::string file;         // below ptx/
    int line = 0;             // from 1
    std::vector<Call> stack;  // innermost macro call first
  };

  // Lines count from 1. A line outside the text gives {"", 0, {}}.
  Location locate(int ptx_line) const;
  // "gemm/a.ptx:12 (in mbar_wait, called at gemm/a.ptx:40)"; empty for a line outside the text.
  std::string describe(int ptx_line) const;
  // Rewrites every "line N" of a ptxas or driver log to "FILE:LINE (…) [ptx line N]".
  std::string remap_log(std::string_view log) const;
  int line_count() const { return static_cast<int>(lines_.size()); }

  // Flat form for the cache. read() throws std::runtime_error on malformed bytes.
  void write(Writer& out) const;
  static LineMap read(Reader& in);

  // For the expander.
  uint32_t add_file(std::string path);
  uint32_t add_call(std::string_view macro, uint32_t file, uint32_t line, uint32_t parent);
  void add_line(uint32_t file, uint32_t line, uint32_t call) { lines_.push_back({file, line, call}); }
  static constexpr uint32_t kNoCall = ~0u;

 private:
  struct Line {
    uint32_t file, line, call;
  };
  struct CallSite {
    uint32_t macro, file, line, parent;
  };
  uint32_t add_macro(std::string_view name);

  std::vector<std::string> files_;
  std::vector<std::string> macros_;
  std::vector<CallSite> calls_;
  std::vector<Line> lines_;
};

}  // namespace ptxops::jit
