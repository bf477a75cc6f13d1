#include "driver/jit/build.h"

#include <fmt/format.h>

#include "driver/jit/serial.h"
#include "driver/jit/source.h"

namespace ptxops::jit {
namespace {

// Part of every key: raise it when the text layer or the stored form changes meaning.
constexpr uint64_t kFormat = 1;

// Everything the expansion depends on: the values and the text of every file that may be included.
CacheKey key_of(const std::string& path, const Params& params, const PtxasOptions& options,
                const std::string& tool) {
  KeyBuilder key("cubin");
  key.add(kFormat).add(tool);
  key.add(options.flags.size());
  for (const std::string& flag : options.flags) key.add(flag);
  key.add(params.size());
  for (const auto& [name, value] : params) key.add(name).add(static_cast<uint64_t>(value));
  for (const auto& [file, text] : source_closure(path)) key.add(file).add(text);
  return key.key();
}

std::string pack(const Built& b) {
  std::string out;
  Writer w{out};
  w.text(b.kernel).text(b.ptx).text(b.cubin).text(b.log);
  w.number(b.notes.size());
  for (const auto& [name, value] : b.notes) w.text(name).number(static_cast<uint64_t>(value));
  for (const int n : {b.usage.registers, b.usage.spill_store_bytes, b.usage.spill_load_bytes,
                      b.usage.stack_bytes, b.usage.smem_bytes, b.usage.barriers})
    w.number(static_cast<uint64_t>(n));
  w.number(b.usage.advisories.size());
  for (const std::string& a : b.usage.advisories) w.text(a);
  b.lines.write(w);
  return out;
}

Built unpack(std::string_view bytes) {
  Built b;
  Reader r{bytes};
  b.kernel = r.text();
  b.ptx = r.text();
  b.cubin = r.text();
  b.log = r.text();
  for (uint64_t n = r.number(); n > 0; --n) {
    std::string name(r.text());
    b.notes[std::move(name)] = static_cast<int64_t>(r.number());
  }
  for (int* n : {&b.usage.registers, &b.usage.spill_store_bytes, &b.usage.spill_load_bytes,
                 &b.usage.stack_bytes, &b.usage.smem_bytes, &b.usage.barriers})
    *n = static_cast<int>(r.number());
  for (uint64_t n = r.number(); n > 0; --n) b.usage.advisories.emplace_back(r.text());
  b.lines = LineMap::read(r);
  if (!r.bytes.empty()) throw std::runtime_error("cache entry: trailing bytes");
  b.from_cache = true;
  return b;
}

// The head promises an entry of its name: launching looks it up by that.
void check_entry(const Expansion& e, const std::string& path) {
  for (size_t at = e.ptx.find(".entry"); at != e.ptx.npos; at = e.ptx.find(".entry", at + 1)) {
    const size_t begin = e.ptx.find_first_not_of(" \t\n", at + 6);
    if (begin == e.ptx.npos) break;
    const size_t end = begin + e.kernel.size();
    if (e.ptx.compare(begin, e.kernel.size(), e.kernel) == 0 && end < e.ptx.size() &&
        (e.ptx[end] == '(' || e.ptx[end] == ' ' || e.ptx[end] == '\n'))
      return;
  }
  throw TemplateError(
      path, 1, fmt::format("'//% kernel {}', but the text has no '.entry {}'", e.kernel, e.kernel), "");
}

Built from_expansion(const std::string& path, const Params& params) {
  Expansion e = expand(path, params);
  check_entry(e, path);
  Built b;
  b.kernel = std::move(e.kernel);
  b.ptx = std::move(e.ptx);
  b.notes = std::move(e.notes);
  b.lines = std::move(e.lines);
  return b;
}

}  // namespace

Built build(const std::string& path, const Params& params, const BuildOptions& options) {
  if (options.want == Want::kPtx) return from_expansion(path, params);
  const PtxasSearch search = find_ptxas();
  if (!search.tool) {
    Built b = from_expansion(path, params);
    b.status = search.status;
    return b;
  }
  const Cache& cache = options.cache ? *options.cache : default_cache();
  CacheKey key;
  if (cache.enabled()) {
    key = key_of(path, params, options.ptxas, search.tool->identity(cache));
    if (const auto bytes = cache.load(key)) return unpack(*bytes);
  }

  Built b = from_expansion(path, params);
  Assembly assembly = search.tool->assemble(b.ptx, b.kernel, options.ptxas);
  b.log = b.lines.remap_log(assembly.log);
  if (!assembly.ok) throw BuildError(fmt::format("ptxas refused {}\n{}", path, b.log));
  b.cubin = std::move(assembly.cubin);
  b.usage = std::move(assembly.usage);
  for (std::string& advisory : b.usage.advisories) advisory = b.lines.remap_log(advisory);
  cache.store(key, pack(b));
  b.status = cache.take_warning();
  return b;
}

}  // namespace ptxops::jit
