#include "driver/jit/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "driver/jit/build.h"
#include "ptx/embedded.h"

namespace ptxops::jit {
namespace {

namespace fs = std::filesystem;

const char* source_dir() {
  const char* dir = std::getenv("PTXOPS_PTX_DIR");
  if (!dir || !*dir) return nullptr;
  std::error_code error;
  if (!fs::is_directory(dir, error))
    throw BuildError(fmt::format("PTXOPS_PTX_DIR: expected a folder of kernels, got {}", dir));
  return dir;
}

bool stays_inside(std::string_view path) {
  const fs::path p(path);
  return !path.empty() && p.is_relative() && std::find(p.begin(), p.end(), "..") == p.end();
}

}  // namespace

std::optional<std::string_view> embedded_source(std::string_view path) {
  for (const PtxopsEmbeddedFile* f = ptxops_embedded_files; f->path; ++f)
    if (path == f->path) return std::string_view(f->begin, static_cast<size_t>(f->end - f->begin));
  return std::nullopt;
}

std::vector<std::string_view> embedded_paths() {
  std::vector<std::string_view> paths;
  for (const PtxopsEmbeddedFile* f = ptxops_embedded_files; f->path; ++f) paths.emplace_back(f->path);
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::optional<std::string> read_source(std::string_view path) {
  const char* dir = source_dir();
  if (!dir) {
    const auto text = embedded_source(path);
    return text ? std::optional<std::string>(*text) : std::nullopt;
  }
  if (!stays_inside(path)) return std::nullopt;
  const fs::path file = fs::path(dir) / path;
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return std::nullopt;
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in || !text) return std::nullopt;
  return std::move(text).str();
}

std::vector<std::string> source_paths() {
  std::vector<std::string> paths;
  const char* dir = source_dir();
  if (!dir) {
    for (const auto path : embedded_paths()) paths.emplace_back(path);
    return paths;
  }
  std::error_code error;
  for (fs::recursive_directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    const auto extension = it->path().extension();
    if (it->is_regular_file(error) && (extension == ".ptx" || extension == ".cu"))
      paths.push_back(fs::relative(it->path(), dir).generic_string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::vector<std::pair<std::string, std::string>> source_closure(const std::string& path) {
  std::vector<std::pair<std::string, std::string>> closure;
  std::vector<std::string> wanted = {path};
  for (size_t i = 0; i < wanted.size(); ++i) {
    auto text = read_source(wanted[i]);
    if (!text) continue;
    for (size_t at = text->find("//%"); at != text->npos; at = text->find("//%", at + 3)) {
      const size_t word = text->find_first_not_of(" \t", at + 3);
      if (word == text->npos || text->compare(word, 7, "include") != 0) continue;
      const size_t end = std::min(text->find('\n', word), text->size());
      const size_t open = text->find('"', word), close = text->find('"', open + 1);
      if (open >= end || close >= end) continue;
      std::string file = text->substr(open + 1, close - open - 1);
      if (std::find(wanted.begin(), wanted.end(), file) == wanted.end()) wanted.push_back(std::move(file));
    }
    closure.emplace_back(wanted[i], std::move(*text));
  }
  return closure;
}

bool is_kernel(std::string_view text) {
  const size_t directive = text.find("//%");
  if (directive == text.npos) return false;
  text.remove_prefix(directive + 3);
  const size_t word = text.find_first_not_of(" \t");
  return word != text.npos && text.substr(word).starts_with("kernel ");
}

}  // namespace ptxops::jit
