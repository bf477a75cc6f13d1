// Function calls: activations with a register frame and local memory of their own. Arguments and results are
// copied between the caller's and the callee's .param variables or registers, lane by lane.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "driver/virtual/check/checker.h"
#include "driver/virtual/exec/control.h"
#include "driver/virtual/exec/function_decoder.h"
#include "driver/virtual/exec/grid.h"
#include "driver/virtual/exec/shadow.h"
#include "driver/virtual/exec/system_call.h"

namespace ptxops::virt {
namespace {

struct CallSite {
  const Code* callee = nullptr;  // nullptr: indirect, by the address in slot `a`
  std::vector<Place> arguments, results;
};

Place place_of(const Code& code, const isa::Variable& v) {
  if (v.space == isa::Space::reg) return {false, code.register_slot[static_cast<size_t>(v.reg)], v.size};
  return {true, code.local_offset.at(&v), v.size};
}

void copy_value(Warp& w, const Frame& from, Place from_place, const Frame& to, Place to_place, uint32_t bytes,
                uint32_t lanes) {
  for (uint32_t m = lanes; m; m &= m - 1) {
    const uint32_t lane = static_cast<uint32_t>(__builtin_ctz(m));
    const std::byte* source = host_of(w, from, from_place, lane, bytes);
    std::byte* target = host_of(w, to, to_place, lane, bytes);
    if (!to_place.local && bytes < 4) std::memset(target, 0, 4);
    std::memcpy(target, source, bytes);
    if (to_place.local)
      shadow_mark(w.local_shadow.get(), size_t{lane} * w.local_size + to.local_base + to_place.offset, bytes);
  }
}

// Why the values of a call do not fit the function's parameters; empty when they do. Of an indirect call,
// that shows only here.
std::string mismatch(const CallSite& site, const isa::Function& f) {
  if (site.arguments.size() != f.params.size() || site.results.size() != f.returns.size())
    return fmt::format("call of '{}' with {} arguments and {} results; it takes {} and returns {}", f.name,
                       site.arguments.size(), site.results.size(), f.params.size(), f.returns.size());
  for (size_t i = 0; i < f.params.size(); ++i)
    if (site.arguments[i].bytes != f.params[i]->size)
      return fmt::format("call of '{}' with {} bytes for its parameter '{}', which has {}", f.name,
                         site.arguments[i].bytes, f.params[i]->name, f.params[i]->size);
  for (size_t i = 0; i < f.returns.size(); ++i)
    if (site.results[i].bytes != 0 && site.results[i].bytes != f.returns[i]->size)
      return fmt::format("call of '{}' with {} bytes for its result '{}', which has {}", f.name,
                         site.results[i].bytes, f.returns[i]->name, f.returns[i]->size);
  return {};
}

// Local memory is lane-major, so growing it moves every lane's share.
void grow_local(Warp& w, uint32_t needed) {
  const uint32_t size = std::min(kLocalMax, std::max(needed, 2 * w.local_size + 256) / 64 * 64 + 64);
  auto local = std::make_unique<std::byte[]>(size_t{size} * kLanes);
  auto shadow = std::make_unique<uint8_t[]>(size_t{size} * kLanes / 8);
  for (uint32_t lane = 0; lane < kLanes && w.local_size; ++lane) {
    std::memcpy(local.get() + size_t{lane} * size, w.local.get() + size_t{lane} * w.local_size, w.local_size);
    std::memcpy(shadow.get() + size_t{lane} * size / 8,
                w.local_shadow.get() + size_t{lane} * w.local_size / 8, w.local_size / 8);
  }
  w.local = std::move(local);
  w.local_shadow = std::move(shadow);
  w.local_size = size;
}

Step call(Warp& w, const Op& op, uint32_t lanes) {
  if (lanes == 0) return Step::next;
  const CallSite& site = *reinterpret_cast<const CallSite*>(op.imm);
  Split& s = *w.split;
  const Code* callee = site.callee;
  uint32_t group = lanes;
  if (!callee) {
    const uint64_t* targets = w.reg<uint64_t>(op.a);
    const uint64_t first = targets[__builtin_ctz(lanes)];
    callee = s.frame->code->program->code_at(first);
    if (!callee)
      return w.fault(op, __builtin_ctz(lanes), Diagnostic::X3,
                     fmt::format("indirect call of 0x{:x}, which is not a function of this module", first));
    group = 0;
    for (uint32_t m = lanes; m; m &= m - 1)
      if (targets[__builtin_ctz(m)] == first) group |= m & -m;
  }
  const isa::Function& f = *callee->function;
  if (const std::string why = mismatch(site, f); !why.empty()) return w.fault(op, -1, Diagnostic::X3, why);
  if (w.order && w.order->wgmma_issued > w.order->wgmma_done && reported(Diagnostic::W9))
    return w.fault(op, -1, Diagnostic::W9, std::string(rule(Diagnostic::W9).title));
  Frame* caller = s.frame;
  Frame* frame = enter_frame(w, *callee, &op, caller);
  if (!frame)
    return w.fault(
        op, -1, Diagnostic::X3,
        fmt::format("calls nest too deep: more than {} bytes of local memory a thread", kLocalMax));
  for (size_t i = 0; i < site.arguments.size(); ++i)
    copy_value(w, *caller, site.arguments[i], *frame, place_of(*callee, *f.params[i]),
               static_cast<uint32_t>(f.params[i]->size), group);
  if (group != s.mask) {  // lanes with another target, or with a false guard, go their own way until the join
    s.reconvergence = separate(w, op);
    if (const uint32_t others = lanes & ~group) w.new_split(&op, others, caller, s.reconvergence);
    if (const uint32_t idle = s.mask & ~lanes) w.new_split(&op + 1, idle, caller, s.reconvergence);
  }
  Reconvergence& record = w.new_record(nullptr, group, s.reconvergence, frame);
  w.new_split(callee->ops.data(), group, frame, &record);
  w.drop_split(s);
  return Step::leave;
}

}  // namespace

std::byte* host_of(Warp& w, const Frame& frame, const Place& place, uint32_t lane, uint64_t bytes) {
  if (place.local) return w.local.get() + size_t{lane} * w.local_size + frame.local_base + place.offset;
  return frame.regs + place.offset + lane * (bytes <= 4 ? 4 : bytes <= 8 ? 8 : 16);
}

Frame* enter_frame(Warp& w, const Code& code, const Op* call, Frame* caller) {
  const uint32_t base = caller ? (w.local_used + 15) / 16 * 16 : 0;
  if (base + code.local_bytes > kLocalMax) return nullptr;
  if (base + code.local_bytes > w.local_size) grow_local(w, base + code.local_bytes);
  w.frames.push_back(std::make_unique<Frame>());
  Frame& frame = *w.frames.back();
  frame.code = &code;
  frame.regs = take_buffer(code.frame_bytes);
  frame.call = call;
  frame.caller = caller;
  frame.local_base = base;
  w.local_used = base + code.local_bytes;
  code.fill_frame(w, frame.regs, base);
  return &frame;
}

void leave_frame(Warp& w, Frame& frame) {
  if (w.order && w.order->undefined.active()) forget_undefined(w, frame);
  give_buffer(frame.regs, frame.code->frame_bytes);
  const auto it =
      std::find_if(w.frames.begin(), w.frames.end(), [&](const auto& f) { return f.get() == &frame; });
  w.frames.erase(it);
  // Activations of splits interleave: local memory is free again only above the topmost one left.
  w.local_used = 0;
  for (const auto& f : w.frames) w.local_used = std::max(w.local_used, f->local_base + f->code->local_bytes);
}

void return_from(Warp& w, Frame& frame, uint32_t lanes, Reconvergence* parent) {
  const CallSite& site = *reinterpret_cast<const CallSite*>(frame.call->imm);
  const isa::Function& f = *frame.code->function;
  for (size_t i = 0; i < site.results.size(); ++i)
    if (site.results[i].bytes != 0)
      copy_value(w, frame, place_of(*frame.code, *f.returns[i]), *frame.caller, site.results[i],
                 static_cast<uint32_t>(f.returns[i]->size), lanes);
  w.new_split(frame.call + 1, lanes, frame.caller, parent);
  leave_frame(w, frame);
}

void decode_call(Decoder& d, const isa::Instruction& in) {
  auto& decoder = static_cast<FunctionDecoder&>(d);
  const Code& code = decoder.code();
  CallSite site;
  const isa::Operand &results = in.operands[0], &callee = in.operands[1], &arguments = in.operands[2];
  const auto variable_place = [&](const isa::Variable& v) -> Place {
    const auto it = code.local_offset.find(&v);
    if (it == code.local_offset.end()) d.refuse(fmt::format("'{}' cannot be passed to a function", v.name));
    return {true, it->second, v.size};
  };
  const auto register_place = [&](const isa::Operand& o) -> Place {
    if (o.type == isa::Type::pred) d.refuse("a predicate cannot be passed to a function");
    return {false, code.register_slot[o.index], static_cast<uint64_t>(isa::type_bytes(o.type))};
  };
  for (const isa::Operand& o : results.elements) {
    if (o.kind == isa::OperandKind::variable)
      site.results.push_back(variable_place(*o.variable));
    else if (o.is_sink())
      site.results.push_back({});
    else
      site.results.push_back(register_place(o));
  }
  // An immediate takes the type of the parameter that it becomes.
  const isa::Operand& signature = in.operands[3];
  const auto parameter_type = [&](size_t i, isa::Type own) {
    const isa::Function& caller = *code.function;
    const isa::Function* known = callee.kind == isa::OperandKind::function ? callee.function : nullptr;
    if (signature.kind == isa::OperandKind::call_targets)
      known = caller.call_target_lists[signature.index].functions[0];
    if (known) return i < known->params.size() ? known->params[i]->type : own;
    if (signature.kind != isa::OperandKind::prototype) return own;
    const auto& params = caller.prototypes[signature.index].params;
    return i < params.size() ? params[i].type : own;
  };
  for (size_t i = 0; i < arguments.elements.size(); ++i) {
    const isa::Operand& o = arguments.elements[i];
    if (o.kind == isa::OperandKind::variable) {
      site.arguments.push_back(variable_place(*o.variable));
    } else if (o.is_reg()) {
      site.arguments.push_back(register_place(o));
    } else {
      const isa::Type type = parameter_type(i, o.type);
      if (type == isa::Type::pred) d.refuse("a predicate cannot be passed to a function");
      site.arguments.push_back({false, d.src(o, type), static_cast<uint64_t>(isa::type_bytes(type))});
    }
  }
  uint32_t target = 0;
  if (callee.kind == isa::OperandKind::function) {
    const isa::Function* f = callee.function->alias_of ? callee.function->alias_of : callee.function;
    site.callee = decoder.program().code_of(*f);
    if (const Handler handler = site.callee ? nullptr : system_function(*f)) {
      Op& op = d.emit(handler);
      op.imm = reinterpret_cast<uint64_t>(
          d.keep(SystemCall{std::move(site.arguments), site.results.empty() ? Place{} : site.results[0]}));
      op.cost = 20;
      return;
    }
    if (!site.callee)
      d.refuse(fmt::format("function '{}' is declared but not defined in this module", f->name));
  } else {
    target = d.src(callee, isa::Type::u64);
  }
  Op& op = d.emit(call);
  op.flags |= kRunsWithoutLanes;
  op.a = target;
  op.imm = reinterpret_cast<uint64_t>(d.keep(std::move(site)));
  op.cost = 20;
  decoder.patch_meet();
}

}  // namespace ptxops::virt
