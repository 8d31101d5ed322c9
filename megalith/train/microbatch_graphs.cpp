#include "megalith/train/microbatch_graphs.h"

#include "megalith/core/cuda/cuda_graph.h"
#include "megalith/core/has_cuda.h"
#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

Tensor like(const Tensor& tensor, Exec& exec) {
  return tensor.defined() ? exec.empty(tensor.shape(), tensor.dtype()) : Tensor();
}

void copy_batch(const DeviceBatch& from, const DeviceBatch& to, Exec& exec) {
  copy(from.tokens.ids, to.tokens.ids, exec);
  copy(from.tokens.labels, to.tokens.labels, exec);
  copy(from.tokens.loss_weights, to.tokens.loss_weights, exec);
  copy(from.context.positions, to.context.positions, exec);
  if (from.context.first_key.defined()) copy(from.context.first_key, to.context.first_key, exec);
  if (from.context.documents.starts.defined())
    copy(from.context.documents.starts, to.context.documents.starts, exec);
}

}  // namespace

MicrobatchGraphs::MicrobatchGraphs(LanguageModel& model, RecomputePolicy recompute, Exec& exec)
    : model_(&model), recompute_(std::move(recompute)), exec_(&exec) {
  const double one = 1;
  one_ = exec.from_host(std::span<const double>(&one, 1), {1});
  loss_ = exec.zeros({1}, DType::kF64);
}

MicrobatchGraphs::~MicrobatchGraphs() = default;

MicrobatchGraphs::Graph MicrobatchGraphs::capture(const DeviceBatch& batch) {
  Graph result{.batch = batch, .written = {}, .graph = {}};
  result.batch.tokens = {.ids = like(batch.tokens.ids, *exec_),
                         .labels = like(batch.tokens.labels, *exec_),
                         .loss_weights = like(batch.tokens.loss_weights, *exec_)};
  result.batch.context.positions = like(batch.context.positions, *exec_);
  result.batch.context.first_key = like(batch.context.first_key, *exec_);
  result.batch.context.documents.starts = like(batch.context.documents.starts, *exec_);
  for (const auto& parameter : model_->parameters().parameters())
    if (parameter->grad_is_fresh) result.written.push_back(parameter.get());
  if constexpr (kHasCuda) {
    const CaptureMemory memory(exec_->pool());
    result.graph = std::make_shared<CudaGraph>(exec_->cuda(), [&] { run_eagerly(result.batch); });
  }
  std::erase_if(result.written, [](const Parameter* parameter) { return parameter->grad_is_fresh; });
  return result;
}

void MicrobatchGraphs::run_eagerly(const DeviceBatch& batch) {
  Tape tape(*exec_, {.is_recording = true, .recompute = recompute_});
  const Var loss = model_->loss(tape, batch.context, batch.tokens);
  tape.backward(loss, one_);
  add(loss_, loss.data, loss_, *exec_);
}

void MicrobatchGraphs::run(const DeviceBatch& batch) {
  const OwnerScope scope(exec_->ledger(), "activations");
  bool is_first = false;
  for (const auto& parameter : model_->parameters().parameters()) is_first |= parameter->grad_is_fresh;
  const PackedDocuments& documents = batch.context.documents;
  const Form form{is_first,
                  batch.context.first_key.defined(),
                  batch.context.batch,
                  batch.tokens.ids.numel(),
                  documents.starts.defined() ? documents.starts.numel() : 0,
                  documents.longest};
  auto known = graphs_.find(form);
  if (known == graphs_.end() && documents.starts.defined() && seen_.insert(form).second)
    return run_eagerly(batch);
  if (known == graphs_.end()) known = graphs_.emplace(form, capture(batch)).first;
  Graph& graph = known->second;
  copy_batch(batch, graph.batch, *exec_);
  if constexpr (kHasCuda) graph.graph->launch();
  for (Parameter* parameter : graph.written) parameter->grad_is_fresh = false;
}

}  // namespace megalith
