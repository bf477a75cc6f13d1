#include "tests/mutants/device.h"

#include <fmt/format.h>

#include <algorithm>

namespace ptxops::mutants {
namespace {

// CTA b copies row b of the table, {source, target, 4-byte words, 0}, when what may still use the target has
// ended; the next launch may start before.
constexpr const char kPrime[] = R"(.version 8.0
.target sm_90a
.address_size 64
.visible .entry prime(.param .u64 table)
.maxntid 256, 1, 1
{
    .reg .pred p;
    .reg .b32 row, i, value;
    .reg .b64 entry, source, target, words, offset, from, to, index;
    griddepcontrol.wait;
    griddepcontrol.launch_dependents;
    mov.u32 row, %ctaid.x;
    ld.param.u64 entry, [table];
    cvta.to.global.u64 entry, entry;
    mad.wide.u32 entry, row, 32, entry;
    ld.global.v2.b64 {source, target}, [entry];
    ld.global.b64 words, [entry+16];
    mov.u32 i, %tid.x;
    cvt.u64.u32 index, i;
COPY:
    setp.ge.u64 p, index, words;
    @p bra DONE;
    shl.b64 offset, index, 2;
    add.u64 from, source, offset;
    add.u64 to, target, offset;
    ld.global.b32 value, [from];
    st.global.b32 [to], value;
    add.u64 index, index, 256;
    bra COPY;
DONE:
    ret;
}
)";

}  // namespace

Device::Device(const std::string& ptx, const std::string& entry)
    : context_(driver::Driver::get(), 0), current_(context_) {
  try {
    library_ = std::make_unique<driver::Library>(context_, ptx, entry);
    kernel_ = std::make_unique<driver::Kernel>(*library_, entry);
  } catch (const driver::Error& e) {
    throw Refused(e.what());
  }
  prime_library_ = std::make_unique<driver::Library>(context_, kPrime, "prime");
  prime_ = std::make_unique<driver::Kernel>(*prime_library_, "prime");
}

uint64_t Memory::place(const void* data, size_t bytes, bool older) {
  driver::DeviceBuffer staging(device_.context(), bytes);
  if (bytes) staging.upload(data, bytes);
  if (older) {
    older_.push_back(std::move(staging));
    return older_.back().address();
  }
  if (bytes % 4 != 0)
    throw std::invalid_argument(fmt::format("inputs consist of 4-byte words, not {} bytes", bytes));
  primed_.push_back({std::move(staging), driver::DeviceBuffer(device_.context(), bytes)});
  return primed_.back().target.address();
}

uint64_t Memory::place_output(const void* data, size_t bytes) {
  std::vector<uint8_t> guarded(bytes + 2 * kGuard, 0xC5);
  std::memcpy(guarded.data() + kGuard, data, bytes);
  return place(guarded.data(), guarded.size(), false) + kGuard;
}

void Memory::prime() {
  std::vector<uint64_t> table;
  for (const Primed& p : primed_)
    table.insert(table.end(), {p.staging.address(), p.target.address(), p.target.bytes() / 4, 0});
  table_ = driver::DeviceBuffer(device_.context(), table.size() * 8);
  table_.upload(table.data(), table.size() * 8);
  driver::Launch launch(*device_.prime_, {.grid = {static_cast<uint32_t>(primed_.size())}, .block = {256}});
  launch(nullptr, table_.address());
}

std::string Memory::download(uint64_t address, void* to, size_t bytes) const {
  const auto it = std::find_if(primed_.begin(), primed_.end(),
                               [&](const Primed& p) { return p.target.address() + kGuard == address; });
  if (it == primed_.end()) throw std::invalid_argument("not an output");
  std::vector<uint8_t> guarded(bytes + 2 * kGuard);
  it->target.download(guarded.data(), guarded.size());
  std::memcpy(to, guarded.data() + kGuard, bytes);
  for (size_t i = 0; i < kGuard; ++i)
    if (guarded[i] != 0xC5 || guarded[guarded.size() - 1 - i] != 0xC5) return " has writes beside it";
  return {};
}

}  // namespace ptxops::mutants
