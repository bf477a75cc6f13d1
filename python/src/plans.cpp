// One class for each op's plan: made from the descriptor's fields, run with device addresses.
#include <cstdint>

#include "python/src/plan.h"

namespace ptxops::python {
namespace {

using Address = ptxopsDevicePtr_t;

struct Fp8GemmPlan : Plan {
  Fp8GemmPlan(ContextPtr c, const ptxopsFp8GemmDesc_t& d) : Plan(std::move(c)), desc(d) {
    check(ptxopsFp8GemmPlanCreate(context->handle, &desc, &handle));
  }
  ptxopsFp8GemmDesc_t desc;
};

// A table in host memory: int32, dense, of exactly `count` entries.
const int32_t* table(const py::buffer_info& info, const char* name, int64_t count) {
  if (info.itemsize != 4 || info.format.find_first_of("il") == std::string::npos || info.ndim != 1 ||
      info.size != count || (count > 1 && info.strides[0] != 4))
    throw py::value_error(std::string(name) + ": expected a dense int32 array of " + std::to_string(count) +
                          " entries, got format '" + info.format + "', " + std::to_string(info.size) +
                          " entries");
  return static_cast<const int32_t*>(info.ptr);
}

void register_fp8_gemm(py::module_& m) {
  py::class_<Fp8GemmPlan, Plan, std::shared_ptr<Fp8GemmPlan>>(m, "Fp8GemmPlan")
      .def(py::init([](ContextPtr c, int32_t form, int32_t group_layout, int64_t rows, int64_t n, int64_t k,
                       int64_t groups, int64_t expected_m, int64_t ld_sfa, int64_t ldd, int32_t out_type,
                       int32_t sm_count, bool weights_static) {
             ptxopsFp8GemmDesc_t d = PTXOPS_FP8_GEMM_DESC_INITIALIZER;
             d.form = form, d.group_layout = group_layout;
             d.m = rows, d.n = n, d.k = k, d.groups = groups;
             d.expected_m = expected_m, d.ld_sfa = ld_sfa, d.ldd = ldd;
             d.out_type = out_type, d.sm_count = sm_count, d.weights_static = weights_static;
             return make_unlocked<Fp8GemmPlan>(std::move(c), d);
           }),
           py::arg("context"), py::kw_only(), py::arg("form") = 0, py::arg("group_layout") = 0, py::arg("m"),
           py::arg("n"), py::arg("k"), py::arg("groups") = 1, py::arg("expected_m") = 0,
           py::arg("ld_sfa") = 0, py::arg("ldd") = 0, py::arg("out_type") = 0, py::arg("sm_count") = 0,
           py::arg("weights_static") = false)
      .def("check_offsets",
           [](const Fp8GemmPlan& p, const py::buffer& offsets) {
             const py::buffer_info b = offsets.request();
             check(ptxopsFp8GemmCheckOffsets(&p.desc, table(b, "offsets", p.desc.groups + 1)));
           })
      .def("check_counts",
           [](const Fp8GemmPlan& p, const py::buffer& counts) {
             const py::buffer_info b = counts.request();
             check(ptxopsFp8GemmCheckCounts(&p.desc, table(b, "counts", p.desc.groups)));
           })
      .def(
          "run",
          [](const Fp8GemmPlan& p, Address a, Address sfa, Address b, Address sfb, Address d, Address groups,
             Address workspace, size_t workspace_bytes, uint64_t stream) {
            ptxopsFp8GemmArgs_t args = PTXOPS_FP8_GEMM_ARGS_INITIALIZER;
            args.a = a, args.sfa = sfa, args.b = b, args.sfb = sfb, args.d = d, args.groups = groups;
            check(ptxopsFp8GemmRun(p.handle, &args, workspace, workspace_bytes, stream_of(stream)));
          },
          py::kw_only(), py::arg("a"), py::arg("sfa"), py::arg("b"), py::arg("sfb"), py::arg("d"),
          py::arg("groups") = 0, py::arg("workspace") = 0, py::arg("workspace_bytes") = 0,
          py::arg("stream") = 0, Unlocked());
}

struct QuantizePlan : Plan {
  QuantizePlan(ContextPtr c, const ptxopsQuantizeDesc_t& d) : Plan(std::move(c)) {
    check(ptxopsQuantizePlanCreate(context->handle, &d, &handle));
  }
};

struct SwigluQuantizePlan : Plan {
  SwigluQuantizePlan(ContextPtr c, const ptxopsSwigluQuantizeDesc_t& d) : Plan(std::move(c)) {
    check(ptxopsSwigluQuantizePlanCreate(context->handle, &d, &handle));
  }
};

void register_quantize(py::module_& m) {
  py::class_<QuantizePlan, Plan, std::shared_ptr<QuantizePlan>>(m, "QuantizePlan")
      .def(py::init([](ContextPtr c, int64_t rows, int64_t k, int64_t groups, int64_t source_rows,
                       int64_t ldx, int64_t ld_sf) {
             ptxopsQuantizeDesc_t d = PTXOPS_QUANTIZE_DESC_INITIALIZER;
             d.m = rows, d.k = k, d.groups = groups, d.source_rows = source_rows, d.ldx = ldx,
             d.ld_sf = ld_sf;
             return make_unlocked<QuantizePlan>(std::move(c), d);
           }),
           py::arg("context"), py::kw_only(), py::arg("m"), py::arg("k"), py::arg("groups") = 1,
           py::arg("source_rows") = 0, py::arg("ldx") = 0, py::arg("ld_sf") = 0)
      .def(
          "run",
          [](const QuantizePlan& p, Address x, Address q, Address sf, Address row_index, Address counts,
             uint64_t stream) {
            ptxopsQuantizeArgs_t args = PTXOPS_QUANTIZE_ARGS_INITIALIZER;
            args.x = x, args.q = q, args.sf = sf, args.row_index = row_index, args.counts = counts;
            check(ptxopsQuantizeRun(p.handle, &args, stream_of(stream)));
          },
          py::kw_only(), py::arg("x"), py::arg("q"), py::arg("sf"), py::arg("row_index") = 0,
          py::arg("counts") = 0, py::arg("stream") = 0, Unlocked());

  py::class_<SwigluQuantizePlan, Plan, std::shared_ptr<SwigluQuantizePlan>>(m, "SwigluQuantizePlan")
      .def(
          py::init([](ContextPtr c, int64_t rows, int64_t width, int64_t groups, int64_t ldx, int64_t ld_sf) {
            ptxopsSwigluQuantizeDesc_t d = PTXOPS_SWIGLU_QUANTIZE_DESC_INITIALIZER;
            d.m = rows, d.width = width, d.groups = groups, d.ldx = ldx, d.ld_sf = ld_sf;
            return make_unlocked<SwigluQuantizePlan>(std::move(c), d);
          }),
          py::arg("context"), py::kw_only(), py::arg("m"), py::arg("width"), py::arg("groups") = 1,
          py::arg("ldx") = 0, py::arg("ld_sf") = 0)
      .def(
          "run",
          [](const SwigluQuantizePlan& p, Address x, Address q, Address sf, Address counts, uint64_t stream) {
            ptxopsSwigluQuantizeArgs_t args = PTXOPS_SWIGLU_QUANTIZE_ARGS_INITIALIZER;
            args.x = x, args.q = q, args.sf = sf, args.counts = counts;
            check(ptxopsSwigluQuantizeRun(p.handle, &args, stream_of(stream)));
          },
          py::kw_only(), py::arg("x"), py::arg("q"), py::arg("sf"), py::arg("counts") = 0,
          py::arg("stream") = 0, Unlocked());
}

struct GatherRowsPlan : Plan {
  GatherRowsPlan(ContextPtr c, const ptxopsGatherRowsDesc_t& d) : Plan(std::move(c)) {
    check(ptxopsGatherRowsPlanCreate(context->handle, &d, &handle));
  }
};

struct WeightedScatterPlan : Plan {
  WeightedScatterPlan(ContextPtr c, const ptxopsWeightedScatterDesc_t& d) : Plan(std::move(c)) {
    check(ptxopsWeightedScatterPlanCreate(context->handle, &d, &handle));
  }
};

void register_rows(py::module_& m) {
  py::class_<GatherRowsPlan, Plan, std::shared_ptr<GatherRowsPlan>>(m, "GatherRowsPlan")
      .def(py::init([](ContextPtr c, int64_t rows, int64_t source_rows, int64_t hidden) {
             ptxopsGatherRowsDesc_t d = PTXOPS_GATHER_ROWS_DESC_INITIALIZER;
             d.m = rows, d.source_rows = source_rows, d.hidden = hidden;
             return make_unlocked<GatherRowsPlan>(std::move(c), d);
           }),
           py::arg("context"), py::kw_only(), py::arg("m"), py::arg("source_rows"), py::arg("hidden"))
      .def(
          "run",
          [](const GatherRowsPlan& p, Address x, Address row_index, Address y, uint64_t stream) {
            ptxopsGatherRowsArgs_t args = PTXOPS_GATHER_ROWS_ARGS_INITIALIZER;
            args.x = x, args.row_index = row_index, args.y = y;
            check(ptxopsGatherRowsRun(p.handle, &args, stream_of(stream)));
          },
          py::kw_only(), py::arg("x"), py::arg("row_index"), py::arg("y"), py::arg("stream") = 0, Unlocked());

  py::class_<WeightedScatterPlan, Plan, std::shared_ptr<WeightedScatterPlan>>(m, "WeightedScatterPlan")
      .def(py::init([](ContextPtr c, int64_t tokens, int64_t rows, int64_t hidden, int64_t top_k,
                       int32_t out_type) {
             ptxopsWeightedScatterDesc_t d = PTXOPS_WEIGHTED_SCATTER_DESC_INITIALIZER;
             d.tokens = tokens, d.rows = rows, d.hidden = hidden, d.top_k = top_k, d.out_type = out_type;
             return make_unlocked<WeightedScatterPlan>(std::move(c), d);
           }),
           py::arg("context"), py::kw_only(), py::arg("tokens"), py::arg("rows"), py::arg("hidden"),
           py::arg("top_k"), py::arg("out_type") = 0)
      .def(
          "run",
          [](const WeightedScatterPlan& p, Address y, Address row, Address weight, Address out,
             uint64_t stream) {
            ptxopsWeightedScatterArgs_t args = PTXOPS_WEIGHTED_SCATTER_ARGS_INITIALIZER;
            args.y = y, args.row = row, args.weight = weight, args.out = out;
            check(ptxopsWeightedScatterRun(p.handle, &args, stream_of(stream)));
          },
          py::kw_only(), py::arg("y"), py::arg("row"), py::arg("weight"), py::arg("out"),
          py::arg("stream") = 0, Unlocked());
}

}  // namespace

void register_plans(py::module_& m) {
  py::class_<Plan, std::shared_ptr<Plan>>(m, "Plan",
                                          "A prepared choice of kernels; immutable, any thread may run it.")
      .def(
          "prepare", [](const Plan& p) { check(ptxopsPlanPrepare(p.handle)); }, Unlocked(),
          "Assembles (or takes from the cache) and loads the kernels.")
      .def("explain", &Plan::explain, Unlocked(),
           "The choice, its modelled cost, and the runners-up, as text.")
      .def_property_readonly("workspace_size", &Plan::workspace_size, "Bytes of device workspace of a run.");
  register_fp8_gemm(m);
  register_quantize(m);
  register_rows(m);
}

}  // namespace ptxops::python
