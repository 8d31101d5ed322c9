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
#include "megalith/core/cuda/check.h"
#include "megalith/core/exec.h"
#include "megalith/kernels/cuda/attention_choice.h"
#include "megalith/kernels/cuda/document_tables.h"

namespace megalith::cuda {
namespace {

namespace fe = cudnn_frontend;
using TensorNode = std::shared_ptr<fe::graph::Tensor_attributes>;

// What the dP buffer of one call in repeatable order may take; batches beyond it are split.
constexpr int64_t kMaxScoreBytes = int64_t{1} << 30;

enum TensorId : int64_t { kQ = 1, kK, kV, kOut, kLse, kDOut, kDQ, kDK, kDV, kQueryLengths, kKeyLengths };
constexpr int64_t kOffsets = 100;  // + TensorId: where the tensor's documents begin

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
  return fmt::format("attention {} {} [B {}, S {} of {}, N {} of {}, D {}/{}]{}{}{}", direction,
                     name_of(p.dtype), a.batch, a.queries, a.keys, a.heads, a.kv_heads, a.head_dim,
                     value_dim(p), a.is_causal ? " causal" : "",
                     a.window >= 0 ? fmt::format(" window {}", a.window) : "",
                     a.documents.starts != nullptr
                         ? fmt::format(" documents {} up to {}", a.documents.count, a.documents.longest)
                         : "");
}

bool is_packed(const AttentionView& a) {
  return a.documents.starts != nullptr;
}

// What cuDNN takes as the sequences of the batch: rows, or the documents in them.
struct Sequences {
  explicit Sequences(const AttentionView& a)
      : count(is_packed(a) ? a.documents.count : a.batch),
        queries(is_packed(a) ? a.documents.longest : a.queries),
        keys(is_packed(a) ? a.documents.longest : a.keys) {}
  int64_t count, queries, keys;
};

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
                           a.documents.count,
                           a.documents.longest,
                           a.lse != nullptr ? 1 : 0,
                           std::bit_cast<int32_t>(a.scale)};
  for (const HeadView& view : tensors)
    key.insert(key.end(), {view.batch_stride, view.token_stride, view.head_stride});
  return key;
}

TensorNode numbers(fe::graph::Graph& graph, int64_t id, int64_t count) {
  return graph.tensor(fe::graph::Tensor_attributes()
                          .set_uid(id)
                          .set_dim({count, 1, 1, 1})
                          .set_stride({1, 1, 1, 1})
                          .set_data_type(fe::DataType_t::INT32));
}

void set_places(fe::graph::Graph& graph, fe::graph::Tensor_attributes& tensor, TensorId id,
                const AttentionView& a) {
  tensor.set_uid(id);
  if (is_packed(a)) tensor.set_ragged_offset(numbers(graph, kOffsets + id, a.documents.count + 1));
}

// A [B, S, N, D] window in cuDNN's order of dimensions, [B, N, S, D].
void set_heads(fe::graph::Graph& graph, fe::graph::Tensor_attributes& tensor, TensorId id,
               const AttentionView& a, const HeadView& view, const std::vector<int64_t>& dims) {
  const int64_t batch_stride = is_packed(a) ? a.documents.longest * view.token_stride : view.batch_stride;
  tensor.set_dim(dims).set_stride({batch_stride, view.head_stride, view.token_stride, 1});
  set_places(graph, tensor, id, a);
}

TensorNode heads_tensor(fe::graph::Graph& graph, TensorId id, const char* name, const AttentionView& a,
                        const HeadView& view, const std::vector<int64_t>& dims) {
  fe::graph::Tensor_attributes tensor;
  set_heads(graph, tensor.set_name(name), id, a, view, dims);
  return graph.tensor(tensor);
}

// Of packed documents [token, head].
void set_lse_layout(fe::graph::Graph& graph, fe::graph::Tensor_attributes& tensor, const AttentionView& a) {
  const Sequences sequences(a);
  const int64_t heads = a.heads, queries = sequences.queries;
  tensor.set_dim({sequences.count, heads, queries, 1}).set_data_type(fe::DataType_t::FLOAT);
  if (is_packed(a))
    tensor.set_stride({heads * queries, 1, heads, 1});
  else
    tensor.set_stride({heads * queries, queries, 1, 1});
  set_places(graph, tensor, kLse, a);
}

template <class Attributes>
void set_options(fe::graph::Graph& graph, Attributes& attributes, const AttentionView& a) {
  attributes.set_attn_scale(a.scale);
  if (is_packed(a))
    attributes.set_padding_mask(true)
        .set_seq_len_q(numbers(graph, kQueryLengths, a.documents.count))
        .set_seq_len_kv(numbers(graph, kKeyLengths, a.documents.count));
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
  explicit Dims(const CudnnAttention& p) {
    const Sequences s(p.view);
    q = {s.count, p.view.heads, s.queries, p.view.head_dim};
    k = {s.count, p.view.kv_heads, s.keys, p.view.head_dim};
    v = {s.count, p.view.kv_heads, s.keys, value_dim(p)};
    out = {s.count, p.view.heads, s.queries, value_dim(p)};
  }
  std::vector<int64_t> q, k, v, out;
};

void build_forward(Plan& plan, const CudnnAttention& p, cudnnHandle_t handle) {
  const AttentionView& a = p.view;
  const Dims dims(p);
  fe::graph::Graph& graph = plan.graph;
  set_types(graph, p.dtype);
  const TensorNode q = heads_tensor(graph, kQ, "q", a, a.q, dims.q);
  const TensorNode k = heads_tensor(graph, kK, "k", a, a.k, dims.k);
  const TensorNode v = heads_tensor(graph, kV, "v", a, a.v, dims.v);
  auto options = fe::graph::SDPA_attributes().set_name("attention").set_generate_stats(a.lse != nullptr);
  set_options(graph, options, a);
  auto [out, lse] = graph.sdpa(q, k, v, options);
  set_heads(graph, out->set_output(true), kOut, a, a.out, dims.out);
  if (a.lse != nullptr) set_lse_layout(graph, lse->set_output(true), a);
  finish_plan(plan, handle, describe(p, "forward"));
}

void build_backward(Plan& plan, const CudnnAttention& p, const AttentionGradientView& g, SumOrder order,
                    cudnnHandle_t handle) {
  const AttentionView& a = p.view;
  const Dims dims(p);
  fe::graph::Graph& graph = plan.graph;
  set_types(graph, p.dtype);
  const TensorNode q = heads_tensor(graph, kQ, "q", a, a.q, dims.q);
  const TensorNode k = heads_tensor(graph, kK, "k", a, a.k, dims.k);
  const TensorNode v = heads_tensor(graph, kV, "v", a, a.v, dims.v);
  const TensorNode out = heads_tensor(graph, kOut, "out", a, a.out, dims.out);
  const TensorNode d_out = heads_tensor(graph, kDOut, "d_out", a, g.d_out, dims.out);
  fe::graph::Tensor_attributes lse_layout;
  set_lse_layout(graph, lse_layout.set_name("lse"), a);
  const TensorNode lse = graph.tensor(lse_layout);
  auto options = fe::graph::SDPA_backward_attributes()
                     .set_name("attention backward")
                     .set_deterministic_algorithm(order == SumOrder::kRepeatable);
  set_options(graph, options, a);
  // Working memory for as many tokens as there are, not for the longest document times their number.
  const int64_t tokens = int64_t{a.batch} * a.queries;
  if (is_packed(a)) options.set_max_total_seq_len_q(tokens).set_max_total_seq_len_kv(tokens);
  auto [d_q, d_k, d_v] = graph.sdpa_backward(q, k, v, out, d_out, lse, options);
  set_heads(graph, d_q->set_output(true), kDQ, a, g.d_q, dims.q);
  set_heads(graph, d_k->set_output(true), kDK, a, g.d_k, dims.k);
  set_heads(graph, d_v->set_output(true), kDV, a, g.d_v, dims.v);
  finish_plan(plan, handle, describe(p, "backward"));
}

using Addresses = std::unordered_map<int64_t, void*>;

// The tables of packed documents, and an lse by token in the place of the caller's.
class DocumentMemory {
 public:
  DocumentMemory(const AttentionView& a, const std::vector<std::pair<TensorId, HeadView>>& tensors,
                 Addresses& addresses, Exec& exec)
      : view_(a), frame_(exec.scratch()), stream_(exec.cuda().stream()) {
    if (!is_packed(a)) return;
    constexpr int kAlignment = 64;
    const int count = a.documents.count, stride = round_up(count + 1, kAlignment);
    const auto num_tensors = static_cast<int>(tensors.size()) + 1;
    auto* numbers = frame_.take<int32_t>(int64_t{stride} * (num_tensors + 1), "document tables");
    DocumentTables tables{.starts = a.documents.starts,
                          .count = count,
                          .num_tensors = num_tensors,
                          .lengths = numbers,
                          .offsets = numbers + stride,
                          .offsets_stride = stride};
    auto add = [&, next = 0](TensorId id, int64_t token_stride) mutable {
      tables.token_strides[next] = token_stride;
      addresses[kOffsets + id] = tables.offsets + int64_t{stride} * next++;
    };
    for (const auto& [id, view] : tensors) add(id, view.token_stride);
    add(kLse, a.heads);
    addresses[kQueryLengths] = addresses[kKeyLengths] = numbers;
    MG_CUDA_CHECK(launch_document_tables(tables, stream_));
    if (a.lse == nullptr) return;
    by_token_ = frame_.take<float>(int64_t{a.batch} * a.heads * a.queries, "lse by token");
    addresses[kLse] = by_token_;
  }
  void turn_lse(TurnLse direction) {
    if (by_token_ == nullptr) return;
    const bool is_back = direction == TurnLse::kFromTokens;
    MG_CUDA_CHECK(launch_turn_lse(direction, {view_.batch, view_.heads, view_.queries},
                                  is_back ? by_token_ : view_.lse, is_back ? view_.lse : by_token_, stream_));
  }

 private:
  const AttentionView& view_;
  ScratchFrame frame_;
  cudaStream_t stream_;
  float* by_token_ = nullptr;
};

void run(const Plan& plan, cudnnHandle_t handle, Addresses addresses, Exec& exec) {
  ScratchFrame frame(exec.scratch());
  void* workspace = frame.take<std::byte>(plan.workspace_bytes, "cudnn attention");
  check_cudnn(cudnnSetStream(handle, exec.cuda().stream()), "cudnnSetStream");
  fe::error_t error = plan.graph.execute(handle, addresses, workspace);
  MG_CHECK(error.is_good(), "cuDNN: attention failed: {}", error.get_message());
}

HeadView rows_from(HeadView view, int64_t sequence, int64_t head, DType dtype) {
  const int64_t elements = sequence * view.batch_stride + head * view.head_stride;
  view.data = static_cast<std::byte*>(view.data) + elements * static_cast<int64_t>(size_of(dtype));
  return view;
}

BackwardPart part_at_once(const CudnnAttention& p, SumOrder order) {
  const AttentionView& a = p.view;
  return backward_part({.batch = a.batch,
                        .queries = a.queries,
                        .keys = a.keys,
                        .heads = a.heads,
                        .kv_heads = a.kv_heads,
                        .head_dim = a.head_dim,
                        .has_documents = is_packed(a),
                        .is_deterministic = order == SumOrder::kRepeatable});
}

void backward_of_part(const CudnnAttention& p, const AttentionGradientView& g, SumOrder order, Exec& exec) {
  const AttentionView& a = p.view;
  Plans& plans = exec.slots().get<Plans>();
  const std::vector<int64_t> key =
      key_of(p, order == SumOrder::kRepeatable ? 2 : 1, {a.q, a.k, a.v, a.out, g.d_out, g.d_q, g.d_k, g.d_v});
  const Plan& plan =
      plans.find_or_build(key, [&](Plan& fresh) { build_backward(fresh, p, g, order, plans.handle()); });
  Addresses addresses{{kQ, a.q.data},     {kK, a.k.data},    {kV, a.v.data},
                      {kOut, a.out.data}, {kLse, a.lse},     {kDOut, g.d_out.data},
                      {kDQ, g.d_q.data},  {kDK, g.d_k.data}, {kDV, g.d_v.data}};
  DocumentMemory documents(a,
                           {{kQ, a.q},
                            {kK, a.k},
                            {kV, a.v},
                            {kOut, a.out},
                            {kDOut, g.d_out},
                            {kDQ, g.d_q},
                            {kDK, g.d_k},
                            {kDV, g.d_v}},
                           addresses, exec);
  documents.turn_lse(TurnLse::kToTokens);
  run(plan, plans.handle(), std::move(addresses), exec);
}

}  // namespace

void attention_cudnn(const CudnnAttention& problem, Exec& exec) {
  const AttentionView& a = problem.view;
  Plans& plans = exec.slots().get<Plans>();
  const Plan& plan = plans.find_or_build(key_of(problem, 0, {a.q, a.k, a.v, a.out}),
                                         [&](Plan& fresh) { build_forward(fresh, problem, plans.handle()); });
  Addresses addresses{{kQ, a.q.data}, {kK, a.k.data}, {kV, a.v.data}, {kOut, a.out.data}};
  if (a.lse != nullptr) addresses[kLse] = a.lse;
  DocumentMemory documents(a, {{kQ, a.q}, {kK, a.k}, {kV, a.v}, {kOut, a.out}}, addresses, exec);
  run(plan, plans.handle(), std::move(addresses), exec);
  documents.turn_lse(TurnLse::kFromTokens);
}

void attention_cudnn_backward(const CudnnAttention& problem, const AttentionGradientView& g, SumOrder order,
                              Exec& exec) {
  const AttentionView& all = problem.view;
  const BackwardPart most = part_at_once(problem, order);
  MG_CHECK(most.batch > 0, "cuDNN: {}: more elements than its gradients are right for",
           describe(problem, "backward"));
  const int64_t group = all.heads / all.kv_heads;
  for (int64_t b = 0; b < all.batch; b += most.batch) {
    for (int64_t h = 0; h < all.kv_heads; h += most.kv_heads) {
      const auto of_queries = [&](const HeadView& rows) {
        return rows_from(rows, b, h * group, problem.dtype);
      };
      const auto of_keys = [&](const HeadView& rows) { return rows_from(rows, b, h, problem.dtype); };
      CudnnAttention part = problem;
      AttentionView& a = part.view;
      a.batch = narrow<int>(std::min(most.batch, all.batch - b));
      a.kv_heads = narrow<int>(std::min(most.kv_heads, all.kv_heads - h));
      a.heads = narrow<int>(a.kv_heads * group);
      a.q = of_queries(a.q), a.out = of_queries(a.out);
      a.k = of_keys(a.k), a.v = of_keys(a.v);
      a.lse += (b * all.heads + h * group) * all.queries;
      const AttentionGradientView gradients{.d_out = of_queries(g.d_out),
                                            .d_q = of_queries(g.d_q),
                                            .d_k = of_keys(g.d_k),
                                            .d_v = of_keys(g.d_v)};
      backward_of_part(part, gradients, order, exec);
    }
  }
}

int64_t cudnn_version() {
  return static_cast<int64_t>(cudnnGetVersion());
}

}  // namespace megalith::cuda
