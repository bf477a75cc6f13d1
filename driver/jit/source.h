// Kernel sources at run time: embedded in the library at build time, or read from PTXOPS_PTX_DIR.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ptxops::jit {

// A file of ptx/ by its path from there ("gemm/fp8_gemm.ptx"), as built in. Lives as long as the program.
std::optional<std::string_view> embedded_source(std::string_view path);
std::vector<std::string_view> embedded_paths();  // sorted

// The same file, from the directory in environment variable PTXOPS_PTX_DIR where that is set (re-read at each
// call, no fallback to the embedded text), else embedded. nullopt: no such file. A path that leaves the
// directory (absolute, or with "..") is never found.
std::optional<std::string> read_source(std::string_view path);
std::vector<std::string> source_paths();  // every .ptx and .cu, sorted

// (path, text) of a kernel and of every file it may include, directly or not: what its expansion can depend
// on besides parameters. An include that does not exist is left out. Found by a scan of the lines, so this is
// far cheaper than parsing.
std::vector<std::pair<std::string, std::string>> source_closure(const std::string& path);

// Whether the text's first directive is `//% kernel`: else it is a file to include.
bool is_kernel(std::string_view text);

}  // namespace ptxops::jit
