// defines: attention_cudnn, attention_cudnn_backward, cudnn_version
// The only file that includes cudnn-frontend.

#include "megalith/kernels/cuda/vendor/attention_cudnn.h"

#include <bit>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include <cudnn_frontend.h>

#include "megalith/base/math.h"
#include "megalith/core/exec.h"

namespace megalith::cuda {
namespace {

namespace fe = cudnn_frontend;
using TensorNode = std::shared_ptr<fe::graph::Tensor_attributes>;

// What the dP buffer of one call in repeatable order may take; batches beyond it are split.
constexpr int64_t kMaxScoreBytes = int64_t{1} << 30;

enum TensorId : int64_t { kQ = 1, kK, kV, kOut, kLse, kDOut, kDQ, kDK, kDV };

void check_cudnn(cudnnStatus_t status, const char* what) {
  MG_CHECK(status == CUDNN_STATUS_SUCCESS, "cuDNN: {} failed: {}", what, cudnnGetErrorString(status));
}

struct Plan {
  fe::graph::Graph graph;
  int64_t workspace_bytes = 0;
};

/// cuDNN's handle and the plans of one Exec.
class Plans {
 public:
  Plans() { check_cudnn(cudnnCreate(&handle_), "cudnnCreate"); }
  ~Plans() {
    plans_.clear();
    cudnnDestroy(handle_);
  }
  Plans(const Plans&) = delete;
  Plans& operator=(const Plans&) = delete;

  cudnnHandle_t handle() const { return handle_; }

  template <class Build>
  Plan& find_or_build(const std::vector<int64_t>& key, const Build& build) {
    std::unique_ptr<Plan>& plan = plans_[key];
    if (plan == nullptr) {
      auto built = std::make_unique<Plan>();
      build(*built);
      plan = std::move(built);
    }
    return *plan;
  }

 private:
  cudnnHandle_t handle_ = nullptr;
  std::map<std::vector<int64_t>, std::unique_ptr<Plan>> plans_;
};

int value_dim(const CudnnAttention& p) {
  return p.value_dim == 0 ? p.view.head_dim : p.value_dim;
}

std::string describe(const CudnnAttention& p, const char* direction) {
  const AttentionView& a = p.view;
  return fmt::format("attention {} {} [B {}, S {} of {}, N {} of {}, D {}/{}]{}{}", direction,
                     name_of(p.dtype), a.batch, a.queries, a.keys, a.heads, a.kv_heads, a.head_dim,
                     value_dim(p), a.is_causal ? " causal" : "",
                     a.window >= 0 ? fmt::format(" window {}", a.window) : "");
}

// What the plan depends on: all but the addresses.
std::vector<int64_t> key_of(const CudnnAttention& p, int64_t kind, std::initializer_list<HeadView> tensors) {
  const AttentionView& a = p.view;
  std::vector<int64_t> key{kind,
                           static_cast<int64_t>(p.dtype),
                           a.batch,
                           a.queries,
                           a.keys,
                           a.heads,
                           a.kv_heads,
                           a.head_dim,
                           value_dim(p),
                           a.is_causal ? 1 : 0,
                           a.window,
                           a.lse != nullptr ? 1 : 0,
                           std::bit_cast<int32_t>(a.scale)};
  for (const HeadView& view : tensors)
    key.insert(key.end(), {view.batch_stride, view.token_stride, view.head_stride});
  return key;
}

// A [B, S, N, D] window in cuDNN's order of dimensions, [B, N, S, D].
TensorNode heads_tensor(fe::graph::Graph& graph, TensorId id, const char* name, const HeadView& view,
                        std::vector<int64_t> dims) {
  return graph.tensor(fe::graph::Tensor_attributes()
                          .set_name(name)
                          .set_uid(id)
                          .set_dim(std::move(dims))
                          .set_stride({view.batch_stride, view.head_stride, view.token_stride, 1}));
}

void set_output(const TensorNode& tensor, TensorId id, const HeadView& view, std::vector<int64_t> dims) {
  tensor->set_output(true)
      .set_uid(id)
      .set_dim(std::move(dims))
      .set_stride({view.batch_stride, view.head_stride, view.token_stride, 1});
}

void set_lse_layout(fe::graph::Tensor_attributes& tensor, const AttentionView& a) {
  const int64_t heads = a.heads, queries = a.queries;
  tensor.set_uid(kLse)
      .set_dim({a.batch, heads, queries, 1})
      .set_stride({heads * queries, queries, 1, 1})
      .set_data_type(fe::DataType_t::FLOAT);
}

template <class Attributes>
void set_options(Attributes& attributes, const AttentionView& a) {
  attributes.set_attn_scale(a.scale);
  if (!a.is_causal) return;
  attributes.set_diagonal_alignment(a.keys == a.queries ? fe::DiagonalAlignment_t::TOP_LEFT
                                                        : fe::DiagonalAlignment_t::BOTTOM_RIGHT);
  attributes.set_diagonal_band_right_bound(0);
  if (a.window >= 0) attributes.set_diagonal_band_left_bound(a.window + 1);  // counts the query's own place
}

void set_types(fe::graph::Graph& graph, DType dtype) {
  graph.set_io_data_type(dtype == DType::kBF16 ? fe::DataType_t::BFLOAT16 : fe::DataType_t::HALF)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
}

void finish_plan(Plan& plan, cudnnHandle_t handle, const std::string& what) {
  const auto check = [&](fe::error_t error) {
    MG_CHECK(error.is_good(), "cuDNN {} does not take {}: {}", cudnn_version(), what, error.get_message());
  };
  check(plan.graph.validate());
  check(plan.graph.build_operation_graph(handle));
  check(plan.graph.create_execution_plans({fe::HeurMode_t::A}));
  check(plan.graph.check_support());
  check(plan.graph.build_plans());
  check(plan.graph.get_workspace_size(plan.workspace_bytes));
}

struct Dims {
  explicit Dims(const CudnnAttention& p)
      : q{p.view.batch, p.view.heads, p.view.queries, p.view.head_dim},
        k{p.view.batch, p.view.kv_heads, p.view.keys, p.view.head_dim},
        v{p.view.batch, p.view.kv_heads, p.view.keys, value_dim(p)},
        out{p.view.batch, p.view.heads, p.view.queries, value_dim(p)} {}
  std::vector<int64_t> q, k, v, out;
};

void build_forward(Plan& plan, const CudnnAttention& p, cudnnHandle_t handle) {
  const AttentionView& a = p.view;
  const Dims dims(p);
  fe::graph::Graph& graph = plan.graph;
  set_types(graph, p.dtype);
  const TensorNode q = heads_tensor(graph, kQ, "q", a.q, dims.q);
  const TensorNode k = heads_tensor(graph, kK, "k", a.k, dims.k);
  const TensorNode v = heads_tensor(graph, kV, "v", a.v, dims.v);
  auto options = fe::graph::SDPA_attributes().set_name("attention").set_generate_stats(a.lse != nullptr);
  set_options(options, a);
  auto [out, lse] = graph.sdpa(q, k, v, options);
  set_output(out, kOut, a.out, dims.out);
  if (a.lse != nullptr) set_lse_layout(lse->set_output(true), a);
  finish_plan(plan, handle, describe(p, "forward"));
}

void build_backward(Plan& plan, const CudnnAttention& p, const AttentionGradientView& g, SumOrder order,
                    cudnnHandle_t handle) {
  const AttentionView& a = p.view;
  const Dims dims(p);
  fe::graph::Graph& graph = plan.graph;
  set_types(graph, p.dtype);
  const TensorNode q = heads_tensor(graph, kQ, "q", a.q, dims.q);
  const TensorNode k = heads_tensor(graph, kK, "k", a.k, dims.k);
  const TensorNode v = heads_tensor(graph, kV, "v", a.v, dims.v);
  const TensorNode out = heads_tensor(graph, kOut, "out", a.out, dims.out);
  const TensorNode d_out = heads_tensor(graph, kDOut, "d_out", g.d_out, dims.out);
  fe::graph::Tensor_attributes lse_layout;
  set_lse_layout(lse_layout.set_name("lse"), a);
  const TensorNode lse = graph.tensor(lse_layout);
  auto options = fe::graph::SDPA_backward_attributes()
                     .set_name("attention backward")
                     .set_deterministic_algorithm(order == SumOrder::kRepeatable);
  set_options(options, a);
  auto [d_q, d_k, d_v] = graph.sdpa_backward(q, k, v, out, d_out, lse, options);
  set_output(d_q, kDQ, g.d_q, dims.q);
  set_output(d_k, kDK, g.d_k, dims.k);
  set_output(d_v, kDV, g.d_v, dims.v);
  finish_plan(plan, handle, describe(p, "backward"));
}

void run(const Plan& plan, cudnnHandle_t handle, std::unordered_map<int64_t, void*> addresses, Exec& exec) {
  ScratchFrame frame(exec.scratch());
  void* workspace = frame.take<std::byte>(plan.workspace_bytes, "cudnn attention");
  check_cudnn(cudnnSetStream(handle, exec.cuda().stream()), "cudnnSetStream");
  fe::error_t error = plan.graph.execute(handle, addresses, workspace);
  MG_CHECK(error.is_good(), "cuDNN: attention failed: {}", error.get_message());
}

// The largest part of the batch, dividing it evenly, whose dP buffer keeps to the limit.
int batch_at_once(const AttentionView& a) {
  const int64_t bytes =
      int64_t{2} * a.heads * round_up<int64_t>(a.queries, 64) * round_up<int64_t>(a.keys, 128);
  for (int parts = 1; parts < a.batch; ++parts)
    if (a.batch % parts == 0 && a.batch / parts * bytes <= kMaxScoreBytes) return a.batch / parts;
  return 1;
}

void* batch_of(const HeadView& view, int b, DType dtype) {
  return static_cast<std::byte*>(view.data) + b * view.batch_stride * static_cast<int64_t>(size_of(dtype));
}

}  // namespace

void attention_cudnn(const CudnnAttention& problem, Exec& exec) {
  const AttentionView& a = problem.view;
  Plans& plans = exec.slots().get<Plans>();
  const Plan& plan = plans.find_or_build(key_of(problem, 0, {a.q, a.k, a.v, a.out}),
                                         [&](Plan& fresh) { build_forward(fresh, problem, plans.handle()); });
  std::unordered_map<int64_t, void*> addresses{
      {kQ, a.q.data}, {kK, a.k.data}, {kV, a.v.data}, {kOut, a.out.data}};
  if (a.lse != nullptr) addresses[kLse] = a.lse;
  run(plan, plans.handle(), std::move(addresses), exec);
}

void attention_cudnn_backward(const CudnnAttention& problem, const AttentionGradientView& g, SumOrder order,
                              Exec& exec) {
  CudnnAttention part = problem;
  AttentionView& a = part.view;
  if (order == SumOrder::kRepeatable) a.batch = batch_at_once(problem.view);
  Plans& plans = exec.slots().get<Plans>();
  const std::vector<int64_t> key = key_of(part, order == SumOrder::kRepeatable ? 2 : 1,
                                          {a.q, a.k, a.v, a.out, g.d_out, g.d_q, g.d_k, g.d_v});
  const Plan& plan =
      plans.find_or_build(key, [&](Plan& fresh) { build_backward(fresh, part, g, order, plans.handle()); });
  for (int b = 0; b < problem.view.batch; b += a.batch) {
    const auto at = [&](const HeadView& view) { return batch_of(view, b, problem.dtype); };
    run(plan, plans.handle(),
        {{kQ, at(a.q)},
         {kK, at(a.k)},
         {kV, at(a.v)},
         {kOut, at(a.out)},
         {kLse, a.lse + static_cast<int64_t>(b) * a.heads * a.queries},
         {kDOut, at(g.d_out)},
         {kDQ, at(g.d_q)},
         {kDK, at(g.d_k)},
         {kDV, at(g.d_v)}},
        exec);
  }
}

int64_t cudnn_version() {
  return static_cast<int64_t>(cudnnGetVersion());
}

}  // namespace megalith::cuda
