// MLA: append and decode. The fields are those of ptxops.h.
#include "python/src/fields.h"
#include "python/src/plan.h"

namespace ptxops::python {
namespace {

using Append = ptxopsMlaAppendDesc_t;
using AppendArgs = ptxopsMlaAppendArgs_t;
using Decode = ptxopsMlaDecodeDesc_t;
using DecodeArgs = ptxopsMlaDecodeArgs_t;
using Fp8 = ptxopsMlaDecodeFp8Desc_t;
using Fp8Args = ptxopsMlaDecodeFp8Args_t;
using E4m3 = ptxopsMlaDecodeE4m3Desc_t;
using E4m3Args = ptxopsMlaDecodeE4m3Args_t;

constexpr Field<Append> kAppend[] = {{"tokens", &Append::tokens},
                                     {"pages", &Append::pages},
                                     {"page_size", &Append::page_size},
                                     {"format", &Append::format},
                                     {"scale_rule", &Append::scale_rule},
                                     {"slot_64bit", &Append::slot_64bit},
                                     {"separate_rope", &Append::separate_rope},
                                     {"latent_stride_bytes", &Append::latent_stride_bytes},
                                     {"rope_stride_bytes", &Append::rope_stride_bytes},
                                     {"page_stride_bytes", &Append::page_stride_bytes},
                                     {"token_stride_bytes", &Append::token_stride_bytes},
                                     {"rope_page_stride_bytes", &Append::rope_page_stride_bytes},
                                     {"rope_token_stride_bytes", &Append::rope_token_stride_bytes}};
constexpr Field<AppendArgs> kAppendArgs[] = {{"latent", &AppendArgs::latent},
                                             {"rope", &AppendArgs::rope},
                                             {"slot", &AppendArgs::slot},
                                             {"cache", &AppendArgs::cache},
                                             {"rope_cache", &AppendArgs::rope_cache},
                                             {"bad_slots", &AppendArgs::bad_slots}};
constexpr Field<Decode> kDecode[] = {{"batch", &Decode::batch},
                                     {"s_q", &Decode::s_q},
                                     {"h_q", &Decode::h_q},
                                     {"d_qk", &Decode::d_qk},
                                     {"d_v", &Decode::d_v},
                                     {"pages", &Decode::pages},
                                     {"page_size", &Decode::page_size},
                                     {"max_pages", &Decode::max_pages},
                                     {"softmax_scale", &Decode::softmax_scale},
                                     {"type", &Decode::type},
                                     {"causal", &Decode::causal},
                                     {"lse_base2", &Decode::lse_base2},
                                     {"lse_empty_neg", &Decode::lse_empty_neg},
                                     {"separate_rope", &Decode::separate_rope},
                                     {"sm_count", &Decode::sm_count},
                                     {"split_tokens", &Decode::split_tokens},
                                     {"max_total_tokens", &Decode::max_total_tokens},
                                     {"q_request", &Decode::q_request},
                                     {"q_token", &Decode::q_token},
                                     {"q_head", &Decode::q_head},
                                     {"q_rope_request", &Decode::q_rope_request},
                                     {"q_rope_token", &Decode::q_rope_token},
                                     {"q_rope_head", &Decode::q_rope_head},
                                     {"cache_page", &Decode::cache_page},
                                     {"cache_token", &Decode::cache_token},
                                     {"cache_rope_page", &Decode::cache_rope_page},
                                     {"cache_rope_token", &Decode::cache_rope_token},
                                     {"out_request", &Decode::out_request},
                                     {"out_token", &Decode::out_token},
                                     {"out_head", &Decode::out_head},
                                     {"lse_request", &Decode::lse_request},
                                     {"lse_head", &Decode::lse_head},
                                     {"lse_token", &Decode::lse_token},
                                     {"table_request", &Decode::table_request},
                                     {"merge", &Decode::merge}};
constexpr Field<DecodeArgs> kDecodeArgs[] = {{"q", &DecodeArgs::q},
                                             {"q_rope", &DecodeArgs::q_rope},
                                             {"cache", &DecodeArgs::cache},
                                             {"cache_rope", &DecodeArgs::cache_rope},
                                             {"page_table", &DecodeArgs::page_table},
                                             {"lengths", &DecodeArgs::lengths},
                                             {"out", &DecodeArgs::out},
                                             {"lse", &DecodeArgs::lse},
                                             {"flags", &DecodeArgs::flags}};
constexpr Field<Fp8> kFp8[] = {{"batch", &Fp8::batch},
                               {"s_q", &Fp8::s_q},
                               {"h_q", &Fp8::h_q},
                               {"pages", &Fp8::pages},
                               {"page_size", &Fp8::page_size},
                               {"sparse", &Fp8::sparse},
                               {"max_pages", &Fp8::max_pages},
                               {"top_k", &Fp8::top_k},
                               {"lengths_per_token", &Fp8::lengths_per_token},
                               {"softmax_scale", &Fp8::softmax_scale},
                               {"causal", &Fp8::causal},
                               {"lse_base2", &Fp8::lse_base2},
                               {"lse_empty_neg", &Fp8::lse_empty_neg},
                               {"sm_count", &Fp8::sm_count},
                               {"split_tokens", &Fp8::split_tokens},
                               {"max_total_tokens", &Fp8::max_total_tokens},
                               {"q_request", &Fp8::q_request},
                               {"q_token", &Fp8::q_token},
                               {"q_head", &Fp8::q_head},
                               {"out_request", &Fp8::out_request},
                               {"out_token", &Fp8::out_token},
                               {"out_head", &Fp8::out_head},
                               {"lse_request", &Fp8::lse_request},
                               {"lse_head", &Fp8::lse_head},
                               {"lse_token", &Fp8::lse_token},
                               {"keys_request", &Fp8::keys_request},
                               {"keys_token", &Fp8::keys_token},
                               {"page_stride_bytes", &Fp8::page_stride_bytes},
                               {"token_stride_bytes", &Fp8::token_stride_bytes}};
constexpr Field<Fp8Args> kFp8Args[] = {{"q", &Fp8Args::q},       {"cache", &Fp8Args::cache},
                                       {"keys", &Fp8Args::keys}, {"lengths", &Fp8Args::lengths},
                                       {"sink", &Fp8Args::sink}, {"out", &Fp8Args::out},
                                       {"lse", &Fp8Args::lse},   {"flags", &Fp8Args::flags}};
constexpr Field<E4m3> kE4m3[] = {{"batch", &E4m3::batch},
                                 {"s_q", &E4m3::s_q},
                                 {"h_q", &E4m3::h_q},
                                 {"d_qk", &E4m3::d_qk},
                                 {"d_v", &E4m3::d_v},
                                 {"pages", &E4m3::pages},
                                 {"page_size", &E4m3::page_size},
                                 {"max_pages", &E4m3::max_pages},
                                 {"softmax_scale", &E4m3::softmax_scale},
                                 {"descale_q", &E4m3::descale_q},
                                 {"descale_k", &E4m3::descale_k},
                                 {"out_type", &E4m3::out_type},
                                 {"causal", &E4m3::causal},
                                 {"lse_base2", &E4m3::lse_base2},
                                 {"lse_empty_neg", &E4m3::lse_empty_neg},
                                 {"sm_count", &E4m3::sm_count},
                                 {"split_tokens", &E4m3::split_tokens},
                                 {"max_total_tokens", &E4m3::max_total_tokens},
                                 {"q_request", &E4m3::q_request},
                                 {"q_token", &E4m3::q_token},
                                 {"q_head", &E4m3::q_head},
                                 {"cache_page", &E4m3::cache_page},
                                 {"cache_token", &E4m3::cache_token},
                                 {"out_request", &E4m3::out_request},
                                 {"out_token", &E4m3::out_token},
                                 {"out_head", &E4m3::out_head},
                                 {"lse_request", &E4m3::lse_request},
                                 {"lse_head", &E4m3::lse_head},
                                 {"lse_token", &E4m3::lse_token},
                                 {"table_request", &E4m3::table_request}};
constexpr Field<E4m3Args> kE4m3Args[] = {{"q", &E4m3Args::q},
                                         {"cache", &E4m3Args::cache},
                                         {"descale_q", &E4m3Args::descale_q},
                                         {"descale_k", &E4m3Args::descale_k},
                                         {"page_table", &E4m3Args::page_table},
                                         {"lengths", &E4m3Args::lengths},
                                         {"out", &E4m3Args::out},
                                         {"lse", &E4m3Args::lse},
                                         {"flags", &E4m3Args::flags}};

// The class `name`: made from a context and the descriptor's fields. Its run() takes the arguments' fields, a
// stream and, where `run` has one, a workspace.
template <class Desc, size_t D, class Args, size_t A, class Run>
void register_plan(py::module_& m, const char* name, const Desc& desc_defaults,
                   const Field<Desc> (&desc_fields)[D],
                   ptxopsStatus_t (*create)(ptxopsContext_t, const Desc*, ptxopsPlan_t*),
                   const Args& args_defaults, const Field<Args> (&args_fields)[A], Run run) {
  constexpr bool kWorkspace =
      std::is_invocable_v<Run, ptxopsPlan_t, const Args*, ptxopsDevicePtr_t, size_t, ptxopsStream_t>;
  using Create = ptxopsStatus_t (*)(ptxopsContext_t, const Desc*, ptxopsPlan_t*);
  struct OpPlan : Plan {
    OpPlan(ContextPtr c, Create create, const Desc& desc) : Plan(std::move(c)) {
      check(create(context->handle, &desc, &handle));
    }
  };
  struct Launch {
    uint64_t workspace = 0, workspace_bytes = 0, stream = 0;
  };
  static constexpr Field<Launch> kLaunch[] = {{"workspace", &Launch::workspace},
                                              {"workspace_bytes", &Launch::workspace_bytes},
                                              {"stream", &Launch::stream}};
  constexpr std::span<const Field<Launch>> launch_fields =
      kWorkspace ? std::span(kLaunch) : std::span(kLaunch).subspan(2);
  const Launch no_launch;
  py::options options;
  options.disable_function_signatures();  // they would say **kwargs
  py::class_<OpPlan, Plan, std::shared_ptr<OpPlan>>(m, name)
      .def(py::init([=, &desc_fields](ContextPtr c, const py::kwargs& values) {
             Desc desc = desc_defaults;
             assign(values, fields_of(desc, desc_fields));
             return make_unlocked<OpPlan>(std::move(c), create, desc);
           }),
           signature(fields_of(desc_defaults, desc_fields)).c_str())
      .def(
          "run",
          [=, &args_fields](const OpPlan& p, const py::kwargs& values) {
            Args args = args_defaults;
            Launch launch;
            assign(values, fields_of(args, args_fields), fields_of(launch, launch_fields));
            const py::gil_scoped_release release;
            if constexpr (kWorkspace)
              check(run(p.handle, &args, launch.workspace, launch.workspace_bytes, stream_of(launch.stream)));
            else
              check(run(p.handle, &args, stream_of(launch.stream)));
          },
          signature(fields_of(args_defaults, args_fields), fields_of(no_launch, launch_fields)).c_str());
}

}  // namespace

void register_mla(py::module_& m) {
  register_plan<Append>(m, "MlaAppendPlan", PTXOPS_MLA_APPEND_DESC_INITIALIZER, kAppend,
                        ptxopsMlaAppendPlanCreate, AppendArgs PTXOPS_MLA_APPEND_ARGS_INITIALIZER, kAppendArgs,
                        ptxopsMlaAppendRun);
  register_plan<Decode>(m, "MlaDecodePlan", PTXOPS_MLA_DECODE_DESC_INITIALIZER, kDecode,
                        ptxopsMlaDecodePlanCreate, DecodeArgs PTXOPS_MLA_DECODE_ARGS_INITIALIZER, kDecodeArgs,
                        ptxopsMlaDecodeRun);
  register_plan<Fp8>(m, "MlaDecodeFp8Plan", PTXOPS_MLA_DECODE_FP8_DESC_INITIALIZER, kFp8,
                     ptxopsMlaDecodeFp8PlanCreate, Fp8Args PTXOPS_MLA_DECODE_FP8_ARGS_INITIALIZER, kFp8Args,
                     ptxopsMlaDecodeFp8Run);
  register_plan<E4m3>(m, "MlaDecodeE4m3Plan", PTXOPS_MLA_DECODE_E4M3_DESC_INITIALIZER, kE4m3,
                      ptxopsMlaDecodeE4m3PlanCreate, E4m3Args PTXOPS_MLA_DECODE_E4M3_ARGS_INITIALIZER,
                      kE4m3Args, ptxopsMlaDecodeE4m3Run);
}

}  // namespace ptxops::python
